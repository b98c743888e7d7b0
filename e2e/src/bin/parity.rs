//! The parity suite: compositions rendered by the published HyperFrames CLI and by hyperfarm, and compared.
//!
//!     parity [--only NAME,…] [--folder DIR]… [--keep] [--fresh] [--ours-only] [--theirs-only]
//!            [--chunks FRAMES] [--quality standard] [--limit SECONDS] [--lock FILE] [--hyperfarm FILE]
//!
//! Without `--folder` it is the suite's own compositions. With it, every folder below DIR that holds an `index.html`,
//! or DIR itself. Theirs are kept in `out/parity/cache` by a hash of everything that made them. Everything found is in
//! `out/parity/results.json`; `--keep` leaves the worst frame of each as ours, theirs and four times the difference.
//! `--ours-only` checks what is known of our renders, `--theirs-only` only fills the cache. `--chunks` compares our render
//! in one chunk with ours in chunks of so many frames, by the hashes of their captured frames.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hyperfarm_e2e::parity::render::Renderers;
use hyperfarm_e2e::parity::report::{self, Outcome};
use hyperfarm_e2e::parity::sidecar::Sidecar;
use hyperfarm_e2e::parity::{compositions, picture, repository, sound, stage};

/// Most frames that a chunk may have.
const WHOLE: u32 = 1_000_000;

#[derive(Default)]
struct Options {
    only: Vec<String>,
    folders: Vec<PathBuf>,
    keep: bool,
    fresh: bool,
    ours_only: bool,
    theirs_only: bool,
    chunks: Option<u32>,
    quality: Option<String>,
    limit: Option<u64>,
    lock: Option<PathBuf>,
    hyperfarm: Option<PathBuf>,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--only" => options.only.extend(value()?.split(',').filter(|name| !name.is_empty()).map(str::to_owned)),
            "--folder" => options.folders.push(value()?.into()),
            "--keep" => options.keep = true,
            "--fresh" => options.fresh = true,
            "--ours-only" => options.ours_only = true,
            "--theirs-only" => options.theirs_only = true,
            "--chunks" => options.chunks = Some(value()?.parse().context("--chunks")?),
            "--quality" => options.quality = Some(value()?),
            "--limit" => options.limit = Some(value()?.parse().context("--limit")?),
            "--lock" => options.lock = Some(value()?.into()),
            "--hyperfarm" => options.hyperfarm = Some(value()?.into()),
            _ => bail!("{word} is no option; the first lines of e2e/src/bin/parity.rs list them"),
        }
    }
    Ok(options)
}

/// Folders that hold an `index.html`: `folder` itself, or those directly in it.
fn projects(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if folder.join("index.html").is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.join("index.html").is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn main() -> anyhow::Result<()> {
    let options = options()?;
    let work = repository().join("out/parity");
    let hyperfarm = match &options.hyperfarm {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("hyperfarm"),
    };
    if !hyperfarm.is_file() {
        bail!("{} is missing: make build", hyperfarm.display());
    }
    let mut renderers = Renderers::new(hyperfarm, &work)?;
    renderers.lock = options.lock.clone();
    renderers.limit = options.limit.unwrap_or(renderers.limit);
    renderers.quality = options.quality.clone().unwrap_or(renderers.quality);

    let folders = if options.folders.is_empty() { vec![compositions()] } else { options.folders.clone() };
    let mut chosen = Vec::new();
    for folder in &folders {
        chosen.extend(projects(folder)?);
    }
    if !options.only.is_empty() {
        for wanted in &options.only {
            if !chosen.iter().any(|path| name(path).starts_with(wanted.as_str())) {
                bail!("there is no composition {wanted}");
            }
        }
        chosen.retain(|path| options.only.iter().any(|wanted| name(path).starts_with(wanted.as_str())));
    }

    let mut out = std::io::stdout();
    writeln!(
        out,
        "HyperFrames CLI {}, quality {}, {} compositions\n",
        renderers.version,
        renderers.quality,
        chosen.len()
    )?;
    report::print_header(&mut out)?;
    let mut outcomes = Vec::new();
    for project in &chosen {
        let outcome = one(project, &work, &renderers, &options);
        report::print_row(&mut out, &outcome)?;
        outcomes.push(outcome);
    }
    let passed = outcomes.iter().filter(|outcome| outcome.passed()).count();
    writeln!(out, "\n{passed} of {}", outcomes.len())?;
    let results = serde_json::json!({
        "upstream_version": renderers.version, "quality": renderers.quality, "passed": passed, "compositions": outcomes,
    });
    std::fs::write(work.join("results.json"), serde_json::to_vec_pretty(&results)?)?;
    if passed < outcomes.len() {
        std::process::exit(1);
    }
    Ok(())
}

/// Renders and compares one composition. An error becomes part of the outcome.
fn one(project: &Path, work: &Path, renderers: &Renderers, options: &Options) -> Outcome {
    let sidecar = Sidecar::read(project);
    let mut outcome = Outcome::new(&name(project), sidecar.as_ref().unwrap_or(&Sidecar::default()));
    if let Err(error) = sidecar.and_then(|sidecar| compare(project, work, renderers, options, &sidecar, &mut outcome)) {
        outcome.wrong.push(format!("{error:#}"));
    }
    outcome
}

fn compare(
    project: &Path,
    work: &Path,
    renderers: &Renderers,
    options: &Options,
    sidecar: &Sidecar,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let folder = work.join("compositions").join(&outcome.name);
    let staged = folder.join("project");
    stage::stage(project, &staged, &work.join("media"))?;

    if let Some(frames) = options.chunks {
        let turn = renderers.lock()?;
        let whole = renderers.captured(&staged, &folder, sidecar, WHOLE).context("in one chunk")?;
        let cut = renderers.captured(&staged, &folder, sidecar, frames).context("in chunks")?;
        drop(turn);
        outcome.compare_chunks(&whole, &cut);
        return Ok(());
    }

    let seconds = |took: Option<std::time::Duration>| took.map_or(0.0, |took| took.as_secs_f64());
    let turn = renderers.lock()?;
    let ours = if options.theirs_only { None } else { Some(renderers.ours(&staged, &folder, sidecar).context("ours")) };
    let theirs = if options.ours_only {
        None
    } else {
        Some(renderers.upstream(&staged, &folder, sidecar, options.fresh).context("theirs"))
    };
    drop(turn);
    if let Some(Ok(ours)) = &ours {
        outcome.took.0 = seconds(ours.took);
        outcome.wrong.extend(sidecar.expected.check(&ours.path)?);
    }
    if let Some(Ok(theirs)) = &theirs {
        outcome.took.1 = seconds(theirs.took);
    }
    let (ours, theirs) = (ours.transpose(), theirs.transpose());
    let ours = ours?;
    // Where the other side is known to be wrong it may as well fail.
    let theirs = match theirs {
        Err(_) if outcome.exception.is_some() => None,
        other => other?,
    };
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(()) };
    let (result, worst) = picture::compare_videos(&ours.path, &theirs.path)?;
    let length = |path: &Path| hyperfarm_media::probe(path).map(|info| info.duration.unwrap_or(0.0));
    outcome.duration = Some((length(&ours.path)?, length(&theirs.path)?));
    outcome.picture = Some(result);
    outcome.sound = sound::compare(&sound::samples(&ours.path)?, &sound::samples(&theirs.path)?);
    outcome.check_targets(sidecar);
    if let Some(pair) = worst.filter(|_| options.keep) {
        pair.write_png(&folder.join("worst.png"))?;
    }
    Ok(())
}
