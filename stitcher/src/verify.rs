//! The joined output against the plan.
//!
//! **Invariant: what is counted is checked, before the commit.** The join counts what it writes; this reads the
//! finished file again, as a player does.

use hyperfarm_media::{GifSummary, PacketCount};
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::AudioRecord;

use crate::error::VerifyError;

/// Seconds by which a container may round: WebM counts whole milliseconds at both ends.
const ROUNDING: f64 = 0.0021;

/// Seconds by which a GIF may round: half a hundredth, and the rounding of doubles.
const GIF_ROUNDING: f64 = 0.005_001;

/// Fails unless an output of which `found` was counted is exactly what `plan` and `audio` say.
pub(crate) fn verify(plan: &Plan, audio: Option<&AudioRecord>, found: &PacketCount) -> Result<(), VerifyError> {
    let content = &plan.content;
    if found.video != content.frames {
        return Err(VerifyError::Frames { found: found.video, expected: content.frames });
    }
    if !found.dts_increase {
        return Err(VerifyError::DecodeTimes);
    }
    if !found.frames_contiguous {
        return Err(VerifyError::FrameTimes);
    }
    let start = found.first_video_pts.unwrap_or(f64::NAN);
    let length = found.video_end.unwrap_or(f64::NAN) - start;
    if !is_close(start, 0.0) {
        return Err(VerifyError::Start { seconds: start });
    }
    if !is_close(length, content.duration()) {
        return Err(VerifyError::Length { seconds: length, expected: content.duration() });
    }
    for (chunk, range) in plan.chunks.iter().enumerate() {
        if found.key_frames.binary_search(&range.start()).is_err() {
            return Err(VerifyError::KeyFrame { frame: range.start(), chunk });
        }
    }
    let samples = audio.map_or(0, |audio| audio.samples);
    if found.audio_samples != samples {
        return Err(VerifyError::Samples { found: found.audio_samples, expected: samples });
    }
    Ok(())
}

/// Fails unless a GIF is exactly what `plan` says. Its frames last whole hundredths of a second, and it has neither key
/// frames nor sound.
pub(crate) fn verify_gif(plan: &Plan, found: GifSummary) -> Result<(), VerifyError> {
    let content = &plan.content;
    if found.frames != content.frames {
        return Err(VerifyError::Frames { found: found.frames, expected: content.frames });
    }
    let seconds = found.centiseconds as f64 / 100.0;
    if (seconds - content.duration()).abs() > GIF_ROUNDING {
        return Err(VerifyError::Length { seconds, expected: content.duration() });
    }
    Ok(())
}

/// Whether two times are equal but for rounding. NaN is close to nothing.
fn is_close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= ROUNDING
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::frame::FrameRate;
    use hyperfarm_proto::id::ContentHash;
    use hyperfarm_proto::spec::Format;

    use super::*;

    fn plan() -> Plan {
        hyperfarm_testing::plan(Format::Mp4, FrameRate::DEFAULT, &[45, 45], false)
    }

    fn good() -> PacketCount {
        PacketCount {
            video: 90,
            audio: 0,
            audio_samples: 0,
            first_video_pts: Some(0.0),
            video_end: Some(3.0),
            dts_increase: true,
            frames_contiguous: true,
            key_frames: vec![0, 45, 60],
        }
    }

    #[test]
    fn only_what_was_planned_passes() {
        let plan = plan();
        assert!(verify(&plan, None, &good()).is_ok());
        let audio = AudioRecord {
            plan: None,
            key: String::new(),
            hash: ContentHash::of(b""),
            wav: None,
            samples: 144_000,
            sample_rate: 48_000,
            begun_at_ms: 0.0,
            mix_ms: 1.0,
        };
        let with_sound = PacketCount { audio_samples: 144_000, ..good() };
        assert!(verify(&plan, Some(&audio), &with_sound).is_ok());
        for wrong in [
            PacketCount { video: 89, ..good() },
            PacketCount { dts_increase: false, ..good() },
            PacketCount { frames_contiguous: false, ..good() },
            PacketCount { first_video_pts: Some(0.033), ..good() },
            PacketCount { first_video_pts: None, ..good() },
            PacketCount { video_end: Some(3.04), ..good() },
            PacketCount { video_end: None, ..good() },
            PacketCount { key_frames: vec![0, 44, 46], ..good() },
            with_sound,
        ] {
            assert!(verify(&plan, None, &wrong).is_err(), "{wrong:?}");
        }
        assert!(verify(&plan, Some(&audio), &PacketCount { audio_samples: 143_999, ..good() }).is_err());
    }
}
