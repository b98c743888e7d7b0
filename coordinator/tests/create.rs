//! The body of a new render: what is taken over, and which field a refusal names.

use bytes::Bytes;
use hyperfarm_api::request::RenderRequest;
use hyperfarm_coordinator::api::create::{Source, parse};
use hyperfarm_coordinator::api::{ApiConfig, ApiError, Code};
use hyperfarm_coordinator::intake::{self, Limits};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::{Codec, Format, Hdr, RenderSpec};
use serde_json::{Value, json};

fn parsed(body: &Value) -> Result<RenderSpec, ApiError> {
    let asked = parse(body.to_string().as_bytes(), &ApiConfig::default(), &Limits::default())?;
    intake::check(&asked.spec)?;
    Ok(asked.spec)
}

fn with(name: &str, value: Value) -> Value {
    let mut body = json!({ "project": { "type": "html", "html": "<p>" } });
    body[name] = value;
    body
}

#[test]
fn every_field_is_taken_over() {
    let mut body = json!({
        "project": { "type": "html", "html": "<p>" }, "fps": "30000/1001", "quality": "draft", "format": "webm",
        "resolution": "4k", "aspect_ratio": "9:16", "composition": "a/b.html", "runtime": "^0.8.1", "variables": { "x": [1] },
        "strict_variables": true, "verify": true, "title": "t", "callback_id": "c",
        "callback_url": "https://x.example/y", "pool": "gpu", "chunk_frames": 30, "max_parallel_chunks": 2, "something_else": { "a": 1 },
        "codec": "vp8", "video_bitrate": "4M", "vp9_cpu_used": -2, "gif_loop": 3, "transparent": true,
        "device_scale_factor": 2, "duration": 2.5, "from": 0.5, "to": "60f", "now": "2026-11-28T20:00:00Z", "audio_url": "https://x.example/s.mp3",
        "audio_codec": "opus", "loudness": -16, "true_peak": -2, "profile": null, "bit_depth": 8, "timecode": null, "wav": true, "poster": "20f", "storyboard": 0.5, "captions": true, "caption_track": false,
    });
    let mut expected = json!({
        "fps": { "num": 30000, "den": 1001 }, "quality": "draft", "format": "webm", "resolution": "4k",
        "aspect_ratio": "9:16", "width": null, "height": null, "composition": "a/b.html", "runtime": "^0.8.1", "variables": "{\"x\":[1]}",
        "strict_variables": true, "verify": true, "title": "t", "callback_id": "c",
        "callback_url": "https://x.example/y", "pool": "gpu", "chunk_frames": 30, "max_parallel_chunks": 2,
        "codec": "vp8", "crf": null, "video_bitrate": 4_000_000, "vp9_cpu_used": -2, "gif_loop": 3, "transparent": true,
        "device_scale_factor": 2, "duration": 2.5, "from": 0.5, "to": "60f", "now": "2026-11-28T20:00:00Z", "audio_url": "https://x.example/s.mp3",
        "audio_codec": "opus", "loudness": -16, "true_peak": -2, "profile": null, "bit_depth": 8, "timecode": null, "wav": true, "poster": "20f", "storyboard": 0.5, "captions": true, "caption_track": false,
    });
    body["keep_for"] = "36h".into();
    expected["keep_for"] = "36h".into();
    for (name, value) in [("motion_blur", 8), ("shutter_angle", 240), ("shutter_phase", -60)] {
        body[name] = value.into();
        expected[name] = value.into();
    }
    expected["renditions"] = Value::Null;
    expected["hdr"] = Value::Null;
    let spec = parsed(&body).unwrap();
    assert_eq!(serde_json::to_value(spec).unwrap(), expected);
}

#[test]
fn a_path_as_people_type_it_is_the_same_entry() {
    for (typed, entry) in [("./index.html", Some("index.html")), ("././a/b.html", Some("a/b.html")), ("./", None)] {
        assert_eq!(parsed(&with("composition", json!(typed))).unwrap().composition.as_deref(), entry, "{typed}");
    }
    assert_eq!(parsed(&with("composition", json!("./../x.html"))).unwrap_err().param.as_deref(), Some("composition"));
}

#[test]
fn one_page_as_text_is_a_whole_request() {
    let body = json!({
        "html": "<h1>Hi</h1>", "width": 540, "height": 960, "fps": 24, "duration": 0, "codec": "prores",
        "device_scale_factor": 2, "transparent": true, "audio_url": "",
    });
    let spec = parsed(&body).unwrap();
    assert_eq!((spec.format, spec.codec(), spec.duration), (Format::Mov, Codec::ProRes, None));
    assert!(spec.is_transparent() && spec.audio_url.is_none());
    let both = json!({ "html": "<h1>", "codec": "vp9", "format": "mp4" });
    assert!(parsed(&both).unwrap_err().to_string().contains("vp9"));
    let master = json!({ "html": "<h1>", "profile": "dnxhr-hq", "timecode": "10:00:00:00" });
    let spec = parsed(&master).unwrap();
    assert_eq!((spec.format, spec.codec(), spec.is_transparent()), (Format::Mov, Codec::DnxHr, false));
    let hdr = parsed(&json!({ "html": "<h1>", "hdr": "hdr10" })).unwrap();
    assert_eq!((hdr.hdr, hdr.codec()), (Some(Hdr::Hdr10), Codec::H265));
    let deep = parsed(&json!({ "html": "<h1>", "codec": "av1", "format": "webm", "bit_depth": 10 })).unwrap();
    assert_eq!((deep.format, deep.codec(), deep.bit_depth), (Format::Webm, Codec::Av1, Some(10)));
    let package = parsed(&json!({ "html": "<h1>", "format": "hls", "renditions": [720, 480] })).unwrap();
    let sides: Vec<u32> = package.renditions.unwrap().iter().map(|side| side.get()).collect();
    assert_eq!((package.format, sides), (Format::Hls, vec![720, 480]));
    for codec in Codec::ALL {
        assert_eq!(parsed(&json!({ "html": "<h1>", "codec": codec })).unwrap().format, codec.format());
    }
}

#[test]
fn null_is_absent() {
    let names = ["fps", "quality", "format", "resolution", "aspect_ratio", "composition", "variables", "title", "pool"];
    for name in names {
        assert_eq!(parsed(&with(name, Value::Null)).unwrap(), RenderSpec::default(), "{name}");
    }
    assert_eq!(parsed(&with("fps", json!(25.0))).unwrap().fps, FrameRate::new(25, 1).ok());
}

#[test]
fn refusals_name_the_field() {
    let long = |count: usize| json!("x".repeat(count));
    for (name, value) in [
        ("fps", json!(0)),
        ("fps", json!(241)),
        ("fps", json!(29.97)),
        ("fps", json!("fast")),
        ("fps", json!(true)),
        ("quality", json!("best")),
        ("quality", json!(1)),
        ("format", json!("avi")),
        ("codec", json!("theora")),
        ("crf", json!(64)),
        ("video_bitrate", json!("fast")),
        ("vp9_cpu_used", json!(9)),
        ("gif_loop", json!(65_536)),
        ("loudness", json!(-8)),
        ("loudness", json!(-16.5)),
        ("true_peak", json!(1)),
        ("profile", json!("422-xl")),
        ("bit_depth", json!(9)),
        ("hdr", json!(true)),
        ("hdr", json!("hdr10+")),
        ("bit_depth", json!("ten")),
        ("bit_depth", json!(10)),
        ("timecode", json!("1:2")),
        ("timecode", json!("01:00:00:00")),
        ("true_peak", json!(-1)),
        ("transparent", json!(true)),
        ("transparent", json!("yes")),
        ("device_scale_factor", json!(1.5)),
        ("duration", json!(-1)),
        ("duration", json!("long")),
        ("audio_url", json!("file:///etc/passwd")),
        ("audio_url", json!("../up.mp3")),
        ("resolution", json!("720p")),
        ("aspect_ratio", json!("4:3")),
        ("composition", long(513)),
        ("variables", json!([1])),
        ("variables", json!("{}")),
        ("title", long(501)),
        ("title", json!(5)),
        ("callback_id", long(257)),
        ("callback_url", json!("http://x.example/")),
        ("callback_url", json!("nonsense")),
        ("width", json!(0)),
        ("height", json!(8193)),
        ("pool", json!("a b")),
        ("chunk_frames", json!(0)),
        ("max_parallel_chunks", json!(-1)),
        ("strict_variables", json!("yes")),
        ("renditions", json!(720)),
        ("renditions", json!([720])),
        ("priority", json!(101)),
        ("project", json!("zip")),
        ("html", json!({})),
        ("project", Value::Null),
    ] {
        let error = parsed(&with(name, value.clone())).unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::InvalidParameter, Some(name)), "{name} {value}");
    }
}

#[test]
fn projects_are_refused_with_their_path() {
    for (project, param) in [
        (json!({}), "project.type"),
        (json!({ "type": "tar" }), "project.type"),
        (json!({ "type": "url", "url": "file:///etc/passwd" }), "project.url.url"),
        (json!({ "type": "url" }), "project.url.url"),
        (json!({ "type": "asset_id", "asset_id": "" }), "project.asset_id.asset_id"),
        (json!({ "type": "html" }), "project.html.html"),
        (json!({ "type": "base64" }), "project.base64.data"),
        (json!({ "type": "base64", "data": "!" }), "project.base64.data"),
        (json!({ "type": "base64", "data": "", "media_type": "text/html" }), "project.base64.media_type"),
    ] {
        let error = parsed(&json!({ "project": project })).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{error}");
    }
}

#[test]
fn base64_is_taken_with_and_without_padding_and_with_line_breaks() {
    for data in ["UEs=", "UEs", "UE\r\ns="] {
        let body = json!({ "project": { "type": "base64", "media_type": "application/zip", "data": data } });
        let asked = parse(body.to_string().as_bytes(), &ApiConfig::default(), &Limits::default()).unwrap();
        assert_eq!(asked.source, Source::Bundle(Bytes::from_static(b"PK")));
    }
}

#[test]
fn what_is_too_large_says_so() {
    let limits = Limits { inline_bytes: 30, ..Limits::default() };
    for project in
        [json!({ "type": "base64", "data": "A".repeat(100) }), json!({ "type": "html", "html": "x".repeat(100) })]
    {
        let body = json!({ "project": project }).to_string();
        let error = parse(body.as_bytes(), &ApiConfig::default(), &limits).unwrap_err();
        assert_eq!(error.code, Code::ProjectTooLarge);
    }
}

#[test]
fn every_documented_field_is_read() {
    for name in RenderRequest::field_names() {
        let error = parsed(&with(name, json!([[]]))).unwrap_err();
        let param = error.param.as_deref().map(|param| param.trim_end_matches("[0]"));
        assert_eq!(param, Some(name.as_str()), "{error}");
    }
    assert!(RenderRequest::field_names().len() >= 29);
}

#[test]
fn refusals_say_what_is_expected() {
    for (name, value, message) in [
        ("crf", json!(64), "crf must be an integer from 0 to 63"),
        ("title", json!("x".repeat(501)), "title must be text of at most 500 characters"),
        ("fps", json!("fast"), "fps must be an integer from 1 to 240, or a fraction such as \"30000/1001\""),
        ("resolution", json!("720p"), "resolution must be `1080p` or `4k`"),
        ("verify", json!(1), "verify must be a boolean"),
        ("variables", json!([1]), "variables must be an object"),
        ("pool", json!("a b"), "pool must be 1 to 64 letters, digits, '-' or '_'"),
        ("duration", json!(-1), "duration must be seconds, 0 or more"),
    ] {
        assert_eq!(parsed(&with(name, value)).unwrap_err().message, message);
    }
    let project = json!({ "project": { "type": "url" } });
    assert_eq!(parsed(&project).unwrap_err().message, "url is required");
}
