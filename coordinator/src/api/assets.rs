//! Assets: upload in one request, or straight to storage.

use std::path::PathBuf;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::multipart::{MultipartError, MultipartRejection};
use axum::extract::{Extension, Multipart, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use hyperfarm_api::assets::{
    Asset, AssetDeleted, AssetStatus, AssetUploaded, CompleteRequest, PendingStatus, UploadBegun, UploadReceived,
    UploadRequest, UploadedStatus,
};
use hyperfarm_api::request::{self, ListQuery};
use hyperfarm_api::{Data, Page};
use hyperfarm_proto::id::ContentHash;
use sha2::{Digest, Sha256};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;
use url::Url;

use super::base_url::base_url;
use super::error::{ApiError, Code};
use super::page::{self, PAGE_MAX, PageRange, Query};
use super::{Answer, Api, List};
use crate::api_keys::Caller;
use crate::assets::{self, ACCEPTED_TYPES, AssetRecord};
use crate::submission::Seed;

/// Characters of a file's name at most.
const NAME_MAX: usize = 255;

/// Items on a page, where the client does not say.
const PAGE: usize = 20;

/// Direct uploads that a space may have announced and not completed.
const UNFINISHED_MAX: usize = 200;

/// Seconds after which a client that has announced too many may ask again.
const UNFINISHED_RETRY_AFTER: u64 = 60;

/// The media type of an upload whose client does not know it.
pub(super) const UNTYPED: &str = "application/octet-stream";

/// `POST /v3/assets`, multipart.
pub(super) async fn upload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, ApiError> {
    let mut form =
        form.map_err(|error| ApiError::invalid("file", format!("the body is no multipart form: {error}")))?;
    let most = api.coordinator.config().limits.upload_bytes;
    let broken =
        |error: MultipartError| ApiError::invalid("file", format!("the form cannot be read: {}", error.body_text()));
    let mut received = None;
    while let Some(field) = form.next_field().await.map_err(broken)? {
        if field.name() != Some("file") {
            continue;
        }
        let name = field.file_name().unwrap_or("file").chars().take(NAME_MAX).collect::<String>();
        let parts = field.map(|part| part.map_err(|error| broke_off("file", &error.body_text())));
        let too_large = || {
            let advice = "upload a larger one with /v3/assets/direct-uploads";
            let code = too_large(name.to_ascii_lowercase().ends_with(".zip"));
            ApiError::new(code, format!("a file in a form may have {most} bytes; {advice}")).of("file")
        };
        let file = Received::of(parts, most, too_large).await?;
        received = Some((name, file));
        break;
    }
    let (name, file) = received.ok_or_else(|| ApiError::invalid("file", "the form has no field `file`"))?;
    let mime_type = known(&file.start, &name, "file")?;
    let digest = file.hash.to_string();
    let (idempotency, base) = (api.idempotency.clone(), base_url(&api.config, &headers));
    let caller_ = caller.clone();
    let make = move |seed: Seed| async move {
        let record = AssetRecord {
            id: seed.id("asset"),
            space: caller_.rights.space.clone(),
            name,
            mime_type: mime_type.to_owned(),
            extension: assets::extension_of(mime_type).to_owned(),
            bytes: file.bytes,
            checksum: Some(file.hash),
            owner: caller_.name.clone(),
            created_at_ms: seed.at_ms(),
            is_complete: true,
        };
        keep(&api, &record, &file).await?;
        let url = url_of(&api, base.as_ref(), &record).await?;
        Ok((StatusCode::OK, uploaded(record, url, None)))
    };
    Ok(idempotency.answer(&caller, "POST /v3/assets", &headers, digest.as_bytes(), make).await)
}

/// `POST /v3/assets/direct-uploads`.
pub(super) async fn begin(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = super::read_body(body).await?;
    let asked: UploadRequest = request::parse(request::object(&body)?)?;
    if asked.filename.trim().is_empty() {
        return Err(ApiError::invalid("filename", "filename must be the file's name"));
    }
    let name = String::from(asked.filename);
    let mime_type = asked.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_taken =
        mime_type == UNTYPED || ACCEPTED_TYPES.iter().any(|(known, _)| *known == assets::canonical(&mime_type));
    if !is_taken {
        let types: Vec<&str> = ACCEPTED_TYPES.iter().map(|(known, _)| *known).collect();
        return Err(ApiError::invalid("content_type", format!("content_type must be one of {}", types.join(", "))));
    }
    let most = api.coordinator.config().limits.bundle_bytes;
    let bytes = asked.size_bytes;
    if bytes == 0 {
        return Err(ApiError::invalid("size_bytes", "size_bytes must be the exact length in bytes"));
    }
    if bytes > most {
        let message = format!("an asset may have {most} bytes, and {bytes} were announced");
        let code = too_large(assets::canonical(&mime_type) == "application/zip");
        return Err(ApiError::new(code, message).of("size_bytes"));
    }
    let checksum = checksum(asked.checksum_sha256.as_deref())?;
    let base = base_url(&api.config, &headers).ok_or_else(no_base)?;
    let idempotency = api.idempotency.clone();
    let caller_ = caller.clone();
    let make = move |seed: Seed| async move {
        let upload = Upload { name, mime_type, bytes, checksum };
        let (record, url) = announce(&api, &caller_, upload, &base, seed).await?;
        let begun = UploadBegun {
            asset_id: record.id,
            upload_url: url.to_string(),
            upload_headers: [("content-type".to_owned(), record.mime_type)].into(),
            expires_in_seconds: api.config.upload_url_lifetime.as_secs(),
            max_bytes: most,
            status: PendingStatus::PendingUpload,
        };
        Ok((StatusCode::OK, begun))
    };
    Ok(idempotency.answer(&caller, "POST /v3/assets/direct-uploads", &headers, &body, make).await)
}

/// An upload that is announced.
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) mime_type: String,
    /// 0 where the client does not know it.
    pub(super) bytes: u64,
    pub(super) checksum: Option<ContentHash>,
}

/// Stores the record of an upload. Returns it with the URL to upload to.
///
/// # Errors
///
/// [`Code::RateLimited`] for a space that has [`UNFINISHED_MAX`] unfinished ones.
pub(super) async fn announce(
    api: &Api,
    caller: &Caller,
    upload: Upload,
    base: &Url,
    seed: Seed,
) -> Result<(AssetRecord, Url), ApiError> {
    let Upload { name, mime_type, bytes, checksum } = upload;
    let record = AssetRecord {
        id: seed.id("asset"),
        space: caller.rights.space.clone(),
        name,
        mime_type,
        extension: String::new(),
        bytes,
        checksum,
        owner: caller.name.clone(),
        created_at_ms: seed.at_ms(),
        is_complete: false,
    };
    let valid = api.config.upload_url_lifetime;
    let url = api.signed_urls.sign_put(&record.incoming_key(), base, valid).await;
    let url = url.map_err(|error| ApiError::internal(&error))?;
    let objects = &api.coordinator.backplane().objects;
    if assets::unfinished(objects, &record.space).await? >= UNFINISHED_MAX {
        let message = format!(
            "the space has {UNFINISHED_MAX} uploads that are announced and not complete; complete or delete some of these assets"
        );
        return Err(ApiError::new(Code::RateLimited, message).retry_after(UNFINISHED_RETRY_AFTER));
    }
    assets::put(objects, &record).await?;
    Ok((record, url))
}

/// `PUT /uploads/{key}?signature`: the bytes of a direct upload, where storage has no signed URLs of its own.
pub(super) async fn receive(
    State(api): State<Api>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer<UploadReceived> {
    super::files::check(&api, "PUT", &key, query.as_deref().unwrap_or_default()).await?;
    let parts: Vec<&str> = key.split('/').collect();
    let missing = || ApiError::new(Code::AssetNotFound, "there is no such upload any more");
    let [_, space, id] = parts[..] else { return Err(missing()) };
    let objects = &api.coordinator.backplane().objects;
    let space = space.parse().map_err(|_| missing())?;
    let record = assets::get(objects, &space, id).await?.ok_or_else(missing)?;
    let parts = body.into_data_stream().map(|part| part.map_err(|error| broke_off("body", &error)));
    let too_many = || other_length(&record, "more");
    let file = Received::of(parts, bytes_max(&api, &record), too_many).await?;
    if record.announced_bytes().is_some_and(|bytes| bytes != file.bytes) {
        return Err(other_length(&record, &file.bytes.to_string()));
    }
    // A client that repeats itself under an idempotency key uploads again, to what is complete too; nobody reads it then.
    if !record.is_complete {
        objects.put_file(&key, &file.path).await?;
    }
    Ok(Json(Data { data: UploadReceived { asset_id: record.id } }))
}

/// `POST /v3/assets/{id}/complete`.
pub(super) async fn complete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<AssetUploaded> {
    let body = super::read_body(body).await?;
    let fields = if body.is_empty() { Default::default() } else { request::object(&body)? };
    let asked: CompleteRequest = request::parse(fields)?;
    let asked = checksum(asked.checksum_sha256.as_deref())?;
    let record = find(&api, &caller, &id).await?;
    let record = completed(&api, record, asked).await?;
    let url = url_of(&api, base_url(&api.config, &headers).as_ref(), &record).await?;
    Ok(Json(Data { data: uploaded(record, url, Some(UploadedStatus::Processing)) }))
}

/// The asset of an upload whose bytes have arrived. Completes it if it is not complete yet.
async fn completed(api: &Api, mut record: AssetRecord, asked: Option<ContentHash>) -> Result<AssetRecord, ApiError> {
    if record.is_complete {
        return with_checksum(record, asked);
    }
    // What was uploaded can be written to for as long as its URL is good: what is checked here is a copy, and it is the asset.
    let file = match api.coordinator.backplane().objects.stream(&record.incoming_key(), None).await {
        Ok((meta, _)) if record.announced_bytes().is_some_and(|bytes| bytes != meta.bytes) => {
            return Err(other_length(&record, &meta.bytes.to_string()));
        }
        Ok((_, parts)) => {
            let too_many = || other_length(&record, "more");
            let parts = parts.map(|part| part.map_err(ApiError::from));
            Received::of(parts, bytes_max(api, &record), too_many).await?
        }
        Err(error) if error.is_not_found() => {
            // Another request may have completed it in the meantime.
            let record = assets::get(&api.coordinator.backplane().objects, &record.space, &record.id).await?;
            let record = record.filter(|record| record.is_complete).ok_or_else(not_arrived)?;
            return with_checksum(record, asked);
        }
        Err(error) => return Err(error.into()),
    };
    for expected in [asked, record.checksum].into_iter().flatten() {
        if file.hash != expected {
            let message = format!("the file's SHA-256 is {}, not {expected}; upload it again", file.hash);
            return Err(ApiError::invalid("checksum_sha256", message));
        }
    }
    let mime_type = known(&file.start, &record.name, "content_type")?;
    if record.mime_type != UNTYPED && assets::canonical(&record.mime_type) != mime_type {
        let message = format!("{} was announced as content_type, and the file is {mime_type}", record.mime_type);
        return Err(ApiError::invalid("content_type", message));
    }
    record.mime_type = mime_type.to_owned();
    record.extension = assets::extension_of(mime_type).to_owned();
    record.bytes = file.bytes;
    record.checksum = Some(file.hash);
    record.is_complete = true;
    keep(api, &record, &file).await?;
    Ok(record)
}

/// A complete asset, if its checksum is the one that is asked for.
fn with_checksum(record: AssetRecord, asked: Option<ContentHash>) -> Result<AssetRecord, ApiError> {
    match (asked, record.checksum) {
        (Some(asked), Some(known)) if asked != known => {
            Err(ApiError::invalid("checksum_sha256", format!("the file's SHA-256 is {known}, not {asked}")))
        }
        _ => Ok(record),
    }
}

/// Bytes that an upload may have.
fn bytes_max(api: &Api, record: &AssetRecord) -> u64 {
    record.announced_bytes().unwrap_or(api.coordinator.config().limits.bundle_bytes)
}

fn not_arrived() -> ApiError {
    let message = "the file has not arrived; PUT it to upload_url, then complete the upload";
    ApiError::new(Code::NotReady, message).retry_after(1)
}

/// Completes an upload whose client does not: what is used is taken as complete.
pub(super) async fn complete_upload(api: &Api, caller: &Caller, id: &str) -> Result<AssetRecord, ApiError> {
    completed(api, find(api, caller, id).await?, None).await
}

/// The asset of an upload whose client does not complete it, and its bytes.
pub(super) async fn uploaded_file(api: &Api, caller: &Caller, id: &str) -> Result<(AssetRecord, Bytes), ApiError> {
    let record = complete_upload(api, caller, id).await?;
    let key = record.data_key().ok_or_else(not_arrived)?;
    Ok((record, api.coordinator.backplane().objects.get(&key).await?))
}

/// The text of an upload. It does not become an asset: text is none of the media types of assets.
pub(super) async fn uploaded_text(api: &Api, caller: &Caller, id: &str, most: u64) -> Result<String, ApiError> {
    let record = find(api, caller, id).await?;
    let key = record.data_key().unwrap_or_else(|| record.incoming_key());
    let objects = &api.coordinator.backplane().objects;
    let (meta, _) = match objects.stream(&key, None).await {
        Err(error) if error.is_not_found() => return Err(not_arrived()),
        found => found?,
    };
    if meta.bytes > most {
        let message = format!("a page may have {most} bytes, and the file has {}", meta.bytes);
        return Err(ApiError::new(Code::ProjectTooLarge, message));
    }
    let text = String::from_utf8(objects.get(&key).await?.into());
    assets::has_arrived(objects, &record).await?;
    text.map_err(|_| ApiError::new(Code::ProjectInvalid, "the file is no page: its bytes are not UTF-8"))
}

/// `GET /v3/assets/{id}`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Asset> {
    let record = find(&api, &caller, &id).await?;
    Ok(Json(Data { data: view(&api, base_url(&api.config, &headers).as_ref(), record).await? }))
}

/// `GET /v3/assets?limit&token`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListQuery<PAGE_MAX>>,
    headers: HeaderMap,
) -> List<Asset> {
    let page = PageRange::of(&query, PAGE)?;
    let objects = &api.coordinator.backplane().objects;
    let ids = assets::ids(objects, &caller.rights.space).await?;
    let base = base_url(&api.config, &headers);
    let (mut data, mut next) = (Vec::<Asset>::new(), None);
    for id in ids.into_iter().filter(|id| page.after.as_ref().is_none_or(|after| id < after)) {
        let Some(record) = assets::get(objects, &caller.rights.space, &id).await? else { continue };
        if data.len() == page.limit {
            next = data.last().map(|last| page::token(&last.id));
            break;
        }
        data.push(view(&api, base.as_ref(), record).await?);
    }
    Ok(Json(Page::new(data, next)))
}

/// `DELETE /v3/assets/{id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<AssetDeleted> {
    let record = find(&api, &caller, &id).await?;
    assets::delete(&api.coordinator.backplane().objects, &record).await?;
    Ok(Json(Data { data: AssetDeleted { id: record.id } }))
}

/// The caller's asset.
pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<AssetRecord, ApiError> {
    let found = assets::get(&api.coordinator.backplane().objects, &caller.rights.space, id).await?;
    found.ok_or_else(|| ApiError::new(Code::AssetNotFound, format!("there is no asset {}", id.escape_debug())))
}

/// Stores bytes that the farm itself has made as a complete asset of the caller's space.
pub(super) async fn store(
    api: &Api,
    caller: &Caller,
    seed: Seed,
    name: &str,
    bytes: Bytes,
) -> Result<AssetRecord, ApiError> {
    let mime_type = known(&bytes, name, "file")?;
    let record = AssetRecord {
        id: seed.id("asset"),
        space: caller.rights.space.clone(),
        name: name.to_owned(),
        mime_type: mime_type.to_owned(),
        extension: assets::extension_of(mime_type).to_owned(),
        bytes: bytes.len() as u64,
        checksum: Some(ContentHash::of(&bytes)),
        owner: caller.name.clone(),
        created_at_ms: seed.at_ms(),
        is_complete: true,
    };
    let objects = &api.coordinator.backplane().objects;
    if let Some(key) = record.data_key() {
        objects.put(&key, bytes).await?;
    }
    assets::put(objects, &record).await?;
    Ok(record)
}

/// Stores a complete asset, its bytes first.
async fn keep(api: &Api, record: &AssetRecord, file: &Received) -> Result<(), ApiError> {
    let objects = &api.coordinator.backplane().objects;
    if let Some(key) = record.data_key() {
        objects.put_file(&key, &file.path).await?;
    }
    Ok(assets::put(objects, record).await?)
}

fn uploaded(record: AssetRecord, url: Option<String>, status: Option<UploadedStatus>) -> AssetUploaded {
    AssetUploaded { asset_id: record.id, url, mime_type: record.mime_type, size_bytes: record.bytes, status }
}

async fn view(api: &Api, base: Option<&Url>, record: AssetRecord) -> Result<Asset, ApiError> {
    Ok(Asset {
        url: url_of(api, base, &record).await?,
        id: record.id,
        name: record.name,
        kind: assets::kind_of(&record.mime_type),
        owner: record.owner,
        uploaded_at: record.created_at_ms / 1000,
        mime_type: record.mime_type,
        size_bytes: record.bytes,
        status: if record.is_complete { AssetStatus::Completed } else { AssetStatus::PendingUpload },
    })
}

pub(super) async fn url_of(api: &Api, base: Option<&Url>, record: &AssetRecord) -> Result<Option<String>, ApiError> {
    let (Some(base), Some(key)) = (base, record.data_key()) else { return Ok(None) };
    let url = api.signed_urls.sign(&key, base).await.map_err(|error| ApiError::internal(&error))?;
    Ok(Some(url.to_string()))
}

fn known(start: &[u8], name: &str, param: &str) -> Result<&'static str, ApiError> {
    assets::sniff(start, name).ok_or_else(|| {
        ApiError::invalid(param, "the file is none of png, jpeg, mp4, webm, mp3, wav, pdf, srt and zip, by its bytes")
    })
}

fn checksum(text: Option<&str>) -> Result<Option<ContentHash>, ApiError> {
    let refused = |_| ApiError::invalid("checksum_sha256", "checksum_sha256 must be 64 hexadecimal digits");
    text.map(|text| text.to_ascii_lowercase().parse().map_err(refused)).transpose()
}

/// The code of a file over a limit: a zip is taken for a project.
fn too_large(is_zip: bool) -> Code {
    if is_zip { Code::ProjectTooLarge } else { Code::TooLarge }
}

fn other_length(record: &AssetRecord, came: &str) -> ApiError {
    let Some(announced) = record.announced_bytes() else {
        return ApiError::new(Code::TooLarge, "the file is larger than the farm takes");
    };
    let message = format!("{announced} bytes were announced as size_bytes, and {came} came; begin a new upload");
    ApiError::invalid("size_bytes", message)
}

fn broke_off(param: &str, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::invalid(param, format!("the upload broke off: {error}"))
}

pub(super) fn no_base() -> ApiError {
    ApiError::invalid("Host", "the request has no Host header to make URLs of")
}

/// A body that was received into a file.
pub(super) struct Received {
    path: TempPath,
    bytes: u64,
    hash: ContentHash,
    start: Vec<u8>,
}

impl Received {
    /// The file, which is removed with this.
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The hash of its bytes.
    pub(super) fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Receives at most `most` bytes; `too_large` is the error of more.
    pub(super) async fn of(
        mut parts: impl futures::Stream<Item = Result<Bytes, ApiError>> + Unpin,
        most: u64,
        too_large: impl Fn() -> ApiError,
    ) -> Result<Self, ApiError> {
        let local = |error: std::io::Error| ApiError::internal(&error);
        let path = tempfile::NamedTempFile::new().map_err(local)?.into_temp_path();
        let mut file = tokio::fs::File::create(PathBuf::from(&*path)).await.map_err(local)?;
        let (mut bytes, mut digest, mut start) = (0u64, Sha256::new(), Vec::new());
        while let Some(part) = parts.next().await {
            let part = part?;
            bytes += part.len() as u64;
            if bytes > most {
                return Err(too_large());
            }
            if start.len() < 512 {
                start.extend_from_slice(&part[..part.len().min(512 - start.len())]);
            }
            digest.update(&part);
            file.write_all(&part).await.map_err(local)?;
        }
        file.flush().await.map_err(local)?;
        Ok(Self { path, bytes, hash: ContentHash::from_digest(digest.finalize().into()), start })
    }
}

/// The bytes of an asset that is a project.
pub(super) async fn project(api: &Api, caller: &Caller, id: &str) -> Result<Bytes, ApiError> {
    let param = "project.asset_id.asset_id";
    let record = find(api, caller, id).await.map_err(|error| error.of(param))?;
    let Some(key) = record.data_key() else {
        let message = format!("the upload of asset {id} is not complete; POST /v3/assets/{id}/complete first");
        return Err(ApiError::new(Code::NotReady, message).of(param));
    };
    if record.mime_type != "application/zip" {
        let message = format!("asset {id} is {}, and a project is a zip", record.mime_type);
        return Err(ApiError::new(Code::ProjectInvalid, message).of(param));
    }
    Ok(api.coordinator.backplane().objects.get(&key).await?)
}
