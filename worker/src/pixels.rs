//! Comparison of pictures by their pixels.

use std::fmt;

/// Whether two BGRA pictures have the same colours. Alpha is not compared.
pub(crate) fn equal_colours(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && difference(one, other).is_none()
}

/// How two pictures of one size differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Number of pixels that differ.
    pub(crate) pixels: usize,
    /// Largest difference of a colour channel, of 255.
    pub(crate) largest: u8,
    /// Index of the first pixel that differs, row by row.
    pub(crate) first: usize,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pixels, largest, first } = self;
        write!(
            f,
            "the framebuffer differs from a screenshot in {pixels} pixels, the first of them {first}, by {largest} at most"
        )
    }
}

/// How the colours of two BGRA pictures of one size differ; `None` where they are equal. Alpha is not compared.
pub(crate) fn difference(one: &[u8], other: &[u8]) -> Option<Difference> {
    let colours = |pixel: &[u8; 4]| u32::from_le_bytes(*pixel) & 0x00ff_ffff;
    let pairs = || one.as_chunks::<4>().0.iter().zip(other.as_chunks::<4>().0);
    let first = pairs().position(|(one, other)| colours(one) != colours(other))?;
    let mut difference = Difference { pixels: 0, largest: 0, first };
    for (one, other) in pairs().skip(first).filter(|(one, other)| colours(one) != colours(other)) {
        difference.pixels += 1;
        let largest = one.iter().zip(other).take(3).map(|(one, other)| one.abs_diff(*other)).max();
        difference.largest = difference.largest.max(largest.unwrap_or(0));
    }
    Some(difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_compared_and_alpha_is_not() {
        assert!(equal_colours(&[1, 2, 3, 0, 4, 5, 6, 255], &[1, 2, 3, 255, 4, 5, 6, 255]));
        assert!(!equal_colours(&[1, 2, 3, 255], &[1, 2, 4, 255]));
        assert!(!equal_colours(&[1, 2, 3, 255], &[1, 2, 3, 255, 1, 2, 3, 255]));
        let found = difference(&[0, 0, 0, 9, 5, 5, 5, 0, 7, 7, 7, 7], &[0, 0, 0, 0, 5, 3, 6, 0, 7, 7, 8, 7]);
        assert_eq!(found, Some(Difference { pixels: 2, largest: 2, first: 1 }));
    }
}
