//! Which matrix turned a stream's pictures into Y'CbCr.

use ffmpeg_next::frame;

use crate::ffi::{self, CodecId};
use crate::tags;

/// What to assume of pictures that do not say, as Chrome does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Untagged {
    /// BT.709 from 720 rows on, BT.601 below.
    #[default]
    ByHeight,
    /// BT.601 at any size.
    Bt601,
}

impl Untagged {
    /// What Chrome assumes of streams of `codec`.
    pub(crate) fn of(codec: CodecId) -> Self {
        if matches!(codec, CodecId::VP9 | CodecId::AV1) { Self::Bt601 } else { Self::ByHeight }
    }

    /// The matrix of `frame` as one of the numbers of [`tags`].
    pub(crate) fn matrix_of(self, frame: &frame::Video) -> i32 {
        let tags = ffi::frame_tags(frame);
        match tags.matrix {
            tags::MATRIX_BT709
            | tags::MATRIX_FCC
            | tags::MATRIX_BT470BG
            | tags::MATRIX_SMPTE170M
            | tags::MATRIX_SMPTE240M
            | tags::MATRIX_BT2020_NCL
            | tags::MATRIX_BT2020_CL => tags.matrix,
            _ if tags.is_hdr() => tags::MATRIX_BT2020_NCL,
            _ if self == Self::ByHeight && frame.height() >= 720 => tags::MATRIX_BT709,
            _ => tags::MATRIX_SMPTE170M,
        }
    }
}
