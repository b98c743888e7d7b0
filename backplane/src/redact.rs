//! URLs without their secrets, for logs and errors.

use url::Url;

/// `url` without user, password, query and fragment.
pub(crate) fn redact(url: &str) -> String {
    // URLs of Redis that name several hosts, which the library does not read.
    if let Some((scheme, rest)) = url.split_once("://")
        && (scheme.ends_with("+sentinel") || scheme.ends_with("+cluster"))
    {
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        return format!("{scheme}://{}{path}", authority.rsplit('@').next().unwrap_or_default());
    }
    // In a text that is no URL, or has no host, any part may be secret.
    let Some(mut parsed) = Url::parse(url).ok().filter(|parsed| !parsed.cannot_be_a_base()) else {
        return "<not a URL>".to_owned();
    };
    // These fail only for URLs that can have neither, such as `file:///`.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.set_query(None);
    parsed.set_fragment(None);
    parsed.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_come_out() {
        assert_eq!(redact("amqp://user:pass@rabbit:5672/%2f?heartbeat=5"), "amqp://rabbit:5672/%2f");
        assert_eq!(redact("redis://:pass@cache:6379/1"), "redis://cache:6379/1");
        assert_eq!(redact("s3://bucket/prefix"), "s3://bucket/prefix");
        assert_eq!(redact("file:///srv/farm"), "file:///srv/farm");
        let sentinels = "redis+sentinel://user:p@ss@one:26379,two/main/0?sentinel_password=pass";
        assert_eq!(redact(sentinels), "redis+sentinel://one:26379,two/main/0");
        assert_eq!(redact("redis+cluster://:pass@one:7,two:7"), "redis+cluster://one:7,two:7");
        assert!(!redact("user:pass@host").contains("pass"));
        assert!(!redact("pass word").contains("pass"));
    }
}
