//! What one page may load.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use hyperfarm_media::{Picture, VideoSource, VideoTimeline};
use hyperfarm_proto::plan::RemoteAsset;
use hyperfarm_proto::spec::Size;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::range::{Span, span_of};
use super::{OWN_PREFIX, bmp, plain};

/// Problems remembered a page; a script in a loop must not fill the memory.
const KEPT_PROBLEMS: usize = 100;

/// A file on this machine's disk.
#[derive(Debug, Clone)]
pub struct SiteFile {
    /// Where.
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
}

/// A request that was not served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestProblem {
    /// The project has no such file: its path.
    NotFound(String),
    /// Not this origin: the URL.
    Blocked(String),
}

/// A video whose pictures are served.
struct Video {
    timeline: VideoTimeline,
    size: Size,
    pictures: Arc<Mutex<Pictures>>,
}

/// Its decoder, and the last picture as a file.
struct Pictures {
    source: VideoSource,
    last: Option<(u64, BitmapFile)>,
}

/// A bitmap in two parts, its pixels still where the decoder put them.
#[derive(Clone)]
struct BitmapFile {
    header: Bytes,
    pixels: Bytes,
}

/// A picture's pixels as something that [`Bytes`] can share.
struct Pixels(Arc<Picture>);

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        &self.0.bgra
    }
}

impl Pictures {
    /// Picture `number` as a file.
    fn file(&mut self, number: u64) -> Result<BitmapFile, String> {
        if let Some((last, file)) = &self.last
            && *last == number
        {
            return Ok(file.clone());
        }
        let alpha = self.source.has_alpha();
        let picture = self.source.numbered(number).map_err(|error| error.to_string())?;
        let header = Bytes::from(bmp::header(&picture, alpha));
        let file = BitmapFile { header, pixels: Bytes::from_owner(Pixels(picture)) };
        self.last = Some((number, file.clone()));
        Ok(file)
    }
}

/// Files by path, the farm's own scripts and fonts, and the pictures of videos.
#[derive(Default)]
pub struct Site {
    files: HashMap<String, SiteFile>,
    videos: Vec<Video>,
    /// Path of a file, or of the farm's own prefix, by URL.
    remote: HashMap<String, String>,
    problems: Mutex<BTreeSet<RequestProblem>>,
}

impl Site {
    /// A site of these files, by path from the project's root, and these videos, by index.
    pub fn new(files: HashMap<String, SiteFile>, videos: Vec<VideoSource>) -> Self {
        let videos = videos
            .into_iter()
            .map(|source| Video {
                timeline: source.timeline().clone(),
                size: source.display_size(),
                pictures: Arc::new(Mutex::new(Pictures { source, last: None })),
            })
            .collect();
        Self { files, videos, remote: HashMap::new(), problems: Mutex::default() }
    }

    /// Serves what the plan has for URLs under these URLs too.
    pub fn with_remote(mut self, remote: &[RemoteAsset]) -> Self {
        let found = remote.iter().filter_map(|asset| Some((asset.url.clone(), asset.path.clone()?)));
        self.remote = found.collect();
        self
    }

    /// Answers a request for a URL of another origin.
    pub(super) async fn respond_remote(&self, url: &str, range: Option<&str>) -> Response {
        match self.remote.get(url) {
            Some(path) => Box::pin(self.respond(&format!("/{path}"), range)).await,
            None => {
                self.remember(RequestProblem::Blocked(url.to_owned()));
                plain(StatusCode::FORBIDDEN, "pages of this farm load nothing from outside")
            }
        }
    }

    /// Size in which video `index` is displayed.
    pub fn video_size(&self, index: usize) -> Option<Size> {
        Some(self.videos.get(index)?.size)
    }

    /// URL path of the picture that video `index` shows at output frame `frame`: equal paths are equal pictures.
    pub fn picture_path(&self, index: usize, frame: u64) -> Option<String> {
        let number = self.videos.get(index)?.timeline.picture_at(frame);
        Some(format!("{OWN_PREFIX}video/{index}/{number}.bmp"))
    }

    /// Begins to decode the picture that video `index` shows at output frame `frame`, so that it is there when it is asked for.
    pub fn prepare(&self, index: usize, frame: u64) {
        let Some(video) = self.videos.get(index) else { return };
        let (pictures, number) = (video.pictures.clone(), video.timeline.picture_at(frame));
        tokio::task::spawn_blocking(move || {
            // A failure comes again, and is told, when the page asks.
            if let Ok(mut pictures) = pictures.lock() {
                let _ = pictures.file(number);
            }
        });
    }

    /// Requests that were not served, each once.
    pub fn problems(&self) -> Vec<RequestProblem> {
        self.problems.lock().map(|problems| problems.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn remember(&self, problem: RequestProblem) {
        if let Ok(mut problems) = self.problems.lock()
            && problems.len() < KEPT_PROBLEMS
        {
            problems.insert(problem);
        }
    }

    pub(super) async fn respond(&self, path: &str, range: Option<&str>) -> Response {
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
                // Browsers ask for it on their own; no page means it.
                if path != "favicon.ico" {
                    self.remember(RequestProblem::NotFound(path));
                }
                plain(StatusCode::NOT_FOUND, "the project has no such file")
            }
        }
    }

    async fn respond_own(&self, path: &str) -> Response {
        if let Some(asset) = crate::assets::own(path) {
            return whole(asset.media_type, Bytes::from_static(asset.bytes));
        }
        let picture = path.strip_prefix("video/").and_then(|rest| {
            let (index, number) = rest.strip_suffix(".bmp")?.split_once('/')?;
            Some((index.parse::<usize>().ok()?, number.parse::<u64>().ok()?))
        });
        match picture.and_then(|(index, number)| Some((self.videos.get(index)?.pictures.clone(), number))) {
            Some((pictures, number)) => respond_picture(pictures, number).await,
            None => plain(StatusCode::NOT_FOUND, "the farm has no such file"),
        }
    }
}

async fn respond_picture(pictures: Arc<Mutex<Pictures>>, number: u64) -> Response {
    let decoded =
        tokio::task::spawn_blocking(move || pictures.lock().map_err(|_| "the decoder broke".to_owned())?.file(number));
    match decoded.await {
        Ok(Ok(BitmapFile { header, pixels })) => {
            let length = header.len() + pixels.len();
            let parts = futures::stream::iter([header, pixels].map(Ok::<_, std::convert::Infallible>));
            with_length("image/bmp", Body::from_stream(parts), length)
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, number, "a video's picture cannot be decoded");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the picture cannot be decoded")
        }
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the decoder broke"),
    }
}

async fn respond_file(path: &str, file: &SiteFile, range: Option<&str>) -> Response {
    let span = match range {
        None => Span { start: 0, end: file.bytes },
        Some(range) => match span_of(range, file.bytes) {
            Some(span) => span,
            None => return plain(StatusCode::RANGE_NOT_SATISFIABLE, "no such range"),
        },
    };
    let opened = async {
        let mut handle = tokio::fs::File::open(&file.path).await?;
        handle.seek(std::io::SeekFrom::Start(span.start)).await?;
        Ok::<_, std::io::Error>(handle.take(span.end - span.start))
    };
    let body = match opened.await {
        Ok(reader) => Body::from_stream(ReaderStream::with_capacity(reader, 256 * 1024)),
        Err(error) => {
            tracing::error!(%error, path, "a file of the project is gone from the cache");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read");
        }
    };
    let mut response = with_headers(media_type(path), body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(span.end - span.start));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if range.is_some() {
        let text = format!("bytes {}-{}/{}", span.start, span.end.saturating_sub(1), file.bytes);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

fn whole(media_type: &'static str, bytes: Bytes) -> Response {
    let length = bytes.len();
    with_length(media_type, Body::from(bytes), length)
}

fn with_length(media_type: &'static str, body: Body, length: usize) -> Response {
    let mut response = with_headers(media_type, body);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Nothing is cached by the browser: the next page may have another file under the same path.
fn with_headers(media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Percent-decodes a URL path to a path from the project's root; `None` where it is not encoded as it must be.
pub(crate) fn decode_path(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.trim_start_matches('/').bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn media_type(path: &str) -> &'static str {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref().unwrap_or_default() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" | "cjs" => "text/javascript; charset=utf-8",
        "json" | "lottie.json" | "map" => "application/json; charset=utf-8",
        "txt" | "srt" | "vtt" | "cube" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" | "apng" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "bmp" => "image/bmp",
        "ico" => "image/x-icon",
        "mp4" | "m4v" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "aac" => "audio/aac",
        "m4a" => "audio/mp4",
        "flac" => "audio/flac",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "wasm" => "application/wasm",
        "glb" => "model/gltf-binary",
        "gltf" => "model/gltf+json",
        "xml" => "application/xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(decode_path("/a%20b/%C3%A9.png").as_deref(), Some("a b/é.png"));
        assert_eq!(decode_path("/%252e").as_deref(), Some("%2e"));
        assert_eq!(decode_path("/%"), None);
        assert_eq!(decode_path("/%ff"), None);
    }

    #[tokio::test]
    async fn what_the_plan_has_for_a_url_is_served_under_it() {
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
    async fn a_missing_file_is_remembered_once_and_a_favicon_never() {
        let site = Site::default();
        for path in ["/a.png", "/a.png", "/favicon.ico", "/../etc/passwd"] {
            assert_eq!(site.respond(path, None).await.status(), StatusCode::NOT_FOUND);
        }
        let expected =
            vec![RequestProblem::NotFound("../etc/passwd".to_owned()), RequestProblem::NotFound("a.png".to_owned())];
        assert_eq!(site.problems(), expected);
    }
}
