//! What is different from store to store: signed URLs, folders, places.

use std::time::Duration;

use bytes::Bytes;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::objects::{local, memory, s3};
use crate::servers::{S3, address};

#[tokio::test]
async fn a_local_store_leaves_no_empty_folders() {
    let store = local().unwrap();
    for key in ["renders/r1/segments/1/a", "renders/r1/plan.bin"] {
        store.objects.put(key, Bytes::new()).await.unwrap();
    }
    // What a process that was killed left half written.
    let half = store.folder.path().join("renders/r1/segments/1/b#1");
    std::fs::write(&half, "half").unwrap();
    assert_eq!(store.objects.list("renders").await.unwrap().len(), 2);
    store.objects.delete_prefix("renders/r1").await.unwrap();
    assert_eq!(std::fs::read_dir(store.folder.path()).unwrap().count(), 0);

    store.objects.put("a/b/c", Bytes::new()).await.unwrap();
    store.objects.delete("a/b/c").await.unwrap();
    assert_eq!(std::fs::read_dir(store.folder.path()).unwrap().count(), 0);
    store.objects.check().await.unwrap();
    assert_eq!(std::fs::read_dir(store.folder.path()).unwrap().count(), 0, "a check leaves nothing");
    std::fs::write(store.folder.path().join(".ready-abc#0"), "").unwrap();
    assert_eq!(store.objects.list("").await.unwrap(), [], "of a process that was killed in between");
}

#[tokio::test]
async fn a_local_store_that_was_removed_is_noticed() {
    let store = local().unwrap();
    let path = store.folder.path().to_owned();
    store.folder.close().unwrap();
    assert!(store.objects.check().await.is_err());
    std::fs::write(&path, b"").unwrap();
    let error = store.objects.check().await.unwrap_err().to_string();
    assert!(error.contains(&*path.to_string_lossy()), "{error}");
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_local_folder_is_no_object() {
    let store = local().unwrap();
    store.objects.put("a/b/100%#2", "x".into()).await.unwrap();
    for key in ["a", "a/b", "a/b/100%#2/c"] {
        store.objects.delete(key).await.unwrap();
    }
    // Another process over the same folder.
    let other = Objects::local(store.folder.path()).unwrap();
    assert_eq!(other.get("a/b/100%#2").await.unwrap(), "x");
    assert!(matches!(other.put("a/b", Bytes::new()).await, Err(ObjectsError::Store { .. })));
    assert!(matches!(other.put("a/b/100%#2/c", Bytes::new()).await, Err(ObjectsError::Store { .. })));
    assert_eq!(other.list("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn stores_that_cannot_sign_say_so() {
    for store in [local().unwrap(), memory().unwrap()] {
        store.objects.put("x", Bytes::new()).await.unwrap();
        assert_eq!(store.objects.sign_get("x", Duration::from_secs(60)).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anybody_can_read_a_signed_url() {
    let Some(store) = s3() else { return };
    store.objects.put("videos/ü 1.mp4", "moving".into()).await.unwrap();
    let url = store.objects.sign_get("videos/ü 1.mp4", Duration::from_secs(60)).await.unwrap().unwrap();
    let answer = fetch(&url).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("moving"), "{answer}");
    let mut unsigned = url.clone();
    unsigned.set_query(None);
    let answer = fetch(&unsigned).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

async fn fetch(url: &url::Url) -> String {
    let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut socket = TcpStream::connect(&address).await.unwrap();
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefixes_of_a_bucket_are_apart() {
    let (Some(one), Some(other)) = (s3(), s3()) else { return };
    one.objects.put("x", "one".into()).await.unwrap();
    assert!(!other.objects.exists("x").await.unwrap());
    assert_eq!(other.objects.list("").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_missing_is_noticed() {
    if address(S3).is_none() {
        return;
    }
    let objects = Objects::open("s3://no-such-bucket/x").unwrap();
    let error = objects.check().await.unwrap_err();
    assert!(error.to_string().contains("HYPERFARM_STORAGE_URL"), "{error}");
    assert!(objects.list("").await.is_err(), "nothing listed is not the same as nothing to list");
}
