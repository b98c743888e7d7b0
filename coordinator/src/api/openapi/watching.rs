//! The shapes of what is watched: chunks, attempts, the farm and its nodes.

use serde_json::{Value, json};

use super::schemas::{list, maybe, maybe_one_of, number, object, one_of, text};

/// These schemas by name.
pub(super) fn all() -> Value {
    json!({
        "Chunk": object(&["index", "first_frame", "frame_count", "status"], json!({
            "index": number("integer", "Its place."), "first_frame": number("integer", "From 0."),
            "frame_count": number("integer", "Frames."), "frames_done": number("integer", "Captured frames."),
            "status": one_of(&["queued", "rendering", "completed"], "How far it is."),
            "attempt": maybe("integer", "The attempt that counts."), "worker": maybe("string", "The slot that is at it, or that completed it."),
            "attempts": number("integer", "Attempts so far."),
            "ms_per_frame": maybe("number", "Milliseconds a frame took, once completed."),
            "seconds": maybe("number", "What the attempt that counts took in all."),
            "capture_path": maybe_one_of(&["png", "framebuffer"], "How its frames were read out of Chrome."),
            "thumbnail_url": maybe("string", "Signed, expiring: its first frame as a JPEG of at most 320 pixels across."),
        })),
        "Timeline": object(&["created_at", "ended_at", "now", "spans"], json!({
            "created_at": number("number", "Unix seconds."), "ended_at": maybe("number", "Unix seconds."),
            "now": number("number", "Unix seconds, by the farm's clock."),
            "spans": list(json!({ "$ref": "#/components/schemas/Span" }), "Every attempt, in the order in which they began."),
        })),
        "Span": object(&["kind", "attempt", "worker_id", "started_at", "outcome", "frames"], json!({
            "kind": one_of(&["plan", "chunk", "audio", "stitch"], "The task."), "chunk": maybe("integer", "Number of the chunk."),
            "attempt": number("integer", "From 1."), "worker_id": text("Who tried it; empty where nobody knows any more."),
            "slot": maybe("integer", "The worker's slot."), "started_at": number("number", "Unix seconds."),
            "ended_at": maybe("number", "Unix seconds."),
            "outcome": one_of(&["running", "committed", "failed", "superseded", "lost"],
                "How it ended: another attempt counts (superseded), or the worker vanished or handed it back (lost)."),
            "error_code": maybe("string", "Why it failed, for programs."), "message": maybe("string", "Why it failed."),
            "frames": number("integer", "Captured frames."), "ms_per_frame": maybe("number", "Milliseconds a frame took."),
        })),
        "Farm": farm(),
        "Worker": worker(),
        "QuarantineRequest": { "type": "object", "properties": {
            "reason": { "type": ["string", "null"], "maxLength": 500, "description": "Why, for those who wonder." },
        } },
    })
}

fn farm() -> Value {
    let load = json!({
        "at": number("number", "Unix seconds."), "frames_per_second": number("number", "Frames captured a second."),
        "slots_busy": number("integer", "Slots at work."), "slots": number("integer", "Slots that take tasks."),
        "queue_depth": number("integer", "Tasks that wait for a slot."),
    });
    object(
        &["version", "now", "pools", "slots", "slots_busy", "queue_depth", "renders", "today", "recent_failures"],
        json!({
            "version": text("The farm's version."), "started_at": number("number", "Unix seconds of the coordinator's start."),
            "now": number("number", "Unix seconds, by the farm's clock."),
            "pools": list(object(&["pool", "workers", "slots", "slots_busy", "queue_depth"], json!({
                "pool": text("Its name; `stitch` is that of the stitchers."), "workers": number("integer", "Nodes that are alive."),
                "slots": number("integer", "Slots that take tasks."), "slots_busy": number("integer", "Slots at work."),
                "queue_depth": number("integer", "Tasks that wait for a slot."),
                "queue_oldest_seconds": maybe("number", "How long the oldest of them waits."),
            })), "Slots and queues by pool."),
            "frames_per_second": number("number", "Frames captured a second, of late."),
            "slots": number("integer", "Slots of workers that take tasks."), "slots_busy": number("integer", "Slots at work."),
            "queue_depth": number("integer", "Tasks that wait for a slot."),
            "renders": object(&["queued", "rendering", "completed_today", "failed_today"], json!({
                "queued": number("integer", "Not begun."), "rendering": number("integer", "Under way."),
                "completed_today": number("integer", "Since midnight UTC."), "failed_today": number("integer", "Since midnight UTC."),
            })),
            "today": object(&["output_minutes", "worker_seconds", "cost_usd"], json!({
                "output_minutes": number("number", "Minutes of video."), "worker_seconds": number("number", "Seconds of slots."),
                "cost_usd": number("number", "By the operator's table."),
            })),
            "history": list(object(&["at"], load), "The last quarter of an hour, one entry every 10 seconds."),
            "recent_failures": list(object(&["render_id", "error_code", "failure_message", "at"], json!({
                "render_id": text("The render."), "title": maybe("string", "As asked."), "error_code": text("For programs."),
                "failure_message": text("What went wrong and what to do."), "at": number("number", "Unix seconds."),
            })), "The last ones of the key's space."),
        }),
    )
}

fn worker() -> Value {
    object(
        &["worker_id", "role", "pool", "slots", "slots_busy", "state", "tasks", "last_seen_at"],
        json!({
            "worker_id": text("The process."), "role": one_of(&["worker", "stitcher"], "What it does."), "pool": text("Whom it serves."),
            "class": text("Versions its pictures depend on."), "version": text("The farm's version."), "host": text("Its machine."),
            "slots": number("integer", "Tasks it can do at once."), "slots_busy": number("integer", "Tasks it is at."),
            "memory_bytes": number("integer", "Memory of the process and its browsers."),
            "memory_limit_bytes": maybe("integer", "What its control group allows."),
            "state": one_of(&["active", "draining", "quarantined"], "Whether it takes tasks."),
            "state_reason": maybe("string", "Why it does not."),
            "tasks": list(object(&["render_id", "step", "attempt"], json!({
                "render_id": text("The render."), "step": one_of(&["plan", "chunk", "audio", "stitch"], "The task."),
                "chunk": maybe("integer", "Number of the chunk."), "attempt": number("integer", "From 1."),
                "frames_done": number("integer", "Captured frames of a chunk; thousandths of another task."),
                "frames_total": number("integer", "Of so many."), "since": number("number", "Unix seconds of the claim."),
            })), "What it is at."),
            "frames_per_second": number("number", "Frames captured a second, of late."),
            "started_at": number("number", "Unix seconds, by its own clock."),
            "last_seen_at": number("number", "Unix seconds of its last heartbeat, by its own clock."),
            "failures_recent": number("integer", "Failures of the last ten minutes that are the farm's own."),
        }),
    )
}
