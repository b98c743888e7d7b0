//! The zip of an output that is many files.
//!
//! Its files are stored uncompressed, because they are compressed already, and have no dates: equal frames give equal
//! bytes.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::error::StitchError;

/// A zip under construction.
pub(crate) struct Archive<'a> {
    zip: ZipWriter<BufWriter<File>>,
    path: &'a Path,
}

impl<'a> Archive<'a> {
    /// An empty zip at `path`.
    pub(crate) fn create(path: &'a Path) -> Result<Self, StitchError> {
        let file = File::create(path).map_err(|source| disk_error(path, source))?;
        Ok(Self { zip: ZipWriter::new(BufWriter::new(file)), path })
    }

    /// Where it is written.
    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// Adds a file of up to 4 GiB.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), StitchError> {
        self.add_from(name, &mut &*bytes, false)
    }

    /// Adds the file at `from`, of any length.
    pub(crate) fn add_file(&mut self, name: &str, from: &Path) -> Result<(), StitchError> {
        let mut file = File::open(from).map_err(|source| disk_error(self.path, source))?;
        self.add_from(name, &mut file, true)
    }

    fn add_from(&mut self, name: &str, from: &mut dyn Read, is_large: bool) -> Result<(), StitchError> {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(is_large);
        self.zip.start_file(name, options).map_err(|error| zip_error(self.path, &error))?;
        io::copy(from, &mut self.zip).map_err(|source| disk_error(self.path, source))?;
        Ok(())
    }

    /// Completes the zip.
    pub(crate) fn finish(self) -> Result<(), StitchError> {
        let mut file = self.zip.finish().map_err(|error| zip_error(self.path, &error))?;
        file.flush().map_err(|source| disk_error(self.path, source))
    }
}

/// The error of a file at `path` that cannot be read or written.
pub(crate) fn disk_error(path: &Path, source: io::Error) -> StitchError {
    StitchError::Disk { path: path.display().to_string(), source }
}

fn zip_error(path: &Path, error: &ZipError) -> StitchError {
    disk_error(path, io::Error::other(error.to_string()))
}
