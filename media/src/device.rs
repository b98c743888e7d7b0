//! Encoders of a GPU: which ones open on this machine.

use std::path::Path;

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{DeviceEncoder, EncoderSettings, Rate, VideoCodec};
use hyperfarm_proto::spec::{Format, Quality, Size};

use crate::bitmap::{Bitmap, PixelLayout};
use crate::encode::SegmentEncoder;
use crate::error::MediaError;

/// Above every device's smallest picture.
const PROBED: Size = Size { width: 640, height: 360 };

/// Every encoder of a GPU that the farm knows, and why it cannot be used here, found by encoding a few pictures. `folder` takes a file
/// meanwhile.
pub fn device_encoders(folder: &Path) -> Vec<(DeviceEncoder, Result<(), MediaError>)> {
    let settings = EncoderSettings::of(Format::Mp4, Quality::Standard, FrameRate::DEFAULT);
    DeviceEncoder::ALL
        .map(|encoder| {
            let codec = VideoCodec::Device { encoder, effort: 4, rate: Rate::Crf(20) };
            let settings = EncoderSettings { codec, ..settings.clone() };
            (encoder, try_encoder(folder, &settings, PROBED, FrameRate::DEFAULT))
        })
        .into()
}

/// Encodes a few pictures of `size` with `settings` into a file in `folder` and removes it. An error says why it cannot be done here:
/// no such device, a size that it does not make, no session left.
pub fn try_encoder(folder: &Path, settings: &EncoderSettings, size: Size, rate: FrameRate) -> Result<(), MediaError> {
    let path = folder.join("device-encoder.mp4");
    let stride = size.width as usize * PixelLayout::Bgra.bytes();
    let grey = vec![127; stride * size.height as usize];
    let mut encoder = SegmentEncoder::create(&path, settings, size, rate)?;
    encoder.push(&Bitmap { data: &grey, stride, size, layout: PixelLayout::Bgra })?;
    encoder.repeat()?;
    encoder.finish()?;
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::debug!(path = %path.display(), %error, "a probe's file could not be removed");
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
