//! Loudness by EBU R 128: the target, the limit of the true peak, what a limiter may not move.

use std::fs;
use std::path::{Path, PathBuf};

use hyperfarm_media::{
    Levelling, MixInput, MixPart, MixSummary, SoundLevel, decode_audio, mix, mix_to_loudness, sound_level,
};
use hyperfarm_proto::plan::Loudness;
use hyperfarm_proto::spec::Format;

use crate::common::*;

const SECONDS: usize = 5;

/// A quiet tone of 440 Hz with a loud burst of 20 ms in each second, and silence in its second half where `pauses`.
fn bursts(folder: &Path, pauses: bool) -> PathBuf {
    let mut samples = sine(48_000, SECONDS as f64, 440.0, 0.05);
    if pauses {
        samples[SECONDS * 24_000..].fill(0.0);
    }
    for second in 0..SECONDS {
        let burst = sine(48_000, 0.02, 1000.0, 0.9);
        samples[second * 48_000 + 12_000..][..burst.len()].copy_from_slice(&burst);
    }
    wav(folder, "bursts.wav", 48_000, 1, &samples)
}

fn levelled(source: &Path, part: &MixPart, format: Format, target: &Loudness, output: &Path) -> SoundLevel {
    let item = sound(timing(0.0, SECONDS as f64), &[]);
    let inputs = [MixInput { item: &item, path: source, rendered: false }];
    let scratch = folder();
    let levelling = Levelling { target, scratch: scratch.path() };
    let (summary, _) = mix_to_loudness(None, &inputs, part, format, levelling, output, &mut |_| true).unwrap();
    assert_eq!(summary, MixSummary { samples: part.rate.samples_of(part.frames, 48_000), sample_rate: 48_000 });
    assert_eq!(decode_audio(output).unwrap().len() as u64, summary.samples);
    sound_level(output).unwrap()
}

fn whole() -> MixPart {
    MixPart::whole(SECONDS as u64 * 30, rate(30, 1))
}

fn linear(decibels: i32) -> f64 {
    10.0_f64.powf(f64::from(decibels) / 20.0)
}

#[test]
fn the_measure_is_that_of_ebu_tech_3341() {
    let folder = folder();
    // Mono goes to both sides.
    let level = linear(-23);
    let source = wav(folder.path(), "tone.wav", 48_000, 1, &sine(48_000, 20.0, 1000.0, level));
    let measured = sound_level(&source).unwrap();
    assert!((measured.lufs.unwrap() + 23.0).abs() < 0.1, "{measured:?}");
    assert!((measured.true_peak - level).abs() < 0.01 * level, "{measured:?}");
}

#[test]
fn a_sound_has_the_loudness_and_the_peak_that_were_asked_for() {
    let folder = folder();
    let output = folder.path().join("levelled");
    let tone = wav(folder.path(), "tone.wav", 44_100, 1, &sine(44_100, SECONDS as f64, 440.0, 0.02));
    let bursts = bursts(folder.path(), true);
    for (lufs, true_peak_db, format) in [
        (-31, -1, Format::Mp4),
        (-23, -1, Format::Webm),
        (-16, -1, Format::Mp4),
        (-16, -2, Format::Webm),
        (-14, -1, Format::Mov),
        (-9, 0, Format::Mp4),
    ] {
        for source in [&tone, &bursts] {
            let target = Loudness { lufs, true_peak_db };
            let level = levelled(source, &whole(), format, &target, &output);
            let case = format!("{target:?} of {} as {format}: {level:?}", source.display());
            assert!((level.lufs.unwrap() - f64::from(lufs)).abs() <= 0.3, "{case}");
            assert!(level.true_peak <= linear(true_peak_db), "{case}");
        }
    }
}

#[test]
fn one_gain_is_enough_below_the_peak() {
    let folder = folder();
    let source = bursts(folder.path(), false);
    let (plain, output) = (folder.path().join("plain"), folder.path().join("levelled"));
    let item = sound(timing(0.0, SECONDS as f64), &[]);
    let inputs = [MixInput { item: &item, path: &source, rendered: false }];
    mix(None, &inputs, &whole(), Format::Mp4, &plain, &mut |_| true).unwrap();
    levelled(&source, &whole(), Format::Mp4, &Loudness { lufs: -31, true_peak_db: -1 }, &output);
    let (plain, output) = (decode_audio(&plain).unwrap(), decode_audio(&output).unwrap());
    let ratio = |from: usize, to: usize| level(&output, from, to) / level(&plain, from, to);
    // The burst is as much quieter as the tone.
    let (burst, tone) = (ratio(12_000, 12_960), ratio(24_000, 40_000));
    assert!((burst / tone - 1.0).abs() < 0.02, "{burst} {tone}");
}

#[test]
fn the_limiter_moves_no_sample() {
    let folder = folder();
    let source = bursts(folder.path(), false);
    let output = folder.path().join("levelled");
    levelled(&source, &whole(), Format::Mp4, &Loudness { lufs: -14, true_peak_db: -1 }, &output);
    let heard = decode_audio(&output).unwrap();
    let original = decode_audio(&source).unwrap();
    let likeness = |lag: isize| -> f64 {
        (6_000..42_000_isize)
            .map(|at| f64::from(original[at as usize][0]) * f64::from(heard[(at + lag) as usize][0]))
            .sum()
    };
    let best = (-300..=300).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap();
    assert_eq!(best, 0);
}

#[test]
fn a_part_is_as_loud_as_in_the_whole() {
    let folder = folder();
    let source = bursts(folder.path(), true);
    let (all, output) = (folder.path().join("all"), folder.path().join("part"));
    let target = Loudness { lufs: -16, true_peak_db: -1 };
    levelled(&source, &whole(), Format::Mp4, &target, &all);
    let part = MixPart { first_frame: 30, frames: 45, ..whole() };
    levelled(&source, &part, Format::Mp4, &target, &output);
    let (all, part) = (decode_audio(&all).unwrap(), decode_audio(&output).unwrap());
    let (whole, part) = (level(&all, 52_800, 115_200), level(&part, 4_800, 67_200));
    // The encoder is lossy.
    assert!((part / whole - 1.0).abs() < 0.02, "{part} {whole}");
}

#[test]
fn equal_mixes_have_equal_bytes_and_silence_stays_silent() {
    let folder = folder();
    let source = bursts(folder.path(), true);
    let target = Loudness { lufs: -14, true_peak_db: -1 };
    let bytes = [0, 1].map(|at| {
        let output = folder.path().join(format!("same{at}"));
        levelled(&source, &whole(), Format::Mp4, &target, &output);
        fs::read(output).unwrap()
    });
    assert!(bytes[0] == bytes[1]);
    let silence = wav(folder.path(), "silence.wav", 48_000, 1, &vec![0.0; SECONDS * 48_000]);
    let level = levelled(&silence, &whole(), Format::Mp4, &target, &folder.path().join("silent"));
    assert_eq!(level.lufs, None);
    assert!(level.true_peak < 1e-4, "{level:?}");
    let short = levelled(&source, &MixPart::whole(3, rate(30, 1)), Format::Mp4, &target, &folder.path().join("short"));
    assert_eq!(short.lufs, None);
}
