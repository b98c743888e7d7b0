//! One OpenTelemetry trace for each render, over all roles, without trace ids in messages.
//!
//! **Invariant: ids follow from the render's id.** Every role derives the trace and its root from the id that its task
//! carries anyway, so that spans of a coordinator, of workers and of a stitcher meet in one trace, whatever their order
//! and whoever restarts. The root span is written by the coordinator, once, when the render has ended.
//!
//! Nothing is done here before [`enable`]: without a collector no id is computed.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::record::{Outcome, TerminalState};
use hyperfarm_proto::spec::RenderRequest;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, global};
use sha2::{Digest, Sha256};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Name of the instrumentation scope.
pub const SCOPE: &str = "hyperfarm";

static ENABLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static NEXT: Cell<(Option<TraceId>, Option<SpanId>)> = const { Cell::new((None, None)) };
}

/// Turns traces on, for a process that has a collector to send them to.
pub fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// The ids of a render's trace and of its root span.
pub fn ids(render: &RenderId) -> (TraceId, SpanId) {
    let hash = Sha256::digest(format!("hyperfarm trace of {render}"));
    let (mut trace, mut root) = ([0; 16], [0; 8]);
    trace.copy_from_slice(&hash[..16]);
    root.copy_from_slice(&hash[16..24]);
    (TraceId::from_bytes(trace), SpanId::from_bytes(root))
}

/// Makes the root of the render's trace the parent of `span`, which was not entered yet.
pub fn set_parent(span: &Span, render: &RenderId) {
    if !is_enabled() {
        return;
    }
    let (trace, root) = ids(render);
    let parent = SpanContext::new(trace, root, TraceFlags::SAMPLED, true, TraceState::default());
    // A span that is filtered out has no parent to set.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// Marks the current span as failed.
pub fn mark_failed(reason: &str) {
    if is_enabled() {
        Span::current().set_status(Status::error(reason.to_owned()));
    }
}

/// The trace id for the next span of this thread; an id generator asks for it before it draws a random one.
pub fn next_trace() -> Option<TraceId> {
    NEXT.get().0
}

/// The span id for the next span of this thread.
pub fn next_span() -> Option<SpanId> {
    NEXT.get().1
}

/// Writes the root span of a render that has ended.
pub fn record_render(request: &RenderRequest, state: &TerminalState) {
    if !is_enabled() {
        return;
    }
    let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
    let (begun, ended): (SystemTime, SystemTime) = (at(request.created_at_ms), at(state.ended_at_ms));
    let builder = SpanBuilder::from_name("render").with_start_time(begun).with_attributes([
        KeyValue::new("render", request.id.to_string()),
        KeyValue::new("pool", request.spec.pool.to_string()),
    ]);
    let (trace, root) = ids(&request.id);
    NEXT.set((Some(trace), Some(root)));
    let mut span = global::tracer(SCOPE).build_with_context(builder, &Context::new());
    NEXT.set((None, None));
    match &state.outcome {
        Outcome::Completed { duration, .. } => span.set_attribute(KeyValue::new("output_seconds", *duration)),
        Outcome::Failed { failure, .. } => {
            span.set_attribute(KeyValue::new("code", failure.code.as_str()));
            span.set_status(Status::error(failure.message.clone()));
        }
    }
    span.end_with_timestamp(ended);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_the_render_alone() {
        let (one, other): (RenderId, RenderId) = ("r1".parse().unwrap(), "r2".parse().unwrap());
        assert_eq!(ids(&one), ids(&one));
        assert_ne!(ids(&one).0, ids(&other).0);
        assert_ne!(ids(&one).0, TraceId::INVALID);
    }
}
