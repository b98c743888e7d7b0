//! The compositions of the bench and of the examples, and their staging for both renderers.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hyperfarm_e2e::parity::{repository, stage};

/// Compositions with a transparent background. They are rendered as webm, which keeps it.
const TRANSPARENT: &[&str] = &["alpha", "overlay", "webm-alpha"];

/// A composition of the bench or of the examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Composition {
    /// Its folder's name.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
}

impl Composition {
    /// Container to render to.
    pub(crate) fn format(&self) -> &'static str {
        if TRANSPARENT.contains(&self.name.as_str()) { "webm" } else { "mp4" }
    }

    /// Copies the project with its libraries and media to `target`, which is emptied first. Generated media are cached
    /// in `cache`.
    ///
    /// # Errors
    /// A file cannot be read, written or generated.
    pub(crate) fn stage(&self, target: &Path, cache: &Path) -> anyhow::Result<()> {
        stage::stage(&self.folder, target, cache)
    }
}

/// The bench's own compositions in the order in which they are rendered: short ones first, so that errors show early.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn own() -> anyhow::Result<Vec<Composition>> {
    let order = [
        "alpha",
        "webm-alpha",
        "three",
        "cuts",
        "style",
        "light",
        "heavy",
        "promo",
        "video",
        "webgl",
        "nested",
        "static",
        "uhd",
        "minute",
    ];
    let mut found = folder("bench/compositions")?;
    found.sort_by_key(|composition| order.iter().position(|name| *name == composition.name).unwrap_or(order.len()));
    Ok(found)
}

/// The examples.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn examples() -> anyhow::Result<Vec<Composition>> {
    folder("examples")
}

/// The compositions `names` of the bench or the examples, `examples` being all examples. Without names, all of the
/// bench's own.
///
/// # Errors
/// There is no composition of a name.
pub(crate) fn chosen(names: &[String]) -> anyhow::Result<Vec<Composition>> {
    let (own, examples) = (own()?, examples()?);
    if names.is_empty() {
        return Ok(own);
    }
    let mut chosen = Vec::new();
    for name in names {
        if name == "examples" {
            chosen.extend(examples.iter().cloned());
        } else if let Some(found) = own.iter().chain(&examples).find(|composition| &composition.name == name) {
            chosen.push(found.clone());
        } else {
            bail!("there is no composition {name}; `bench list` names them");
        }
    }
    Ok(chosen)
}

/// Prints all compositions.
///
/// # Errors
/// A folder cannot be read, or standard output cannot be written.
pub(crate) fn list() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    for (kind, compositions) in [("bench", own()?), ("example", examples()?)] {
        for composition in compositions {
            writeln!(out, "{:<16} {kind}", composition.name)?;
        }
    }
    Ok(())
}

fn folder(path: &str) -> anyhow::Result<Vec<Composition>> {
    let path = repository().join(path);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))? {
        let folder = entry?.path();
        if let Some(name) = folder.file_name().and_then(|name| name.to_str())
            && folder.join("index.html").is_file()
        {
            found.push(Composition { name: name.to_owned(), folder: folder.clone() });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bench_has_fourteen_and_knows_names() {
        assert_eq!(own().unwrap().len(), 14);
        let names = ["light".to_owned(), "overlay".to_owned()];
        let chosen = chosen(&names).unwrap();
        assert_eq!(chosen.iter().map(Composition::format).collect::<Vec<_>>(), ["mp4", "webm"]);
        assert!(super::chosen(&["nothing".to_owned()]).is_err());
    }
}
