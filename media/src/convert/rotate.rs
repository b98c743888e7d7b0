//! Rotates pictures by the display matrix of their file.

use hyperfarm_proto::spec::Size;

use crate::bitmap::Picture;

/// Clockwise rotation of a decoded picture for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Rotation {
    #[default]
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

impl Rotation {
    /// From a display matrix: nine native 32-bit numbers, the first four of them 16.16 fixed point.
    pub(crate) fn from_display_matrix(bytes: &[u8]) -> Self {
        let number = |at: usize| {
            bytes.get(at * 4..at * 4 + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes)
        };
        let (a, b) = (f64::from(number(0)), f64::from(number(1)));
        if a == 0.0 && b == 0.0 {
            return Self::None;
        }
        // The matrix maps decoded to shown coordinates with y downwards: (1, 0) goes to (a, b).
        match (b.atan2(a).to_degrees() / 90.0).round() as i32 {
            1 => Self::Quarter,
            2 | -2 => Self::Half,
            -1 => Self::ThreeQuarters,
            _ => Self::None,
        }
    }

    pub(crate) fn degrees(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Quarter => 90,
            Self::Half => 180,
            Self::ThreeQuarters => 270,
        }
    }

    /// The size of a picture of `size` after rotation.
    pub(crate) fn rotated(self, size: Size) -> Size {
        match self {
            Self::None | Self::Half => size,
            Self::Quarter | Self::ThreeQuarters => Size { width: size.height, height: size.width },
        }
    }
}

/// `picture` rotated.
pub(crate) fn rotate(picture: Picture, rotation: Rotation) -> Picture {
    if rotation == Rotation::None {
        return picture;
    }
    let (pixels, size) = rotated_pixels(picture.bgra.as_chunks::<4>().0, picture.size, rotation);
    Picture { size, bgra: pixels.into_flattened() }
}

/// The pixels of a picture of `size` rotated, and their size.
pub(crate) fn rotated_pixels<T: Copy>(source: &[T], from: Size, rotation: Rotation) -> (Vec<T>, Size) {
    let size = rotation.rotated(from);
    let (width, height) = (from.width as usize, from.height as usize);
    let mut pixels = Vec::with_capacity(source.len());
    for y in 0..size.height as usize {
        for x in 0..size.width as usize {
            let (from_x, from_y) = match rotation {
                Rotation::None => (x, y),
                Rotation::Quarter => (y, height - 1 - x),
                Rotation::Half => (width - 1 - x, height - 1 - y),
                Rotation::ThreeQuarters => (width - 1 - y, x),
            };
            pixels.push(source[from_y * width + from_x]);
        }
    }
    (pixels, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(a: i32, b: i32, c: i32, d: i32) -> Vec<u8> {
        [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30].into_iter().flat_map(i32::to_ne_bytes).collect()
    }

    #[test]
    fn a_matrix_gives_its_rotation() {
        assert_eq!(Rotation::from_display_matrix(&matrix(1, 0, 0, 1)), Rotation::None);
        assert_eq!(Rotation::from_display_matrix(&matrix(0, 1, -1, 0)), Rotation::Quarter);
        assert_eq!(Rotation::from_display_matrix(&matrix(-1, 0, 0, -1)), Rotation::Half);
        assert_eq!(Rotation::from_display_matrix(&matrix(0, -1, 1, 0)), Rotation::ThreeQuarters);
        assert_eq!(Rotation::from_display_matrix(&[]), Rotation::None);
    }

    #[test]
    fn a_quarter_turn_brings_the_left_column_to_the_top() {
        // Two pixels across, one down: 1 2 becomes 1 over 2.
        let picture = Picture { size: Size { width: 2, height: 1 }, bgra: vec![1, 1, 1, 1, 2, 2, 2, 2] };
        let turned = rotate(picture.clone(), Rotation::Quarter);
        assert_eq!((turned.size, turned.bgra[0], turned.bgra[4]), (Size { width: 1, height: 2 }, 1, 2));
        let back = rotate(turned, Rotation::ThreeQuarters);
        assert_eq!(back, picture);
        assert_eq!(rotate(picture, Rotation::Half).bgra[0], 2);
    }
}
