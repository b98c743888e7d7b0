//! Unix time in milliseconds, which every stored record uses, and its text form.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyperfarm_proto::id::RenderId;

/// Milliseconds since 1970; 0 where the system clock is set before that.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The ISO 8601 text of a Unix time in milliseconds, in UTC and to the second: `2026-03-25T12:00:00Z`.
pub fn iso8601(at_ms: u64) -> String {
    let end_of_9999 = 253_402_300_799_999;
    let time = UNIX_EPOCH + Duration::from_millis(at_ms.min(end_of_9999));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Unix time in milliseconds at which the id was made, which is part of it. `None` for an id that was made otherwise.
pub(crate) fn created_at_ms(render: &RenderId) -> Option<u64> {
    u64::from_str_radix(render.as_str().get(1..13)?, 16).ok()
}

/// Time since the id was made; since 1970 where the id does not tell.
pub(crate) fn age_of(render: &RenderId) -> Duration {
    Duration::from_millis(now_ms().saturating_sub(created_at_ms(render).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso8601(951_827_696_000), "2000-02-29T12:34:56Z");
        assert_eq!(iso8601(1_774_440_000_999), "2026-03-25T12:00:00Z");
        assert_eq!(iso8601(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        assert_eq!(created_at_ms(&RenderId::from_parts(1_774_440_000_999, 7)), Some(1_774_440_000_999));
        assert_eq!(created_at_ms(&"r1".parse().unwrap()), None);
    }
}
