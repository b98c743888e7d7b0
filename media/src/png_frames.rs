//! The frames of lossless segments as PNG files, without decoding.

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::Size;

use crate::demux::Demuxer;
use crate::error::MediaError;
use crate::join::SegmentFile;
use crate::{ffi, timescale};

/// First bytes of a PNG file.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Calls `each` with every frame of `segments` as the bytes of a PNG file, in order and numbered from 0, until it
/// answers false. Returns the number of calls. Nothing is decoded: the packets of such segments are PNG files.
///
/// # Errors
/// A segment cannot be read, has not exactly its frames, or has frames of another size than `size`.
pub fn png_frames(
    segments: &[SegmentFile],
    size: Size,
    rate: FrameRate,
    each: &mut dyn FnMut(u64, &[u8]) -> bool,
) -> Result<u64, MediaError> {
    let mut count = 0;
    for segment in segments.iter().filter(|segment| segment.frames > 0) {
        let mut source = Demuxer::open(&segment.path).map_err(MediaError::part)?;
        let stream = source.video().map_err(MediaError::part)?;
        let found = ffi::video_parameters(&source.parameters(stream));
        if (found.width, found.height) != (size.width, size.height) {
            let what = format!("it is {}x{} and the output {size}", found.width, found.height);
            return Err(MediaError::Headers { path: segment.path.clone(), what });
        }
        let time_base = source.time_base(stream);
        let wrong =
            |found, what| MediaError::Frames { path: segment.path.clone(), expected: segment.frames, found, what };
        let mut at = 0;
        while let Some(packet) = source.packet_of(stream).map_err(MediaError::part)? {
            let ticks = (time_base.numerator(), time_base.denominator());
            let frame = packet.pts().map(|pts| timescale::frame_at(pts, ticks, rate));
            if frame != Some(at as i64) {
                return Err(wrong(at, "a picture out of its place"));
            }
            let bytes = packet.data().filter(|bytes| bytes.starts_with(SIGNATURE));
            let bytes = bytes.ok_or_else(|| wrong(at, "a picture that is no PNG file"))?;
            at += 1;
            count += 1;
            if !each(count - 1, bytes) {
                return Ok(count);
            }
        }
        if at != segment.frames {
            return Err(wrong(at, "pictures in the segment"));
        }
    }
    if count == 0 { Err(MediaError::Nothing { action: "write", rate }) } else { Ok(count) }
}
