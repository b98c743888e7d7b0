//! Encoders of a GPU: which ones open on this machine.

use std::path::Path;

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{DeviceEncoder, EncoderSettings, Rate, VideoCodec};
use hyperfarm_proto::spec::{Format, Quality, Size};

use crate::bitmap::{Bitmap, PixelLayout};
use crate::encode::SegmentEncoder;
use crate::error::MediaError;

/// Size of the probe's frames: above the minimum of every device.
const PROBE_SIZE: Size = Size { width: 640, height: 360 };

/// Every GPU encoder that the farm supports, and why it cannot be used on this machine. Each is tried with two frames,
/// which are written to a file in `folder` and removed.
pub fn device_encoders(folder: &Path) -> Vec<(DeviceEncoder, Result<(), MediaError>)> {
    let settings = EncoderSettings::of(Format::Mp4, Quality::Standard, FrameRate::DEFAULT);
    DeviceEncoder::ALL
        .map(|encoder| {
            let codec = VideoCodec::Device { encoder, effort: 4, rate: Rate::Crf(20) };
            let settings = EncoderSettings { codec, ..settings.clone() };
            (encoder, try_encoder(folder, &settings, PROBE_SIZE, FrameRate::DEFAULT))
        })
        .into()
}

/// Encodes two frames of `size` with `settings` into a file in `folder` and removes it.
///
/// # Errors
/// The encoder cannot be used: there is no such device, it does not support the size, or it has no session left.
pub fn try_encoder(folder: &Path, settings: &EncoderSettings, size: Size, rate: FrameRate) -> Result<(), MediaError> {
    let path = folder.join("device-encoder.mp4");
    let stride = size.width as usize * PixelLayout::Bgra.bytes();
    let grey = vec![127; stride * size.height as usize];
    let mut encoder = SegmentEncoder::create(&path, settings, size, rate)?;
    encoder.push(&Bitmap { data: &grey, stride, size, layout: PixelLayout::Bgra })?;
    encoder.repeat()?;
    encoder.finish()?;
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::debug!(path = %path.display(), %error, "the file of a probe could not be removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoder_opens_or_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let found = device_encoders(folder.path());
        assert_eq!(found.len(), DeviceEncoder::ALL.len());
        for (encoder, outcome) in found {
            if let Err(error) = outcome {
                let text = error.to_string();
                assert!(text.starts_with(encoder.name()), "{}: {text}", encoder.name());
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
