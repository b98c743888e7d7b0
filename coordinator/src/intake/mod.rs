//! What may come in: projects and requests, checked and made durable.
//!
//! **Invariant: nothing is answered before it is durable.** The bundle is stored first, then the request; a request in storage
//! is a render.

mod error;
pub mod project;

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hyperfarm_backplane::objects::{Objects, hash_file};
use hyperfarm_proto::archive::is_plain_path;
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::keys;
use hyperfarm_proto::spec::{RenderRequest, RenderSpec, SizeError};
use url::Url;

pub use error::IntakeError;
pub use project::{Limits, ProjectError, from_html};

pub use crate::submission::{Intake, Purpose, Seed};
use crate::{object_keys, store};

/// Longest render that can be asked for, in seconds: what workers take.
const MAX_SECONDS: f64 = 6.0 * 3600.0;

/// A project's archive, checked and in storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBundle(ContentHash);

/// Checks `bundle` and stores it.
pub(crate) async fn store_bundle(
    objects: &Objects,
    limits: &Limits,
    bundle: Bytes,
    entry: Option<&str>,
) -> Result<StoredBundle, IntakeError> {
    let (limits, entry) = (limits.clone(), entry.map(str::to_owned));
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
    Ok(StoredBundle(hash))
}

/// The same with the archive in a file, which is read by the buffer.
pub(crate) async fn store_bundle_file(
    objects: &Objects,
    limits: &Limits,
    bundle: &Path,
    entry: Option<&str>,
) -> Result<StoredBundle, IntakeError> {
    let (limits, entry, path) = (limits.clone(), entry.map(str::to_owned), bundle.to_owned());
    let checked = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(path).map_err(|error| ProjectError::unreadable(&error))?;
        project::check_archive(BufReader::new(file), entry.as_deref(), &limits)
    });
    match checked.await {
        Ok(checked) => checked?,
        Err(panic) => return Err(ProjectError::unreadable(&panic).into()),
    }
    let (hash, _) = hash_file(bundle).await?;
    let key = keys::bundle(&hash);
    if !objects.exists(&key).await? {
        objects.put_file(&key, bundle).await?;
    }
    Ok(StoredBundle(hash))
}

/// Stores a render of `bundle`, which exists once this returns. The same seed twice gives one render.
pub(crate) async fn store(
    objects: &Objects,
    bundle: StoredBundle,
    spec: RenderSpec,
    intake: &Intake,
    seed: Seed,
) -> Result<Arc<RenderRequest>, IntakeError> {
    check(&spec)?;
    let id = seed.render();
    if let Some(request) = store::request(objects, &id).await? {
        return Ok(Arc::new(request));
    }
    let request = RenderRequest { id, created_at_ms: seed.at_ms(), bundle: bundle.0, spec };
    let (place, open) = (object_keys::intake(&request.id), object_keys::open_mark(&request.id));
    let member = || object_keys::space_render(&intake.space, &request.id);
    let marks = match intake.purpose {
        Purpose::Render => vec![member()],
        Purpose::Video { .. } | Purpose::Agent(_) => {
            vec![member(), object_keys::space_video(&intake.space, &request.id)]
        }
        Purpose::Lipsync(_) => vec![member(), object_keys::space_lipsync(&intake.space, &request.id)],
        Purpose::Translation(_) => vec![member(), object_keys::space_translation(&intake.space, &request.id)],
        // The client has asked for a look, and is shown no render.
        Purpose::Look(_) => Vec::new(),
    };
    let marks = marks.iter().map(|mark| objects.put(mark, Bytes::from_static(b"{}")));
    // The request last: it is what makes a render of all this.
    futures::try_join!(
        objects.put_json(&place, intake),
        objects.put_json(&open, intake),
        futures::future::try_join_all(marks),
    )?;
    objects.put_json(&keys::request(&request.id), &request).await?;
    Ok(Arc::new(request))
}

/// The bundle that `request` was made of, if it is still there.
pub(crate) async fn bundle_of(objects: &Objects, request: &RenderRequest) -> Result<Option<StoredBundle>, IntakeError> {
    let is_there = objects.exists(&keys::bundle(&request.bundle)).await?;
    Ok(is_there.then_some(StoredBundle(request.bundle)))
}

/// Checks what can be said of a spec without its composition: what goes together, and what names a file or a URL.
///
/// # Errors
///
/// The field that cannot be met, and what to do.
pub fn check(spec: &RenderSpec) -> Result<(), IntakeError> {
    let invalid = |param, message: String| Err(IntakeError::Invalid { param, message });
    if let Some(composition) = &spec.composition
        && !is_plain_path(composition)
    {
        return invalid("composition", format!("`{composition}` is not the path of a file inside the project"));
    }
    if let Some(sound) = &spec.audio_url {
        let is_good = match Url::parse(sound) {
            Ok(url) => matches!(url.scheme(), "http" | "https") && url.has_host(),
            Err(_) => is_plain_path(sound.trim_start_matches("./")),
        };
        if !is_good {
            return invalid("audio_url", "audio_url must be an http(s) URL, or a file of the project".to_owned());
        }
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
    Ok(())
}
