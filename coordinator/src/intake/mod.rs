//! What may come in: projects and requests, checked and made durable.
//!
//! **Invariant: nothing is answered before it is durable.** The bundle is stored first, then the request; a request in storage
//! is a render.

pub mod project;

use std::sync::Arc;

use bytes::Bytes;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::spec::{RenderRequest, RenderSpec, SizeError};

pub use project::{Limits, ProjectError, from_html};

use crate::error::IntakeError;
use crate::store;

/// Longest entry path, in characters.
pub const COMPOSITION_MAX: usize = 512;

/// Longest render that can be asked for, in seconds: what workers take.
const MAX_SECONDS: f64 = 6.0 * 3600.0;

/// Checks `bundle` and `spec` and stores both. The render exists once this returns.
pub(crate) async fn store(
    objects: &Objects,
    limits: &Limits,
    bundle: Bytes,
    spec: RenderSpec,
) -> Result<Arc<RenderRequest>, IntakeError> {
    check(&spec)?;
    let (limits, entry) = (limits.clone(), spec.composition.clone());
    // Large archives take a while to look through.
    let checked = tokio::task::spawn_blocking(move || {
        project::check(&bundle, entry.as_deref(), &limits)?;
        let hash = ContentHash::of(&bundle);
        Ok::<_, ProjectError>((bundle, hash))
    });
    let (bundle, hash) = match checked.await {
        Ok(checked) => checked?,
        Err(panic) => return Err(ProjectError::unreadable(&panic).into()),
    };
    let key = keys::bundle(&hash);
    if !objects.exists(&key).await? {
        objects.put(&key, bundle).await?;
    }
    let created_at_ms = store::now_ms();
    let id = RenderId::from_parts(created_at_ms, getrandom::u64().map_err(IntakeError::Random)?);
    let request = RenderRequest { id, created_at_ms, bundle: hash, spec };
    objects.put_json(&keys::request(&request.id), &request).await?;
    Ok(Arc::new(request))
}

/// What can be said of a spec without its composition.
fn check(spec: &RenderSpec) -> Result<(), IntakeError> {
    let invalid = |param, message: String| Err(IntakeError::Invalid { param, message });
    if let Some(composition) = &spec.composition
        && !project::is_plain_path(composition)
    {
        return invalid("composition", format!("`{composition}` is not the path of a file inside the project"));
    }
    if let Err(error) = spec.check_output() {
        return invalid(error.param, error.message);
    }
    if let Some(seconds) = spec.asked_duration()
        && seconds > MAX_SECONDS
    {
        return invalid("duration", format!("a render lasts {MAX_SECONDS} seconds at most"));
    }
    match spec.viewport(None) {
        Ok(_) => {}
        Err(SizeError::Contradiction { param, reason }) => return invalid(param, reason),
        Err(error) => return invalid("width", error.to_string()),
    }
    if spec.chunk_frames == Some(0) {
        return invalid("chunk_frames", "chunk_frames must be at least 1".to_owned());
    }
    if spec.max_parallel_chunks == Some(0) {
        return invalid("max_parallel_chunks", "max_parallel_chunks must be at least 1".to_owned());
    }
    Ok(())
}
