//! The Y'CbCr matrix of a stream: the tagged one, or the one that Chrome assumes.

use ffmpeg_next::frame;

use crate::ffi::{self, CodecId};
use crate::tags;

/// The matrix that Chrome assumes of untagged frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DefaultMatrix {
    /// BT.709 from 720 rows on, BT.601 below.
    #[default]
    ByHeight,
    /// BT.601 at any size.
    Bt601,
}

impl DefaultMatrix {
    /// The default of streams of `codec`.
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
