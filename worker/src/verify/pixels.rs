//! Comparison of two pictures, in cells of eight by eight pixels.

use hyperfarm_media::Picture;
use hyperfarm_proto::spec::Size;

use crate::error::{CaptureError, WorkerError};
use crate::screenshot::decode;

/// Side length of a cell in device pixels.
const CELL: u32 = 8;

/// The cells in which a picture differs from another one.
#[derive(Debug, Default)]
pub(super) struct DifferingCells {
    /// Left, top, right and bottom of each in CSS pixels.
    pub(super) cells: Vec<[f64; 4]>,
}

/// Compares two PNG files of a page drawn at device scale `scale`.
pub(super) fn compare(a: &[u8], b: &[u8], scale: u32) -> Result<DifferingCells, WorkerError> {
    if a == b {
        return Ok(DifferingCells::default());
    }
    let (a, b) = (decode(a)?, decode(b)?);
    if a.size != b.size {
        return Err(CaptureError::TwoSizes.into());
    }
    let Size { width, height } = a.size;
    let mut cells = Vec::new();
    for top in (0..height).step_by(CELL as usize) {
        for left in (0..width).step_by(CELL as usize) {
            let (right, bottom) = ((left + CELL).min(width), (top + CELL).min(height));
            if (top..bottom).any(|y| row_part(&a, y, left, right) != row_part(&b, y, left, right)) {
                cells.push([left, top, right, bottom].map(|side| f64::from(side) / f64::from(scale.max(1))));
            }
        }
    }
    Ok(DifferingCells { cells })
}

/// The pixels of row `y` from `left` up to `right`.
fn row_part(picture: &Picture, y: u32, left: u32, right: u32) -> &[u8] {
    let at = |x: u32| (y as usize * picture.size.width as usize + x as usize) * 4;
    picture.bgra.get(at(left)..at(right)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32, red: &[(u32, u32)]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut file, width, height);
        encoder.set_color(::png::ColorType::Rgb);
        let mut rgb = vec![0; (width * height * 3) as usize];
        for (x, y) in red {
            rgb[((y * width + x) * 3) as usize] = 255;
        }
        encoder.write_header().unwrap().write_image_data(&rgb).unwrap();
        file
    }

    #[test]
    fn cells_are_where_pixels_differ() {
        let ground = png(20, 10, &[]);
        assert!(compare(&ground, &png(20, 10, &[]), 1).unwrap().cells.is_empty());
        let cells = compare(&ground, &png(20, 10, &[(19, 9), (0, 0), (1, 1)]), 2).unwrap();
        assert_eq!(cells.cells, [[0.0, 0.0, 4.0, 4.0], [8.0, 4.0, 10.0, 5.0]]);
        assert!(compare(&ground, &png(10, 10, &[]), 1).is_err());
    }
}
