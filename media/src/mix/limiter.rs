//! The ceiling: a limiter that looks ahead.
//!
//! **Invariant: sound that stays below the ceiling passes bit by bit.** The gain is exactly one unless a sample within
//! the window needs less. Around a peak it goes down before the peak, in a straight line over [`WINDOW`] samples, and comes back
//! within tens of milliseconds; so there is no clipping and no click.

use std::collections::VecDeque;

/// -0.1 dBFS.
pub(crate) const CEILING: f32 = 0.988_553_1;

/// Samples of the window, 5 ms.
const WINDOW: usize = 240;

/// The part of the way back to one that is left after a sample: 40 ms to a third.
const RELEASE: f64 = 1.0 - 1.0 / (0.04 * 48_000.0);

/// Nearer to one than this is one.
const SETTLED: f64 = 1e-4;

/// A limiter of a stereo stream; both sides get the same gain, so that the image stays.
pub(crate) struct Limiter {
    /// Samples not given back yet.
    waiting: VecDeque<[f32; 2]>,
    /// Needed gains of the window, smallest first and later ones growing: (position, gain).
    needed: VecDeque<(u64, f64)>,
    /// Held gains of the last window, averaged into the gain in force.
    held: VecDeque<f64>,
    held_sum: f64,
    /// Held gains below one.
    lowered: usize,
    last: f64,
    taken: u64,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(WINDOW + 1),
            needed: VecDeque::new(),
            held: std::iter::repeat_n(1.0, WINDOW).collect(),
            held_sum: WINDOW as f64,
            lowered: 0,
            last: 1.0,
            taken: 0,
        }
    }

    /// Takes `block` and appends what is done to `out`; [`WINDOW`] - 1 samples stay inside.
    pub(crate) fn push(&mut self, block: &[[f32; 2]], out: &mut Vec<[f32; 2]>) {
        for sample in block {
            // A broken source's infinities would silence everything after them.
            let sample = sample.map(|level| if level.is_finite() { level } else { 0.0 });
            self.waiting.push_back(sample);
            let peak = sample[0].abs().max(sample[1].abs());
            self.advance(if peak > CEILING { f64::from(CEILING) / f64::from(peak) } else { 1.0 }, out);
        }
    }

    /// Appends what is still inside.
    pub(crate) fn finish(&mut self, out: &mut Vec<[f32; 2]>) {
        while !self.waiting.is_empty() {
            self.advance(1.0, out);
        }
    }

    fn advance(&mut self, needed: f64, out: &mut Vec<[f32; 2]>) {
        while self.needed.back().is_some_and(|(_, gain)| *gain >= needed) {
            self.needed.pop_back();
        }
        self.needed.push_back((self.taken, needed));
        self.taken += 1;
        // The least gain that the window from `taken - WINDOW` on needs, held and released.
        while self.needed.front().is_some_and(|(at, _)| at + (WINDOW as u64) < self.taken) {
            self.needed.pop_front();
        }
        let least = self.needed.front().map_or(1.0, |(_, gain)| *gain);
        let released = 1.0 - (1.0 - self.last) * RELEASE;
        let released = if 1.0 - released < SETTLED { 1.0 } else { released };
        self.last = least.min(released);
        self.hold(self.last);
        if self.taken < WINDOW as u64 {
            return;
        }
        let Some(sample) = self.waiting.pop_front() else { return };
        if self.lowered == 0 {
            out.push(sample);
            return;
        }
        // The average of gains that all cover this sample is at most what it needs; rounding is caught by the clamp.
        let gain = self.held_sum / WINDOW as f64;
        out.push(sample.map(|level| ((f64::from(level) * gain) as f32).clamp(-CEILING, CEILING)));
    }

    fn hold(&mut self, gain: f64) {
        self.held.push_back(gain);
        self.lowered += usize::from(gain < 1.0);
        self.held_sum += gain;
        if let Some(oldest) = self.held.pop_front() {
            self.lowered -= usize::from(oldest < 1.0);
            self.held_sum -= oldest;
        }
        if self.lowered == 0 {
            // Sums of doubles drift; here the true one is known.
            self.held_sum = WINDOW as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(samples: &[[f32; 2]]) -> Vec<[f32; 2]> {
        let mut limiter = Limiter::new();
        let mut out = Vec::new();
        for block in samples.chunks(1000) {
            limiter.push(block, &mut out);
        }
        limiter.finish(&mut out);
        out
    }

    fn tone(level: f32, count: usize) -> Vec<[f32; 2]> {
        (0..count).map(|at| [(at as f32 * 0.05).sin() * level, (at as f32 * 0.031).cos() * level]).collect()
    }

    #[test]
    fn below_the_ceiling_nothing_changes() {
        for count in [1, 100, WINDOW, 5000] {
            let samples = tone(0.98, count);
            assert_eq!(limit(&samples), samples);
        }
    }

    #[test]
    fn nothing_exceeds_the_ceiling_and_quiet_parts_come_back() {
        let mut samples = tone(0.5, 48_000);
        for sample in &mut samples[10_000..10_500] {
            *sample = sample.map(|level| level * 5.0);
        }
        let out = limit(&samples);
        assert_eq!(out.len(), samples.len());
        assert!(out.iter().flatten().all(|level| level.abs() <= CEILING));
        assert_eq!(out[..9_500], samples[..9_500]);
        assert_eq!(out[40_000..], samples[40_000..]);
        // The loud part stays loud.
        assert!(out[10_000..10_500].iter().flatten().any(|level| level.abs() > 0.9));
    }

    #[test]
    fn a_single_peak_is_met_exactly() {
        let mut samples = vec![[0.1_f32, -0.1]; 2000];
        samples[1000] = [4.0, 0.0];
        let out = limit(&samples);
        assert!((out[1000][0] - CEILING).abs() < 1e-3, "{:?}", out[1000]);
        assert_eq!(out[700], samples[700]);
    }
}
