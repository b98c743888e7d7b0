//! Grants of storage to workers and stitchers that hold no credential of it.
//!
//! **Invariant: a grant needs a living lease of an open render.** Each request names a lease; storage says whether the render is
//! open, the ledger whether the lease is held, [`rules`] say which objects its task may touch, and the URLs are valid for a few
//! minutes. What is refused is refused whole: of
//! a request with one forbidden key nothing is granted.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::ledger::{Held, Lease, Ledger, LedgerError};
use hyperfarm_backplane::objects::grants::{
    Grant, GrantAnswer, GrantRequest, LARGEST_OBJECT, MAX_WANTS, SignedRequest, VALID_FOR, Want,
};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::task::{Step, TaskId};
use parking_lot::Mutex;
use url::Url;

use crate::clock::now_ms;
use crate::object_keys;
use crate::signed_urls::{SignedUrlError, SignedUrls};
use crate::store::{self, MAX_CONCURRENT_REQUESTS};

mod rules;

use rules::{Inputs, permits};

/// Renders whose inputs are in memory.
const MAX_RENDERS: usize = 64;

/// Age at which inputs are read again for a key that is not among them: the render may have been planned anew.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long it is known that a render is open.
const OPEN_FOR: Duration = Duration::from_secs(2);

/// Folder of URLs by which objects of a local storage are uploaded, below the coordinator's URL.
pub(crate) const UPLOADS: &str = "internal/v1/storage/objects";

/// Why nothing is granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrantError {
    /// The lease is not held.
    #[error("{worker} does not hold attempt {attempt} at {task} (any more)")]
    NotHeld {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: u32,
        /// Who says that it holds it.
        worker: String,
    },
    /// The ledger does not know the render, for the moment or for good.
    #[error("the ledger does not know the render {0} yet; ask again")]
    Unknown(RenderId),
    /// The render has ended, or there is none.
    #[error("the render {0} is not open")]
    Ended(RenderId),
    /// The task may not do that.
    #[error("the task {task} may not {operation} `{key}`")]
    Forbidden {
        /// The task.
        task: TaskId,
        /// The operation.
        operation: &'static str,
        /// The key.
        key: String,
    },
    /// More is wanted than one request may want.
    #[error("a request may want {MAX_WANTS} things, not {0}")]
    TooMany(usize),
    /// Several large files are wanted by one request.
    #[error("a request may want one file in parts, of at most {LARGEST_OBJECT} bytes")]
    TooLarge,
    /// The ledger does not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Storage does not answer, or has no signed URLs.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// A URL of a local storage cannot be signed.
    #[error(transparent)]
    Signing(#[from] SignedUrlError),
}

/// Grants what tasks may touch.
pub(crate) struct StorageGrants {
    objects: Objects,
    ledger: Arc<dyn Ledger>,
    signed_urls: Arc<SignedUrls>,
    /// The last used first.
    inputs: Mutex<VecDeque<(RenderId, Kept)>>,
    /// When a render was found to be open.
    open: Mutex<HashMap<RenderId, Instant>>,
}

/// The inputs of a render, for its plan or for what comes after.
#[derive(Clone)]
struct Kept {
    is_plan: bool,
    inputs: Arc<Inputs>,
    read_at: Instant,
}

impl StorageGrants {
    pub(crate) fn new(objects: Objects, ledger: Arc<dyn Ledger>, signed_urls: Arc<SignedUrls>) -> Self {
        Self { objects, ledger, signed_urls, inputs: Mutex::default(), open: Mutex::default() }
    }

    /// Answers a request of whoever has the token.
    ///
    /// # Errors
    ///
    /// See [`GrantError`].
    pub(crate) async fn answer(&self, request: GrantRequest) -> Result<GrantAnswer, GrantError> {
        let GrantRequest { lease, wants, inputs: with_inputs } = request;
        let valid_s = VALID_FOR.as_secs();
        let Some(lease) = lease.map(Lease::from) else { return Ok(GrantAnswer { valid_s, grants: Vec::new() }) };
        if wants.len() > MAX_WANTS {
            return Err(GrantError::TooMany(wants.len()));
        }
        let large: Vec<&Want> = wants.iter().filter(|want| want.is_in_parts()).collect();
        if large.len() > 1 || large.iter().any(|want| want.bytes().is_some_and(|bytes| bytes > LARGEST_OBJECT)) {
            return Err(GrantError::TooLarge);
        }
        // Only who has claimed the task knows the number of its claim; everything else can be guessed.
        let held = if lease.grant.is_some() { self.ledger.is_held(&lease).await? } else { Held::No };
        match held {
            Held::Yes => {}
            Held::Unknown => return Err(GrantError::Unknown(lease.task.render)),
            Held::No => {
                let Lease { task, attempt, worker, .. } = lease;
                return Err(GrantError::NotHeld { task, attempt, worker: worker.to_string() });
            }
        }
        // Who may write to the ledger could claim a task of a render that has ended.
        if !self.is_open(&lease.task.render).await? {
            return Err(GrantError::Ended(lease.task.render));
        }
        let Lease { task, attempt, .. } = &lease;
        let reads_plan = with_inputs && matches!(task.step, Step::Chunk(_) | Step::Audio);
        let inputs = self.inputs_for(task, *attempt, &wants, reads_plan).await?;
        if let Some(want) = wants.iter().find(|want| !permits(task, *attempt, want, &inputs)) {
            let (operation, key) = (want.operation(), want.key().to_owned());
            return Err(GrantError::Forbidden { task: task.clone(), operation, key });
        }
        let files: Vec<Want> = match reads_plan {
            true => inputs.blobs.iter().map(|hash| Want::Get { key: keys::blob(hash) }).collect(),
            false => Vec::new(),
        };
        let granting = wants.iter().chain(&files).map(|want| self.grant(want));
        // Collected first: a lazy iterator of futures borrows in a way that is not `Send`.
        let granting: Vec<_> = granting.collect();
        let grants = stream::iter(granting).buffered(MAX_CONCURRENT_REQUESTS).try_collect().await?;
        Ok(GrantAnswer { valid_s, grants })
    }

    async fn is_open(&self, render: &RenderId) -> Result<bool, ObjectsError> {
        if self.open.lock().get(render).is_some_and(|at| at.elapsed() < OPEN_FOR) {
            return Ok(true);
        }
        let is_open = self.objects.exists(&object_keys::open_mark(render)).await?;
        if is_open {
            let mut open = self.open.lock();
            open.retain(|_, at| at.elapsed() < OPEN_FOR);
            open.insert(render.clone(), Instant::now());
        }
        Ok(is_open)
    }

    async fn grant(&self, want: &Want) -> Result<Grant, GrantError> {
        if self.objects.has_signed_urls() || matches!(want, Want::List { .. }) {
            return Ok(self.objects.grant(want, VALID_FOR).await?);
        }
        // A local folder: the coordinators themselves serve it.
        let (key, expires) = (want.key().to_owned(), now_ms() / 1000 + VALID_FOR.as_secs());
        let request = async |url: Result<Url, SignedUrlError>| {
            let url = url?;
            let path = url.path().trim_start_matches('/');
            Ok::<_, GrantError>(SignedRequest {
                url: format!("{path}?{}", url.query().unwrap_or_default()),
                headers: BTreeMap::new(),
            })
        };
        match want {
            Want::Get { .. } => {
                let url = self.signed_urls.sign_object("GET", "files", &key, expires).await;
                Ok(Grant::Get { key, request: request(url).await? })
            }
            Want::Head { .. } => {
                let url = self.signed_urls.sign_object("GET", "files", &key, expires).await;
                Ok(Grant::Head { key, request: request(url).await? })
            }
            _ => {
                let url = self.signed_urls.sign_object(UPLOAD_METHOD, UPLOADS, &key, expires).await;
                Ok(Grant::Put { key, request: request(url).await? })
            }
        }
    }

    /// What the task may read by hash, as far as it matters for `wants`.
    async fn inputs_for(
        &self,
        task: &TaskId,
        attempt: u32,
        wants: &[Want],
        reads_plan: bool,
    ) -> Result<Arc<Inputs>, GrantError> {
        let none = Arc::new(Inputs::default());
        let lacks = |inputs: &Inputs| wants.iter().any(|want| !permits(task, attempt, want, inputs));
        if task.step == Step::Stitch || (!reads_plan && !lacks(&none)) {
            return Ok(none);
        }
        let is_plan = task.step == Step::Plan;
        let kept = self.kept(&task.render, is_plan);
        if let Some(kept) = kept
            && (!lacks(&kept.inputs) || (!is_plan && kept.read_at.elapsed() < READ_AGAIN_AFTER))
        {
            return Ok(kept.inputs);
        }
        let inputs =
            if is_plan { self.inputs_of_plan(task, wants).await? } else { self.inputs_of_render(task).await? };
        let (inputs, read_at) = (Arc::new(inputs), Instant::now());
        let mut all = self.inputs.lock();
        all.retain(|(render, kept)| *render != task.render || kept.is_plan != is_plan);
        all.truncate(MAX_RENDERS - 1);
        all.push_front((task.render.clone(), Kept { is_plan, inputs: inputs.clone(), read_at }));
        Ok(inputs)
    }

    fn kept(&self, render: &RenderId, is_plan: bool) -> Option<Kept> {
        let mut all = self.inputs.lock();
        let position = all.iter().position(|(other, kept)| other == render && kept.is_plan == is_plan)?;
        let entry = all.remove(position)?;
        let kept = entry.1.clone();
        all.push_front(entry);
        Some(kept)
    }

    async fn inputs_of_plan(&self, task: &TaskId, wants: &[Want]) -> Result<Inputs, GrantError> {
        let request = store::request(&self.objects, &task.render).await?;
        let mut blobs = HashSet::new();
        for want in wants {
            // A package of the runtime that the worker has forgotten meanwhile.
            let Want::Get { key } = want else { continue };
            let hash = key.strip_prefix("blobs/").and_then(|hash| hash.parse::<ContentHash>().ok());
            if let Some(hash) = hash
                && self.objects.exists(&keys::runtime_package(&hash)).await?
            {
                blobs.insert(hash);
            }
        }
        Ok(Inputs { bundle: request.map(|request| request.bundle), blobs })
    }

    async fn inputs_of_render(&self, task: &TaskId) -> Result<Inputs, GrantError> {
        let plan = store::readable_plan(&self.objects, &task.render).await?;
        let content = plan.map(|plan| plan.content);
        let files = content.iter().flat_map(|content| content.files.iter().map(|file| file.hash));
        let runtime = content.iter().map(|content| content.runtime.hash);
        Ok(Inputs { bundle: None, blobs: files.chain(runtime).collect() })
    }
}

/// The word that signatures of uploads are made of. Those of clients' uploads are for another route.
pub(crate) const UPLOAD_METHOD: &str = "PUT object";
