//! The times of words, from three renditions of one script.
//!
//! An engine that is a program tells no times. It can be told the volume of each word, though, so the script is spoken
//! three times: as it is (`plain`), with the usual volume set before each word (`even`), and with one of five volumes
//! in turn (`uneven`). `even` and `uneven` have the same length, and the ratio of their volumes at a moment says which
//! word is spoken. Setting a volume makes each word some milliseconds longer than in `plain`, and some sentences pause
//! where `plain` does not. So the times are carried over to `plain` by dynamic time warping of what is heard.

use crate::engine::WordTime;
use crate::wav::Sound;

/// Volumes of successive words, in per cent. More than two, so that words that are not heard are noticed. What lies
/// between two that follow each other, and is heard while one becomes the other, is never that of the word after.
const VOLUMES: [u8; 5] = [100, 45, 0, 70, 20];

/// Length of a frame in seconds.
const FRAME: f64 = 0.01;

/// Root mean square below which a frame is silence.
const SILENCE: f32 = 60.0;

/// Frames for which a word is heard at least, the next one and one that follows words that are not heard.
const HEARD: [usize; 2] = [2, 6];

/// Frames of a consonant's closure, which a word begins with before it is heard.
const CLOSURE: usize = 3;

/// Frames of silence after which a word has ended before the next one starts.
const PAUSE: usize = 6;

/// Frames that are one in the first, coarse warping.
const COARSE: usize = 8;

/// Coarse frames by which two renditions may be apart (20 s), and frames by which the coarse path may be wrong.
const RADII: [usize; 2] = [250, 4 * COARSE];

/// The volume of word number `index` in the uneven rendition, in per cent.
pub(crate) fn volume(index: usize) -> u8 {
    VOLUMES[index % VOLUMES.len()]
}

/// What is heard in a frame.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// Root mean square.
    volume: f32,
    /// Logarithm of the volume.
    level: f32,
    /// Logarithm of the volume of the difference of neighbours: high for hissing sounds.
    edge: f32,
}

/// A rendition as frames.
#[derive(Debug)]
pub(crate) struct Frames(Vec<Heard>);

impl Frames {
    /// The frames of a sound.
    pub(crate) fn of(sound: &Sound) -> Self {
        let length = (f64::from(sound.rate) * FRAME) as usize * usize::from(sound.channels);
        let heard = |frame: &[i16]| {
            let root_mean_square = |sum: f32| (sum / frame.len() as f32).sqrt();
            let volume = root_mean_square(frame.iter().map(|sample| f32::from(*sample).powi(2)).sum());
            let edges = frame.windows(2).map(|pair| (f32::from(pair[1]) - f32::from(pair[0])).powi(2));
            let edge = root_mean_square(edges.sum());
            Heard { volume, level: (volume + SILENCE).ln(), edge: (edge + SILENCE).ln() }
        };
        Self(sound.samples.chunks(length.max(1)).map(heard).collect())
    }

    fn coarse(&self) -> Vec<Heard> {
        let mean = |frames: &[Heard]| {
            let of = |value: fn(&Heard) -> f32| frames.iter().map(value).sum::<f32>() / frames.len() as f32;
            Heard { volume: of(|heard| heard.volume), level: of(|heard| heard.level), edge: of(|heard| heard.edge) }
        };
        self.0.chunks(COARSE).map(mean).collect()
    }
}

/// The times of `words` in the plain rendition; `None` where they cannot be told.
pub(crate) fn times<'a>(
    words: impl Iterator<Item = &'a str>,
    plain: &Frames,
    even: &Frames,
    uneven: &Frames,
) -> Option<Vec<WordTime>> {
    let words: Vec<&str> = words.collect();
    let starts = starts(&even.0, &uneven.0, words.len())?;
    let path = warp(
        &even.0,
        &plain.0,
        &{
            let (even, plain) = (even.coarse(), plain.coarse());
            let line: Vec<usize> = (0..even.len()).map(|frame| frame * plain.len() / even.len().max(1)).collect();
            let path = warp(&even, &plain, &line, RADII[0]);
            path.iter().flat_map(|frame| (0..COARSE).map(move |part| frame * COARSE + part)).collect::<Vec<_>>()
        },
        RADII[1],
    );
    let starts: Vec<usize> = starts.iter().map(|start| path.get(*start).copied().unwrap_or(plain.0.len())).collect();
    let times = words.iter().enumerate().map(|(index, word)| {
        let start = starts[index];
        let next = starts.get(index + 1).copied().unwrap_or(plain.0.len()).max(start);
        let quiet = plain.0[start..next].iter().rev().take_while(|heard| heard.volume < SILENCE).count();
        let is_last = index + 1 == words.len();
        let end = if quiet >= PAUSE || is_last { next - quiet } else { next };
        let seconds = |frame: usize| (frame as f64 * FRAME * 1000.0).round() / 1000.0;
        WordTime { word: (*word).to_owned(), start: seconds(start), end: seconds(end.max(start)) }
    });
    Some(times.collect())
}

/// The frame of the even rendition at which each of `count` words begins: that in which it is first heard.
fn starts(even: &[Heard], uneven: &[Heard], count: usize) -> Option<Vec<usize>> {
    let volume_of = |frame: usize| {
        let (even, uneven) = (even.get(frame)?.volume, uneven.get(frame)?.volume);
        if even < 2.0 * SILENCE {
            return None;
        }
        let ratio = uneven / even * 100.0;
        (0..VOLUMES.len()).min_by(|a, b| {
            let far = |index: &usize| (ratio - f32::from(VOLUMES[*index])).abs();
            far(a).total_cmp(&far(b))
        })
    };
    let heard: Vec<Option<usize>> = (0..even.len().min(uneven.len())).map(volume_of).collect();
    let mut starts: Vec<usize> = Vec::new();
    for (frame, volume) in heard.iter().enumerate() {
        let Some(volume) = *volume else { continue };
        let length = heard[frame..].iter().take(HEARD[1]).take_while(|next| **next == Some(volume)).count();
        let step = match starts.len() {
            0 => volume + 1,
            spoken => (volume + VOLUMES.len() - (spoken - 1) % VOLUMES.len()) % VOLUMES.len(),
        };
        if step > 0 && length >= HEARD[usize::from(step > 1)] {
            let closure = heard[..frame].iter().rev().take(CLOSURE).take_while(|before| before.is_none()).count();
            // A word that was not heard begins with the one after it.
            starts.extend(std::iter::repeat_n(frame - closure, step));
        }
    }
    // Words at the end that were not heard begin with the last. So many could also be words that were passed over
    // unnoticed.
    let missing = count.checked_sub(starts.len())?;
    if missing >= VOLUMES.len() {
        return None;
    }
    let last = *starts.last()?;
    starts.extend(std::iter::repeat_n(last, missing));
    Some(starts)
}

/// The frame of `to` that sounds like each frame of `from`, in order, at most `radius` frames from `near`.
fn warp(from: &[Heard], to: &[Heard], near: &[usize], radius: usize) -> Vec<usize> {
    if to.is_empty() {
        return vec![0; from.len()];
    }
    let width = 2 * radius + 1;
    let low = |row: usize| near.get(row).copied().unwrap_or(to.len()).min(to.len() - 1).saturating_sub(radius);
    let far = |a: &Heard, b: &Heard| (a.level - b.level).abs() + (a.edge - b.edge).abs();
    // Rows of the cost so far, and for each cell whether the way there came from the row before, and by how many
    // columns.
    let mut costs: Vec<f32> = vec![f32::INFINITY; width];
    let mut ways: Vec<u8> = vec![0; from.len() * width];
    for (row, heard) in from.iter().enumerate() {
        let begin = low(row);
        let before = std::mem::replace(&mut costs, vec![f32::INFINITY; width]);
        let above = |column: usize| match (row, column.checked_sub(low(row.saturating_sub(1)))) {
            (0, _) => {
                if column == 0 {
                    0.0
                } else {
                    f32::INFINITY
                }
            }
            (_, Some(index)) => before.get(index).copied().unwrap_or(f32::INFINITY),
            (_, None) => f32::INFINITY,
        };
        for index in 0..width {
            let column = begin + index;
            let Some(other) = to.get(column) else { break };
            let here = far(heard, other);
            // A step that repeats a frame costs a little more than one along both.
            let mut best = (above(column) + 1.5 * here + 0.01, UP);
            if row > 0 && column > 0 {
                best = min(best, (above(column - 1) + here, DIAGONAL));
            }
            if index > 0 {
                best = min(best, (costs[index - 1] + 1.5 * here + 0.01, LEFT));
            }
            costs[index] = best.0;
            ways[row * width + index] = best.1;
        }
    }
    let mut path = vec![0; from.len()];
    let mut column = to.len() - 1;
    for row in (0..from.len()).rev() {
        column = column.clamp(low(row), (low(row) + width - 1).min(to.len() - 1));
        while ways[row * width + column - low(row)] == LEFT {
            column -= 1;
        }
        path[row] = column;
        if ways[row * width + column - low(row)] == DIAGONAL {
            column -= 1;
        }
    }
    path
}

const UP: u8 = 0;
const DIAGONAL: u8 = 1;
const LEFT: u8 = 2;

fn min(a: (f32, u8), b: (f32, u8)) -> (f32, u8) {
    if b.0 < a.0 { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8000;

    /// Tones of these frequencies and lengths in milliseconds, at these volumes in per cent, with silence where the
    /// frequency is 0.
    fn tones(tones: &[(u32, u32, u8)]) -> Frames {
        let mut samples = Vec::new();
        for (hertz, ms, volume) in tones {
            samples.extend((0..RATE * ms / 1000).map(|sample| {
                let phase = f64::from(sample) * f64::from(*hertz) * std::f64::consts::TAU / f64::from(RATE);
                (phase.sin() * 100.0 * f64::from(*volume)) as i16
            }));
        }
        Frames::of(&Sound { rate: RATE, channels: 1, samples })
    }

    #[test]
    fn words_are_found_and_carried_over() {
        let plain = tones(&[(300, 200, 90), (900, 300, 90), (0, 400, 0), (500, 250, 90), (0, 100, 0)]);
        let marked = |volumes: [u8; 3]| {
            let [a, b, c] = volumes.map(|volume| (u32::from(volume) * 90 / 100) as u8);
            tones(&[(300, 220, a), (900, 310, b), (0, 600, 0), (500, 260, c), (0, 100, 0)])
        };
        let found =
            times(["a", "b,", "c"].into_iter(), &plain, &marked([100; 3]), &marked([0, 1, 2].map(volume))).unwrap();
        for (found, (word, start, end)) in found.iter().zip([("a", 0.0, 0.2), ("b,", 0.2, 0.5), ("c", 0.9, 1.15)]) {
            assert_eq!(found.word, word);
            assert!((found.start - start).abs() < 0.03 && (found.end - end).abs() < 0.03, "{found:?}");
        }
    }

    #[test]
    fn a_word_that_is_not_heard_begins_with_the_next() {
        let of = |volumes: [u8; 2]| tones(&[(300, 200, volumes[0]), (900, 300, volumes[1])]);
        let found = starts(&of([90, 90]).0, &of([90, 0]).0, 4).unwrap();
        assert_eq!(found, [0, 20, 20, 20]);
        assert_eq!(starts(&of([90, 90]).0, &of([90, 0]).0, 8), None, "words are missing");
        assert_eq!(starts(&of([90, 90]).0, &of([90, 0]).0, 2), None, "there are more words than were written");
    }
}
