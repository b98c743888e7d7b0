//! References to remote files, and what resolves them.

use url::Url;

/// What a remote file is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ReferenceKind {
    /// A classic script, an image, a font, data: served as it is.
    File,
    /// A video or a sound.
    Media,
    /// A style sheet.
    Sheet,
    /// An ES module.
    Module,
    /// A page in a frame.
    Page,
}

/// Finds local files for references.
pub(super) trait ReferenceResolver {
    /// Downloads several files at once, so that the references need not wait for one after the other.
    fn prefetch(&mut self, references: &[(Url, ReferenceKind)]);

    /// The URL path of the local file for `url`; `None` where there is none.
    fn local(&mut self, url: &Url, kind: ReferenceKind) -> Option<String>;

    /// Adds font families that a downloaded style sheet declares.
    fn add_declared_faces(&mut self, families: &[String]);

    /// Adds names that the page's import map resolves.
    fn add_to_import_map(&mut self, names: &mut dyn Iterator<Item = &String>);

    /// Whether the page's import map resolves `name`.
    fn is_in_import_map(&self, name: &str) -> bool;
}

/// The remote URL that `text` is: absolute, or relative to `base` where there is one. `None` for references to files of
/// the project.
pub(super) fn remote_url(text: &str, base: Option<&Url>) -> Option<Url> {
    let text = text.trim();
    let url = match base {
        Some(base) => base.join(text).ok()?,
        None if text.starts_with("//") => Url::parse(&format!("https:{text}")).ok()?,
        None => {
            let scheme = text.split_once("://")?.0;
            if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
                return None;
            }
            Url::parse(text).ok()?
        }
    };
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}
