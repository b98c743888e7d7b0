//! Uploads that fail, over a store that does so on demand.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as StorePath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::*;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Part(usize),
    Complete,
    /// Parts never end.
    Hang,
    /// Parts take a while.
    Slow,
}

/// Memory, with multipart uploads that fail as told and note what became of them.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    fault: Fault,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    parts: Vec<usize>,
    completed: usize,
    aborted: usize,
    /// Bytes of parts that were begun and have not ended.
    in_flight: usize,
    /// The most bytes in flight at any moment.
    peak: usize,
}

impl Log {
    fn begin(&mut self, bytes: usize) {
        self.parts.push(bytes);
        self.in_flight += bytes;
        self.peak = self.peak.max(self.in_flight);
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty")
    }
}

fn broken() -> Error {
    Error::Generic { store: "Faulty", source: "as told".into() }
}

#[derive(Debug)]
struct FaultyUpload {
    fault: Fault,
    log: Arc<Mutex<Log>>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let mut log = self.log.lock().unwrap();
        log.begin(data.content_length());
        match self.fault {
            Fault::Part(number) if number == log.parts.len() => futures::future::ready(Err(broken())).boxed(),
            Fault::Hang => futures::future::pending().boxed(),
            Fault::Slow => {
                let log = Arc::clone(&self.log);
                async move {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    log.lock().unwrap().in_flight -= data.content_length();
                    Ok(())
                }
                .boxed()
            }
            _ => futures::future::ready(Ok(())).boxed(),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.fault == Fault::Complete {
            return Err(broken());
        }
        self.log.lock().unwrap().completed += 1;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn abort(&mut self) -> Result<()> {
        self.log.lock().unwrap().aborted += 1;
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &StorePath, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, _: &StorePath, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(FaultyUpload { fault: self.fault, log: Arc::clone(&self.log) }))
    }

    async fn get_opts(&self, path: &StorePath, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<StorePath>>) -> BoxStream<'static, Result<StorePath>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &StorePath, to: &StorePath, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn store(fault: Fault) -> (Objects, Arc<Mutex<Log>>) {
    let log = Arc::<Mutex<Log>>::default();
    let store = Faulty { inner: InMemory::new(), fault, log: Arc::clone(&log) };
    (
        Objects {
            store: Arc::new(store),
            prefix: StorePath::ROOT,
            signing: None,
            granted: None,
            root: None,
            metrics: Arc::default(),
        },
        log,
    )
}

/// A file of `length` bytes, none of them stored on disk.
fn file(length: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(length).unwrap();
    file
}

const LENGTH: u64 = 3 * MIN_PART + 5;

#[test]
fn parts_are_equal_large_enough_and_few_enough() {
    for length in [1, MIN_PART, MIN_PART * 3 + 1, 70 * 1024 * 1024 * 1024, 5_000_000_000_000] {
        let size = part_bytes(length);
        assert!(size >= MIN_PART && size.is_multiple_of(1024 * 1024));
        assert!(length.div_ceil(size) <= MAX_PARTS);
    }
    assert_eq!(part_bytes(100 * 1024 * 1024), MIN_PART);
}

#[tokio::test]
async fn all_parts_but_the_last_are_equal() {
    let (objects, log) = store(Fault::None);
    objects.put_file("x", file(LENGTH).path()).await.unwrap();
    let log = log.lock().unwrap();
    let part = MIN_PART as usize;
    assert_eq!(log.parts, [part, part, part, 5]);
    assert_eq!((log.completed, log.aborted), (1, 0));
}

/// A chunk of a million frames makes a segment of any length: what is in memory does not follow it.
#[tokio::test]
async fn a_long_file_is_never_whole_in_memory() {
    let (objects, log) = store(Fault::Slow);
    let parts = 100;
    objects.put_file("x", file(parts * MIN_PART).path()).await.unwrap();
    let log = log.lock().unwrap();
    assert_eq!(log.parts, vec![MIN_PART as usize; parts as usize]);
    assert_eq!((log.completed, log.aborted, log.in_flight), (1, 0, 0));
    assert!(log.peak <= CONCURRENT_PARTS * MIN_PART as usize, "{} bytes were in flight at once", log.peak);
}

#[tokio::test]
async fn the_hash_of_a_file_is_that_of_its_bytes() {
    let file = file(3 * 1024 * 1024 + 1);
    let (hash, bytes) = hash_file(file.path()).await.unwrap();
    assert_eq!((hash, bytes), (ContentHash::of(&std::fs::read(file.path()).unwrap()), 3 * 1024 * 1024 + 1));
    let error = hash_file(Path::new("/nonexistent/file")).await.unwrap_err();
    assert!(matches!(&error, ObjectsError::File { path, .. } if path == "/nonexistent/file"), "{error}");
}

#[tokio::test]
async fn a_file_of_one_part_is_simply_put() {
    let (objects, log) = store(Fault::Complete);
    objects.put_file("x", file(MIN_PART).path()).await.unwrap();
    assert_eq!(objects.head("x").await.unwrap().bytes, MIN_PART);
    assert!(log.lock().unwrap().parts.is_empty());
}

#[tokio::test]
async fn an_upload_that_fails_is_aborted() {
    for fault in [Fault::Part(1), Fault::Part(3), Fault::Part(4), Fault::Complete] {
        let (objects, log) = store(fault);
        let error = objects.put_file("x", file(LENGTH).path()).await.unwrap_err();
        assert!(matches!(error, ObjectsError::Store { operation: "put", .. }), "{fault:?}: {error}");
        let log = log.lock().unwrap();
        assert_eq!((log.completed, log.aborted), (0, 1), "{fault:?}");
    }
}

async fn until(reached: impl Fn() -> bool) {
    let within = Duration::from_secs(30);
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(within, waiting).await.expect("it was not reached in time");
}

#[tokio::test]
async fn an_upload_whose_future_is_dropped_is_aborted() {
    let (objects, log) = store(Fault::Hang);
    let file = file(10 * MIN_PART);
    let under_way = async {
        until(|| log.lock().unwrap().parts.len() >= CONCURRENT_PARTS).await;
        // More would come now, if more were allowed.
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    tokio::select! {
        _ = objects.put_file("x", file.path()) => panic!("a hanging upload ended"),
        () = under_way => {}
    }
    until(|| log.lock().unwrap().aborted > 0).await;
    let log = log.lock().unwrap();
    assert_eq!((log.parts.len(), log.aborted), (CONCURRENT_PARTS, 1), "no more parts under way than allowed");
}

#[tokio::test]
async fn a_file_that_shrinks_under_the_upload_is_not_stored() {
    let (objects, log) = store(Fault::None);
    let file = file(LENGTH);
    let reader = File::open(file.path()).await.unwrap();
    file.as_file().set_len(MIN_PART + 1).unwrap();
    let upload = objects.store.put_multipart(&StorePath::from("x")).await.unwrap();
    let writer = WriteMultipart::new_with_chunk_size(upload, MIN_PART as usize);
    let mut upload = Upload { writer: Some(writer) };
    let error = send_parts("x", file.path(), reader, LENGTH, MIN_PART, &mut upload).await.unwrap_err();
    assert!(matches!(error, ObjectsError::File { .. }), "{error}");
    upload.abort().await;
    let log = log.lock().unwrap();
    assert_eq!((log.completed, log.aborted), (0, 1));
}

#[tokio::test]
async fn what_a_killed_writer_has_left_is_removed_after_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::local(folder.path()).unwrap();
    objects.put("deliveries/a.json", Bytes::from_static(b"{}")).await.unwrap();
    objects.put("renders/x#a/1#b", Bytes::from_static(b"1")).await.unwrap();
    let left = folder.path().join("deliveries/a.json#1");
    std::fs::write(&left, "{").unwrap();
    assert_eq!(objects.list("deliveries/").await.unwrap().len(), 1, "a listing shows whole objects only");
    let now = std::time::SystemTime::now();
    assert_eq!(objects.remove_half_written(now - Duration::from_secs(60)).await.unwrap(), 0, "it may be at work");
    assert!(left.exists());
    assert_eq!(objects.remove_half_written(now + Duration::from_secs(60)).await.unwrap(), 1);
    assert!(!left.exists());
    assert_eq!(objects.get("deliveries/a.json").await.unwrap(), "{}");
    assert_eq!(objects.get("renders/x#a/1#b").await.unwrap(), "1");
    assert_eq!(Objects::memory().remove_half_written(now).await.unwrap(), 0);
}
