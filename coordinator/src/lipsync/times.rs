//! Which second of a video is shown when, beside a sound of another length.

use super::composition::Piece;

/// The slowest and the fastest that a video is played to be as long as a sound, as multiples of its own speed.
const RATES: std::ops::RangeInclusive<f64> = 0.5..=2.0;

/// Differences of lengths, in seconds, that are none: containers round.
const TOLERANCE: f64 = 0.005;

/// The times of a video whose part from `start` to `end` has a new sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Times {
    /// Seconds of the whole video.
    pub(crate) clip: f64,
    /// Second of the video at which the part begins.
    pub(crate) start: f64,
    /// Second of the video at which it ends.
    pub(crate) end: f64,
    /// Seconds that the part lasts in the output.
    pub(crate) length: f64,
    /// Seconds of the video in a second of the output, in the part.
    pub(crate) rate: f64,
}

impl Times {
    /// The times of a part of a video of `clip` seconds, beside a sound of `sound` seconds. Where the length is dynamic the part
    /// lasts as long as the sound: it is played more slowly or faster; beyond that its last picture stays, or its rest is cut.
    pub(crate) fn new(clip: f64, (start, end): (f64, f64), sound: f64, is_dynamic: bool) -> Self {
        let part = end - start;
        if !is_dynamic || (part - sound).abs() < TOLERANCE {
            return Self { clip, start, end, length: part, rate: 1.0 };
        }
        let rate = (part / sound).clamp(*RATES.start(), *RATES.end());
        Self { clip, start, end, length: sound, rate }
    }

    /// The pieces of the output: what is before the part, the part, which an engine may have made, and what is after it.
    pub(crate) fn pieces(&self, is_moved: bool) -> Vec<Piece> {
        let &Self { clip, start, end, length, rate } = self;
        let around =
            |at: f64, length: f64, from: f64| Piece { start: at, length, from: Some(from), rate: 1.0, is_heard: true };
        let part = match is_moved {
            true => Piece { start, length, from: None, rate: 1.0, is_heard: false },
            false => Piece { start, length, from: Some(start), rate, is_heard: false },
        };
        let pieces = [around(0.0, start, 0.0), part, around(start + length, clip - end, end)];
        pieces.into_iter().filter(|piece| piece.length > 0.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lasts_as_long_as_its_sound() {
        for (part, sound, is_dynamic, length, rate) in [
            ((0.0, 10.0), 10.002, true, 10.0, 1.0),
            ((0.0, 10.0), 12.5, true, 12.5, 0.8),
            ((0.0, 10.0), 8.0, true, 8.0, 1.25),
            ((0.0, 10.0), 30.0, true, 30.0, 0.5),
            ((0.0, 10.0), 2.0, true, 2.0, 2.0),
            ((4.0, 8.0), 5.0, true, 5.0, 0.8),
            ((4.0, 8.0), 5.0, false, 4.0, 1.0),
        ] {
            let times = Times::new(10.0, part, sound, is_dynamic);
            assert_eq!((times.length, times.rate), (length, rate), "{part:?} {sound} {is_dynamic}");
            let pieces = times.pieces(false);
            let total: f64 = pieces.iter().map(|piece| piece.length).sum();
            assert_eq!(total, part.0 + length + 10.0 - part.1);
            assert_eq!(pieces.len(), if part == (0.0, 10.0) { 1 } else { 3 });
        }
        let moved = Times::new(10.0, (4.0, 8.0), 5.0, true).pieces(true);
        assert_eq!((moved[1].from, moved[1].rate, moved[2].start, moved[2].from), (None, 1.0, 9.0, Some(8.0)));
    }
}
