//! Colour tags, as numbers of ISO/IEC 23091-2.
//!
//! **Invariant: a tag from a file never becomes one of FFmpeg's enums.** Decoders pass on any number that a file has,
//! and a Rust enum with a value that it lacks is undefined behaviour; a damaged file has crashed the process that way.

use hyperfarm_proto::hdr::HdrTransfer;

/// Colour tags of a stream or a frame. Any number is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) primaries: i32,
    pub(crate) transfer: i32,
    pub(crate) matrix: i32,
    pub(crate) range: i32,
}

pub(crate) const MATRIX_BT709: i32 = 1;
pub(crate) const MATRIX_FCC: i32 = 4;
pub(crate) const MATRIX_BT470BG: i32 = 5;
pub(crate) const MATRIX_SMPTE170M: i32 = 6;
pub(crate) const MATRIX_SMPTE240M: i32 = 7;
pub(crate) const MATRIX_BT2020_NCL: i32 = 9;
pub(crate) const MATRIX_BT2020_CL: i32 = 10;
pub(crate) const RANGE_LIMITED: i32 = 1;
pub(crate) const RANGE_FULL: i32 = 2;

pub(crate) const PRIMARIES_BT709: i32 = 1;
pub(crate) const TRANSFER_PQ: i32 = 16;
pub(crate) const TRANSFER_HLG: i32 = 18;

const UNKNOWN: &str = "unknown";

impl Tags {
    /// Whether the transfer characteristic is of high dynamic range (PQ or HLG).
    pub(crate) fn is_hdr(self) -> bool {
        self.hdr().is_some()
    }

    /// The transfer characteristic, where it is of high dynamic range.
    pub(crate) fn hdr(self) -> Option<HdrTransfer> {
        match self.transfer {
            TRANSFER_PQ => Some(HdrTransfer::Pq),
            TRANSFER_HLG => Some(HdrTransfer::Hlg),
            _ => None,
        }
    }

    /// FFmpeg's name of the primaries.
    pub(crate) fn primaries_name(self) -> &'static str {
        match self.primaries {
            1 => "bt709",
            4 => "bt470m",
            5 => "bt470bg",
            6 => "smpte170m",
            7 => "smpte240m",
            8 => "film",
            9 => "bt2020",
            10 => "smpte428",
            11 => "smpte431",
            12 => "smpte432",
            22 => "ebu3213",
            _ => UNKNOWN,
        }
    }

    /// FFmpeg's name of the transfer characteristic.
    pub(crate) fn transfer_name(self) -> &'static str {
        match self.transfer {
            1 => "bt709",
            4 => "bt470m",
            5 => "bt470bg",
            6 => "smpte170m",
            7 => "smpte240m",
            8 => "linear",
            9 => "log100",
            10 => "log316",
            11 => "iec61966-2-4",
            12 => "bt1361e",
            13 => "iec61966-2-1",
            14 => "bt2020-10",
            15 => "bt2020-12",
            16 => "smpte2084",
            17 => "smpte428",
            18 => "arib-std-b67",
            _ => UNKNOWN,
        }
    }

    /// FFmpeg's name of the matrix.
    pub(crate) fn matrix_name(self) -> &'static str {
        match self.matrix {
            0 => "gbr",
            MATRIX_BT709 => "bt709",
            MATRIX_FCC => "fcc",
            MATRIX_BT470BG => "bt470bg",
            MATRIX_SMPTE170M => "smpte170m",
            MATRIX_SMPTE240M => "smpte240m",
            8 => "ycgco",
            MATRIX_BT2020_NCL => "bt2020nc",
            MATRIX_BT2020_CL => "bt2020c",
            11 => "smpte2085",
            12 => "chroma-derived-nc",
            13 => "chroma-derived-c",
            14 => "ictcp",
            _ => UNKNOWN,
        }
    }

    /// FFmpeg's name of the range.
    pub(crate) fn range_name(self) -> &'static str {
        match self.range {
            RANGE_LIMITED => "tv",
            RANGE_FULL => "pc",
            _ => UNKNOWN,
        }
    }
}
