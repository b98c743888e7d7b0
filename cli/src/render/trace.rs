//! A render as a trace in the trace-event format, which Perfetto and `chrome://tracing` open.

use std::collections::BTreeSet;

use hyperfarm_proto::record::{CapturePath, Manifest, SegmentRecord};
use serde_json::{Value, json};

use super::timings::Walls;

/// The process that all tracks belong to; the format wants a number.
const PROCESS: u32 = 1;
/// Track of the render as a whole.
const RENDER: usize = 0;

/// The trace: times are relative to the start of the command, whose whole length is `total_ms`.
///
/// One track has the render and its stages, one each slot with its chunks (start, capture, commit), one the sound, one the join.
pub(super) fn trace(manifest: &Manifest, walls: &Walls, total_ms: f64) -> Value {
    let mut trace = Trace { events: Vec::new(), total_ms };
    trace.name(None, "hyperfarm");
    trace.name(Some(RENDER), "render");
    let frames = manifest.output.frames;
    trace.span(RENDER, "render", 0.0, total_ms, json!({"render": manifest.render, "frames": frames}));
    for wall in &walls.done {
        trace.span(RENDER, &wall.stage, ms(wall.since), ms(wall.took), json!({}));
    }
    let slots: BTreeSet<&str> = manifest.segments.iter().map(|segment| segment.worker.as_str()).collect();
    for (number, slot) in slots.iter().enumerate() {
        let track = RENDER + 1 + number;
        trace.name(Some(track), slot);
        for segment in manifest.segments.iter().filter(|segment| segment.worker == *slot) {
            trace.chunk(track, segment, walls.began_at_ms);
        }
    }
    let mut track = RENDER + 1 + slots.len();
    if let Some(audio) = manifest.audio.as_ref().filter(|audio| audio.begun_at_ms > 0.0) {
        trace.name(Some(track), "sound");
        trace.span(
            track,
            "audio",
            audio.begun_at_ms - walls.began_at_ms,
            audio.mix_ms,
            json!({"samples": audio.samples}),
        );
        track += 1;
    }
    let output = &manifest.output;
    if output.begun_at_ms > 0.0 {
        trace.name(Some(track), "stitcher");
        trace.span(
            track,
            "join",
            output.begun_at_ms - walls.began_at_ms,
            output.stitch_ms,
            json!({"bytes": output.bytes}),
        );
    }
    json!({"traceEvents": trace.events, "displayTimeUnit": "ms"})
}

struct Trace {
    events: Vec<Value>,
    total_ms: f64,
}

impl Trace {
    fn name(&mut self, track: Option<usize>, name: &str) {
        let kind = if track.is_some() { "thread_name" } else { "process_name" };
        let track = track.unwrap_or(RENDER);
        self.events.push(json!({"ph": "M", "pid": PROCESS, "tid": track, "name": kind, "args": {"name": name}}));
    }

    /// A span within the render: two clocks are read a moment apart, and a viewer nests only what is inside.
    fn span(&mut self, track: usize, name: &str, start_ms: f64, took_ms: f64, args: Value) {
        let start = start_ms.clamp(0.0, self.total_ms);
        let end = (start_ms + took_ms).clamp(start, self.total_ms);
        self.events.push(json!({
            "ph": "X", "pid": PROCESS, "tid": track, "name": name, "cat": "render",
            "ts": start * 1000.0, "dur": (end - start) * 1000.0, "args": args,
        }));
    }

    fn chunk(&mut self, track: usize, segment: &SegmentRecord, began_at_ms: f64) {
        let timings = &segment.timings;
        if timings.begun_at_ms <= 0.0 {
            return;
        }
        let begun = timings.begun_at_ms - began_at_ms;
        let whole = timings.start_ms + timings.capture_ms + timings.commit_ms;
        let path = match segment.path {
            CapturePath::Png => "png",
            CapturePath::Framebuffer => "framebuffer",
        };
        let about = json!({
            "first_frame": segment.frames.start(), "frames": segment.frames.count(), "attempt": segment.attempt,
            "bytes": segment.bytes, "path": path,
        });
        self.span(track, &format!("chunk {}", segment.chunk), begun, whole, about);
        self.span(track, "start", begun, timings.start_ms, json!({}));
        let parts = json!({
            "seek_ms": timings.seek_ms, "draw_ms": timings.draw_ms, "read_ms": timings.read_ms,
            "convert_ms": timings.convert_ms, "encode_ms": timings.encode_ms, "wait_ms": timings.wait_ms,
        });
        let capture = begun + timings.start_ms;
        self.span(track, "capture", capture, timings.capture_ms, parts);
        self.span(track, "commit", capture + timings.capture_ms, timings.commit_ms, json!({}));
    }
}

fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_leaves_the_render() {
        let mut trace = Trace { events: Vec::new(), total_ms: 10.0 };
        trace.span(1, "early", -3.0, 5.0, json!({}));
        trace.span(1, "late", 8.0, 5.0, json!({}));
        let times: Vec<_> = trace.events.iter().map(|event| (event["ts"].as_f64(), event["dur"].as_f64())).collect();
        assert_eq!(times, [(Some(0.0), Some(2000.0)), (Some(8000.0), Some(2000.0))]);
    }
}
