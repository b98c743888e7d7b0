//! What the coordinator asks of storage while nothing happens: it follows the open renders, not those that have ended.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::{Farm, chunks_of, comes, draft, quick};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::RenderError;
use hyperfarm_coordinator::api::ApiConfig;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::record::{Outcome, TerminalState};
use hyperfarm_proto::spec::{RenderRequest, RenderSpec};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

const ENDED: u64 = 10_000;

/// Objects that a cloud store answers for one request of a listing.
const LISTED_A_REQUEST: u64 = 1000;

/// A store in memory that counts the requests that a cloud store would charge for.
#[derive(Debug, Default)]
struct CountingStore {
    inner: InMemory,
    requests: Arc<AtomicU64>,
}

impl std::fmt::Display for CountingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CountingStore")
    }
}

impl CountingStore {
    fn count(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl ObjectStore for CountingStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.count();
        self.inner.put_opts(path, payload, options).await
    }
    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.count();
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.count();
        self.inner.get_opts(path, options).await
    }
    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.count();
        self.inner.get_ranges(path, ranges).await
    }
    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.count();
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        use futures::StreamExt;
        self.count();
        let (requests, mut listed) = (self.requests.clone(), 0);
        let counted = self.inner.list(prefix).inspect(move |_| {
            listed += 1;
            if listed % LISTED_A_REQUEST == 0 {
                requests.fetch_add(1, Ordering::SeqCst);
            }
        });
        counted.boxed()
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.inner.list_with_delimiter(prefix).await?;
        let names = (listed.common_prefixes.len() + listed.objects.len()) as u64;
        self.requests.fetch_add(1 + names / LISTED_A_REQUEST, Ordering::SeqCst);
        Ok(listed)
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.count();
        self.inner.copy_opts(from, to, options).await
    }
}

fn id(number: u64) -> RenderId {
    RenderId::from_parts(1_700_000_000_000, number)
}

/// Stores a render as an intake and an end leave it, without a mark.
async fn store_ended(objects: &Objects, render: &RenderId) {
    let request = RenderRequest {
        id: render.clone(),
        created_at_ms: 1_700_000_000_000,
        bundle: ContentHash::of(b"x"),
        spec: RenderSpec::default(),
    };
    let failure = Failure::new(FailureCode::ScriptError, "x is not defined");
    let outcome = Outcome::Failed { failure, history: Vec::new() };
    objects.put_json(&keys::request(render), &request).await.unwrap();
    let state = TerminalState { ended_at_ms: 1_700_000_001_000, outcome };
    objects.put_json(&keys::state(render), &state).await.unwrap();
}

/// Lets four scans and four comparisons with storage pass: one is due every four ticks.
async fn let_scans_pass(farm: &Farm) {
    farm.ticks(16).await;
}

#[tokio::test]
async fn requests_follow_the_open_renders_and_not_the_ended_ones() {
    let store = CountingStore::default();
    let requests = store.requests.clone();
    let objects = Objects::over(Arc::new(store));
    for number in 0..ENDED {
        store_ended(&objects, &id(number)).await;
    }
    let mut farm = Farm::over(objects, quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let render = farm.submit(chunks_of(30)).await;
    // The first scan of a storage sets the marks that older farms did not.
    assert!(comes(async || farm.backplane.objects.exists("farm/open-marks-complete").await.unwrap()).await);
    let mut worker = farm.worker("w1").await;
    worker.do_next(&draft(60, false)).await;
    let chunk = worker.claim().await;

    // A restart with one open render: the scan, its look-up, its restoration.
    drop(router);
    farm.restart().await;
    requests.store(0, Ordering::SeqCst);
    let _router = farm.coordinator.router(ApiConfig::default());
    let_scans_pass(&farm).await;
    farm.until(&render, |progress| progress.chunks_total == 2).await;
    let restart = requests.swap(0, Ordering::SeqCst);
    println!("requests after a restart: {restart}");
    assert!(restart < 100, "{restart} requests after a restart");
    let_scans_pass(&farm).await;
    let idle = requests.swap(0, Ordering::SeqCst);
    println!("requests in four scans with one open render: {idle}");
    assert!(idle > 0, "no scan was counted");
    assert!(idle < 60, "{idle} requests in four scans with one open render");

    let result = worker.leave(&chunk, &draft(60, false)).await;
    worker.commit(&chunk, &result).await;
    worker.finish(&draft(60, false)).await;
    farm.end(&render).await;
    assert!(comes(async || farm.backplane.objects.list("open").await.unwrap().is_empty()).await);
    requests.store(0, Ordering::SeqCst);
    let_scans_pass(&farm).await;
    let none_open = requests.load(Ordering::SeqCst);
    println!("requests in four scans without an open render: {none_open}");
    assert!((1..15).contains(&none_open), "{none_open} requests in four scans without an open render");
}

#[tokio::test]
async fn an_open_render_of_a_farm_without_marks_is_found_once_and_keeps_its_mark() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    farm.drain.start();
    farm.coordinator.join().await;
    let objects = farm.backplane.objects.clone();
    // As a farm before 0.2.0 leaves it.
    objects.delete(&format!("open/{render}")).await.unwrap();
    objects.delete("farm/open-marks-complete").await.unwrap();
    let ended = id(1);
    store_ended(&objects, &ended).await;

    let later = Farm::over(objects.clone(), quick());
    later.worker("w1").await.finish(&draft(30, false)).await;
    assert!(matches!(later.end(&render).await, Outcome::Completed { .. }));
    let open: Vec<String> = objects.list("open").await.unwrap().into_iter().map(|meta| meta.key).collect();
    assert_eq!(open, [format!("open/{render}")], "the ended render has no mark");
}

#[tokio::test]
async fn a_mark_whose_request_comes_later_is_looked_up_again() {
    let farm = Farm::new();
    let objects = &farm.backplane.objects;
    let render = farm.submit(chunks_of(30)).await;
    let request = objects.get(&keys::request(&render)).await.unwrap();
    farm.drain.start();
    farm.coordinator.join().await;
    objects.delete(&keys::request(&render)).await.unwrap();

    let later = Farm::over(objects.clone(), quick());
    let_scans_pass(&later).await;
    assert!(matches!(later.coordinator.detail(&render).await, Err(RenderError::NotFound(_))));
    objects.put(&keys::request(&render), request).await.unwrap();
    later.worker("w1").await.finish(&draft(30, false)).await;
    assert!(matches!(later.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn a_mark_without_a_request_is_removed_after_its_time_only() {
    let farm = Farm::new();
    let objects = &farm.backplane.objects;
    let (lost, fresh) = (id(1), RenderId::from_parts(unix_ms(), 1));
    for render in [&lost, &fresh] {
        objects.put(&format!("open/{render}"), Bytes::from_static(b"{}")).await.unwrap();
    }
    let _router = farm.coordinator.router(ApiConfig::default());
    assert!(comes(async || !objects.exists(&format!("open/{lost}")).await.unwrap()).await);
    assert!(objects.exists(&format!("open/{fresh}")).await.unwrap());
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}
