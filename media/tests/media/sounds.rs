//! The mix: lengths, places, gains, loops, tempo, ceiling.

use std::fs;
use std::path::Path;

use hyperfarm_media::{
    MediaError, MixInput, MixPart, MixSummary, SAMPLE_RATE, count_packets, decode_audio, mix, probe,
};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{AudioItem, MediaTiming};
use hyperfarm_proto::spec::{AudioCodec, Format};

use crate::common::*;

const HZ: usize = SAMPLE_RATE as usize;

/// Mixes one sound and decodes the result.
fn mixed(folder: &Path, item: &AudioItem, source: &Path, seconds: u64) -> Vec<[f32; 2]> {
    mixed_all(folder, &[MixInput { item, path: source, rendered: false }], seconds)
}

fn mixed_all(folder: &Path, inputs: &[MixInput<'_>], seconds: u64) -> Vec<[f32; 2]> {
    let output = folder.join("mixed.m4a");
    let summary =
        mix(None, inputs, &MixPart::whole(seconds * 30, rate(30, 1)), Format::Mp4, &output, &mut |_| true).unwrap();
    assert_eq!(summary, MixSummary { samples: seconds * 48_000, sample_rate: 48_000 });
    let heard = decode_audio(&output).unwrap();
    assert_eq!(heard.len() as u64, summary.samples);
    heard
}

/// Beats of the strongest frequency near `hertz`: how much of the level is there.
fn share_of(samples: &[[f32; 2]], hertz: f64) -> f64 {
    let (mut real, mut imaginary, mut all) = (0.0, 0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let (sine, cosine) = (at as f64 / HZ as f64 * hertz * std::f64::consts::TAU).sin_cos();
        real += f64::from(sample[0]) * cosine;
        imaginary += f64::from(sample[0]) * sine;
        all += f64::from(sample[0]).powi(2);
    }
    (real * real + imaginary * imaginary) * 2.0 / (all * samples.len() as f64)
}

#[test]
fn plain_samples_are_turned_down_as_a_whole_and_never_cut_off() {
    let folder = folder();
    let source = wav(folder.path(), "tone.wav", 48_000, 1, &sine(48_000, 2.0, 440.0, 0.9));
    let item = sound(timing(0.0, 2.0), &[(0.0, 3.0)]);
    let inputs = [MixInput { path: &source, item: &item, rendered: false }];
    let output = folder.path().join("mix.wav");
    mix(None, &inputs, &MixPart::whole(60, rate(30, 1)), AudioCodec::Pcm, &output, &mut |_| true).unwrap();
    let samples = hyperfarm_media::decode_audio(&output).unwrap();
    assert_eq!(samples.len(), 96_000);
    let peak = samples.iter().map(|[left, _]| left.abs()).fold(0.0, f32::max);
    assert!((0.83..0.85).contains(&peak), "{peak}");
    // A sine that was cut off would have more power than half its squared peak.
    let power = samples.iter().map(|[left, _]| f64::from(*left).powi(2)).sum::<f64>() / 96_000.0;
    assert!((power / f64::from(peak).powi(2) - 0.5).abs() < 0.005, "{power}");
}

#[test]
fn every_length_is_exact_in_every_format() {
    let folder = folder();
    let source = wav(folder.path(), "tone.wav", 44_100, 2, &sine(44_100, 4.0, 440.0, 0.3));
    let item = sound(timing(0.0, 10.0), &[]);
    let rates: [FrameRate; 5] = [rate(24, 1), rate(30_000, 1001), rate(30, 1), rate(60, 1), rate(24_000, 1001)];
    for format in [Format::Mp4, Format::Webm, Format::Mov] {
        for rate in rates {
            for frames in [1, 7, 61] {
                let output = folder.path().join("exact");
                let inputs = [MixInput { item: &item, path: &source, rendered: false }];
                let summary =
                    mix(None, &inputs, &MixPart::whole(frames, rate), format, &output, &mut |_| true).unwrap();
                let want = rate.samples_of(frames, SAMPLE_RATE);
                assert_eq!(summary.samples, want);
                assert_eq!(decode_audio(&output).unwrap().len() as u64, want, "{format} {frames} at {rate}");
                assert_eq!(count_packets(&output).unwrap().audio_samples, want, "{format} {frames} at {rate}");
            }
        }
        let output = folder.path().join("exact");
        let audio = probe(&output).unwrap().audio.unwrap();
        let codec = if format == Format::Webm { "opus" } else { "aac" };
        assert_eq!((audio.codec.as_str(), audio.sample_rate, audio.channels), (codec, 48_000, 2));
    }
}

#[test]
fn equal_mixes_give_equal_bytes() {
    let folder = folder();
    let source = wav(folder.path(), "tone.wav", 44_100, 1, &sine(44_100, 2.0, 440.0, 0.3));
    let item = sound(MediaTiming { rate: 1.3, ..timing(0.2, 1.5) }, &[(0.2, 0.0), (1.0, 1.0)]);
    for format in [Format::Mp4, Format::Webm] {
        let bytes: Vec<Vec<u8>> = (0..2)
            .map(|at| {
                let output = folder.path().join(format!("same{at}"));
                let inputs = [MixInput { item: &item, path: &source, rendered: false }];
                mix(None, &inputs, &MixPart::whole(60, rate(30, 1)), format, &output, &mut |_| true).unwrap();
                fs::read(output).unwrap()
            })
            .collect();
        assert!(bytes[0] == bytes[1], "{format}");
        let text = String::from_utf8_lossy(&bytes[0]);
        assert!(!text.contains("Lavf5") && !text.contains("Lavc"), "{format} names its libraries");
    }
}

#[test]
fn mono_goes_to_both_sides_at_its_own_level() {
    let folder = folder();
    let source = wav(folder.path(), "mono.wav", 48_000, 1, &sine(48_000, 1.0, 1000.0, 0.5));
    let heard = mixed(folder.path(), &sound(timing(0.0, 1.0), &[]), &source, 1);
    let left = level(&heard, HZ / 4, HZ / 2);
    assert!((left - 0.5 / 2.0_f64.sqrt()).abs() < 0.005, "{left}");
    assert!(heard.iter().all(|sample| (sample[0] - sample[1]).abs() < 0.01));
}

#[test]
fn sounds_begin_and_end_at_their_sample() {
    let folder = folder();
    let source = wav(folder.path(), "tone.wav", 48_000, 1, &sine(48_000, 5.0, 1000.0, 0.5));
    let item = sound(MediaTiming { media_start: 0.25, ..timing(0.5, 1.25) }, &[]);
    let heard = mixed(folder.path(), &item, &source, 2);
    assert!(level(&heard, 0, HZ / 2 - 480) < 1e-3);
    assert!(level(&heard, HZ / 2 + 480, HZ * 5 / 4 - 480) > 0.34);
    assert!(level(&heard, HZ * 5 / 4 + 480, HZ * 2) < 1e-3);
}

#[test]
fn trims_are_exact_near_and_far() {
    let folder = folder();
    // A click at 1.5 s and one at 30.5 s.
    let mut samples = vec![0.0; 44_100 * 31];
    for click in [66_150, 1_345_050] {
        samples[click..click + 44].fill(0.9);
    }
    let source = wav(folder.path(), "late.wav", 44_100, 1, &samples);
    for media_start in [1.25, 30.25] {
        let item = sound(MediaTiming { media_start, ..timing(0.5, 2.0) }, &[]);
        let heard = mixed(folder.path(), &item, &source, 2);
        let at = heard.iter().position(|sample| sample[0] > 0.4).unwrap();
        assert!(at.abs_diff(36_000) <= 48, "{media_start}: {at}");
    }
}

#[test]
fn gains_follow_their_points() {
    let folder = folder();
    let source = wav(folder.path(), "tone.wav", 48_000, 1, &sine(48_000, 4.0, 997.0, 0.5));
    let points = [(0.5, 0.0), (1.5, 1.0), (2.0, 1.0), (2.0, 0.25)];
    let heard = mixed(folder.path(), &sound(timing(0.0, 4.0), &points), &source, 4);
    let full = 0.5 / 2.0_f64.sqrt();
    for (time, gain) in [(0.25, 0.0), (0.75, 0.25), (1.0, 0.5), (1.25, 0.75), (1.75, 1.0), (2.5, 0.25), (3.5, 0.25)] {
        let at = (time * HZ as f64) as usize;
        let found = level(&heard, at - 480, at + 480) / full;
        assert!((found - gain).abs() < 0.02, "{gain} at {time} s: {found}");
    }
}

#[test]
fn loops_go_on_without_a_seam() {
    let folder = folder();
    // 0.3 s of a tone with whole periods: looped it is one tone.
    let source = wav(folder.path(), "loop.wav", 48_000, 1, &sine(48_000, 0.3, 1000.0, 0.5));
    let item = sound(MediaTiming { looped: true, media_start: 0.1, ..timing(0.0, 2.0) }, &[]);
    let heard = mixed(folder.path(), &item, &source, 3);
    assert!(share_of(&heard[..2 * HZ], 1000.0) > 0.999, "{}", share_of(&heard[..2 * HZ], 1000.0));
    assert!(level(&heard, 2 * HZ + 480, 3 * HZ) < 1e-3);
    let once = sound(timing(0.0, 2.0), &[]);
    let heard = mixed(folder.path(), &once, &source, 1);
    assert!(level(&heard, HZ / 2, HZ) < 1e-3);
}

#[test]
fn rates_change_the_tempo_and_not_the_pitch() {
    let folder = folder();
    let source = wav(folder.path(), "tone.wav", 48_000, 1, &sine(48_000, 2.0, 1000.0, 0.5));
    for (speed, lasts) in [(0.1, 20.0), (0.5, 4.0), (1.37, 2.0 / 1.37), (2.0, 1.0), (5.0, 0.4)] {
        let item = sound(MediaTiming { rate: speed, ..timing(0.0, 4.0) }, &[]);
        let heard = mixed(folder.path(), &item, &source, 4);
        let sounding = (f64::min(lasts, 4.0) * HZ as f64) as usize;
        let margin = HZ / 20;
        let share = share_of(&heard[margin..sounding - margin], 1000.0);
        // The phase wanders where pieces are blended; the frequency must not.
        let nearby: f64 =
            (-3..=3).map(|off| share_of(&heard[margin..sounding - margin], 1000.0 + f64::from(off))).sum();
        assert!(share.max(nearby) > 0.5, "{speed}: {share} {nearby}");
        assert!(level(&heard, margin, sounding - margin) > 0.3, "{speed}");
        if sounding + margin < heard.len() {
            assert!(level(&heard, sounding + margin, heard.len()) < 0.01, "{speed} goes on");
        }
    }
}

#[test]
fn many_sounds_add_up_below_the_ceiling() {
    let folder = folder();
    let source = wav(folder.path(), "tone.wav", 48_000, 1, &sine(48_000, 2.0, 1000.0, 0.3));
    let items: Vec<AudioItem> = (0..5).map(|_| sound(timing(0.0, 2.0), &[])).collect();
    let inputs =
        |count| items[..count].iter().map(|item| MixInput { item, path: &source, rendered: false }).collect::<Vec<_>>();
    let two = mixed_all(folder.path(), &inputs(2), 2);
    assert!((level(&two, HZ / 2, HZ) - 0.6 / 2.0_f64.sqrt()).abs() < 0.01);
    // Five would peak at 1.5.
    let five = mixed_all(folder.path(), &inputs(5), 2);
    let peak = five[HZ / 2..HZ].iter().map(|sample| sample[0].abs()).fold(0.0, f32::max);
    // The abrupt beginning and end peak higher than the tone between them, and they decide.
    assert!((0.7..0.892).contains(&peak), "{peak}");
    assert!(share_of(&five[HZ / 2..HZ], 1000.0) > 0.999, "the ceiling distorts");
}

#[test]
fn no_sound_is_silence_of_the_right_length() {
    let folder = folder();
    let heard = mixed_all(folder.path(), &[], 1);
    assert!(heard.iter().flatten().all(|level| level.abs() < 1e-6));
}

#[test]
fn the_caller_sees_progress_and_can_stop() {
    let folder = folder();
    let output = folder.path().join("stopped.m4a");
    let mut seen = Vec::new();
    let summary = mix(None, &[], &MixPart::whole(150, rate(30, 1)), Format::Mp4, &output, &mut |part| {
        seen.push(part);
        true
    });
    summary.unwrap();
    assert!(seen.len() >= 4 && seen.is_sorted() && seen.last() == Some(&1.0), "{seen:?}");
    let error =
        mix(None, &[], &MixPart::whole(150, rate(30, 1)), Format::Mp4, &output, &mut |part| part < 0.5).unwrap_err();
    assert!(matches!(error, MediaError::Stopped) && !error.is_input() && !output.exists());
}

#[test]
fn lossy_sources_keep_their_place() {
    let folder = folder();
    let mut samples = vec![0.0; HZ * 2];
    samples[HZ..HZ + 24].fill(0.9);
    let source = wav(folder.path(), "click.wav", 48_000, 1, &samples);
    let item = sound(timing(0.0, 2.0), &[]);
    for format in [Format::Mp4, Format::Webm] {
        // A mix of a mix: priming must be taken off once each time.
        let first = folder.path().join(format!("first-{format}"));
        mix(
            None,
            &[MixInput { item: &item, path: &source, rendered: false }],
            &MixPart::whole(60, rate(30, 1)),
            format,
            &first,
            &mut |_| true,
        )
        .unwrap();
        let heard = mixed(folder.path(), &sound(MediaTiming { media_start: 0.5, ..timing(0.0, 2.0) }, &[]), &first, 1);
        let at = heard.iter().position(|sample| sample[0] > 0.3).unwrap();
        assert!(at.abs_diff(HZ / 2) <= 48, "{format}: {at}");
    }
}
