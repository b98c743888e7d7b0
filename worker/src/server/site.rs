//! A site: the files, scripts, fonts and pictures that one page may load.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use hyperfarm_backplane::http::{ByteRange, media_type};
use hyperfarm_media::{HdrPicture, VideoDecoder};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::plan::{PREPARED_FILE, RemoteAsset, VideoHeaders};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::response::{REFUSED, plain, whole, with_headers, with_length};
use super::videos::{BitmapFile, Videos};
use crate::assets::{OWN_PREFIX, SCRIPT, own};
use crate::blocking::blocking;
use crate::error::WorkerError;
use crate::runtimes::RuntimeScripts;
use crate::urls::decode_path;

/// Most problems that are recorded for a page, so that a script in a loop does not fill the memory.
const MAX_PROBLEMS: usize = 100;

/// Digits of a site's name: a part of a host has at most 63 characters.
const NAME_DIGITS: usize = 32;

/// A file on this machine's disk.
#[derive(Debug, Clone)]
pub struct SiteFile {
    /// Its path.
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
}

/// A request that was not served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestProblem {
    /// Path of a file that the project does not have.
    NotFound(String),
    /// URL of another origin.
    Blocked(String),
}

/// Files by path, the farm's own scripts and fonts, and the pictures of videos.
#[derive(Default)]
pub struct Site {
    /// The first part of the host of its origin; the server's own random one where there is none.
    name: Option<String>,
    files: HashMap<String, SiteFile>,
    videos: Arc<Videos>,
    /// The runtime of the page.
    runtime: Arc<RuntimeScripts>,
    /// Path of a file, or of an asset of the farm, by URL of another origin.
    remote: HashMap<String, String>,
    problems: Mutex<BTreeSet<RequestProblem>>,
    /// Number of requests so far.
    requests: AtomicU64,
}

impl Site {
    /// A site of `files`, by path from the project's root, and `videos`, by index.
    pub fn new(files: HashMap<String, SiteFile>, videos: Vec<VideoDecoder>) -> Self {
        let videos = Arc::new(Videos::new(videos));
        Self { files, videos, ..Self::default() }
    }

    /// The site with this runtime instead of the built-in one.
    pub fn with_runtime(mut self, runtime: Arc<RuntimeScripts>) -> Self {
        self.runtime = runtime;
        self
    }

    /// The site under the name of the plan with this content: pages that show their address are the same in each of
    /// its chunks. Who does not know the whole content cannot know the name.
    pub fn with_name(mut self, plan: &ContentHash) -> Self {
        let name = ContentHash::of(format!("origin of {plan}").as_bytes()).to_string();
        self.name = Some(name.chars().take(NAME_DIGITS).collect());
        self
    }

    /// The first part of the host of its origin, where it has a name.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Also serves the files that the plan has for remote URLs.
    pub fn with_remote(mut self, remote: &[RemoteAsset]) -> Self {
        let found = remote.iter().filter_map(|asset| Some((asset.url.clone(), asset.path.clone()?)));
        self.remote = found.collect();
        self
    }

    /// The response to a request that came to the server as to a proxy. A URL that the plan does not have is recorded
    /// without its path, and so is not fetched: any process of the machine can send such a request. Scripts of the page
    /// ask by the page's own origin (`host/remote.js`), whose name others do not know.
    pub(super) async fn respond_foreign(&self, url: &str, authority: &str, range: Option<&str>) -> Response {
        if self.remote.contains_key(url) {
            return self.respond_remote(url, range).await;
        }
        self.add_problem(RequestProblem::Blocked(format!("http://{authority}")));
        plain(StatusCode::FORBIDDEN, REFUSED)
    }

    /// The response to a request of the page for a URL of another origin. In the plan stage, what is recorded is
    /// fetched and the page probed again; a later stage only has the files of the plan.
    async fn respond_remote(&self, url: &str, range: Option<&str>) -> Response {
        match self.remote.get(url) {
            Some(path) => Box::pin(self.respond(&format!("/{path}"), range)).await,
            None => {
                self.add_problem(RequestProblem::Blocked(url.to_owned()));
                plain(StatusCode::FORBIDDEN, REFUSED)
            }
        }
    }

    /// The headers of video `index`.
    pub fn video_headers(&self, index: usize) -> Option<&VideoHeaders> {
        self.videos.headers(index)
    }

    /// URL path of the picture that video `index` shows at output frame `frame`: equal paths are equal pictures.
    pub fn picture_path(&self, index: usize, frame: u64) -> Option<String> {
        let number = self.videos.picture_at(index, frame)?;
        Some(format!("{OWN_PREFIX}video/{index}/{number}.bmp"))
    }

    /// Starts to decode the picture that video `index` shows at output frame `frame`, so that it is ready when the page
    /// requests it.
    pub fn prepare(&self, index: usize, frame: u64) {
        let Some(number) = self.videos.picture_at(index, frame) else { return };
        let videos = self.videos.clone();
        tokio::task::spawn_blocking(move || {
            // An error is kept, and logged when the page requests the picture.
            let _ = videos.picture(index, number);
        });
    }

    /// Number of the picture that video `index` shows at output frame `frame`.
    pub(crate) fn picture_number(&self, index: usize, frame: u64) -> Option<u64> {
        self.videos.picture_at(index, frame)
    }

    /// Picture `number` of video `index` at its own depth. Blocks while it is decoded.
    pub(crate) fn hdr_picture(&self, index: usize, number: u64) -> Result<Arc<HdrPicture>, String> {
        self.videos.hdr_picture(index, number)
    }

    /// Starts to decode picture `number` of video `index` at its own depth, so that it is ready when it is needed.
    pub(crate) fn prepare_hdr(&self, index: usize, number: u64) {
        let videos = self.videos.clone();
        tokio::task::spawn_blocking(move || {
            // An error is kept, and returned when the picture is needed.
            let _ = videos.hdr_picture(index, number);
        });
    }

    /// Ends the decoders of the videos for which `is_over` answers true.
    pub fn close_videos(&self, is_over: impl Fn(usize) -> bool) {
        let over: Vec<usize> = self.videos.open().into_iter().filter(|index| is_over(*index)).collect();
        if over.is_empty() {
            return;
        }
        let videos = self.videos.clone();
        tokio::task::spawn_blocking(move || over.into_iter().for_each(|index| videos.close(index)));
    }

    /// The cause of `error`, with which a page ended: the failure of a video's decoder, after which the page has no
    /// picture, or `error` itself.
    pub(crate) fn cause_of(&self, error: WorkerError) -> WorkerError {
        if matches!(error, WorkerError::Cancelled(_)) {
            return error;
        }
        self.videos.take_failure().map_or(error, WorkerError::from)
    }

    /// Requests that were not served, each once.
    pub fn problems(&self) -> Vec<RequestProblem> {
        self.problems.lock().iter().cloned().collect()
    }

    pub(super) fn add_problem(&self, problem: RequestProblem) {
        let mut problems = self.problems.lock();
        if problems.len() < MAX_PROBLEMS {
            problems.insert(problem);
        }
    }

    /// Number of requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The script at `path` of a dedicated worker, with the line `lead` before it.
    pub(super) async fn respond_worker(&self, path: &str, lead: &str) -> Response {
        let response = Box::pin(self.respond(path, None)).await;
        if response.status() != StatusCode::OK {
            return response;
        }
        let body = Body::from_stream(futures::StreamExt::chain(
            futures::stream::iter([Ok(Bytes::from(lead.to_owned()))]),
            response.into_body().into_data_stream(),
        ));
        with_headers("text/javascript; charset=utf-8", body)
    }

    pub(super) async fn respond(&self, path: &str, range: Option<&str>) -> Response {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if path.strip_prefix('/') == Some(PREPARED_FILE)
            && let Some(file) = self.files.get(PREPARED_FILE)
        {
            return respond_file(PREPARED_FILE, file, None).await;
        }
        if let Some(own) = path.strip_prefix(OWN_PREFIX) {
            if let Some(url) = own.strip_prefix("remote/").and_then(decode_path) {
                return self.respond_remote(&url, range).await;
            }
            return self.respond_own(own).await;
        }
        let Some(path) = decode_path(path) else { return plain(StatusCode::BAD_REQUEST, "not a path") };
        match self.files.get(&path) {
            Some(file) => respond_file(&path, file, range).await,
            None => {
                // Browsers request it by themselves.
                if path != "favicon.ico" {
                    self.add_problem(RequestProblem::NotFound(path));
                }
                plain(StatusCode::NOT_FOUND, "the project has no such file")
            }
        }
    }

    async fn respond_own(&self, path: &str) -> Response {
        if let Some(script) = self.runtime.file(path) {
            return whole(SCRIPT, script);
        }
        if let Some(asset) = own(path) {
            return whole(asset.media_type, Bytes::from_static(asset.bytes));
        }
        let picture = path.strip_prefix("video/").and_then(|rest| {
            let (index, number) = rest.strip_suffix(".bmp")?.split_once('/')?;
            Some((index.parse::<usize>().ok()?, number.parse::<u64>().ok()?))
        });
        match picture.filter(|(index, _)| self.videos.headers(*index).is_some()) {
            Some((index, number)) => respond_picture(self.videos.clone(), index, number).await,
            None => plain(StatusCode::NOT_FOUND, "the farm has no such file"),
        }
    }
}

async fn respond_picture(videos: Arc<Videos>, index: usize, number: u64) -> Response {
    match blocking("the decoder", move || videos.picture(index, number)).await {
        Ok(Ok(BitmapFile { header, pixels })) => {
            let length = header.len() + pixels.len();
            let parts = futures::stream::iter([header, pixels].map(Ok::<_, std::convert::Infallible>));
            with_length("image/bmp", Body::from_stream(parts), length)
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, number, "a picture of a video cannot be decoded");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the picture cannot be decoded")
        }
        Err(error) => {
            tracing::error!(%error, number, "a picture of a video was not decoded");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the decoder broke")
        }
    }
}

async fn respond_file(path: &str, file: &SiteFile, range: Option<&str>) -> Response {
    let (span, is_part) = match ByteRange::parse(range, file.bytes) {
        ByteRange::Whole => (0..file.bytes, false),
        ByteRange::Part(span) => (span, true),
        ByteRange::Unsatisfiable => return plain(StatusCode::RANGE_NOT_SATISFIABLE, "no such range"),
    };
    let opened = async {
        let mut handle = tokio::fs::File::open(&file.path).await?;
        handle.seek(std::io::SeekFrom::Start(span.start)).await?;
        Ok::<_, std::io::Error>(handle.take(span.end - span.start))
    };
    let body = match opened.await {
        Ok(reader) => Body::from_stream(ReaderStream::with_capacity(reader, 256 * 1024)),
        Err(error) => {
            tracing::error!(%error, path, "a file of the project is not in the cache any more");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read");
        }
    };
    let mut response = with_headers(media_type(path), body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(span.end - span.start));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if is_part {
        let text = format!("bytes {}-{}/{}", span.start, span.end.saturating_sub(1), file.bytes);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_for_remote_urls_are_served_under_them() {
        let asset = |path: Option<&str>| RemoteAsset {
            url: "https://a.test/g.js?v=1".to_owned(),
            path: path.map(str::to_owned),
            reason: None,
        };
        let asked = "/__hyperfarm/remote/https%3A%2F%2Fa.test%2Fg.js%3Fv%3D1";
        let site = Site::default().with_remote(&[asset(Some("__hyperfarm/gsap.js"))]);
        assert_eq!(site.respond(asked, None).await.status(), StatusCode::OK);
        assert!(site.problems().is_empty());
        let site = Site::default().with_remote(&[asset(None)]);
        assert_eq!(site.respond(asked, None).await.status(), StatusCode::FORBIDDEN);
        assert_eq!(site.problems(), [RequestProblem::Blocked("https://a.test/g.js?v=1".to_owned())]);
    }

    #[tokio::test]
    async fn a_missing_file_is_recorded_once_and_a_favicon_never() {
        let site = Site::default();
        for path in ["/a.png", "/a.png", "/favicon.ico", "/../etc/passwd"] {
            assert_eq!(site.respond(path, None).await.status(), StatusCode::NOT_FOUND);
        }
        let expected =
            vec![RequestProblem::NotFound("../etc/passwd".to_owned()), RequestProblem::NotFound("a.png".to_owned())];
        assert_eq!(site.problems(), expected);
    }
}

#[cfg(test)]
mod decoder_tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use hyperfarm_media::{Decoders, MediaLimits};
    use hyperfarm_proto::failure::FailureCode;
    use hyperfarm_proto::frame::FrameRate;
    use hyperfarm_proto::plan::MediaTiming;
    use hyperfarm_proto::spec::Size;

    use super::*;

    /// A site with a video whose decoder answers that it is open, and then ends by `signal`.
    fn site_with_decoder_ended_by(folder: &Path, signal: &str) -> Site {
        let (program, media) = (folder.join("decoder"), folder.join("blob"));
        let script = format!(
            "#!/bin/sh\ndd bs=65536 count=1 of=/dev/null 2>/dev/null\nprintf '\\006\\000\\000\\000\"Open\"' >&0\n\
             ulimit -c 0\nkill -{signal} $$\n"
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let timing = MediaTiming { start: 0.0, end: 1.0, media_start: 0.0, rate: 1.0, looped: false };
        let headers = VideoHeaders {
            time_base: (1, 30),
            origin: 0,
            duration: Some(1.0),
            has_variable_rate: false,
            display: Size { width: 2, height: 2 },
            has_alpha: false,
            hdr: None,
        };
        let decoders = Decoders::isolated(program, MediaLimits::default());
        let rate = FrameRate::new(30, 1).unwrap();
        let video = decoders.video(&media, "media/hills.mp4", &headers, &timing, rate).unwrap();
        Site::new(HashMap::new(), vec![video])
    }

    #[tokio::test]
    async fn a_page_without_its_picture_failed_by_the_decoder() {
        for (signal, is_users) in [("SEGV", true), ("KILL", false)] {
            let folder = tempfile::tempdir().unwrap();
            let site = site_with_decoder_ended_by(folder.path(), signal);
            let of_page = || WorkerError::Inconsistent("a picture did not load".to_owned());
            assert!(matches!(site.cause_of(of_page()), WorkerError::Inconsistent(_)), "no picture was asked for");
            for _ in 0..2 {
                let response = site.respond("/__hyperfarm/video/0/3.bmp", None).await;
                assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            }
            assert!(matches!(site.cause_of(WorkerError::Cancelled("chunk")), WorkerError::Cancelled(_)));
            let cause = site.cause_of(of_page());
            assert!(cause.to_string().contains("media/hills.mp4"), "{cause}");
            assert_eq!(cause.code() == FailureCode::MediaInvalid, is_users, "{signal}: {cause}");
        }
    }
}
