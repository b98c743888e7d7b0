//! What the scheduler needs to know of a plan.

use hyperfarm_proto::plan::Plan;

/// The tasks of a plan, and which workers may do them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOutline {
    /// Frames of each chunk.
    pub chunk_frames: Vec<u64>,
    /// Whether there is sound to mix.
    pub has_audio: bool,
    /// Id of the capture class that its chunks need.
    pub class_id: String,
}

impl PlanOutline {
    /// Frames of a chunk; 0 of one that the plan does not have.
    pub fn frames_of(&self, chunk: u32) -> u64 {
        self.chunk_frames.get(chunk as usize).copied().unwrap_or(0)
    }
}

impl From<&Plan> for PlanOutline {
    fn from(plan: &Plan) -> Self {
        Self {
            chunk_frames: plan.chunks.iter().map(|range| range.count()).collect(),
            has_audio: plan.has_audio(),
            class_id: plan.content.class.id(),
        }
    }
}
