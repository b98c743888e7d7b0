//! A site of one page at ten frames a second.

use std::collections::HashMap;
use std::sync::Arc;

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_worker::host::{ExpectedTimelines, OpenOptions};
use hyperfarm_worker::server::{Site, SiteFile};

pub(crate) fn site(folder: &tempfile::TempDir, page: &str) -> Arc<Site> {
    let path = folder.path().join("index.html");
    std::fs::write(&path, page).unwrap();
    let file = SiteFile { path, bytes: page.len() as u64 };
    Arc::new(Site::new(HashMap::from([("index.html".to_owned(), file)]), Vec::new()))
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions {
        entry: "index.html".to_owned(),
        frame_rate: FrameRate::new(10, 1).unwrap(),
        variables: "{}".to_owned(),
        transparent: false,
        shutter: None,
        seed: 0,
        epoch_ms: 0,
        load_steps: Some(0),
        timelines: ExpectedTimelines { any: false, except: Vec::new() },
        videos: Vec::new(),
    }
}
