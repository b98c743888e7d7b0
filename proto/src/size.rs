//! The size of a picture.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// Whether the two have the same ratio of width to height.
    pub fn same_shape(self, other: Size) -> bool {
        u64::from(self.width) * u64::from(other.height) == u64::from(other.width) * u64::from(self.height)
    }

    /// The shorter of width and height.
    pub fn short_side(self) -> u32 {
        self.width.min(self.height)
    }

    /// The size of the same shape whose short side is `side` pixels, or one less where that is odd. The other side is the
    /// nearest even number.
    pub fn with_short_side(self, side: u32) -> Self {
        let (side, short) = (side & !1, u64::from(self.short_side().max(1)));
        let scaled = |full: u32| {
            let halves = (u64::from(full) * u64::from(side) + short) / (2 * short);
            u32::try_from(halves.max(1) * 2).unwrap_or(u32::MAX - 1)
        };
        Self { width: scaled(self.width), height: scaled(self.height) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_size_has_the_shape_and_even_sides() {
        let of = |width, height, side| {
            let size = Size { width, height }.with_short_side(side);
            (size.width, size.height)
        };
        assert_eq!(of(1920, 1080, 720), (1280, 720));
        assert_eq!(of(1080, 1920, 480), (480, 854), "853.3 is nearest to an even 854");
        assert_eq!(of(1000, 1000, 333), (332, 332));
        assert_eq!(of(8192, 16, 8), (4096, 8));
    }
}
