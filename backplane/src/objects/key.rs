//! The paths that keys have in the store.
//!
//! Only `%` and `#` are written differently: the local store keeps names that end in `#` and digits for files that are
//! still being written, and would neither store nor list such a key.

use object_store::path::Path;

use super::ObjectsError;

/// The store's path of `key` below `prefix`. Empty, `.` and `..` segments and control characters are refused.
pub(super) fn to_path(prefix: &Path, key: &str) -> Result<Path, ObjectsError> {
    if key.is_empty() || key.starts_with('/') || key.ends_with('/') {
        let reason = "it is empty, or begins or ends with `/`".to_owned();
        return Err(ObjectsError::Key { key: key.to_owned(), reason });
    }
    let below = Path::parse(escape(key))
        .map_err(|error| ObjectsError::Key { key: key.to_owned(), reason: error.to_string() })?;
    Ok(prefix.parts().chain(below.parts()).fold(Path::ROOT, |path, part| join(&path, part.as_ref())))
}

/// The path that `key` lists below: the whole store for an empty one.
pub(super) fn to_folder(prefix: &Path, key: &str) -> Result<Path, ObjectsError> {
    let key = key.strip_suffix('/').unwrap_or(key);
    if key.is_empty() { Ok(prefix.clone()) } else { to_path(prefix, key) }
}

/// The key of a path that the store listed; `None` for what this module did not write.
pub(super) fn from_path(prefix: &Path, path: &Path) -> Option<String> {
    let raw = path.as_ref();
    let below = if prefix.is_root() { raw } else { raw.strip_prefix(prefix.as_ref())?.strip_prefix('/')? };
    (!below.is_empty()).then(|| unescape(below))
}

/// `Path::join` would percent-encode the segment a second time.
fn join(path: &Path, part: &str) -> Path {
    let raw = if path.is_root() { part.to_owned() } else { format!("{path}/{part}") };
    Path::parse(raw).unwrap_or_default()
}

fn escape(key: &str) -> String {
    key.replace('%', "%25").replace('#', "%23")
}

fn unescape(raw: &str) -> String {
    raw.replace("%23", "#").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_that_climb_or_hide_are_refused() {
        for bad in ["", "/", "/a", "a/", "a//b", "..", "a/../b", "a/./b", "a\nb", "a\0"] {
            assert!(matches!(to_path(&Path::ROOT, bad), Err(ObjectsError::Key { .. })), "{bad:?} must be refused");
        }
    }

    #[test]
    fn other_peoples_objects_are_not_ours() {
        let prefix = Path::parse("farm/a").unwrap();
        assert_eq!(from_path(&prefix, &Path::parse("farm/ab/c").unwrap()), None);
        assert_eq!(from_path(&prefix, &Path::parse("farm/a/c").unwrap()).as_deref(), Some("c"));
    }

    proptest! {
        #[test]
        fn keys_come_back_as_they_were(segments in prop::collection::vec("[a-z%#é .~?*\\\\23]{1,8}", 1..4), root in any::<bool>()) {
            let key = segments.join("/");
            let prefix = if root { Path::ROOT } else { Path::parse("some/prefix").unwrap() };
            if let Ok(path) = to_path(&prefix, &key) {
                prop_assert_eq!(from_path(&prefix, &path), Some(key));
            }
        }
    }
}
