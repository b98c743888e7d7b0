//! The dashboard's own files. It has no other door to the farm than the API: these files need no key, all that they show does.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyperfarm_backplane::http::media_type;
use hyperfarm_proto::id::ContentHash;
use url::{Origin, Url};

use super::Api;
use super::error::{ApiError, Code};

/// One file, as the build embedded it.
pub(super) struct Asset {
    name: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
}

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));
}

const INDEX: &str = "index.html";

/// `GET /` and `GET /assets/dashboard/{file}`.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/", get(index)).route("/assets/dashboard/{file}", get(file))
}

async fn index(State(api): State<Api>, headers: HeaderMap) -> Result<Response, ApiError> {
    let mut response = serve(INDEX, "no-cache", &headers)?;
    let policy = HeaderValue::from_str(&policy(&elsewhere(&api).await)).map_err(|error| ApiError::internal(&error))?;
    let set = response.headers_mut();
    set.insert(CONTENT_SECURITY_POLICY, policy);
    set.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    Ok(response)
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    // A name with a hash is one content for ever.
    let caching = if name.contains('-') { "public, max-age=31536000, immutable" } else { "no-cache" };
    serve(&name, caching, &headers)
}

fn serve(name: &str, caching: &'static str, asked: &HeaderMap) -> Result<Response, ApiError> {
    let asset = embedded::FILES.iter().find(|asset| asset.name == name);
    let asset = asset.ok_or_else(|| ApiError::new(Code::ResourceNotFound, "the dashboard has no such file"))?;
    // Weak, for the bytes differ by their encoding.
    let tag = format!("\"{}\"", ContentHash::of(asset.plain).short());
    let is_known = asked.get(IF_NONE_MATCH).is_some_and(|known| {
        known.as_bytes().split(|byte| *byte == b',').any(|one| {
            let one = one.trim_ascii();
            one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes()
        })
    });
    let packed = asset.gzip.filter(|_| takes_gzip(asked));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(packed.unwrap_or(asset.plain)))
    };
    let set = response.headers_mut();
    set.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(name)));
    set.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    set.insert(VARY, HeaderValue::from_static("accept-encoding"));
    set.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Addresses of outputs are signed; nobody else is to read them in a referrer.
    set.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(tag) = HeaderValue::from_str(&format!("W/{tag}")) {
        set.insert(ETAG, tag);
    }
    if packed.is_some() && !is_known {
        set.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

fn takes_gzip(asked: &HeaderMap) -> bool {
    let accepted = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"))
            && !parts.any(|part| part.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0))
    })
}

/// Where signed addresses lead, other than to this page's own origin: storage that signs for itself, and the farm's public name.
async fn elsewhere(api: &Api) -> BTreeSet<String> {
    let objects = &api.coordinator.backplane().objects;
    let storage = objects.sign_get("farm/any", Duration::from_secs(60)).await.ok().flatten();
    [storage, api.config.public_url.clone()].iter().flatten().filter_map(origin).collect()
}

fn origin(url: &Url) -> Option<String> {
    match url.origin() {
        origin @ Origin::Tuple(..) => Some(origin.ascii_serialization()),
        Origin::Opaque(_) => None,
    }
}

/// Scripts and styles are the dashboard's own files and nothing else; pictures, video and uploads may also go where signed
/// addresses lead. `blob:` is what a browser calls media that a script puts together.
fn policy(elsewhere: &BTreeSet<String>) -> String {
    let also: String = elsewhere.iter().map(|origin| format!(" {origin}")).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' blob:{also}; \
         media-src 'self' blob:{also}; connect-src 'self'{also}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_page_loads_only_files_that_are_embedded_and_runs_nothing_inline() {
        let page = embedded::FILES.iter().find(|asset| asset.name == INDEX).unwrap();
        let text = std::str::from_utf8(page.plain).unwrap();
        let mut loaded = 0;
        for part in text.split(['"']).filter(|part| part.starts_with("assets/dashboard/")) {
            let name = part.trim_start_matches("assets/dashboard/");
            assert!(embedded::FILES.iter().any(|asset| asset.name == name), "{name}");
            assert!(name.contains('-'), "{name} has no hash");
            loaded += 1;
        }
        assert_eq!(loaded, 4, "script, style, font and icon: {text}");
        assert!(!text.contains("{{") && !text.contains("http") && !text.contains("style="), "{text}");
        assert_eq!(text.matches("<script").count(), 1);
        assert!(text.contains("></script>"), "the one script has no text");
    }

    #[test]
    fn a_file_comes_compressed_to_who_takes_that_and_not_again_to_who_has_it() {
        let name = embedded::FILES.iter().map(|asset| asset.name).find(|name| name.ends_with(".css")).unwrap();
        let packed = serve(name, "no-cache", &headers(ACCEPT_ENCODING, "br, gzip")).unwrap();
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        for refused in ["br", "gzip;q=0", "identity"] {
            let plain = serve(name, "no-cache", &headers(ACCEPT_ENCODING, refused)).unwrap();
            assert!(!plain.headers().contains_key(CONTENT_ENCODING), "{refused}");
        }
        let mut known = HeaderMap::new();
        known.insert(IF_NONE_MATCH, packed.headers()[ETAG].clone());
        assert_eq!(serve(name, "no-cache", &known).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert!(serve("../Cargo.toml", "no-cache", &HeaderMap::new()).is_err());
    }

    #[test]
    fn only_the_origin_of_an_address_comes_into_the_policy() {
        let storage = Url::parse("https://bucket.s3.example:9000/farm/any?X-Amz-Signature=secret").unwrap();
        let policy = policy(&origin(&storage).into_iter().collect());
        assert!(policy.contains("img-src 'self' blob: https://bucket.s3.example:9000;"), "{policy}");
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe") && !policy.contains("secret"));
    }
}
