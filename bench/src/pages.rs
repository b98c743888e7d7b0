//! Writes the marked parts of `docs/performance.md`.

use anyhow::{Context, bail};
use hyperfarm_e2e::parity::repository;

/// Replaces the text between the marks `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.
///
/// # Errors
/// The page cannot be read or written, or lacks the marks.
pub(crate) fn replace(name: &str, text: &str) -> anyhow::Result<()> {
    let path = repository().join("docs/performance.md");
    let page = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    std::fs::write(&path, replaced(&page, name, text)?).with_context(|| format!("writing {}", path.display()))
}

fn replaced(page: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let (Some((before, rest)), true) = (page.split_once(&open), page.contains(&close)) else {
        bail!("docs/performance.md has no {open} … {close}");
    };
    let Some((_, after)) = rest.split_once(&close) else { bail!("{close} comes before {open}") };
    Ok(format!("{before}{open}\n{}\n{close}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n";
        let new = replaced(page, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\nb\n");
        assert_eq!(replaced(&new, "x", "new").unwrap(), new);
        assert!(replaced(page, "y", "").is_err());
    }
}
