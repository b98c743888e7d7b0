//! The URL under which a client reaches the farm.

use axum::http::HeaderMap;
use axum::http::header::HOST;
use url::Url;

use super::ApiConfig;

/// Where the client reaches the farm: the configured URL, else the host it has asked.
pub(super) fn base_url(config: &ApiConfig, headers: &HeaderMap) -> Option<Url> {
    if let Some(url) = &config.public_url {
        return Some(url.clone());
    }
    let host = headers.get(HOST)?.to_str().ok()?;
    let is_https = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    Url::parse(&format!("{}://{host}/", if is_https { "https" } else { "http" })).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_configured_or_asked() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(base_url(&ApiConfig::default(), &headers).unwrap().as_str(), "http://127.0.0.1:8080/");
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        assert_eq!(base_url(&ApiConfig::default(), &headers).unwrap().as_str(), "https://127.0.0.1:8080/");
        let public = Url::parse("https://farm.example").unwrap();
        let config = ApiConfig { public_url: Some(public.clone()), ..ApiConfig::default() };
        assert_eq!(base_url(&config, &headers), Some(public));
    }
}
