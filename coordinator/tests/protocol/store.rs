//! Object storage as a process reaches it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::process::Process;
use crate::world::Server;

pub(crate) struct FaultyStore {
    pub(crate) process: Arc<Process>,
}

fn lost(reason: &'static str) -> Error {
    Error::Generic { store: "simulated", source: reason.into() }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.process.name)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FaultyStore {
    async fn ask<T: Send + 'static>(
        &self,
        what: String,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.process.call(Server::Store, &what, work, lost).await
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (process, location, mode) = (self.process.clone(), path.clone(), options.mode.clone());
        let work = async move {
            let world = &process.world;
            let put = world.store.put_opts(&location, payload.clone(), options.clone()).await;
            process.note(&format!("put {location} -> {}", put.is_ok()));
            // The client's own second request, after the answer to the first one was lost.
            if mode == PutMode::Create && put.is_ok() && world.happens(world.weather().doubled) {
                return world.store.put_opts(&location, payload, options).await;
            }
            put
        };
        self.ask(format!("put {path}"), work).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.process.world.store.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let (store, location) = (self.process.world.store.clone(), path.clone());
        self.ask(format!("get {path}"), async move { store.get_opts(&location, options).await }).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let process = self.process.clone();
        let deleted = paths.and_then(move |path| {
            let process = process.clone();
            async move {
                let (worker, location) = (process.clone(), path.clone());
                let work = async move {
                    worker.note(&format!("delete {location}"));
                    worker.world.store.delete(&location).await
                };
                process.call(Server::Store, "delete", work, lost).await?;
                Ok(path)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (process, prefix) = (self.process.clone(), prefix.cloned());
        let listed = async move {
            let store = process.world.store.clone();
            let work = async move { store.list(prefix.as_ref()).try_collect::<Vec<_>>().await };
            process.call(Server::Store, "list", work, lost).await
        };
        listed
            .map(|listed| {
                stream::iter(listed.map_or_else(|error| vec![Err(error)], |all| all.into_iter().map(Ok).collect()))
            })
            .flatten_stream()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (store, prefix) = (self.process.world.store.clone(), prefix.cloned());
        self.ask("list".to_owned(), async move { store.list_with_delimiter(prefix.as_ref()).await }).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (store, from, to) = (self.process.world.store.clone(), from.clone(), to.clone());
        self.ask("copy".to_owned(), async move { store.copy_opts(&from, &to, options).await }).await
    }
}
