//! What every store promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use hyperfarm_backplane::objects::{Created, ObjectMeta, Objects, ObjectsError};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::wire::Wire;
use tokio_util::sync::CancellationToken;

use crate::servers::{S3, address, unique};

/// A store, and the folder that a local one lives in.
pub(crate) struct Store {
    pub objects: Objects,
    pub folder: tempfile::TempDir,
}

pub(crate) fn memory() -> Option<Store> {
    Some(Store { objects: Objects::memory(), folder: tempfile::tempdir().unwrap() })
}

pub(crate) fn local() -> Option<Store> {
    let folder = tempfile::tempdir().unwrap();
    Some(Store { objects: Objects::local(folder.path()).unwrap(), folder })
}

pub(crate) fn s3() -> Option<Store> {
    address(S3)?;
    let bucket = std::env::var("HYPERFARM_TEST_S3_BUCKET").expect("HYPERFARM_TEST_S3_BUCKET");
    let url = format!("s3://{bucket}/{}", unique("objects"));
    Some(Store { objects: Objects::open(&url).unwrap(), folder: tempfile::tempdir().unwrap() })
}

async fn put(objects: &Objects, keys: &[&str]) {
    for key in keys {
        objects.put(key, Bytes::copy_from_slice(key.as_bytes())).await.unwrap();
    }
}

fn keys(listed: Vec<ObjectMeta>) -> Vec<String> {
    listed.into_iter().map(|meta| meta.key).collect()
}

/// Bytes that differ from place to place, so that a part in the wrong place is seen.
fn content(length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(length + 8);
    let mut number: u64 = 1;
    while bytes.len() < length {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.freeze()
}

async fn a_value_is_read_as_it_was_put(store: &Store) {
    let objects = &store.objects;
    for value in [Bytes::new(), Bytes::from_static(b"\0\xff"), content(3_000_000)] {
        objects.put("a/b/c.bin", value.clone()).await.unwrap();
        assert_eq!(objects.get("a/b/c.bin").await.unwrap(), value);
        assert_eq!(objects.head("a/b/c.bin").await.unwrap().bytes, value.len() as u64);
        assert_eq!(keys(objects.list("a").await.unwrap()), ["a/b/c.bin"]);
    }
}

async fn what_is_not_there_is_not_found(store: &Store) {
    let objects = &store.objects;
    put(objects, &["there/it/is"]).await;
    for key in ["nothing", "there", "there/it", "there/it/is/not", "there/it/i"] {
        assert!(objects.get(key).await.unwrap_err().is_not_found(), "{key}");
        assert!(objects.head(key).await.unwrap_err().is_not_found(), "{key}");
        assert!(objects.stream(key, None).await.err().unwrap().is_not_found(), "{key}");
        assert!(objects.stream(key, Some(0..1)).await.err().unwrap().is_not_found(), "{key}");
        let file = store.folder.path().join("never");
        assert!(objects.get_file(key, &file).await.unwrap_err().is_not_found(), "{key}");
        assert!(!file.exists());
        assert!(objects.get_json::<String>(key).await.unwrap_err().is_not_found());
        assert!(!objects.exists(key).await.unwrap());
        assert_eq!(objects.list(&format!("{key}/deeper/still")).await.unwrap(), []);
        assert_eq!(objects.list_dirs(&format!("{key}/deeper/still")).await.unwrap(), Vec::<String>::new());
    }
    objects.delete("nothing").await.unwrap();
    objects.delete("there/it/i").await.unwrap();
    objects.delete_prefix("no/such/folder").await.unwrap();
    objects.delete_prefix("there/it/is/not").await.unwrap();
    assert!(objects.exists("there/it/is").await.unwrap());
}

async fn a_value_is_created_once(store: &Store) {
    let objects = &store.objects;
    assert_eq!(objects.create("state.json", "first".into()).await.unwrap(), Created::Yes);
    assert_eq!(objects.create("state.json", "second".into()).await.unwrap(), Created::Existed);
    assert_eq!(objects.get("state.json").await.unwrap(), "first");
    objects.delete("state.json").await.unwrap();
    assert_eq!(objects.create("state.json", "third".into()).await.unwrap(), Created::Yes);
}

async fn of_many_that_create_one_wins(store: &Store) {
    let tries = (0..24).map(|number: u32| {
        let objects = store.objects.clone();
        tokio::spawn(async move { (number, objects.create("race", number.to_string().into()).await.unwrap()) })
    });
    let answers = futures::future::join_all(tries).await;
    let winners: Vec<u32> = answers
        .into_iter()
        .map(Result::unwrap)
        .filter_map(|(number, created)| (created == Created::Yes).then_some(number))
        .collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(store.objects.get("race").await.unwrap(), winners[0].to_string());
}

async fn a_reader_never_sees_a_part(store: &Store) {
    const LENGTH: usize = 1_000_000;
    let values = [Bytes::from(vec![1; LENGTH]), Bytes::from(vec![2; LENGTH])];
    store.objects.put("both", values[0].clone()).await.unwrap();
    // Reads and writes go on beside each other until there were twenty of each.
    const EACH: usize = 20;
    let (writer, enough) = (store.objects.clone(), CancellationToken::new());
    let (writing, written) = (enough.clone(), Arc::new(AtomicUsize::new(0)));
    let counter = written.clone();
    let writes = tokio::spawn(async move {
        while !writing.is_cancelled() {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            writer.put("both", values[number % 2].clone()).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut reads = 0;
    while reads < EACH || written.load(Ordering::Relaxed) < EACH && !writes.is_finished() {
        let value = store.objects.get("both").await.unwrap();
        assert_eq!(value.len(), LENGTH);
        assert!(value.iter().all(|byte| *byte == value[0]), "two values in one");
        reads += 1;
        tokio::task::yield_now().await;
    }
    enough.cancel();
    writes.await.unwrap();
}

async fn files_go_up_and_come_down(store: &Store) {
    // Empty, in one piece, exactly one part, parts of which the last is short.
    for length in [0, 1_000, 8 * 1024 * 1024, 8 * 1024 * 1024 + 1, 21 * 1024 * 1024 + 12_345] {
        let value = content(length);
        let (up, down) = (store.folder.path().join("up"), store.folder.path().join("new folder/down"));
        tokio::fs::write(&up, &value).await.unwrap();
        store.objects.put_file("files/video.mp4", &up).await.unwrap();
        assert_eq!(store.objects.head("files/video.mp4").await.unwrap().bytes, length as u64);
        store.objects.get_file("files/video.mp4", &down).await.unwrap();
        let came = tokio::fs::read(&down).await.unwrap();
        assert_eq!(ContentHash::of(&came), ContentHash::of(&value), "{length} bytes");
        let beside: Vec<_> = std::fs::read_dir(down.parent().unwrap()).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(beside.len(), 1, "a temporary file was left: {beside:?}");
    }
}

async fn a_file_that_is_missing_is_named(store: &Store) {
    let file = store.folder.path().join("no such file");
    let error = store.objects.put_file("x", &file).await.unwrap_err();
    assert!(matches!(&error, ObjectsError::File { .. }) && error.to_string().contains("no such file"), "{error}");
    assert!(!store.objects.exists("x").await.unwrap());
}

async fn an_upload_given_up_leaves_nothing(store: &Store) {
    let up = store.folder.path().join("up");
    tokio::fs::write(&up, content(64 * 1024 * 1024)).await.unwrap();
    let objects = store.objects.clone();
    // A store may be quicker than the first limits. Nothing is quicker than none.
    let mut times_given_up = 0;
    for limit_ms in [3, 1, 0] {
        let upload = objects.put_file("segments/1", &up);
        if tokio::time::timeout(Duration::from_millis(limit_ms), upload).await.is_err() {
            times_given_up += 1;
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!objects.exists("segments/1").await.unwrap());
            assert_eq!(objects.list("segments").await.unwrap(), []);
        }
        objects.delete_prefix("segments").await.unwrap();
    }
    assert!(times_given_up > 0, "no upload was given up");
}

async fn ranges_are_what_they_say(store: &Store) {
    let value = content(100_000);
    store.objects.put("ranged", value.clone()).await.unwrap();
    for range in [0..1, 0..100_000, 99_999..100_000, 50_000..60_000, 90_000..200_000, 100_000..100_001, 7..7, 0..0] {
        let (meta, body) = store.objects.stream("ranged", Some(range.clone())).await.unwrap();
        assert_eq!(meta, ObjectMeta { key: "ranged".to_owned(), bytes: 100_000 });
        let pieces: Vec<Bytes> = body.try_collect().await.unwrap();
        let (start, end) = (range.start.min(100_000) as usize, range.end.min(100_000) as usize);
        assert_eq!(pieces.concat(), value[start..end], "{range:?}");
    }
    let (_, body) = store.objects.stream("ranged", None).await.unwrap();
    let pieces: Vec<Bytes> = body.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), value);
}

async fn listings_are_whole_and_of_whole_names(store: &Store) {
    let objects = &store.objects;
    put(objects, &["renders/r2/plan.bin", "renders/r1/segments/1/a", "renders/r1/plan.bin", "renders/r10/x", "top"])
        .await;
    assert_eq!(keys(objects.list("renders/r1").await.unwrap()), ["renders/r1/plan.bin", "renders/r1/segments/1/a"]);
    assert_eq!(keys(objects.list("renders/r1/").await.unwrap()).len(), 2);
    assert_eq!(keys(objects.list("").await.unwrap()).len(), 5);
    assert_eq!(objects.list("renders/r").await.unwrap(), []);
    assert_eq!(objects.list("top").await.unwrap(), []);
    assert_eq!(objects.list("renders/r10").await.unwrap(), [ObjectMeta { key: "renders/r10/x".to_owned(), bytes: 13 }]);
    assert_eq!(objects.list_dirs("renders").await.unwrap(), ["r1", "r10", "r2"]);
    assert_eq!(objects.list_dirs("").await.unwrap(), ["renders"]);
    assert_eq!(objects.list_dirs("renders/r2").await.unwrap(), Vec::<String>::new());
}

async fn long_listings_are_whole(store: &Store) {
    let puts = (0..1_100).map(|number| {
        let objects = store.objects.clone();
        async move { objects.put(&format!("many/{number:04}"), Bytes::new()).await.unwrap() }
    });
    futures::stream::StreamExt::for_each_concurrent(futures::stream::iter(puts), 16, |put| put).await;
    let listed = keys(store.objects.list("many").await.unwrap());
    assert_eq!(listed.len(), 1_100);
    assert!(listed.is_sorted());
    store.objects.delete_prefix("many").await.unwrap();
    assert_eq!(store.objects.list("many").await.unwrap(), []);
}

async fn a_folder_is_deleted_with_all_in_it_and_nothing_else(store: &Store) {
    let objects = &store.objects;
    put(objects, &["r/1/a", "r/1/b/c/d", "r/1/b/e", "r/10/a", "r/2/a"]).await;
    objects.delete_prefix("r/1").await.unwrap();
    assert_eq!(keys(objects.list("").await.unwrap()), ["r/10/a", "r/2/a"]);
    assert_eq!(objects.list_dirs("r").await.unwrap(), ["10", "2"]);
    objects.delete_prefix("r/").await.unwrap();
    assert_eq!(objects.list_dirs("").await.unwrap(), Vec::<String>::new());
    assert!(matches!(objects.delete_prefix("").await, Err(ObjectsError::Key { .. })));
}

async fn keys_are_any_text(store: &Store) {
    let objects = &store.objects;
    let odd = [
        "ключ/ütf-8 ☃/视频.mp4",
        "with space/ leading and trailing ",
        "file#1",
        "100%/50%25/%2F",
        "a+b&c=d?e;f:g@h,i$j!k'l(m)n*o",
        "~tilde/[brackets]/{braces}/<angle>/^|`\"",
        "...",
        ".hidden/..x/x..",
        "-flag",
        "back\\slash",
        &"long".repeat(25),
    ];
    for key in odd {
        objects.put(key, Bytes::copy_from_slice(key.as_bytes())).await.unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    for key in odd {
        assert_eq!(objects.get(key).await.unwrap(), key.as_bytes(), "{key}");
        assert_eq!(objects.head(key).await.unwrap().key, key);
    }
    let expected: BTreeSet<String> = odd.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(keys(objects.list("").await.unwrap()).into_iter().collect::<BTreeSet<_>>(), expected);
    let folders = objects.list_dirs("").await.unwrap();
    assert!(folders.contains(&"100%".to_owned()) && folders.contains(&"ключ".to_owned()), "{folders:?}");
    for key in odd {
        objects.delete(key).await.unwrap();
        assert!(!objects.exists(key).await.unwrap(), "{key}");
    }
    assert_eq!(objects.list("").await.unwrap(), []);
}

async fn texts_that_are_no_keys_are_refused(store: &Store) {
    for key in ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../../b", "a/.", "a\nb", "a\0b"] {
        let error = store.objects.put(key, Bytes::new()).await.unwrap_err();
        assert!(matches!(error, ObjectsError::Key { .. }), "{key:?}: {error}");
        assert!(store.objects.get(key).await.is_err());
        assert!(store.objects.delete(key).await.is_err());
    }
    assert_eq!(store.objects.list("").await.unwrap(), []);
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Value(Vec<(String, u64)>);

impl Wire for Value {
    const VERSION: u8 = 7;
}

async fn values_of_types_come_back(store: &Store) {
    let objects = &store.objects;
    let value = Value(vec![("ü".to_owned(), 7_u64), (String::new(), u64::MAX)]);
    objects.put_json("v.json", &value).await.unwrap();
    objects.put_wire("v.bin", &value).await.unwrap();
    assert_eq!(objects.get_json::<Value>("v.json").await.unwrap(), value);
    assert_eq!(objects.get_wire::<Value>("v.bin").await.unwrap(), value);
    objects.put("v.cut", Bytes::from_static(&[Value::VERSION, 1])).await.unwrap();
    for error in
        [objects.get_json::<u64>("v.bin").await.unwrap_err(), objects.get_wire::<Value>("v.cut").await.unwrap_err()]
    {
        assert!(matches!(&error, ObjectsError::Corrupt { key, .. } if key.starts_with("v.")), "{error}");
    }
    objects.put("v.new", Bytes::from_static(&[Value::VERSION + 1, 0])).await.unwrap();
    let error = objects.get_wire::<Value>("v.new").await.unwrap_err();
    assert!(matches!(&error, ObjectsError::Version { key, .. } if key == "v.new"), "{error}");
    assert!(error.to_string().contains("upgrade this node"), "{error}");
}

async fn it_answers(store: &Store) {
    store.objects.check().await.unwrap();
    store.objects.put("x", Bytes::new()).await.unwrap();
    store.objects.check().await.unwrap();
}

macro_rules! over_every_store {
    ($($test:ident,)*) => {
        over_every_store!(@over memory, $($test,)*);
        over_every_store!(@over local, $($test,)*);
        over_every_store!(@over s3, $($test,)*);
    };
    (@over $implementation:ident, $($test:ident,)*) => {
        mod $implementation {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(store) = super::$implementation() {
                    super::$test(&store).await;
                }
            })*
        }
    };
}

over_every_store! {
    a_value_is_read_as_it_was_put,
    what_is_not_there_is_not_found,
    a_value_is_created_once,
    of_many_that_create_one_wins,
    a_reader_never_sees_a_part,
    files_go_up_and_come_down,
    a_file_that_is_missing_is_named,
    an_upload_given_up_leaves_nothing,
    ranges_are_what_they_say,
    listings_are_whole_and_of_whole_names,
    long_listings_are_whole,
    a_folder_is_deleted_with_all_in_it_and_nothing_else,
    keys_are_any_text,
    texts_that_are_no_keys_are_refused,
    values_of_types_come_back,
    it_answers,
}
