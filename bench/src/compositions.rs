//! Which compositions there are, and the project as both sides get it.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hyperfarm_e2e::parity::{repository, stage};

/// Those whose ground is transparent; they are rendered to what keeps it.
const TRANSPARENT: &[&str] = &["alpha", "overlay"];

/// Media that the bench's pages name and the examples have.
const SHARED: &[(&str, &str)] = &[
    ("media/hills.mp4", "examples/video-duck/media/hills.mp4"),
    ("media/music.m4a", "examples/video-duck/media/music.m4a"),
];

/// A composition of the bench or of the examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composition {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
}

impl Composition {
    /// Container to render to.
    pub fn format(&self) -> &'static str {
        if TRANSPARENT.contains(&self.name.as_str()) { "webm" } else { "mp4" }
    }

    /// Puts the project with its libraries and media into `target`, which is emptied first.
    pub fn stage(&self, target: &Path, shelf: &Path) -> anyhow::Result<()> {
        stage::stage(&self.folder, target, shelf)?;
        let page = std::fs::read_to_string(self.folder.join("index.html"))?;
        for (name, source) in SHARED {
            let file = target.join(name);
            if page.contains(name) && !file.exists() {
                std::fs::create_dir_all(file.parent().unwrap_or(target))?;
                std::fs::copy(repository().join(source), &file).with_context(|| format!("copying {source}"))?;
            }
        }
        Ok(())
    }
}

/// The bench's own, in the order in which they are rendered: short ones first, so that what is wrong shows early.
pub fn own() -> anyhow::Result<Vec<Composition>> {
    let order = ["alpha", "light", "heavy", "video", "webgl", "nested", "static", "uhd", "minute"];
    let mut found = folder("bench/compositions")?;
    found.sort_by_key(|composition| order.iter().position(|name| *name == composition.name).unwrap_or(order.len()));
    Ok(found)
}

/// The examples.
pub fn examples() -> anyhow::Result<Vec<Composition>> {
    folder("examples")
}

/// Those of `names`, from the bench or the examples; all of the bench's own where there are none. `examples` stands for
/// all examples.
pub fn chosen(names: &[String]) -> anyhow::Result<Vec<Composition>> {
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

/// Prints them.
pub fn list() -> anyhow::Result<()> {
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
    fn the_bench_has_at_least_eight_and_knows_names() {
        assert!(own().unwrap().len() >= 8);
        let names = ["light".to_owned(), "overlay".to_owned()];
        let chosen = chosen(&names).unwrap();
        assert_eq!(chosen.iter().map(Composition::format).collect::<Vec<_>>(), ["mp4", "webm"]);
        assert!(super::chosen(&["nothing".to_owned()]).is_err());
    }
}
