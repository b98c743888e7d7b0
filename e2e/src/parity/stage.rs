//! Stages a project for both renderers: the composition's own files, and the libraries and media that they refer to.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::{compositions, media, repository};

/// Names that a page loads, and the file of an npm package for each. Packages are in the folder of the suite or in that
/// of the browser assets.
const PACKAGED: &[(&str, &str)] = &[
    ("lib/gsap.min.js", "gsap/dist/gsap.min.js"),
    ("lib/SplitText.min.js", "gsap/dist/SplitText.min.js"),
    ("lib/MotionPathPlugin.min.js", "gsap/dist/MotionPathPlugin.min.js"),
    ("lib/TextPlugin.min.js", "gsap/dist/TextPlugin.min.js"),
    ("lib/anime.umd.min.js", "animejs/dist/bundles/anime.umd.min.js"),
    ("lib/lottie.min.js", "lottie-web/build/player/lottie.min.js"),
    ("lib/d3.min.js", "d3/dist/d3.min.js"),
    ("lib/three.module.min.js", "three/build/three.module.min.js"),
    ("lib/shader-transitions.js", "@hyperframes/shader-transitions/dist/index.global.js"),
    ("fonts/brand.woff2", "@fontsource/oswald/files/oswald-latin-700-normal.woff2"),
    ("fonts/brand-text.woff2", "@fontsource/lato/files/lato-latin-400-normal.woff2"),
];

/// Media of the examples that other compositions refer to.
const FROM_EXAMPLES: &[(&str, &str)] = &[
    ("media/hills.mp4", "examples/video-duck/media/hills.mp4"),
    ("media/music.m4a", "examples/video-duck/media/music.m4a"),
];

/// Copies the composition in `source` to `target`, which is emptied first, with every library and media file that one
/// of its text files refers to (`lib/…`, `fonts/…`, `media/…`) and that it does not contain. Generated media are cached
/// in `cache` between runs. The sidecar is not copied.
///
/// # Errors
/// A file cannot be read, written or generated.
pub fn stage(source: &Path, target: &Path, cache: &Path) -> anyhow::Result<()> {
    if target.exists() {
        std::fs::remove_dir_all(target).with_context(|| format!("emptying {}", target.display()))?;
    }
    let mut text = String::new();
    for file in files(source)? {
        if file == Path::new("parity.json") {
            continue;
        }
        let bytes = std::fs::read(source.join(&file))?;
        put(&target.join(&file), &bytes)?;
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if matches!(extension, "html" | "css" | "js" | "mjs" | "json" | "svg") {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    for (name, package) in PACKAGED {
        if text.contains(name) && !target.join(name).exists() {
            put(&target.join(name), &std::fs::read(packaged(package)?)?)?;
        }
    }
    for (name, example) in FROM_EXAMPLES {
        if text.contains(name) && !target.join(name).exists() {
            put(&target.join(name), &std::fs::read(repository().join(example))?)?;
        }
    }
    for recipe in media::RECIPES {
        let name = format!("media/{}", recipe.name);
        if text.contains(&name) && !target.join(&name).exists() {
            put(&target.join(&name), &std::fs::read(recipe.generate(cache)?)?)?;
        }
    }
    Ok(())
}

fn packaged(path: &str) -> anyhow::Result<PathBuf> {
    let folders = [compositions(), repository().join("worker/browser")];
    let found = folders.iter().map(|folder| folder.join("node_modules").join(path)).find(|file| file.is_file());
    found.with_context(|| format!("no npm package has {path}: `scripts/setup.sh --bench` installs them"))
}

fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// Copies a staged project, because the published CLI writes into the project.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy(source: &Path, target: &Path) -> anyhow::Result<()> {
    if target.exists() {
        std::fs::remove_dir_all(target)?;
    }
    for file in files(source)? {
        put(&target.join(&file), &std::fs::read(source.join(&file))?)?;
    }
    Ok(())
}

/// Every file below `folder`, relative to it and sorted, without packages, hidden folders and renders.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let entries = std::fs::read_dir(folder.join(&below))
            .with_context(|| format!("reading {}", folder.join(&below).display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let path = below.join(&name);
            if !folder.join(&path).is_dir() {
                found.push(path);
            } else if !matches!(name.to_str(), Some("node_modules" | "renders" | ".hyperframes" | ".git")) {
                open.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A hash of all files of a staged project and of `settings`, the settings of its render.
///
/// # Errors
/// A file cannot be read.
pub fn hash(project: &Path, settings: &str) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for file in files(project)? {
        let bytes = std::fs::read(project.join(&file))?;
        hash.update(format!("{}\0{}\0", file.display(), bytes.len()));
        hash.update(&bytes);
    }
    hash.update(settings);
    Ok(hex::encode(hash.finalize())[..24].to_owned())
}
