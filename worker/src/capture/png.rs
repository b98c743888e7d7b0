//! Decoding Chrome's screenshots.

use hyperfarm_media::PixelLayout;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::FrameHash;
use hyperfarm_proto::spec::Size;

/// A decoded frame.
#[derive(Debug, Default)]
pub(super) struct Pixels {
    pub(super) data: Vec<u8>,
    pub(super) stride: usize,
    pub(super) layout: Option<PixelLayout>,
}

impl Pixels {
    /// Hash of the pixels as they are, before any conversion.
    pub(super) fn hash(&self) -> FrameHash {
        FrameHash::from_u128(xxhash_rust::xxh3::xxh3_128(&self.data))
    }
}

/// Decodes `file` into `pixels`, whose memory is reused. The picture must be of `size`.
pub(super) fn decode(file: &[u8], size: Size, pixels: &mut Pixels) -> Result<(), Failure> {
    let broken =
        |reason: String| Failure::new(FailureCode::ChromeCrashed, format!("a screenshot cannot be decoded: {reason}"));
    let mut decoder = ::png::Decoder::new(std::io::Cursor::new(file));
    // Chrome made it a moment ago on this machine: the checksums only cost time.
    decoder.ignore_checksums(true);
    decoder.set_transformations(::png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|error| broken(error.to_string()))?;
    let info = reader.info();
    if (info.width, info.height) != (size.width, size.height) {
        return Err(Failure::new(
            FailureCode::CaptureStalled,
            format!("Chrome drew {}x{} pixels instead of {size}", info.width, info.height),
        ));
    }
    let layout = match info.color_type {
        ::png::ColorType::Rgb => PixelLayout::Rgb,
        ::png::ColorType::Rgba => PixelLayout::Rgba,
        other => return Err(broken(format!("unexpected colour type {other:?}"))),
    };
    let length = reader.output_buffer_size().ok_or_else(|| broken("it is too large".to_owned()))?;
    pixels.data.resize(length, 0);
    let frame = reader.next_frame(&mut pixels.data).map_err(|error| broken(error.to_string()))?;
    pixels.stride = frame.line_size;
    pixels.layout = Some(layout);
    Ok(())
}
