//! Pictures in memory: borrowed bitmaps, and decoded pictures.

use hyperfarm_proto::spec::Size;

use crate::error::MediaError;

/// Order of the bytes of a pixel, first byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelLayout {
    /// Blue, green, red, alpha.
    Bgra,
    /// Red, green, blue, alpha.
    Rgba,
    /// Red, green, blue; opaque.
    Rgb,
}

impl PixelLayout {
    /// Bytes a pixel.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bgra | Self::Rgba => 4,
            Self::Rgb => 3,
        }
    }
}

/// A borrowed picture with full-range sRGB values and straight (not premultiplied) alpha.
#[derive(Debug, Clone, Copy)]
pub struct Bitmap<'a> {
    /// Rows from top to bottom.
    pub data: &'a [u8],
    /// Bytes from the start of a row to the start of the next.
    pub stride: usize,
    /// Pixels across and down.
    pub size: Size,
    /// Bytes of a pixel.
    pub layout: PixelLayout,
}

impl<'a> Bitmap<'a> {
    /// Fails for a bitmap of another size than `expected`, or with too few bytes for it.
    pub(crate) fn check(&self, expected: Size) -> Result<(), MediaError> {
        let refused = |what| MediaError::Bitmap { expected, found: self.size, bytes: self.data.len(), what };
        if self.size != expected {
            return Err(refused("the sizes differ"));
        }
        let row = self.size.width as usize * self.layout.bytes();
        let rows = self.size.height as usize;
        if self.stride < row {
            return Err(refused("the stride is shorter than a row"));
        }
        if rows == 0 || row == 0 {
            return Err(refused("it has no pixels"));
        }
        if (rows - 1).saturating_mul(self.stride).saturating_add(row) > self.data.len() {
            return Err(refused("bytes are missing at its end"));
        }
        Ok(())
    }

    /// The bytes of row `y` of a checked bitmap.
    pub(crate) fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.stride;
        &self.data[start..start + self.size.width as usize * self.layout.bytes()]
    }
}

/// An owned picture: BGRA, full-range sRGB, straight alpha, `stride = width * 4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels across and down.
    pub size: Size,
    /// `width * height * 4` bytes.
    pub bgra: Vec<u8>,
}

impl Picture {
    /// The picture as a bitmap.
    pub fn as_bitmap(&self) -> Bitmap<'_> {
        Bitmap { data: &self.bgra, stride: self.size.width as usize * 4, size: self.size, layout: PixelLayout::Bgra }
    }

    /// Blue, green, red and alpha at (`x`, `y`); `None` outside.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 4]> {
        if x >= self.size.width || y >= self.size.height {
            return None;
        }
        let at = (y as usize * self.size.width as usize + x as usize) * 4;
        self.bgra.get(at..at + 4)?.try_into().ok()
    }
}
