//! The shapes of bodies and answers.

use hyperfarm_proto::spec::Codec;
use serde_json::{Value, json};

use super::watching;
use crate::webhooks::EVENT_TYPES;

pub(super) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

pub(super) fn maybe(kind: &str, description: &str) -> Value {
    json!({ "type": [kind, "null"], "description": description })
}

pub(super) fn number(kind: &str, description: &str) -> Value {
    json!({ "type": kind, "description": description })
}

pub(super) fn one_of(choices: &[&str], description: &str) -> Value {
    json!({ "type": "string", "enum": choices, "description": description })
}

/// A choice that may be left out as `null`.
pub(super) fn maybe_one_of(choices: &[&str], description: &str) -> Value {
    let mut all: Vec<Value> = choices.iter().map(|choice| Value::from(*choice)).collect();
    all.push(Value::Null);
    json!({ "type": ["string", "null"], "enum": all, "description": description })
}

fn between(least: i64, most: i64, description: &str) -> Value {
    json!({ "type": ["integer", "null"], "minimum": least, "maximum": most, "description": description })
}

pub(super) fn list(items: Value, description: &str) -> Value {
    json!({ "type": "array", "items": items, "description": description })
}

pub(super) fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

const FORMATS: [&str; 5] = ["mp4", "webm", "mov", "gif", "png-sequence"];
const QUALITIES: [&str; 3] = ["draft", "standard", "high"];
const RESOLUTIONS: [&str; 2] = ["1080p", "4k"];
const RATIOS: [&str; 3] = ["16:9", "9:16", "1:1"];

fn codecs() -> Vec<String> {
    Codec::ALL.iter().filter_map(|codec| Some(json!(codec).as_str()?.to_owned())).collect()
}

fn render_request() -> Value {
    let codecs = codecs();
    let codecs: Vec<&str> = codecs.iter().map(String::as_str).collect();
    let source = |name: &str, required: &[&str], properties: Value| {
        let mut properties = properties;
        properties["type"] = json!({ "type": "string", "const": name });
        let required: Vec<&str> = std::iter::once("type").chain(required.iter().copied()).collect();
        object(&required, properties)
    };
    let project = json!({
        "description": "The project: a zip, or one page. Required, unless `html` is given.",
        "oneOf": [
            source("url", &["url"], json!({ "url": text("An https URL of a zip of at most 32 MB.") })),
            source("asset_id", &["asset_id"], json!({ "asset_id": text("An uploaded zip of at most 200 MB.") })),
            source("base64", &["data"], json!({
                "data": text("A zip of at most 25 MB."), "media_type": text("`application/zip`"),
            })),
            source("html", &["html"], json!({ "html": text("One page. An extension.") })),
            json!({ "type": "null" }),
        ],
    });
    json!({ "type": "object", "properties": {
        "project": project,
        "html": maybe("string", "One page, instead of `project`. An extension."),
        "fps": { "description": "Frames a second, 1 to 240, or a fraction such as `30000/1001`; else the composition's, else 30.",
                 "type": ["integer", "string", "null"], "minimum": 1, "maximum": 240 },
        "quality": maybe_one_of(&QUALITIES, "Effort of the encoder; `standard` by default."),
        "format": maybe_one_of(&FORMATS, "Container; `mp4` by default. `gif` and `png-sequence` are extensions."),
        "codec": maybe_one_of(&codecs, "Codec, else the format's usual one. An extension."),
        "crf": between(0, 63, "Constant rate factor, instead of the quality's. An extension."),
        "video_bitrate": { "type": ["integer", "string", "null"], "description": "Bits a second, or text such as `10M`. An extension." },
        "vp9_cpu_used": between(-8, 8, "Speed of the VP9 encoder. An extension."),
        "gif_loop": between(0, 65_535, "Times a GIF repeats; 0 for ever. An extension."),
        "transparent": maybe("boolean", "Keep the transparency; else as the format does. An extension."),
        "resolution": maybe_one_of(&RESOLUTIONS, "Height class; else the composition's own size."),
        "aspect_ratio": maybe_one_of(&RATIOS, "Shape; else the composition's own."),
        "width": between(16, 8192, "Pixels across, with `height`. An extension."),
        "height": between(16, 8192, "Pixels down, with `width`. An extension."),
        "device_scale_factor": between(1, 4, "Device pixels a pixel of the page. An extension."),
        "duration": { "type": ["number", "null"], "minimum": 0, "description": "Seconds; 0 is the composition's own length. An extension." },
        "audio_url": maybe("string", "A sound to put under everything: a URL, or a file of the project. An extension."),
        "composition": { "type": ["string", "null"], "maxLength": 512, "description": "Entry page in the project; `index.html` by default." },
        "variables": { "type": ["object", "null"], "description": "Values for the composition's variables." },
        "strict_variables": maybe("boolean", "Unknown or mistyped variables are errors. An extension."),
        "verify": maybe("boolean", "Open the page a few times first, and warn of what does not look the same each time. An extension."),
        "title": { "type": ["string", "null"], "maxLength": 500, "description": "A name for people." },
        "callback_id": { "type": ["string", "null"], "maxLength": 256, "description": "An id of your own, given back in webhooks." },
        "callback_url": maybe("string", "An https URL that is told of the end."),
        "pool": maybe("string", "Which workers take it. An extension."),
        "priority": between(-100, 100, "Higher goes first; 0 is usual. An extension."),
        "chunk_frames": between(1, 1_000_000, "Frames a chunk. An extension."),
        "max_parallel_chunks": between(1, 100_000, "Chunks at work at once. An extension."),
    } })
}

fn render_detail() -> Value {
    object(
        &["render_id", "status", "format"],
        json!({
            "render_id": text("The render."),
            "status": one_of(&["queued", "rendering", "completed", "failed"], "How far it is; a cancelled one has failed."),
            "format": one_of(&FORMATS, "Container."),
            "title": maybe("string", "As asked."),
            "callback_id": maybe("string", "As asked."),
            "fps": { "type": ["integer", "string"], "description": "Frames a second; a fraction is text." },
            "quality": one_of(&QUALITIES, "Effort of the encoder."),
            "resolution": maybe_one_of(&RESOLUTIONS, "Height class, where the output is one."),
            "aspect_ratio": maybe_one_of(&RATIOS, "Shape, where the output is one."),
            "composition": text("Entry page."),
            "created_at": number("integer", "Unix seconds."),
            "completed_at": maybe("integer", "Unix seconds of the end, whatever it was."),
            "video_url": text("Signed, expiring; once completed."),
            "thumbnail_url": text("Signed, expiring; once completed."),
            "preview_url": maybe("string", "Signed, expiring: an HLS playlist of what is finished from the start on. `silent.m3u8` becomes `index.m3u8` once there is sound. An extension."),
            "duration": maybe("number", "Seconds, once completed."),
            "failure_message": text("What went wrong and what to do; once failed."),
            "error_code": text("What went wrong, for programs; once failed. An extension."),
            "progress": { "$ref": "#/components/schemas/Progress" },
            "width": maybe("integer", "Pixels across. An extension."),
            "height": maybe("integer", "Pixels down. An extension."),
            "frame_count": maybe("integer", "Frames of the output. An extension."),
            "warnings": list(json!({ "$ref": "#/components/schemas/Warning" }), "What did not stop the render. An extension."),
            "usage": { "$ref": "#/components/schemas/Usage" },
            "paused": number("boolean", "Whether it is paused. An extension."),
            "priority": number("integer", "As asked, where not 0. An extension."),
            "batch_id": text("The batch it is of. An extension."),
            "retry_of": text("The render it repeats. An extension."),
        }),
    )
}

/// All schemas by name.
pub fn all() -> Value {
    let mut all = main();
    if let (Value::Object(all), Value::Object(watching)) = (&mut all, watching::all()) {
        all.extend(watching);
    }
    all
}

fn main() -> Value {
    let warning = json!({ "$ref": "#/components/schemas/Warning" });
    let types: Vec<&str> = EVENT_TYPES.iter().map(|(name, _)| *name).collect();
    let endpoint_url = text("An https URL that can be reached from the internet.");
    let wanted = json!({ "type": ["array", "null"], "items": { "type": "string" }, "minItems": 1,
                         "description": format!("Types to hear of: {}. All where `null`.", types.join(", ")) });
    let checksum =
        json!({ "type": ["string", "null"], "pattern": "^[0-9A-Fa-f]{64}$", "description": "SHA-256 of the file." });
    json!({
        "Error": object(&["error"], json!({ "error": object(&["code", "message"], json!({
            "code": text("One of the codes below."), "message": text("What is wrong and what to do."),
            "param": text("The field at fault, with its path."),
        })) })),
        "Warning": object(&["code", "message"], json!({
            "code": text("Which kind."), "message": text("What is not as it should be and what to do."),
            "param": text("The field it is about."),
        })),
        "RenderRequest": render_request(),
        "RenderCreated": object(&["render_id", "status"], json!({
            "render_id": text("The render."), "status": one_of(&["queued"], "Taken in."),
            "warnings": list(warning.clone(), "Fields that the farm does not know. An extension."),
            "retry_of": text("The render it repeats. An extension."),
        })),
        "RenderDetail": render_detail(),
        "RenderDeleted": object(&["render_id"], json!({ "render_id": text("The render.") })),
        "Progress": object(&["stage", "frames_done", "frames_total", "percent"], json!({
            "stage": one_of(&["queued", "plan", "capture", "stitch", "done"], "Where it is."),
            "frames_done": number("integer", "Captured frames."), "frames_total": number("integer", "Frames in all."),
            "percent": number("number", "Captured frames of a hundred."),
            "eta_seconds": maybe("integer", "Until the last frame."),
            "chunks_done": number("integer", "Chunks that are done."), "chunks_total": number("integer", "Chunks in all."),
        })),
        "Usage": object(&["worker_seconds", "output_minutes", "usd"], json!({
            "worker_seconds": { "type": "object", "additionalProperties": { "type": "number" }, "description": "By pool." },
            "output_minutes": number("number", "Minutes of video."), "usd": number("number", "By the operator's table."),
        })),
        "BatchRequest": { "type": "object", "description": "The fields of a RenderRequest, with a list for each render.",
            "properties": {
                "variables": list(json!({}), "One object a render, 1 to 100; an entry that is none is refused by itself."),
                "items": { "type": ["array", "null"], "items": { "type": "object" }, "description":
                    "Instead: objects with `variables`, `title`, `callback_id`, `callback_url`, `priority`, `composition`." },
                "project": { "type": "object", "description": "As in RenderRequest." },
            } },
        "BatchCreated": object(&["batch_id", "renders", "accepted", "refused"], json!({
            "batch_id": text("The batch."), "accepted": number("integer", "Renders taken in."),
            "refused": number("integer", "Renders refused."),
            "renders": list(object(&["index", "status"], json!({
                "index": number("integer", "Place in the list."), "status": one_of(&["queued", "refused"], "What became of it."),
                "render_id": text("The render, if it was taken in."),
                "error": { "type": "object", "description": "Why it was refused: code, message, param." },
            })), "One for each entry of the list."),
            "warnings": list(warning, "Fields that the farm does not know."),
        })),
        "LogLine": object(&["at", "level", "source", "step", "message"], json!({
            "at": number("number", "Unix seconds."),
            "level": one_of(&["debug", "info", "warning", "error"], "How much it matters."),
            "source": one_of(&["page", "farm"], "A script of the composition, or the farm."),
            "step": one_of(&["plan", "audio", "chunk", "stitch"], "What was being done."),
            "chunk": maybe("integer", "Number of the chunk, of a chunk."),
            "attempt": number("integer", "The attempt that said it."),
            "frame": maybe("integer", "The frame that was sought last."), "message": text("The text, cut at 2,000 characters."),
        })),
        "AssetUploaded": object(&["asset_id", "url", "mime_type", "size_bytes"], json!({
            "asset_id": text("The asset."), "url": text("Signed, expiring."), "mime_type": text("By the file's bytes."),
            "size_bytes": number("integer", "Length."), "status": one_of(&["processing"], "After a direct upload."),
        })),
        "UploadRequest": object(&["filename", "content_type", "size_bytes"], json!({
            "filename": text("The file's name."), "content_type": text("Its media type."),
            "size_bytes": { "type": "integer", "minimum": 1, "maximum": 209_715_200, "description": "Its exact length." },
            "checksum_sha256": checksum,
        })),
        "UploadBegun": object(&["asset_id", "upload_url", "upload_headers", "expires_in_seconds", "max_bytes", "status"], json!({
            "asset_id": text("The asset to be."), "upload_url": text("PUT the bytes here, without a key."),
            "upload_headers": { "type": "object", "additionalProperties": { "type": "string" }, "description": "Send these as they are." },
            "expires_in_seconds": number("integer", "How long the URL is good for."),
            "max_bytes": number("integer", "Bytes that are taken."), "status": one_of(&["pending_upload"], "The bytes are awaited."),
        })),
        "UploadReceived": object(&["asset_id"], json!({ "asset_id": text("The asset to be.") })),
        "CompleteRequest": { "type": "object", "properties": { "checksum_sha256": checksum } },
        "Asset": object(&["id", "name", "type", "owner", "uploaded_at", "url"], json!({
            "id": text("The asset."), "name": text("The file's name."),
            "type": one_of(&["image", "video", "audio", "document"], "What it is."), "owner": text("Name of the key that made it."),
            "uploaded_at": number("integer", "Unix seconds."), "url": maybe("string", "Signed, expiring; once complete."),
            "mime_type": text("Media type."), "size_bytes": number("integer", "Length."),
            "status": one_of(&["pending_upload", "completed"], "Whether the bytes are there."),
        })),
        "AssetDeleted": object(&["id"], json!({ "id": text("The asset.") })),
        "EndpointRequest": object(&["url"], json!({
            "url": endpoint_url, "events": wanted, "entity_id": maybe("string", "The one render to hear of."),
        })),
        "EndpointChange": { "type": "object", "properties": {
            "url": maybe("string", "An https URL that can be reached from the internet."), "events": wanted,
        } },
        "Endpoint": object(&["endpoint_id", "url", "events", "status", "created_at", "secret"], json!({
            "endpoint_id": text("The endpoint."), "url": endpoint_url, "events": wanted,
            "status": one_of(&["enabled", "disabled"], "Disabled once the receiver answered 410."),
            "created_at": text("ISO 8601."), "secret": maybe("string", "Shown once."),
            "entity_id": maybe("string", "The one render it hears of."),
        })),
        "Secret": object(&["endpoint_id", "secret"], json!({ "endpoint_id": text("The endpoint."), "secret": text("Shown once.") })),
        "EventType": object(&["event_type", "description"], json!({
            "event_type": one_of(&types, "The type."), "description": text("When it happens."),
        })),
        "Event": object(&["event_id", "event_type", "event_data", "created_at"], json!({
            "event_id": text("The same over all deliveries."), "event_type": one_of(&types, "The type."),
            "event_data": { "type": "object", "description": "What was delivered." }, "created_at": text("ISO 8601."),
        })),
        "Account": object(&["username", "billing_type", "usage_based"], json!({
            "username": text("The key's name."), "email": maybe("string", "None."), "first_name": maybe("string", "None."),
            "last_name": maybe("string", "None."), "billing_type": one_of(&["usage_based"], "Always."),
            "usage_based": object(&["spending_current_usd"], json!({
                "spending_current_usd": number("number", "Spent so far."), "spending_cap_usd": maybe("number", "The key's cap."),
                "included_credits": number("number", "None."), "remaining_credits": maybe("number", "US dollars left of the cap."),
            })),
            "space": text("The tenant. An extension."), "key_id": text("The key. An extension."),
            "scopes": list(one_of(&["read", "render", "admin"], "A scope."), "What the key may be used for. An extension."),
        })),
        "Status": object(&["status"], json!({ "status": text("`ok` or `ready`."), "version": text("The farm's version.") })),
        "Nothing": { "type": "object", "properties": {} },
    })
}

/// A body that could be sent.
pub fn example(schema: &str) -> Value {
    let page = "<div data-composition-id=\"main\" data-duration=\"2\" data-width=\"640\" data-height=\"360\"><h1>Hi</h1></div>";
    match schema {
        "RenderRequest" => json!({
            "project": { "type": "html", "html": page }, "fps": 30, "quality": "standard", "format": "mp4",
            "variables": { "headline": "Q2" }, "title": "Q2",
        }),
        "BatchRequest" => json!({
            "project": { "type": "html", "html": page }, "variables": [{ "headline": "One" }, { "headline": "Two" }],
        }),
        "UploadRequest" => json!({ "filename": "project.zip", "content_type": "application/zip", "size_bytes": 1234 }),
        "EndpointRequest" => json!({ "url": "https://example.com/hook", "events": ["hyperframes_video.success"] }),
        "EndpointChange" => json!({ "events": null }),
        "QuarantineRequest" => json!({ "reason": "its disk is full" }),
        _ => json!({}),
    }
}
