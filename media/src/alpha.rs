//! Alpha planes in a scratch file, until the colours of a segment are encoded.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::bitmap::Bitmap;
use crate::error::MediaError;
use crate::packet_file::unnamed_file;

/// Fewest equal bytes in a row that are stored as a run.
const SHORTEST_RUN: usize = 8;

/// Writes alpha planes to a scratch file, run-length encoded.
///
/// Each plane starts with the length of its code, a 32-bit number; a length of 0 repeats the plane before it. The code
/// is a list of 32-bit numbers `n`, each followed by data. If `n` is even, one byte follows that is repeated `n / 2`
/// times; if it is odd, `n / 2` bytes follow. Numbers are little endian.
pub(crate) struct AlphaWriter {
    file: BufWriter<File>,
    path: PathBuf,
    plane: Vec<u8>,
    code: Vec<u8>,
}

impl AlphaWriter {
    /// An empty scratch file in the folder of `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, MediaError> {
        let path = path.with_extension("alpha");
        let file = unnamed_file(&path).map_err(|source| MediaError::Write { path: path.clone(), source })?;
        Ok(Self { file: BufWriter::with_capacity(1 << 16, file), path, plane: Vec::new(), code: Vec::new() })
    }

    /// Appends the alpha plane of `picture`, whose size was checked.
    pub(crate) fn push(&mut self, picture: &Bitmap<'_>) -> Result<(), MediaError> {
        self.plane.clear();
        let bytes = picture.layout.bytes();
        for y in 0..picture.size.height as usize {
            let pixels = picture.row(y).chunks_exact(bytes);
            self.plane.extend(pixels.map(|pixel| pixel.get(3).copied().unwrap_or(u8::MAX)));
        }
        encode(&self.plane, &mut self.code);
        let length = (self.code.len() as u32).to_le_bytes();
        let written = self.file.write_all(&length).and_then(|()| self.file.write_all(&self.code));
        written.map_err(|source| self.failed(source))
    }

    /// Repeats the last plane.
    pub(crate) fn repeat(&mut self) -> Result<(), MediaError> {
        self.file.write_all(&[0; 4]).map_err(|source| self.failed(source))
    }

    /// Ends writing and reads the planes from the first.
    pub(crate) fn into_reader(self) -> Result<AlphaReader, MediaError> {
        let Self { file, path, mut plane, code } = self;
        let file = file.into_inner().map_err(|error| error.into_error());
        let file = file.and_then(|mut file| {
            file.rewind()?;
            Ok(file)
        });
        let file = file.map_err(|source| MediaError::Write { path: path.clone(), source })?;
        plane.clear();
        Ok(AlphaReader { file: BufReader::with_capacity(1 << 16, file), path, plane, code })
    }

    fn failed(&self, source: std::io::Error) -> MediaError {
        MediaError::Write { path: self.path.clone(), source }
    }
}

/// Reads alpha planes back in their order.
pub(crate) struct AlphaReader {
    file: BufReader<File>,
    path: PathBuf,
    plane: Vec<u8>,
    code: Vec<u8>,
}

impl AlphaReader {
    /// The next plane, rows without gaps. Fails behind the last one.
    pub(crate) fn next(&mut self) -> Result<&[u8], MediaError> {
        let mut length = [0; 4];
        let read = self.file.read_exact(&mut length).and_then(|()| {
            let length = u32::from_le_bytes(length) as usize;
            if length > 0 {
                self.code.resize(length, 0);
                self.file.read_exact(&mut self.code)?;
                decode(&self.code, &mut self.plane).ok_or(std::io::ErrorKind::InvalidData)?;
            }
            Ok(())
        });
        read.map_err(|source| MediaError::Write { path: self.path.clone(), source })?;
        Ok(&self.plane)
    }
}

/// Run-length encodes `plane`.
fn encode(plane: &[u8], code: &mut Vec<u8>) {
    code.clear();
    let literal = |bytes: &[u8], code: &mut Vec<u8>| {
        if !bytes.is_empty() {
            code.extend_from_slice(&(bytes.len() as u32 * 2 + 1).to_le_bytes());
            code.extend_from_slice(bytes);
        }
    };
    let (mut done, mut at) = (0, 0);
    while let Some(byte) = plane.get(at) {
        let run = plane[at..].iter().take_while(|other| *other == byte).count();
        if run >= SHORTEST_RUN {
            literal(&plane[done..at], code);
            code.extend_from_slice(&(run as u32 * 2).to_le_bytes());
            code.push(*byte);
            done = at + run;
        }
        at += run;
    }
    literal(&plane[done..], code);
}

/// Decodes a plane; `None` where the code is damaged.
fn decode(mut code: &[u8], plane: &mut Vec<u8>) -> Option<()> {
    plane.clear();
    while let Some((number, rest)) = code.split_first_chunk::<4>() {
        let number = u32::from_le_bytes(*number) as usize;
        let taken = if number.is_multiple_of(2) {
            plane.resize(plane.len() + number / 2, *rest.first()?);
            1
        } else {
            plane.extend_from_slice(rest.get(..number / 2)?);
            number / 2
        };
        code = &rest[taken..];
    }
    code.is_empty().then_some(())
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
        let mut planes = AlphaWriter::create(&folder.path().join("a.webm")).unwrap();
        for seed in [1, 3, 255] {
            let data: Vec<u8> = plane(seed).into_iter().flat_map(|alpha| [9, 9, 9, alpha]).collect();
            let layout = PixelLayout::Bgra;
            planes.push(&Bitmap { data: &data, stride: 61 * 4, size, layout }).unwrap();
        }
        planes.repeat().unwrap();
        let data = vec![7; 61 * 3 * 3];
        planes.push(&Bitmap { data: &data, stride: 61 * 3, size, layout: PixelLayout::Rgb }).unwrap();
        // The file has no name, so nothing is left behind however the process ends.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut reader = planes.into_reader().unwrap();
        for seed in [1, 3, 255, 255] {
            assert_eq!(reader.next().unwrap(), plane(seed));
        }
        assert!(reader.next().unwrap().iter().all(|alpha| *alpha == 255));
        assert!(reader.next().is_err());
    }

    #[test]
    fn a_damaged_code_is_refused() {
        let mut plane = Vec::new();
        assert!(decode(&[4, 0, 0, 0], &mut plane).is_none());
        assert!(decode(&[5, 0, 0, 0, 1], &mut plane).is_none());
        assert!(decode(&[4, 0], &mut plane).is_none());
        assert!(decode(&[4, 0, 0, 0, 8, 5, 0, 0, 0, 1, 2], &mut plane).is_some());
        assert_eq!(plane, [8, 8, 1, 2]);
    }
}
