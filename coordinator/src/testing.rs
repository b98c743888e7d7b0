//! What the unit tests of this crate share.

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::spec::Format;

/// A plan with chunks of these lengths in frames, each frame at a cost of 10 ms.
pub(crate) fn plan(lengths: &[u64], audio: bool) -> Plan {
    Plan { frame_cost_ms: 10.0, ..hyperfarm_testing::plan(Format::Mp4, FrameRate::DEFAULT, lengths, audio) }
}
