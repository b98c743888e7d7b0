//! Files of plain samples between two steps of a mix: 48 kHz stereo, 32-bit floats, little endian, left and right by
//! turns.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::MediaError;

/// Bytes of a stereo sample.
const BYTES: usize = 8;

/// Reads samples one after another.
pub(crate) struct RawReader {
    path: PathBuf,
    file: BufReader<File>,
    bytes: Vec<u8>,
    samples: Vec<[f32; 2]>,
}

impl RawReader {
    pub(crate) fn open(path: &Path) -> Result<Self, MediaError> {
        let file = File::open(path).map_err(|error| open_error(path, error))?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), bytes: Vec::new(), samples: Vec::new() })
    }

    /// The next `length` samples, or fewer at the end.
    pub(crate) fn read(&mut self, length: usize) -> Result<&[[f32; 2]], MediaError> {
        self.bytes.clear();
        let limit = (length * BYTES) as u64;
        let read = self.file.by_ref().take(limit).read_to_end(&mut self.bytes);
        read.map_err(|error| open_error(&self.path, error))?;
        let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        self.samples.clear();
        self.samples.extend(self.bytes.chunks_exact(BYTES).map(|both| [float(both), float(&both[4..])]));
        Ok(&self.samples)
    }
}

/// Writes samples one after another.
pub(crate) struct RawWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl RawWriter {
    pub(crate) fn create(path: &Path) -> Result<Self, MediaError> {
        let file = File::create(path).map_err(|error| write_error(path, error))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    pub(crate) fn push(&mut self, samples: &[[f32; 2]]) -> Result<(), MediaError> {
        for level in samples.as_flattened() {
            self.file.write_all(&level.to_le_bytes()).map_err(|error| write_error(&self.path, error))?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), MediaError> {
        self.file.flush().map_err(|error| write_error(&self.path, error))
    }
}

fn open_error(path: &Path, source: std::io::Error) -> MediaError {
    MediaError::Open { path: path.to_owned(), source }
}

fn write_error(path: &Path, source: std::io::Error) -> MediaError {
    MediaError::Write { path: path.to_owned(), source }
}
