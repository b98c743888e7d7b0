//! Alpha planes that wait for an encoder of their own.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::bitmap::Bitmap;
use crate::error::MediaError;

/// Equal bytes in a row that are worth a run of their own.
const SHORTEST_RUN: usize = 8;

/// Alpha planes in a file without a name, in the order in which they came, as runs of equal bytes and the bytes between.
///
/// Each starts with the length of what follows, four bytes; a length of 0 means the plane before it once more. What follows is
/// numbers of four bytes, each twice a count of bytes: even before one byte that is repeated so often, odd before so many bytes.
pub(crate) struct AlphaPlanes {
    file: BufWriter<File>,
    path: PathBuf,
    plane: Vec<u8>,
    coded: Vec<u8>,
}

impl AlphaPlanes {
    /// An empty row of planes. It is on the disk beside `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, MediaError> {
        let path = path.with_extension("alpha");
        let made = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let made = made.and_then(|file| {
            // It stays as long as it is open, whatever becomes of this process.
            fs::remove_file(&path)?;
            Ok(file)
        });
        let file = made.map_err(|source| MediaError::Write { path: path.clone(), source })?;
        Ok(Self { file: BufWriter::with_capacity(1 << 16, file), path, plane: Vec::new(), coded: Vec::new() })
    }

    /// Appends the alpha of `picture`, which was checked.
    pub(crate) fn push(&mut self, picture: &Bitmap<'_>) -> Result<(), MediaError> {
        self.plane.clear();
        let bytes = picture.layout.bytes();
        for y in 0..picture.size.height as usize {
            let pixels = picture.row(y).chunks_exact(bytes);
            self.plane.extend(pixels.map(|pixel| pixel.get(3).copied().unwrap_or(u8::MAX)));
        }
        code(&self.plane, &mut self.coded);
        let length = (self.coded.len() as u32).to_le_bytes();
        let written = self.file.write_all(&length).and_then(|()| self.file.write_all(&self.coded));
        written.map_err(|source| self.failed(source))
    }

    /// Appends the last plane once more.
    pub(crate) fn repeat(&mut self) -> Result<(), MediaError> {
        self.file.write_all(&[0; 4]).map_err(|source| self.failed(source))
    }

    /// The planes, from the first.
    pub(crate) fn read(self) -> Result<AlphaReader, MediaError> {
        let Self { file, path, mut plane, coded } = self;
        let file = file.into_inner().map_err(|error| error.into_error());
        let file = file.and_then(|mut file| {
            file.rewind()?;
            Ok(file)
        });
        let file = file.map_err(|source| MediaError::Write { path: path.clone(), source })?;
        plane.clear();
        Ok(AlphaReader { file: BufReader::with_capacity(1 << 16, file), path, plane, coded })
    }

    fn failed(&self, source: std::io::Error) -> MediaError {
        MediaError::Write { path: self.path.clone(), source }
    }
}

/// Reads alpha planes in their order.
pub(crate) struct AlphaReader {
    file: BufReader<File>,
    path: PathBuf,
    plane: Vec<u8>,
    coded: Vec<u8>,
}

impl AlphaReader {
    /// The next plane, rows without gaps.
    pub(crate) fn next(&mut self) -> Result<&[u8], MediaError> {
        let mut length = [0; 4];
        let read = self.file.read_exact(&mut length).and_then(|()| {
            let length = u32::from_le_bytes(length) as usize;
            if length > 0 {
                self.coded.resize(length, 0);
                self.file.read_exact(&mut self.coded)?;
                decode(&self.coded, &mut self.plane).ok_or(std::io::ErrorKind::InvalidData)?;
            }
            Ok(())
        });
        read.map_err(|source| MediaError::Write { path: self.path.clone(), source })?;
        Ok(&self.plane)
    }
}

fn code(plane: &[u8], coded: &mut Vec<u8>) {
    coded.clear();
    let between = |bytes: &[u8], coded: &mut Vec<u8>| {
        if !bytes.is_empty() {
            coded.extend_from_slice(&(bytes.len() as u32 * 2 + 1).to_le_bytes());
            coded.extend_from_slice(bytes);
        }
    };
    let (mut done, mut at) = (0, 0);
    while let Some(byte) = plane.get(at) {
        let run = plane[at..].iter().take_while(|other| *other == byte).count();
        if run >= SHORTEST_RUN {
            between(&plane[done..at], coded);
            coded.extend_from_slice(&(run as u32 * 2).to_le_bytes());
            coded.push(*byte);
            done = at + run;
        }
        at += run;
    }
    between(&plane[done..], coded);
}

fn decode(mut coded: &[u8], plane: &mut Vec<u8>) -> Option<()> {
    plane.clear();
    while let Some((number, rest)) = coded.split_first_chunk::<4>() {
        let number = u32::from_le_bytes(*number) as usize;
        let taken = if number.is_multiple_of(2) {
            plane.resize(plane.len() + number / 2, *rest.first()?);
            1
        } else {
            plane.extend_from_slice(rest.get(..number / 2)?);
            number / 2
        };
        coded = &rest[taken..];
    }
    coded.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::spec::Size;

    use super::*;
    use crate::bitmap::PixelLayout;

    #[test]
    fn planes_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let size = Size { width: 61, height: 3 };
        let plane = |seed: usize| -> Vec<u8> {
            (0..61 * 3).map(|at| if at % 40 < 20 { seed as u8 } else { (at * seed) as u8 }).collect()
        };
        let mut planes = AlphaPlanes::create(&folder.path().join("a.webm")).unwrap();
        for seed in [1, 3, 255] {
            let data: Vec<u8> = plane(seed).into_iter().flat_map(|alpha| [9, 9, 9, alpha]).collect();
            let layout = PixelLayout::Bgra;
            planes.push(&Bitmap { data: &data, stride: 61 * 4, size, layout }).unwrap();
        }
        planes.repeat().unwrap();
        let data = vec![7; 61 * 3 * 3];
        planes.push(&Bitmap { data: &data, stride: 61 * 3, size, layout: PixelLayout::Rgb }).unwrap();
        // Nothing of it is left behind, however it ends.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut reader = planes.read().unwrap();
        for seed in [1, 3, 255, 255] {
            assert_eq!(reader.next().unwrap(), plane(seed));
        }
        assert!(reader.next().unwrap().iter().all(|alpha| *alpha == 255));
        assert!(reader.next().is_err());
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let mut plane = Vec::new();
        assert!(decode(&[4, 0, 0, 0], &mut plane).is_none());
        assert!(decode(&[5, 0, 0, 0, 1], &mut plane).is_none());
        assert!(decode(&[4, 0], &mut plane).is_none());
        assert!(decode(&[4, 0, 0, 0, 8, 5, 0, 0, 0, 1, 2], &mut plane).is_some());
        assert_eq!(plane, [8, 8, 1, 2]);
    }
}
