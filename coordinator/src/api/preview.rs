//! What is finished of a render, to watch while the rest is made: HLS with fragmented mp4.
//!
//! Segments are turned into pieces when somebody asks for one: their packets are copied, which takes milliseconds. The last ones
//! asked for are kept in memory, up to a bound. A piece never changes; the playlist grows until every chunk is there.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_media::{AudioFragments, MediaError, PlaylistKind, SegmentPosition, codec_name, media_playlist};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::spec::AudioCodec;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::Api;
use super::error::{ApiError, Code};
use crate::coordinator::RenderInternals;
use crate::progress::{RenderProgress, is_playable};
use crate::timeline::Segment;

/// Bytes of pieces in the cache at most.
const CACHED_BYTES: u64 = 128 * 1024 * 1024;

/// Pieces that the cache is laid out for. With so few it has one shard, so that one piece may take a large part of all
/// bytes.
const CACHED_PIECES: usize = 32;

/// Segments that are turned into pieces at once.
const AT_ONCE: usize = 2;

/// Seconds of a piece of sound.
const SOUND_SECONDS: f64 = 10.0;

/// A longer sound is left out: it would be read whole for each of its pieces.
const SOUND_MAX: u64 = 64 * 1024 * 1024;

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const REVALIDATE: &str = "no-cache";
const FOR_EVER: &str = "private, max-age=604800, immutable";

/// The playlist that a client of a render at `progress` begins with. Another name once the sound is there, for a player that has begun
/// without it does not look again.
pub(super) fn master(progress: &RenderProgress) -> &'static str {
    let is_silent = progress.plan.as_ref().is_some_and(|plan| plan.has_audio) && !progress.has_sound;
    if is_silent { "silent.m3u8" } else { "index.m3u8" }
}

/// The pieces asked for last, and those that are being made. Whoever asks for one that is being made waits for it.
pub struct PieceCache {
    pieces: Cache<String, CachedPiece, PieceBytes>,
    remux_permits: Semaphore,
}

impl Default for PieceCache {
    fn default() -> Self {
        let pieces = Cache::with_weighter(CACHED_PIECES, CACHED_BYTES, PieceBytes);
        Self { pieces, remux_permits: Semaphore::new(AT_ONCE) }
    }
}

/// Counts the bytes of a piece.
#[derive(Clone)]
struct PieceBytes;

impl Weighter<String, CachedPiece> for PieceBytes {
    fn weight(&self, _: &String, piece: &CachedPiece) -> u64 {
        match piece {
            CachedPiece::Bytes(bytes) => bytes.len() as u64,
            CachedPiece::Sound(sound) => {
                (sound.header.len() + sound.pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>()) as u64
            }
        }
    }
}

#[derive(Clone)]
enum CachedPiece {
    Bytes(Bytes),
    Sound(Arc<Sound>),
}

struct Sound {
    header: Bytes,
    pieces: Vec<(f64, Bytes)>,
    codec: &'static str,
}

impl PieceCache {
    /// The piece with this key; where it is not in the cache `make` makes it of the object `source`.
    async fn get<F>(&self, objects: &Objects, key: String, source: &str, make: F) -> Result<CachedPiece, ApiError>
    where
        F: FnOnce(&FilePath, &FilePath) -> Result<CachedPiece, MediaError> + Send + 'static,
    {
        self.pieces.get_or_insert_async(&key, self.make(objects, source, make)).await
    }

    async fn make<F>(&self, objects: &Objects, source: &str, make: F) -> Result<CachedPiece, ApiError>
    where
        F: FnOnce(&FilePath, &FilePath) -> Result<CachedPiece, MediaError> + Send + 'static,
    {
        let _permit = self.remux_permits.acquire().await.map_err(|error| ApiError::internal(&error))?;
        let folder = tempfile::tempdir().map_err(|error| ApiError::internal(&error))?;
        let name = source.rsplit('/').next().unwrap_or("source").to_owned();
        let file = folder.path().join(name);
        match objects.get_file(source, &file).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => return Err(missing()),
            Err(error) => return Err(error.into()),
        }
        let made = tokio::task::spawn_blocking(move || make(&file, folder.path())).await;
        match made.map_err(|error| ApiError::internal(&error))? {
            Ok(piece) => Ok(piece),
            // The render itself is checked when it is joined; a preview is not worth an error of the farm.
            Err(error @ (MediaError::Part(_) | MediaError::Frames { .. })) => {
                tracing::warn!(source, %error, "a stored segment or sound cannot be read for a preview");
                Err(missing())
            }
            Err(error) => Err(ApiError::internal(&error)),
        }
    }
}

fn missing() -> ApiError {
    ApiError::new(Code::ResourceNotFound, "there is no such piece, or not yet")
}

/// `GET /preview/{expires}/{signature}/{render_id}/{file}`.
pub(super) async fn read(
    State(api): State<Api>,
    Path((expires, signature, render, file)): Path<(String, String, String, String)>,
) -> Result<Response, ApiError> {
    let refused =
        || ApiError::new(Code::Forbidden, "the URL is not this farm's, or has run out; ask the API for a new one");
    let render: RenderId = render.parse().map_err(|_| refused())?;
    let expires: u64 = expires.parse().map_err(|_| refused())?;
    match api.signed_urls.verify_preview(&render, expires, &signature).await {
        Ok(true) => {}
        Ok(false) => return Err(refused()),
        Err(error) => return Err(ApiError::internal(&error)),
    }
    let RenderInternals { plan, timeline, has_sound } = api.coordinator.internals(&render).await?;
    let plan = plan.filter(|plan| is_playable(&plan.content.encoder)).ok_or_else(missing)?;
    let chunks = timeline.chunks();
    let made = (0..).map_while(|chunk| chunks.get(&chunk).and_then(|(_, committed)| (*committed)?.segment.clone()));
    let leading: Vec<Arc<Segment>> = made.take(plan.chunks.len()).collect();
    if leading.is_empty() {
        return Err(missing());
    }
    let film = Film { api: &api, render: &render, plan: &plan, leading };
    let sound = || async { if has_sound { film_sound(&api, &render, &plan).await } else { Ok(None) } };
    match file.as_str() {
        "index.m3u8" => Ok(playlist(film.master(sound().await?.as_deref()).await?)),
        "silent.m3u8" => Ok(playlist(film.master(None).await?)),
        "video.m3u8" => Ok(playlist(film.pictures())),
        "sound.m3u8" => {
            let sound = sound().await?.ok_or_else(missing)?;
            Ok(playlist(sounds(&sound)))
        }
        "init.mp4" => Ok(piece("video/mp4", film.header().await?)),
        "sound.mp4" => Ok(piece("audio/mp4", sound().await?.ok_or_else(missing)?.header.clone())),
        other => {
            let number = other.strip_suffix(".m4s").ok_or_else(missing)?;
            if let Some(number) = number.strip_prefix("sound-") {
                let number: usize = number.parse().map_err(|_| missing())?;
                let sound = sound().await?.ok_or_else(missing)?;
                let (_, bytes) = sound.pieces.get(number).ok_or_else(missing)?;
                return Ok(piece("audio/mp4", bytes.clone()));
            }
            let number: u32 = number.parse().map_err(|_| missing())?;
            Ok(piece("video/mp4", film.piece(number).await?))
        }
    }
}

fn answer(kind: &'static str, cache: &'static str, body: impl IntoResponse) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, cache), (X_CONTENT_TYPE_OPTIONS, "nosniff")], body).into_response()
}

fn playlist(text: String) -> Response {
    answer(PLAYLIST, REVALIDATE, text)
}

fn piece(kind: &'static str, bytes: Bytes) -> Response {
    answer(kind, FOR_EVER, bytes)
}

/// What of a render can be watched.
struct Film<'a> {
    api: &'a Api,
    render: &'a RenderId,
    plan: &'a Plan,
    /// Its chunks from the first one on, as far as there is no gap.
    leading: Vec<Arc<Segment>>,
}

impl Film<'_> {
    fn place(&self, chunk: u32) -> Option<SegmentPosition> {
        let range = self.plan.chunk(chunk)?;
        let content = &self.plan.content;
        Some(SegmentPosition {
            first_frame: range.start(),
            frames: range.count(),
            total_frames: content.frames,
            rate: content.frame_rate,
        })
    }

    async fn made<F>(&self, name: &str, chunk: u32, make: F) -> Result<Bytes, ApiError>
    where
        F: FnOnce(&FilePath, &FilePath, SegmentPosition) -> Result<Vec<u8>, MediaError> + Send + 'static,
    {
        let made = self.leading.get(chunk as usize).ok_or_else(missing)?;
        let place = self.place(chunk).ok_or_else(missing)?;
        let objects = &self.api.coordinator.backplane().objects;
        let make = move |file: &FilePath, folder: &FilePath| {
            make(file, folder, place).map(|bytes| CachedPiece::Bytes(Bytes::from(bytes)))
        };
        match self.api.pieces.get(objects, format!("{}/{name}", self.render), &made.key, make).await? {
            CachedPiece::Bytes(bytes) => Ok(bytes),
            CachedPiece::Sound(_) => Err(missing()),
        }
    }

    /// What a player needs before any piece: every segment has the same headers.
    async fn header(&self) -> Result<Bytes, ApiError> {
        self.made("init", 0, |file, folder, place| hyperfarm_media::video_header(file, 0, place, folder)).await
    }

    async fn piece(&self, chunk: u32) -> Result<Bytes, ApiError> {
        let make = move |file: &FilePath, _: &FilePath, place| hyperfarm_media::video_fragment(file, chunk, place);
        self.made(&chunk.to_string(), chunk, make).await
    }

    async fn master(&self, sound: Option<&Sound>) -> Result<String, ApiError> {
        let content = &self.plan.content;
        let size = content.encoder.codec.coded_size(content.viewport.output());
        let bits = self
            .leading
            .iter()
            .zip(&self.plan.chunks)
            .map(|(made, range)| made.bytes as f64 * 8.0 / content.frame_rate.seconds_of(range.count()).max(1e-3));
        let mut stream = format!(
            "BANDWIDTH={},RESOLUTION={}x{},FRAME-RATE={:.3}",
            bits.fold(1.0, f64::max).ceil() as u64 + if sound.is_some() { 256_000 } else { 0 },
            size.width,
            size.height,
            content.frame_rate.as_f64()
        );
        if let Some(codec) = codec_name(&self.header().await?) {
            let sound = sound.map(|sound| format!(",{}", sound.codec)).unwrap_or_default();
            stream.push_str(&format!(",CODECS=\"{codec}{sound}\""));
        }
        let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        if sound.is_some() {
            text.push_str(
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"sound\",NAME=\"sound\",DEFAULT=YES,AUTOSELECT=YES,URI=\"sound.m3u8\"\n",
            );
            stream.push_str(",AUDIO=\"sound\"");
        }
        text.push_str(&format!("#EXT-X-STREAM-INF:{stream}\nvideo.m3u8\n"));
        Ok(text)
    }

    fn pictures(&self) -> String {
        let rate = self.plan.content.frame_rate;
        let seconds: Vec<f64> = self.plan.chunks.iter().map(|range| rate.seconds_of(range.count())).collect();
        let pieces = seconds.iter().zip(&self.leading).enumerate();
        let pieces = pieces.map(|(number, (seconds, _))| (*seconds, format!("{number}.m4s")));
        // The longest of the whole render, because it must not change.
        let longest = seconds.iter().copied().fold(0.0, f64::max);
        let is_complete = self.leading.len() == self.plan.chunks.len();
        media_playlist("init.mp4", longest, pieces, PlaylistKind::Growing { is_complete })
    }
}

fn sounds(sound: &Sound) -> String {
    let longest = sound.pieces.iter().map(|(seconds, _)| *seconds).fold(0.0, f64::max);
    let pieces = sound.pieces.iter().enumerate();
    let pieces = pieces.map(|(number, (seconds, _))| (*seconds, format!("sound-{number}.m4s")));
    media_playlist("sound.mp4", longest, pieces, PlaylistKind::Growing { is_complete: true })
}

/// The committed sound in pieces; none where it is too long.
async fn film_sound(api: &Api, render: &RenderId, plan: &Plan) -> Result<Option<Arc<Sound>>, ApiError> {
    let objects = &api.coordinator.backplane().objects;
    let codec = plan.content.encoder.audio_codec;
    if codec == AudioCodec::Pcm {
        // Browsers play no plain samples in fragments.
        return Ok(None);
    }
    let (key, source) = (format!("{render}/sound"), keys::audio(render, codec));
    if api.pieces.pieces.peek(&key).is_none() && objects.head(&source).await?.bytes > SOUND_MAX {
        return Ok(None);
    }
    let make = |file: &FilePath, folder: &FilePath| {
        let AudioFragments { header, fragments: pieces, codec } =
            hyperfarm_media::audio_fragments(file, SOUND_SECONDS, folder)?;
        let pieces = pieces.into_iter().map(|(seconds, piece)| (seconds, Bytes::from(piece))).collect();
        Ok(CachedPiece::Sound(Arc::new(Sound { header: header.into(), pieces, codec })))
    };
    match api.pieces.get(objects, key, &source, make).await? {
        CachedPiece::Sound(sound) => Ok(Some(sound)),
        CachedPiece::Bytes(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_a_bound_in_bytes_and_one_that_is_asked_for_again_stays() {
        let cache = PieceCache::default();
        let part = CACHED_BYTES as usize / 16;
        let large = || CachedPiece::Bytes(Bytes::from(vec![0; part]));
        cache.pieces.insert("a".to_owned(), large());
        for number in 0..64 {
            assert!(cache.pieces.get("a").is_some(), "a piece in use was dropped after {number} others");
            cache.pieces.insert(number.to_string(), large());
            assert!(cache.pieces.weight() <= CACHED_BYTES);
        }
        assert!(cache.pieces.len() <= 16 && cache.pieces.get("63").is_some());
        cache.pieces.insert("63".to_owned(), CachedPiece::Bytes(Bytes::new()));
        assert!(cache.pieces.weight() <= CACHED_BYTES - part as u64);
    }
}
