//! `bench compare`: renders a set of compositions with the published CLI and with hyperfarm in turn.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use hyperfarm_e2e::parity::render::Renderers;
use hyperfarm_e2e::parity::{repository, stage};
use hyperfarm_proto::record::{CapturePath, Manifest};

use crate::compositions::{self, Composition};
use crate::meter::{Meter, Usage};
use crate::quality::{self, Quality};
use crate::report::{self, Agreement, Report, Row, Side, VideoProperties};

/// `bench compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Compositions; `examples` stands for all examples [default: the bench's own].
    names: Vec<String>,
    /// Renders of each by each.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// The run with the median wall clock counts, not the quickest.
    #[arg(long)]
    median: bool,
    /// Quality, by its name, on both sides.
    #[arg(long, default_value = "standard")]
    quality: String,
    /// Seconds until a render is ended.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    limit: u64,
    /// Leave out PSNR and SSIM, and the lossless capture that they need.
    #[arg(long)]
    no_quality: bool,
    /// Frames of each video that are compared at most.
    #[arg(long, value_name = "N", default_value_t = 240)]
    compared: u64,
    /// Also hold our lossless capture against the published CLI's PNG sequence.
    #[arg(long)]
    check_reference: bool,
    /// Write bench/results.json and the figures in docs/ [default: where every composition of the bench was asked for].
    #[arg(long)]
    publish: bool,
    /// hyperfarm's binary [default: the one beside this].
    #[arg(long, value_name = "FILE")]
    hyperfarm: Option<PathBuf>,
    /// Another build of hyperfarm, in the place of the published CLI.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["publish", "check_reference"])]
    against: Option<PathBuf>,
}

/// Path of hyperfarm's binary: the given one, or the one beside this program.
///
/// # Errors
/// There is no such file.
pub(crate) fn binary(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("hyperfarm"),
    };
    if !path.is_file() {
        bail!("{} is missing: make build", path.display());
    }
    Ok(path)
}

/// The bench's working folder, created if it does not exist.
///
/// # Errors
/// The folder cannot be created.
pub(crate) fn work() -> anyhow::Result<PathBuf> {
    let work = repository().join("out/bench");
    std::fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    Ok(work)
}

/// Renders the chosen compositions, prints the figures and writes the report.
///
/// # Errors
/// A renderer is missing, the report cannot be written, or a composition could not be compared.
pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let work = work()?;
    let mut renderers = Renderers::new(binary(args.hyperfarm.as_deref())?, &work)?;
    renderers.quality = args.quality.clone();
    renderers.limit = args.limit;
    if let Some(against) = &args.against {
        renderers.version = format!("(not run; in its place {})", report::version(against)?);
    }
    let bench = Bench { args, renderers, meter: Meter::new(), work };
    let chosen = compositions::chosen(&args.names)?;
    let mut report = Report::new(&bench.renderers, &bench.meter, args.runs, args.median)?;
    report.print_header()?;
    for composition in &chosen {
        let row = bench.composition(composition);
        report.print_row(&row)?;
        report.rows.push(row);
    }
    report.print_means()?;
    report.write(&bench.work.join("results.json"))?;
    if args.publish || (args.names.is_empty() && args.against.is_none()) {
        report.publish()?;
    }
    match report.rows.iter().filter(|row| !row.wrong.is_empty()).count() {
        0 => Ok(()),
        bad => bail!("{bad} of {} compositions could not be compared", report.rows.len()),
    }
}

struct Bench<'a> {
    args: &'a CompareArgs,
    renderers: Renderers,
    meter: Meter,
    work: PathBuf,
}

impl Bench<'_> {
    /// The row of one composition. An error becomes part of the row.
    fn composition(&self, composition: &Composition) -> Row {
        let mut row = Row::new(&composition.name, composition.format());
        if let Err(error) = self.measure(composition, &mut row) {
            row.wrong.push(format!("{error:#}"));
        }
        row
    }

    fn measure(&self, composition: &Composition, row: &mut Row) -> anyhow::Result<()> {
        let folder = self.work.join(&composition.name);
        let _ = std::fs::remove_dir_all(&folder);
        let project = folder.join("project");
        composition.stage(&project, &self.work.join("media"))?;
        let file = |name: &str| folder.join(format!("{name}.{}", composition.format()));
        let (theirs, mine) = (file("upstream"), file("ours"));
        let (mut upstream, mut ours) = (Vec::new(), Vec::new());
        for run in 0..self.args.runs.max(1) {
            // The order changes with each run, so that neither side is always first.
            for theirs_now in if run % 2 == 0 { [true, false] } else { [false, true] } {
                if theirs_now {
                    let usage = match &self.args.against {
                        Some(build) => self.against(build, &project, &folder, &theirs, composition.format()),
                        None => self.upstream(&project, &folder, &theirs, composition.format()),
                    };
                    upstream.push(usage.context("the other side")?);
                } else {
                    let usage = self.ours(&project, &folder, &mine, composition.format(), true);
                    ours.push(usage.context("hyperfarm")?);
                }
            }
        }
        // Only videos with equal properties are compared.
        let (facts, other) = (VideoProperties::of(&mine)?, VideoProperties::of(&theirs)?);
        if facts != other {
            bail!("different videos: {facts} and theirs {other}");
        }
        let manifest: Manifest = serde_json::from_slice(&std::fs::read(folder.join("manifest.json"))?)?;
        row.frames = facts.frames;
        row.facts = Some(facts);
        row.timings = timings(&folder.join("ours.log"));
        row.chunks = manifest.segments.len();
        row.framebuffer = manifest.segments.iter().all(|segment| segment.path == CapturePath::Framebuffer);
        let side = |runs: Vec<Usage>, video: &Path| -> anyhow::Result<Side> {
            Ok(Side::new(runs, self.args.median, std::fs::metadata(video)?.len()))
        };
        let (mut upstream, mut ours) = (side(upstream, &theirs)?, side(ours, &mine)?);
        if !self.args.no_quality {
            let (a, b) = self.quality(&project, &folder, &theirs, &mine, row)?;
            (upstream.quality, ours.quality) = (Some(a), Some(b));
        }
        (row.upstream, row.ours) = (Some(upstream), Some(ours));
        Ok(())
    }

    /// Renders with the published CLI from a fresh copy: it writes into the project, and its files would speed up the
    /// next render.
    fn upstream(&self, project: &Path, folder: &Path, made: &Path, format: &str) -> anyhow::Result<Usage> {
        let (copy, frames) = (folder.join("copy"), folder.join("frames"));
        stage::copy(project, &copy)?;
        let _ = std::fs::remove_dir_all(&frames);
        let mut command = self.renderers.cli();
        command.arg("render").arg(&copy).arg("-o").arg(made).args(["--format", format]);
        command.args(["--quality", &self.args.quality]).arg("--frames-cache-dir").arg(&frames);
        let usage = self.run(&command, folder, made);
        for folder in [&copy, &frames] {
            let _ = std::fs::remove_dir_all(folder);
        }
        usage
    }

    /// Renders with another build of hyperfarm.
    fn against(&self, build: &Path, project: &Path, folder: &Path, made: &Path, format: &str) -> anyhow::Result<Usage> {
        let mut command = self.renderers.farm_of(build);
        command.arg("render").arg(project).arg("-o").arg(made).args(["--format", format, "--json"]);
        command.args(["--quality", &self.args.quality]);
        self.run(&command, folder, made)
    }

    fn ours(&self, project: &Path, folder: &Path, made: &Path, format: &str, manifest: bool) -> anyhow::Result<Usage> {
        let mut command = self.renderers.farm();
        command.arg("render").arg(project).arg("-o").arg(made).args(["--format", format, "--json", "--timings"]);
        command.args(["--quality", &self.args.quality]);
        if manifest {
            command.arg("--manifest").arg(folder.join("manifest.json"));
        }
        self.run(&command, folder, made)
    }

    fn run(&self, command: &Command, folder: &Path, made: &Path) -> anyhow::Result<Usage> {
        let _ = if made.is_dir() { std::fs::remove_dir_all(made) } else { std::fs::remove_file(made) };
        let name = made.file_stem().unwrap_or_default().to_string_lossy();
        let usage = self.meter.run(command, &folder.join(format!("{name}.log")))?;
        if !made.exists() {
            bail!("it ended well and wrote nothing");
        }
        Ok(usage)
    }

    fn quality(
        &self,
        project: &Path,
        folder: &Path,
        theirs: &Path,
        mine: &Path,
        row: &mut Row,
    ) -> anyhow::Result<(Quality, Quality)> {
        let lossless = folder.join("lossless");
        self.ours(project, folder, &lossless, "png-sequence", false).context("the lossless capture")?;
        let reference = quality::sequence(&lossless)?;
        let measured = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| quality::of_video(theirs, &reference, self.args.compared));
            let mine = quality::of_video(mine, &reference, self.args.compared);
            let theirs = theirs.join().map_err(|_| anyhow::anyhow!("the comparison broke"))?;
            anyhow::Ok((theirs?, mine?))
        });
        if self.args.check_reference {
            let other = folder.join("lossless-upstream");
            self.upstream(project, folder, &other, "png-sequence").context("the published CLI's PNG sequence")?;
            let (quality, largest) =
                quality::of_sequences(&reference, &quality::sequence(&other)?, self.args.compared)?;
            row.reference = Some(Agreement { psnr: quality.psnr, ssim: quality.ssim, largest_difference: largest });
            let _ = std::fs::remove_dir_all(&other);
        }
        let _ = std::fs::remove_dir_all(&lossless);
        measured
    }
}

/// The timings that `--json --timings` printed.
fn timings(log: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let printed = text.find('{').and_then(|start| serde_json::from_str::<serde_json::Value>(&text[start..]).ok());
    printed.map_or(serde_json::Value::Null, |printed| printed["timings"].clone())
}
