//! Dispatch goes on while renders are restored from storage.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::common::{Farm, chunks_of, comes, draft, quick};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_proto::record::Outcome;
use hyperfarm_proto::task::Step;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;

const OPEN: usize = 100;

/// A store in memory whose listings of renders wait while it is blocked. The other requests are answered.
#[derive(Debug, Clone)]
struct BlockedStore {
    inner: Arc<InMemory>,
    is_blocked: watch::Sender<bool>,
    /// Ids of the renders of which a listing has begun.
    begun: Arc<Mutex<BTreeSet<String>>>,
}

impl std::fmt::Display for BlockedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockedStore")
    }
}

#[async_trait]
impl ObjectStore for BlockedStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }
    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }
    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(path, ranges).await
    }
    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list(prefix);
        let Some(render) = prefix.and_then(|prefix| prefix.as_ref().strip_prefix("renders/")) else { return listed };
        self.begun.lock().unwrap().insert(render.to_owned());
        let mut is_blocked = self.is_blocked.subscribe();
        let opened = async move { drop(is_blocked.wait_for(|is_blocked| !is_blocked).await) };
        futures::stream::once(opened).flat_map(move |()| futures::stream::empty()).chain(listed).boxed()
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn new_renders_are_dispatched_while_a_hundred_open_ones_are_restored() {
    let store = BlockedStore { inner: Arc::default(), is_blocked: watch::Sender::new(false), begun: Arc::default() };
    let mut farm = Farm::over(Objects::over(Arc::new(store.clone())), quick());
    let mut open = Vec::new();
    for _ in 0..OPEN {
        open.push(farm.submit(chunks_of(30)).await);
    }
    // Both are lost: the ledger and the coordinator.
    farm.drain.start();
    farm.coordinator.join().await;
    farm.ledger.clear();
    while farm.worker("before").await.take_ready().await.is_some() {}
    store.begun.lock().unwrap().clear();
    store.is_blocked.send_replace(true);
    farm.start(farm.backplane.broker.clone());
    let begun = || {
        let begun = store.begun.lock().unwrap();
        open.iter().filter(|render| begun.contains(render.as_str())).count()
    };
    assert!(comes(async || begun() > 0).await, "no restore has begun");

    let new = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(60, false);
    let steps = [Step::Plan, Step::Chunk(0), Step::Chunk(1), Step::Stitch];
    for step in steps {
        let lease = worker.do_next(&draft).await;
        assert_eq!((&lease.task.render, lease.task.step), (&new, step));
    }
    assert!(matches!(farm.end(&new).await, Outcome::Completed { .. }));
    farm.ticks(3).await;
    assert!((2..=8).contains(&begun()), "{} restores at a time", begun());

    store.is_blocked.send_replace(false);
    for render in &open {
        assert!(comes(async || farm.ledger_view(render).await.is_some()).await, "{render} was not restored");
    }
    loop {
        if worker.do_next(&draft).await.task.step == Step::Stitch {
            break;
        }
    }
}
