//! Assets: upload in one request, or straight to storage.

use std::path::PathBuf;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::multipart::{MultipartError, MultipartRejection};
use axum::extract::{Extension, Multipart, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use hyperfarm_proto::id::ContentHash;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;
use url::Url;

use super::Api;
use super::base_url::base_url;
use super::create::{self, Fields};
use super::error::{ApiError, Code};
use super::page::{self, Page};
use crate::api_keys::Caller;
use crate::assets::{self, ACCEPTED_TYPES, AssetKind, AssetRecord};

type Answer = Result<Json<Value>, ApiError>;

const NAME_MAX: usize = 255;

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
        received = Some((name, Received::of(parts, most, "file").await?));
        break;
    }
    let (name, file) = received.ok_or_else(|| ApiError::invalid("file", "the form has no field `file`"))?;
    let mime_type = known(&file.start, &name, "file")?;
    let digest = file.hash.to_string();
    let (once, base) = (api.once.clone(), base_url(&api.config, &headers));
    let caller_ = caller.clone();
    let make = move |seed: crate::intake::Seed| async move {
        let record = AssetRecord {
            id: seed.id("asset"),
            space: caller_.rights.space.clone(),
            name,
            mime_type: mime_type.to_owned(),
            bytes: file.bytes,
            checksum: Some(file.hash),
            owner: caller_.name.clone(),
            created_at_ms: seed.at_ms(),
            is_complete: true,
        };
        keep(&api, &record, &file).await?;
        let url = url_of(&api, base.as_ref(), &record).await?;
        let data = json!({
            "asset_id": record.id, "url": url, "mime_type": record.mime_type, "size_bytes": record.bytes,
        });
        Ok((StatusCode::OK, json!({ "data": data })))
    };
    Ok(once.answer(&caller, "POST /v3/assets", &headers, digest.as_bytes(), make).await)
}

/// `POST /v3/assets/direct-uploads`.
pub(super) async fn begin(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = super::read_body(body).await?;
    let all = create::object(&body)?;
    let fields = Fields { fields: &all, path: "" };
    let name = fields.text("filename", NAME_MAX)?.filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| fields.refused("filename", "the file's name"))?;
    let content_type = fields.text("content_type", 200)?.unwrap_or_default();
    let mime_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_taken = ACCEPTED_TYPES.iter().any(|(known, _)| *known == mime_type)
        || matches!(
            mime_type.as_str(),
            "application/octet-stream" | "application/x-zip-compressed" | "audio/mp3" | "audio/x-wav" | "text/plain"
        );
    if !is_taken {
        let types: Vec<&str> = ACCEPTED_TYPES.iter().map(|(known, _)| *known).collect();
        return Err(fields.refused("content_type", &format!("one of {}", types.join(", "))));
    }
    let most = api.coordinator.config().limits.bundle_bytes;
    let bytes = fields.get("size_bytes").and_then(Value::as_u64).filter(|bytes| *bytes > 0);
    let bytes = bytes.ok_or_else(|| fields.refused("size_bytes", "the exact length in bytes"))?;
    if bytes > most {
        let message = format!("an asset may have {most} bytes, this one has {bytes}");
        return Err(ApiError::new(Code::ProjectTooLarge, message).of("size_bytes"));
    }
    let checksum = checksum(&fields)?;
    let base = base_url(&api.config, &headers).ok_or_else(no_base)?;
    let once = api.once.clone();
    let caller_ = caller.clone();
    let make = move |seed: crate::intake::Seed| async move {
        let record = AssetRecord {
            id: seed.id("asset"),
            space: caller_.rights.space.clone(),
            name,
            mime_type,
            bytes,
            checksum,
            owner: caller_.name.clone(),
            created_at_ms: seed.at_ms(),
            is_complete: false,
        };
        let valid = api.config.uploads_valid;
        let url = api.links.sign_put(&record.incoming_key(), &base, valid).await.map_err(|e| ApiError::internal(&e))?;
        assets::put(&api.coordinator.backplane().objects, &record).await?;
        let data = json!({
            "asset_id": record.id, "upload_url": url, "upload_headers": { "content-type": record.mime_type },
            "expires_in_seconds": valid.as_secs(), "max_bytes": record.bytes, "status": "pending_upload",
        });
        Ok((StatusCode::OK, json!({ "data": data })))
    };
    Ok(once.answer(&caller, "POST /v3/assets/direct-uploads", &headers, &body, make).await)
}

/// `PUT /uploads/{key}?signature`: the bytes of a direct upload, where storage has no signed URLs of its own.
pub(super) async fn receive(
    State(api): State<Api>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    super::files::check(&api, "PUT", &key, query.as_deref().unwrap_or_default()).await?;
    let parts: Vec<&str> = key.split('/').collect();
    let missing = || ApiError::new(Code::AssetNotFound, "there is no such upload any more");
    let [_, space, id] = parts[..] else { return Err(missing()) };
    let objects = &api.coordinator.backplane().objects;
    let space = space.parse().map_err(|_| missing())?;
    let record = assets::get(objects, &space, id).await?.ok_or_else(missing)?;
    let parts = body.into_data_stream().map(|part| part.map_err(|error| broke_off("body", &error)));
    let file = Received::of(parts, record.bytes, "body").await?;
    if file.bytes != record.bytes {
        let message = format!("{} bytes were announced as size_bytes, and {} came", record.bytes, file.bytes);
        return Err(ApiError::invalid("size_bytes", message));
    }
    // A client that repeats itself under an idempotency key uploads again, to what is complete too; nobody reads it then.
    if !record.is_complete {
        objects.put_file(&key, &file.path).await?;
    }
    Ok(Json(json!({ "data": { "asset_id": record.id } })))
}

/// `POST /v3/assets/{id}/complete`.
pub(super) async fn complete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let body = super::read_body(body).await?;
    let all = if body.is_empty() { Default::default() } else { create::object(&body)? };
    let asked = checksum(&Fields { fields: &all, path: "" })?;
    let mut record = find(&api, &caller, &id).await?;
    let objects = &api.coordinator.backplane().objects;
    if !record.is_complete {
        // What was uploaded can be written to for as long as its URL is good: what is checked here is a copy, and it is the asset.
        let file = match objects.stream(&record.incoming_key(), None).await {
            Ok((meta, _)) if meta.bytes != record.bytes => {
                let message =
                    format!("{} bytes were announced as size_bytes, and {} are there", record.bytes, meta.bytes);
                return Err(ApiError::invalid("size_bytes", message));
            }
            Ok((_, parts)) => {
                Received::of(parts.map(|part| part.map_err(ApiError::from)), record.bytes, "size_bytes").await?
            }
            Err(error) if error.is_not_found() => {
                let message = "the file has not arrived; PUT it to upload_url, then complete the upload";
                return Err(ApiError::new(Code::NotReady, message).retry_after(1));
            }
            Err(error) => return Err(error.into()),
        };
        for expected in [asked, record.checksum].into_iter().flatten() {
            if file.hash != expected {
                let message = format!("the file's SHA-256 is {}, not {expected}; upload it again", file.hash);
                return Err(ApiError::invalid("checksum_sha256", message));
            }
        }
        record.mime_type = known(&file.start, &record.name, "content_type")?.to_owned();
        record.checksum = Some(file.hash);
        record.is_complete = true;
        keep(&api, &record, &file).await?;
    } else if let (Some(asked), Some(known)) = (asked, record.checksum)
        && asked != known
    {
        return Err(ApiError::invalid("checksum_sha256", format!("the file's SHA-256 is {known}, not {asked}")));
    }
    let url = url_of(&api, base_url(&api.config, &headers).as_ref(), &record).await?;
    let data = json!({
        "asset_id": record.id, "url": url, "mime_type": record.mime_type, "size_bytes": record.bytes,
        "status": "processing",
    });
    Ok(Json(json!({ "data": data })))
}

/// `GET /v3/assets/{id}`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let record = find(&api, &caller, &id).await?;
    Ok(Json(json!({ "data": view(&api, base_url(&api.config, &headers).as_ref(), &record).await? })))
}

/// `GET /v3/assets?limit&token`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let page = Page::of(query.as_deref(), 20)?;
    let objects = &api.coordinator.backplane().objects;
    let ids = assets::ids(objects, &caller.rights.space).await?;
    let base = base_url(&api.config, &headers);
    let (mut data, mut next) = (Vec::new(), None);
    for id in ids.into_iter().filter(|id| page.after.as_ref().is_none_or(|after| id < after)) {
        let Some(record) = assets::get(objects, &caller.rights.space, &id).await? else { continue };
        if data.len() == page.limit {
            next = Some(page::token(data.last().and_then(|last: &Value| last["id"].as_str()).unwrap_or_default()));
            break;
        }
        data.push(view(&api, base.as_ref(), &record).await?);
    }
    Ok(Json(page::listed(data, next)))
}

/// `DELETE /v3/assets/{id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    let record = find(&api, &caller, &id).await?;
    assets::delete(&api.coordinator.backplane().objects, &record).await?;
    Ok(Json(json!({ "data": { "id": record.id } })))
}

/// The caller's asset.
pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<AssetRecord, ApiError> {
    let found = assets::get(&api.coordinator.backplane().objects, &caller.rights.space, id).await?;
    found.ok_or_else(|| ApiError::new(Code::AssetNotFound, format!("there is no asset {}", id.escape_debug())))
}

/// Stores a complete asset, its bytes first.
async fn keep(api: &Api, record: &AssetRecord, file: &Received) -> Result<(), ApiError> {
    let objects = &api.coordinator.backplane().objects;
    if let Some(key) = record.data_key() {
        objects.put_file(&key, &file.path).await?;
    }
    Ok(assets::put(objects, record).await?)
}

async fn view(api: &Api, base: Option<&Url>, record: &AssetRecord) -> Result<Value, ApiError> {
    Ok(json!({
        "id": record.id, "name": record.name, "type": AssetKind::of(&record.mime_type), "owner": record.owner,
        "uploaded_at": record.created_at_ms / 1000, "url": url_of(api, base, record).await?,
        "mime_type": record.mime_type, "size_bytes": record.bytes,
        "status": if record.is_complete { "completed" } else { "pending_upload" },
    }))
}

async fn url_of(api: &Api, base: Option<&Url>, record: &AssetRecord) -> Result<Option<String>, ApiError> {
    let (Some(base), Some(key)) = (base, record.data_key()) else { return Ok(None) };
    let url = api.links.sign(&key, base).await.map_err(|error| ApiError::internal(&error))?;
    Ok(Some(url.to_string()))
}

fn known(start: &[u8], name: &str, param: &str) -> Result<&'static str, ApiError> {
    assets::sniff(start, name).ok_or_else(|| {
        ApiError::invalid(param, "the file is none of png, jpeg, mp4, webm, mp3, wav, pdf, srt and zip, by its bytes")
    })
}

fn checksum(fields: &Fields<'_>) -> Result<Option<ContentHash>, ApiError> {
    let Some(text) = fields.text("checksum_sha256", 64)? else { return Ok(None) };
    let hash = text.to_ascii_lowercase().parse();
    hash.map(Some).map_err(|_| fields.refused("checksum_sha256", "64 hexadecimal digits"))
}

fn broke_off(param: &str, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::invalid(param, format!("the upload broke off: {error}"))
}

fn no_base() -> ApiError {
    ApiError::invalid("Host", "the request has no Host header to make URLs of")
}

/// A body that was received into a file.
struct Received {
    path: TempPath,
    bytes: u64,
    hash: ContentHash,
    start: Vec<u8>,
}

impl Received {
    async fn of(
        mut parts: impl futures::Stream<Item = Result<Bytes, ApiError>> + Unpin,
        most: u64,
        param: &str,
    ) -> Result<Self, ApiError> {
        let local = |error: std::io::Error| ApiError::internal(&error);
        let path = tempfile::NamedTempFile::new().map_err(local)?.into_temp_path();
        let mut file = tokio::fs::File::create(PathBuf::from(&*path)).await.map_err(local)?;
        let (mut bytes, mut digest, mut start) = (0u64, Sha256::new(), Vec::new());
        while let Some(part) = parts.next().await {
            let part = part?;
            bytes += part.len() as u64;
            if bytes > most {
                let message = format!("more than {most} bytes came; upload large files with /v3/assets/direct-uploads");
                return Err(ApiError::new(Code::ProjectTooLarge, message).of(param));
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
