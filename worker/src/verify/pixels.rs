//! Where two pictures differ.

use hyperfarm_proto::failure::{Failure, FailureCode};

/// Side of a cell in device pixels.
const CELL: u32 = 8;

/// The cells of a picture in which it differs from another one.
#[derive(Debug, Default)]
pub(super) struct Cells {
    /// Left, top, right and bottom of each in CSS pixels.
    pub(super) marked: Vec<[f64; 4]>,
}

/// Compares two PNG files of a page drawn at device scale `scale`.
pub(super) fn compare(a: &[u8], b: &[u8], scale: u32) -> Result<Cells, Failure> {
    if a == b {
        return Ok(Cells::default());
    }
    let (a, b) = (decode(a)?, decode(b)?);
    if (a.width, a.height) != (b.width, b.height) {
        return Err(Failure::new(FailureCode::CaptureStalled, "Chrome drew the same page in two sizes"));
    }
    let mut marked = Vec::new();
    for top in (0..a.height).step_by(CELL as usize) {
        for left in (0..a.width).step_by(CELL as usize) {
            let (right, bottom) = ((left + CELL).min(a.width), (top + CELL).min(a.height));
            if (top..bottom).any(|y| a.row(y, left, right) != b.row(y, left, right)) {
                marked.push([left, top, right, bottom].map(|side| f64::from(side) / f64::from(scale.max(1))));
            }
        }
    }
    Ok(Cells { marked })
}

struct Picture {
    width: u32,
    height: u32,
    rgba: Vec<u8>,
}

impl Picture {
    fn row(&self, y: u32, from: u32, to: u32) -> &[u8] {
        let at = |x: u32| (y as usize * self.width as usize + x as usize) * 4;
        self.rgba.get(at(from)..at(to)).unwrap_or_default()
    }
}

fn decode(file: &[u8]) -> Result<Picture, Failure> {
    let broken = |reason: &dyn std::fmt::Display| {
        Failure::new(FailureCode::ChromeCrashed, format!("a screenshot cannot be decoded: {reason}"))
    };
    let mut decoder = ::png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(::png::Transformations::ALPHA);
    let mut reader = decoder.read_info().map_err(|error| broken(&error))?;
    let length = reader.output_buffer_size().ok_or_else(|| broken(&"it is too large"))?;
    let mut rgba = vec![0; length];
    let frame = reader.next_frame(&mut rgba).map_err(|error| broken(&error))?;
    rgba.truncate(frame.buffer_size());
    Ok(Picture { width: frame.width, height: frame.height, rgba })
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
        assert!(compare(&ground, &png(20, 10, &[]), 1).unwrap().marked.is_empty());
        let cells = compare(&ground, &png(20, 10, &[(19, 9), (0, 0), (1, 1)]), 2).unwrap();
        assert_eq!(cells.marked, [[0.0, 0.0, 4.0, 4.0], [8.0, 4.0, 10.0, 5.0]]);
        assert!(compare(&ground, &png(10, 10, &[]), 1).is_err());
    }
}
