//! URLs without their secrets, for logs and errors.

use url::Url;

use crate::broker::rabbit::link::node_urls;
use crate::ledger::redis::servers::Servers;

/// `url` without user, password, query and fragment.
pub(crate) fn redact(url: &str) -> String {
    // Those that name several hosts.
    if let Some(named) = Servers::parse(url).ok().and_then(|servers| servers.without_secrets()) {
        return named;
    }
    if let [first, others @ ..] = &node_urls(url)[..]
        && !others.is_empty()
    {
        return others.iter().fold(redact(first), |shown, other| format!("{shown},{}", redact(other)));
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
        assert_eq!(redact("amqp://user:pass@a,amqps://user:p,ss@b/%2f"), "amqp://a,amqps://b/%2f");
        assert_eq!(redact("redis://:pass@cache:6379/1"), "redis://cache:6379/1");
        assert_eq!(redact("s3://bucket/prefix"), "s3://bucket/prefix");
        assert_eq!(redact("file:///srv/farm"), "file:///srv/farm");
        let sentinels = "redis+sentinel://user:pass@one,two:7/main/2?sentinel_password=p@ss";
        assert_eq!(redact(sentinels), "redis+sentinel://one:26379,two:7/main/2");
        assert_eq!(redact("rediss+cluster://:pass@one:7,two"), "rediss+cluster://one:7,two:6379");
        for unescaped in
            ["redis+sentinel://:pa/ss@one/main", "redis+cluster://:pa?ss@one", "redis+cluster://:pass@one/0"]
        {
            assert!(!redact(unescaped).contains("pa"), "{}", redact(unescaped));
        }
        assert!(!redact("user:pass@host").contains("pass"));
        assert!(!redact("pass word").contains("pass"));
    }
}
