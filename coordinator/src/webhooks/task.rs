//! An event about the end of a render as the result of a task, for clients of inference.sh.

use hyperfarm_api::tasks::{TaskOutput, TaskResult, TaskStatus};
use hyperfarm_api::webhooks::{RenderEnd, RenderEventData};

use super::Event;
use crate::clock::{created_at_ms, iso8601};

impl Event {
    /// The result of the task that the render is.
    ///
    /// # Errors
    ///
    /// The event is not about the end of a render.
    pub(super) fn task_result(&self) -> serde_json::Result<TaskResult> {
        let RenderEventData { end, .. } = serde_json::from_value(self.event_data.clone())?;
        let status = match &end {
            RenderEnd::Completed { .. } => TaskStatus::Completed,
            RenderEnd::Failed { error_code, .. } if error_code == "cancelled" => TaskStatus::Cancelled,
            RenderEnd::Failed { .. } => TaskStatus::Failed,
        };
        let created_at_ms = self.entity_id.parse().ok().and_then(|render| created_at_ms(&render));
        let created_at = iso8601(created_at_ms.unwrap_or(self.created_at_ms));
        let result = TaskResult::new(&self.entity_id, status, created_at, iso8601(self.created_at_ms));
        Ok(match end {
            RenderEnd::Completed { video_url, thumbnail_url, duration, .. } => {
                let output = TaskOutput { video: video_url, thumbnail: thumbnail_url, duration };
                TaskResult { output: Some(output), ..result }
            }
            RenderEnd::Failed { failure_message, .. } => TaskResult { error: failure_message, ..result },
        })
    }
}
