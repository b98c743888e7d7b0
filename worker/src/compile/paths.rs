//! Paths and URLs that pages of a project use for its files.

use crate::urls::{decode_path, encode_path};

/// Whether `url` does not depend on the page's folder: it has a scheme or a host, begins at the root, is a fragment or
/// is empty.
pub(super) fn is_absolute(url: &str) -> bool {
    url.is_empty() || url.starts_with('/') || url.starts_with('#') || has_scheme(url)
}

/// Whether `url` begins with a scheme such as `https:` or `data:`.
pub(super) fn has_scheme(url: &str) -> bool {
    let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || ['+', '-', '.'].contains(&c)));
    end.is_some_and(|end| end > 1 && url[end..].starts_with(':') && url.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Whether `url` is no path in the project.
pub(super) fn is_remote(url: &str) -> bool {
    url.starts_with("//") || has_scheme(url)
}

/// Splits `url` into its path and its query with its fragment.
pub(super) fn split_suffix(url: &str) -> (&str, &str) {
    url.split_at(url.find(['?', '#']).unwrap_or(url.len()))
}

/// The path of the file that `path` names in the file `owner`. Dots are resolved, and no path leads above the root.
pub(super) fn join(owner: &str, path: &str) -> String {
    let folder = if path.starts_with('/') { "" } else { owner.rsplit_once('/').map_or("", |(folder, _)| folder) };
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The path of the file that `url` names in a page at the root.
pub(super) fn file_of(url: &str) -> String {
    let (path, _) = split_suffix(url);
    join("", &decode_path(path).unwrap_or_else(|| path.to_owned()))
}

/// The URL for a page at the root that names the same file as `url` in the file `owner`; `None` where it is the same
/// URL. As in the HyperFrames compiler, a path without `..` that names no file beside `owner` is one from the root.
pub(super) fn rebase(owner: &str, url: &str, exists: &dyn Fn(&str) -> bool) -> Option<String> {
    if is_absolute(url) || !owner.contains('/') {
        return None;
    }
    let (path, suffix) = split_suffix(url);
    let path = path.replace('\\', "/");
    let decoded = decode_path(&path).unwrap_or_else(|| path.clone());
    let sibling = join(owner, &decoded);
    let is_upward = decoded.starts_with("../") || decoded == "..";
    if path.is_empty() || !is_upward && !exists(&sibling) {
        return None;
    }
    Some(encode_path(&sibling) + suffix).filter(|rebased| rebased != url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_the_owner_come_before_the_root() {
        let exists = |path: &str| path == "scenes/a b.png";
        let rebased = |url: &str| rebase("scenes/one.html", url, &exists);
        assert_eq!(rebased("a%20b.png?v=1#x").as_deref(), Some("scenes/a%20b.png?v=1#x"));
        assert_eq!(rebased("assets/c.png"), None);
        assert_eq!(rebased("../assets/c.png").as_deref(), Some("assets/c.png"));
        assert_eq!(rebased("../../../c.png").as_deref(), Some("c.png"));
        for absolute in ["", "#grad", "/x.png", "https://e.org/x.png", "data:image/png;base64,AA", "//e.org/x"] {
            assert_eq!(rebased(absolute), None);
        }
        assert_eq!(rebase("one.html", "../x.png", &exists), None);
    }

    #[test]
    fn urls_name_files() {
        assert_eq!(file_of("./a%20b/../c.mp4?x#t=1"), "c.mp4");
        assert_eq!(file_of("/a/b.mp4"), "a/b.mp4");
        assert!(has_scheme("https://e.org") && has_scheme("data:,x") && !has_scheme("a/b:c") && !has_scheme("c.png"));
    }
}
