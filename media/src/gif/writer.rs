//! Writes the GIF file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ::gif::{DisposalMethod, Encoder, Frame, Repeat};
use hyperfarm_proto::spec::Size;

use crate::error::MediaError;

/// Writes indexed frames of one palette.
pub(super) struct GifWriter {
    encoder: Encoder<BufWriter<File>>,
    path: PathBuf,
    size: Size,
    transparent: Option<u8>,
    /// Whether any frame is transparent. Each frame is then stored whole, and cleared before the next.
    is_transparent: bool,
    last: Vec<u8>,
}

impl GifWriter {
    pub(super) fn create(
        path: &Path,
        size: Size,
        palette: &[[u8; 4]],
        is_transparent: bool,
        repeat: u16,
    ) -> Result<Self, MediaError> {
        let side = |side: u32| u16::try_from(side).map_err(|_| MediaError::Missing { name: format!("gif of {size}") });
        let (width, height) = (side(size.width)?, side(size.height)?);
        let file = File::create(path).map_err(|source| MediaError::Write { path: path.to_owned(), source })?;
        let colours: Vec<u8> = palette.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
        let transparent = palette.iter().position(|colour| colour[3] == 0).and_then(|at| u8::try_from(at).ok());
        let mut encoder =
            Encoder::new(BufWriter::new(file), width, height, &colours).map_err(|error| write_error(path, error))?;
        let repeat = if repeat == 0 { Repeat::Infinite } else { Repeat::Finite(repeat) };
        encoder.set_repeat(repeat).map_err(|error| write_error(path, error))?;
        Ok(Self { encoder, path: path.to_owned(), size, transparent, is_transparent, last: Vec::new() })
    }

    /// Appends a frame of `delay` hundredths of a second.
    pub(super) fn push(&mut self, indices: &[u8], stride: usize, delay: u16) -> Result<(), MediaError> {
        let width = self.size.width as usize;
        let rows = indices.chunks(stride).take(self.size.height as usize);
        let whole: Vec<u8> = rows.flat_map(|row| row[..width].iter().copied()).collect();
        let area = if self.is_transparent { self.whole_area() } else { self.changed_area(&whole) };
        let pixels: Vec<u8> =
            area.rows().flat_map(|y| whole[y * width..][area.left..area.right].iter().copied()).collect();
        let frame = Frame {
            delay,
            dispose: if self.is_transparent { DisposalMethod::Background } else { DisposalMethod::Keep },
            transparent: if self.is_transparent { self.transparent } else { None },
            left: area.left as u16,
            top: area.top as u16,
            width: (area.right - area.left) as u16,
            height: (area.bottom - area.top) as u16,
            buffer: Cow::Owned(pixels),
            ..Frame::default()
        };
        self.encoder.write_frame(&frame).map_err(|error| write_error(&self.path, error))?;
        self.last = whole;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), MediaError> {
        let path = self.path;
        let mut file = self.encoder.into_inner().map_err(|error| write_error(&path, error))?;
        file.flush().map_err(|source| MediaError::Write { path, source })
    }

    fn whole_area(&self) -> Area {
        Area { left: 0, top: 0, right: self.size.width as usize, bottom: self.size.height as usize }
    }

    /// The smallest rectangle with every pixel in which `next` differs from the last frame; one pixel where none does,
    /// because a frame cannot be empty.
    fn changed_area(&self, next: &[u8]) -> Area {
        if self.last.is_empty() {
            return self.whole_area();
        }
        let width = self.size.width as usize;
        let mut area: Option<Area> = None;
        for (y, (old, new)) in self.last.chunks(width).zip(next.chunks(width)).enumerate() {
            let Some(first) = old.iter().zip(new).position(|(old, new)| old != new) else { continue };
            let last = old.iter().zip(new).rposition(|(old, new)| old != new).unwrap_or(first);
            let found = area.get_or_insert(Area { left: first, top: y, right: last + 1, bottom: y + 1 });
            found.left = found.left.min(first);
            found.right = found.right.max(last + 1);
            found.bottom = y + 1;
        }
        area.unwrap_or(Area { left: 0, top: 0, right: 1, bottom: 1 })
    }
}

struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Area {
    fn rows(&self) -> std::ops::Range<usize> {
        self.top..self.bottom
    }
}

fn write_error(path: &Path, error: ::gif::EncodingError) -> MediaError {
    MediaError::Write { path: path.to_owned(), source: std::io::Error::other(error.to_string()) }
}
