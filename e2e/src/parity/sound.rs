//! Compares two sounds: correlation of their envelopes, lag, and levels.

use std::path::Path;

use anyhow::Context;
use hyperfarm_media::SAMPLE_RATE;

/// Samples of a step of the envelope: one millisecond.
const STEP: usize = SAMPLE_RATE as usize / 1000;
/// Steps covered by one value of the envelope.
const WINDOW: usize = 10;
/// Largest lag that is tried, in milliseconds.
const MAX_LAG: i64 = 300;
/// RMS below which a sound is silent (−66 dB).
const SILENCE: f64 = 0.0005;

/// Result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct SoundResult {
    /// Correlation of the envelopes at the best lag; 1 where both are silent, 0 where one is.
    pub correlation: f64,
    /// Lag of ours in milliseconds.
    pub lag_ms: f64,
    /// Level of ours relative to theirs, in decibels of RMS.
    pub level_db: f64,
    /// Seconds of our sound and of theirs.
    pub seconds: (f64, f64),
}

/// Samples of a file at 48 kHz; none where it has no sound.
///
/// # Errors
/// The file cannot be read or decoded.
pub fn samples(path: &Path) -> anyhow::Result<Vec<[f32; 2]>> {
    let info = hyperfarm_media::probe(path).with_context(|| format!("reading {}", path.display()))?;
    if info.audio.is_none() {
        return Ok(Vec::new());
    }
    hyperfarm_media::decode_audio(path).with_context(|| format!("decoding the sound of {}", path.display()))
}

/// Compares two sounds; `None` where neither file has any.
pub fn compare(ours: &[[f32; 2]], theirs: &[[f32; 2]]) -> Option<SoundResult> {
    if ours.is_empty() && theirs.is_empty() {
        return None;
    }
    let seconds = (ours.len() as f64 / f64::from(SAMPLE_RATE), theirs.len() as f64 / f64::from(SAMPLE_RATE));
    let (mine, other) = (rms(ours), rms(theirs));
    if mine < SILENCE || other < SILENCE {
        let correlation = if mine < SILENCE && other < SILENCE { 1.0 } else { 0.0 };
        let level_db = if correlation == 1.0 { 0.0 } else { decibels(mine, other) };
        return Some(SoundResult { correlation, lag_ms: 0.0, level_db, seconds });
    }
    let (a, b) = (envelope(ours), envelope(theirs));
    let mut best = (f64::MIN, 0_i64);
    for lag in -MAX_LAG..=MAX_LAG {
        let found = correlation(&a, &b, lag);
        // Among equal values the smallest lag wins: a steady tone correlates at every lag.
        if found > best.0 + 1e-9 || (found > best.0 - 1e-9 && lag.abs() < i64::abs(best.1)) {
            best = (found, lag);
        }
    }
    Some(SoundResult { correlation: best.0, lag_ms: best.1 as f64, level_db: decibels(mine, other), seconds })
}

fn decibels(a: f64, b: f64) -> f64 {
    20.0 * (a.max(1e-6) / b.max(1e-6)).log10()
}

/// Root mean square over both channels.
pub fn rms(samples: &[[f32; 2]]) -> f64 {
    let sum: f64 = samples.iter().flatten().map(|value| f64::from(*value).powi(2)).sum();
    (sum / (samples.len().max(1) * 2) as f64).sqrt()
}

/// RMS of ten milliseconds around each millisecond.
fn envelope(samples: &[[f32; 2]]) -> Vec<f64> {
    let power: Vec<f64> = samples.chunks(STEP).map(|step| rms(step).powi(2)).collect();
    (0..power.len())
        .map(|at| {
            let part = &power[at.saturating_sub(WINDOW / 2)..(at + WINDOW / 2).min(power.len())];
            (part.iter().sum::<f64>() / part.len().max(1) as f64).sqrt()
        })
        .collect()
}

/// Pearson's correlation of `a` shifted back by `lag` with `b`, over what both have. Two flat
/// envelopes have correlation 1.
fn correlation(a: &[f64], b: &[f64], lag: i64) -> f64 {
    let (skip_a, skip_b) = (lag.max(0) as usize, (-lag).max(0) as usize);
    let a = a.get(skip_a..).unwrap_or_default();
    let b = b.get(skip_b..).unwrap_or_default();
    let count = a.len().min(b.len());
    if count == 0 {
        return 0.0;
    }
    let mean = |values: &[f64]| values[..count].iter().sum::<f64>() / count as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut own_a, mut own_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        both += (a - mean_a) * (b - mean_b);
        own_a += (a - mean_a).powi(2);
        own_b += (b - mean_b).powi(2);
    }
    let flat = count as f64 * 1e-7;
    match (own_a < flat, own_b < flat) {
        (true, true) => 1.0,
        (false, false) => both / (own_a * own_b).sqrt(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bursts(late: usize, gain: f32) -> Vec<[f32; 2]> {
        (0..96_000_usize)
            .map(|at| {
                let at = at.saturating_sub(late);
                let on =
                    [(4_000, 9_000), (20_000, 40_000), (60_000, 61_000)].iter().any(|(a, b)| (*a..*b).contains(&at));
                let value = if on { gain * (at as f32 * 0.07).sin() } else { 0.0 };
                [value, value]
            })
            .collect()
    }

    #[test]
    fn a_shift_and_a_gain_are_found() {
        let same = compare(&bursts(0, 0.5), &bursts(0, 0.5)).unwrap();
        assert!((same.correlation - 1.0).abs() < 1e-9 && same.lag_ms == 0.0 && same.level_db == 0.0);
        let late = compare(&bursts(48 * 21, 0.25), &bursts(0, 0.5)).unwrap();
        assert!(late.correlation > 0.999, "{late:?}");
        assert!((late.lag_ms - 21.0).abs() <= 1.0, "{late:?}");
        assert!((late.level_db + 6.02).abs() < 0.1, "{late:?}");
    }

    #[test]
    fn silence_is_like_silence_only() {
        let silent = vec![[0.0; 2]; 48_000];
        assert_eq!(compare(&silent, &silent).unwrap().correlation, 1.0);
        assert_eq!(compare(&silent, &bursts(0, 0.5)).unwrap().correlation, 0.0);
        assert_eq!(compare(&[], &bursts(0, 0.5)).unwrap().correlation, 0.0);
        assert!(compare(&[], &[]).is_none());
    }

    #[test]
    fn other_sounds_do_not_correlate() {
        let steady: Vec<[f32; 2]> = (0..96_000).map(|at| [(at as f32 * 0.07).sin() * 0.5; 2]).collect();
        assert!(compare(&steady, &bursts(0, 0.5)).unwrap().correlation < 0.5);
    }
}
