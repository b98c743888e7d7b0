//! Tasks and the queues that carry them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{Pool, RenderId};
use crate::wire::Wire;

/// One step of a render that a worker or stitcher claims, does and commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Compile the bundle and probe it in a page.
    Plan,
    /// Mix the sound.
    Audio,
    /// Capture and encode the chunk of this number.
    Chunk(u32),
    /// Join, mux and verify.
    Stitch,
}

impl Step {
    /// The kind of step: `plan`, `audio`, `chunk` or `stitch`. It stands in logs, metrics and the API.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Audio => "audio",
            Self::Chunk(_) => "chunk",
            Self::Stitch => "stitch",
        }
    }

    /// Number of the chunk, of a chunk.
    pub fn chunk(self) -> Option<u32> {
        match self {
            Self::Chunk(chunk) => Some(chunk),
            Self::Plan | Self::Audio | Self::Stitch => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chunk() {
            Some(chunk) => write!(f, "{}-{chunk}", self.kind()),
            None => f.write_str(self.kind()),
        }
    }
}

/// Text that names no step.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a step: plan, audio, chunk-N or stitch")]
pub struct StepError(String);

impl FromStr for Step {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, StepError> {
        match text {
            "plan" => Ok(Self::Plan),
            "audio" => Ok(Self::Audio),
            "stitch" => Ok(Self::Stitch),
            _ => text
                .strip_prefix("chunk-")
                .and_then(|number| number.parse().ok())
                .map(Self::Chunk)
                .ok_or_else(|| StepError(text.to_owned())),
        }
    }
}

/// Identifies a task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The render.
    pub render: RenderId,
    /// The render's step.
    pub step: Step,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.render, self.step)
    }
}

/// The message of a task in a queue. Everything else that a task needs is in object storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMessage {
    /// The task.
    pub task: TaskId,
    /// The pool it was queued for.
    pub pool: Pool,
}

impl Wire for TaskMessage {
    const VERSION: u8 = 1;
}

/// A queue of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Plan tasks of a pool.
    Plan(Pool),
    /// Chunk and audio tasks of a pool.
    Chunk(Pool),
    /// Stitch tasks.
    Stitch,
    /// Hints for the coordinator.
    Events,
    /// Dead letters.
    Dead,
}

impl Queue {
    /// The queue that carries `step`.
    pub fn of(step: Step, pool: &Pool) -> Self {
        match step {
            Step::Plan => Self::Plan(pool.clone()),
            Step::Audio | Step::Chunk(_) => Self::Chunk(pool.clone()),
            Step::Stitch => Self::Stitch,
        }
    }

    /// The kind of queue: `plan`, `chunk`, `stitch`, `events` or `dead`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Plan(_) => "plan",
            Self::Chunk(_) => "chunk",
            Self::Stitch => "stitch",
            Self::Events => "events",
            Self::Dead => "dead",
        }
    }

    /// The pool of a queue that has one.
    pub fn pool(&self) -> Option<&Pool> {
        match self {
            Self::Plan(pool) | Self::Chunk(pool) => Some(pool),
            Self::Stitch | Self::Events | Self::Dead => None,
        }
    }
}

impl fmt::Display for Queue {
    /// The queue's name at the broker.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pool() {
            Some(pool) => write!(f, "{}.{pool}", self.kind()),
            None => f.write_str(self.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_print_and_parse() {
        for step in [Step::Plan, Step::Audio, Step::Chunk(0), Step::Chunk(4_000_000_000), Step::Stitch] {
            assert_eq!(step.to_string().parse::<Step>().unwrap(), step);
        }
        assert!("chunk-".parse::<Step>().is_err());
        assert!("chunk--1".parse::<Step>().is_err());
    }

    #[test]
    fn queues_have_the_names_operators_scale_on() {
        let pool: Pool = "gpu".parse().unwrap();
        assert_eq!(Queue::of(Step::Plan, &pool).to_string(), "plan.gpu");
        assert_eq!(Queue::of(Step::Chunk(3), &pool).to_string(), "chunk.gpu");
        assert_eq!(Queue::of(Step::Audio, &pool).to_string(), "chunk.gpu");
        assert_eq!(Queue::of(Step::Stitch, &pool).to_string(), "stitch");
    }
}
