//! The report of the comparison: rows, means, the table on the screen and in the documentation, the JSON file.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use hyperfarm_e2e::parity::render::Renderers;
use hyperfarm_e2e::parity::repository;
use serde::Serialize;

use crate::meter::{Meter, Usage};
use crate::quality::Quality;
use crate::{chart, pages};

/// Properties that two videos must share to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct VideoProperties {
    /// Number of frames.
    pub(crate) frames: u64,
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
    /// Frames a second.
    pub(crate) fps: String,
}

impl VideoProperties {
    /// Reads the properties of a video.
    ///
    /// # Errors
    /// The file cannot be read or has no video.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Self> {
        let info = hyperfarm_media::probe(path)?;
        let video = info.video.with_context(|| format!("{} has no pictures", path.display()))?;
        Ok(Self {
            frames: hyperfarm_media::count_packets(path)?.video,
            width: video.size.width,
            height: video.size.height,
            fps: video.frame_rate.map_or_else(|| "unknown".to_owned(), |rate| rate.to_string()),
        })
    }
}

impl std::fmt::Display for VideoProperties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}, {} frames at {}", self.width, self.height, self.frames, self.fps)
    }
}

/// Figures of one renderer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Side {
    /// The run that counts.
    #[serde(flatten)]
    pub(crate) usage: Usage,
    /// Length of the video file in bytes.
    pub(crate) bytes: u64,
    /// Similarity to the lossless capture.
    pub(crate) quality: Option<Quality>,
    /// Usage of every run.
    pub(crate) runs: Vec<Usage>,
}

impl Side {
    /// Figures from all runs, of which the quickest counts, or with `median` the median. There is at least one.
    pub(crate) fn new(runs: Vec<Usage>, median: bool, bytes: u64) -> Self {
        let mut sorted = runs.clone();
        sorted.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        let at = if median { sorted.len() / 2 } else { 0 };
        let usage = sorted.get(at).copied().unwrap_or(Usage { wall_s: 0.0, cpu_s: 0.0, peak_bytes: 0 });
        Self { usage, bytes, quality: None, runs }
    }
}

/// Similarity of our lossless capture and the published CLI's.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Agreement {
    /// Decibels over red, green and blue.
    pub(crate) psnr: f64,
    /// Similarity of luma.
    pub(crate) ssim: f64,
    /// Largest difference of a byte.
    pub(crate) largest_difference: u8,
}

/// Figures of one composition.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: String,
    /// Container.
    pub(crate) format: String,
    /// Frames in the videos.
    pub(crate) frames: u64,
    /// Properties of both videos.
    pub(crate) facts: Option<VideoProperties>,
    /// Chunks of our render.
    pub(crate) chunks: usize,
    /// Whether every chunk of our render read the framebuffer.
    pub(crate) framebuffer: bool,
    /// Timings of our last render, from `--timings`.
    pub(crate) timings: serde_json::Value,
    /// The published CLI.
    pub(crate) upstream: Option<Side>,
    /// hyperfarm.
    pub(crate) ours: Option<Side>,
    /// Similarity of the lossless captures, where that was requested.
    pub(crate) reference: Option<Agreement>,
    /// Errors.
    pub(crate) wrong: Vec<String>,
}

/// The published CLI's figures over ours: above 1 is in our favour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Ratios {
    /// Wall clock.
    pub(crate) wall: f64,
    /// Processor time.
    pub(crate) cpu: f64,
    /// Peak memory.
    pub(crate) memory: f64,
    /// Size of the file.
    pub(crate) bytes: f64,
}

impl Row {
    /// A row without figures.
    pub(crate) fn new(name: &str, format: &str) -> Self {
        Self {
            name: name.to_owned(),
            format: format.to_owned(),
            frames: 0,
            facts: None,
            chunks: 0,
            framebuffer: false,
            timings: serde_json::Value::Null,
            upstream: None,
            ours: None,
            reference: None,
            wrong: Vec::new(),
        }
    }

    /// The ratios, where both sides rendered.
    pub(crate) fn ratios(&self) -> Option<Ratios> {
        let (upstream, ours) = (self.upstream.as_ref()?, self.ours.as_ref()?);
        Some(Ratios {
            wall: upstream.usage.wall_s / ours.usage.wall_s.max(1e-9),
            cpu: upstream.usage.cpu_s / ours.usage.cpu_s.max(1e-9),
            memory: upstream.usage.peak_bytes as f64 / (ours.usage.peak_bytes as f64).max(1.0),
            bytes: upstream.bytes as f64 / (ours.bytes as f64).max(1.0),
        })
    }

    fn cpu_ms(&self, side: &Side) -> f64 {
        side.usage.cpu_s * 1000.0 / self.frames.max(1) as f64
    }
}

/// Report of a whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The published CLI's version.
    pub(crate) upstream_version: String,
    /// hyperfarm's and Chrome's.
    pub(crate) versions: Vec<String>,
    /// Quality by name.
    pub(crate) quality: String,
    /// Description of the machine.
    pub(crate) machine: String,
    /// Load average of the last minute before the run. It should be near 0.
    pub(crate) load_before: f64,
    /// How processor time was measured.
    pub(crate) cpu_method: String,
    /// How memory was measured.
    pub(crate) memory_method: String,
    /// Renders of each by each.
    pub(crate) runs: usize,
    /// Which run counts: `quickest` or `median`.
    pub(crate) counts: String,
    /// Figures by composition.
    pub(crate) rows: Vec<Row>,
}

/// The version that `program --version` prints.
///
/// # Errors
/// The program does not start, or prints no version.
pub(crate) fn version(program: &Path) -> anyhow::Result<String> {
    let mut command = std::process::Command::new("timeout");
    let output = command.arg("30").arg(program).arg("--version").output();
    let text = String::from_utf8_lossy(&output.context("starting timeout")?.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text).with_context(|| format!("{} does not tell its version", program.display()))
}

impl Report {
    /// A report without rows.
    ///
    /// # Errors
    /// A program's version cannot be read.
    pub(crate) fn new(renderers: &Renderers, meter: &Meter, runs: usize, median: bool) -> anyhow::Result<Self> {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            upstream_version: renderers.version.clone(),
            versions: vec![version(&renderers.hyperfarm)?, version(&renderers.chrome)?],
            quality: renderers.quality.clone(),
            machine: machine(),
            load_before: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            cpu_method: meter.cpu_method().to_owned(),
            memory_method: meter.memory_method().to_owned(),
            runs,
            counts: if median { "median" } else { "quickest" }.to_owned(),
            rows: Vec::new(),
        })
    }

    fn mean(&self, of: impl Fn(&Ratios) -> f64) -> f64 {
        let logs: Vec<f64> = self.rows.iter().filter_map(Row::ratios).map(|ratios| of(&ratios).ln()).collect();
        (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
    }

    /// The geometric means.
    pub(crate) fn means(&self) -> Ratios {
        Ratios {
            wall: self.mean(|ratios| ratios.wall),
            cpu: self.mean(|ratios| ratios.cpu),
            memory: self.mean(|ratios| ratios.memory),
            bytes: self.mean(|ratios| ratios.bytes),
        }
    }

    fn about(&self) -> String {
        format!(
            "HyperFrames CLI {} and {}; {}; quality {}; {} run{} of each, the {} counts; load average before it {:.2}",
            self.upstream_version,
            self.versions.join(", "),
            self.machine,
            self.quality,
            self.runs,
            if self.runs == 1 { "" } else { "s" },
            self.counts,
            self.load_before
        )
    }

    /// Prints the header of the table.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn print_header(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{}\nprocessor time: {}\nmemory: {}\n", self.about(), self.cpu_method, self.memory_method)?;
        writeln!(
            out,
            "{:<14} {:>6} | {:>7} {:>7} {:>6} | {:>7} {:>7} {:>6} | {:>6} {:>6} {:>6} | {:>7} {:>7} {:>6} | {:>6} {:>6} {:>7} {:>7}",
            "theirs, ours:",
            "frames",
            "wall s",
            "wall s",
            "ratio",
            "cpu ms",
            "cpu ms",
            "ratio",
            "MB",
            "MB",
            "ratio",
            "kB",
            "kB",
            "ratio",
            "PSNR",
            "PSNR",
            "SSIM",
            "SSIM"
        )?;
        Ok(())
    }

    /// Prints one row.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn print_row(&self, row: &Row) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        let (Some(a), Some(b), Some(ratios)) = (&row.upstream, &row.ours, row.ratios()) else {
            writeln!(out, "{:<14} {}", row.name, row.wrong.join("; "))?;
            return Ok(());
        };
        let psnr = |side: &Side| side.quality.map_or("-".to_owned(), |quality| format!("{:.2}", quality.psnr));
        let ssim = |side: &Side| side.quality.map_or("-".to_owned(), |quality| format!("{:.4}", quality.ssim));
        let (mb, kb) = (|bytes: u64| bytes / 1_000_000, |bytes: u64| bytes / 1000);
        writeln!(
            out,
            "{:<14} {:>6} | {:>7.2} {:>7.2} {:>6.2} | {:>7.1} {:>7.1} {:>6.2} | {:>6} {:>6} {:>6.2} | {:>7} {:>7} {:>6.2} | {:>6} {:>6} {:>7} {:>7}",
            row.name,
            row.frames,
            a.usage.wall_s,
            b.usage.wall_s,
            ratios.wall,
            row.cpu_ms(a),
            row.cpu_ms(b),
            ratios.cpu,
            mb(a.usage.peak_bytes),
            mb(b.usage.peak_bytes),
            ratios.memory,
            kb(a.bytes),
            kb(b.bytes),
            ratios.bytes,
            psnr(a),
            psnr(b),
            ssim(a),
            ssim(b)
        )?;
        if let Some(agreement) = &row.reference {
            writeln!(
                out,
                "{:<14} lossless captures: {:.2} dB, SSIM {:.5}, largest difference {}",
                "", agreement.psnr, agreement.ssim, agreement.largest_difference
            )?;
        }
        out.flush()?;
        Ok(())
    }

    /// Prints the means.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn print_means(&self) -> anyhow::Result<()> {
        let means = self.means();
        let least = self.rows.iter().filter_map(Row::ratios).map(|ratios| ratios.wall).fold(f64::INFINITY, f64::min);
        let mut out = std::io::stdout();
        writeln!(
            out,
            "\ngeometric means: {:.2} times as quick (the least {least:.2}), {:.2} times less processor time, {:.2} times less memory, \
             {:.2} times smaller",
            means.wall, means.cpu, means.memory, means.bytes
        )?;
        for row in &self.rows {
            let (Some(theirs), Some(ours)) = (&row.upstream, &row.ours) else { continue };
            if let (Some(a), Some(b)) = (theirs.quality, ours.quality)
                && (b.psnr < a.psnr || ours.bytes > theirs.bytes)
            {
                writeln!(
                    out,
                    "{}: {:+.2} dB at {:+.1} % of the size",
                    row.name,
                    b.psnr - a.psnr,
                    (ours.bytes as f64 / theirs.bytes as f64 - 1.0) * 100.0
                )?;
            }
        }
        Ok(())
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut value = serde_json::to_value(self)?;
        value["geometric_means"] = serde_json::to_value(self.means())?;
        if let Some(rows) = value["rows"].as_array_mut() {
            for (value, row) in rows.iter_mut().zip(&self.rows) {
                value["ratios"] = serde_json::to_value(row.ratios())?;
            }
        }
        std::fs::write(path, serde_json::to_vec_pretty(&value)?).with_context(|| format!("writing {}", path.display()))
    }

    /// Writes `bench/results.json`, the chart, and the table in the documentation.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn publish(&self) -> anyhow::Result<()> {
        self.write(&repository().join("bench/results.json"))?;
        let bars: Vec<chart::Bars> = self
            .rows
            .iter()
            .filter_map(|row| Some((row.name.clone(), row.ratios()?)))
            .chain([("geometric mean".to_owned(), self.means())])
            .map(|(name, ratios)| chart::Bars { name, wall: ratios.wall, cpu: ratios.cpu })
            .collect();
        std::fs::write(repository().join("docs/images/bench.svg"), chart::draw(&bars))?;
        pages::replace("table", &self.markdown())
    }

    fn markdown(&self) -> String {
        let mut text =
            format!("{}. Processor time: {}. Memory: {}.\n\n", self.about(), self.cpu_method, self.memory_method);
        text.push_str("![Ratios of wall clock and processor time](images/bench.svg)\n\n");
        text.push_str("Each pair is theirs → ours; a ratio above 1 is in hyperfarm's favour.\n\n");
        text.push_str("| composition | frames | wall s | ratio | CPU ms a frame | ratio | peak MB | size kB | PSNR dB | SSIM | capture |\n");
        text.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n");
        for row in &self.rows {
            let (Some(a), Some(b), Some(ratios)) = (&row.upstream, &row.ours, row.ratios()) else {
                let _ =
                    writeln!(text, "| {} | | {} | | | | | | | | |", row.name, row.wrong.join("; ").replace('|', "/"));
                continue;
            };
            let pair = |of: &dyn Fn(&Quality) -> String| match (&a.quality, &b.quality) {
                (Some(a), Some(b)) => format!("{} → {}", of(a), of(b)),
                _ => String::new(),
            };
            let _ = writeln!(
                text,
                "| {} ({}) | {} | {:.1} → {:.1} | **{:.2}** | {:.0} → {:.0} | **{:.2}** | {} → {} | {} → {} | {} | {} | {} |",
                row.name,
                row.facts.as_ref().map_or(String::new(), |facts| format!("{}x{}", facts.width, facts.height)),
                row.frames,
                a.usage.wall_s,
                b.usage.wall_s,
                ratios.wall,
                row.cpu_ms(a),
                row.cpu_ms(b),
                ratios.cpu,
                a.usage.peak_bytes / 1_000_000,
                b.usage.peak_bytes / 1_000_000,
                a.bytes / 1000,
                b.bytes / 1000,
                pair(&|quality| format!("{:.2}", quality.psnr)),
                pair(&|quality| format!("{:.4}", quality.ssim)),
                if row.framebuffer { "framebuffer" } else { "screenshots" },
            );
        }
        let means = self.means();
        let _ = writeln!(
            text,
            "| **geometric mean** | | | **{:.2}** | | **{:.2}** | {:.2} × less | {:.2} × less | | | |",
            means.wall, means.cpu, means.memory, means.bytes
        );
        text
    }
}

/// Description of the machine: processor and memory.
pub(crate) fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']).to_owned();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let total: u64 = total.trim().trim_end_matches("kB").trim().parse().unwrap_or(0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!(
        "{cores} cores{}{model}, {} GB of memory",
        if model.is_empty() { "" } else { " of " },
        total * 1024 / 1_000_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(wall_s: f64) -> Usage {
        Usage { wall_s, cpu_s: wall_s * 2.0, peak_bytes: 100 }
    }

    #[test]
    fn the_quickest_or_the_median_run_counts() {
        let runs = vec![usage(3.0), usage(1.0), usage(2.0)];
        assert_eq!(Side::new(runs.clone(), false, 1).usage.wall_s, 1.0);
        assert_eq!(Side::new(runs, true, 1).usage.wall_s, 2.0);
    }

    #[test]
    fn ratios_are_theirs_over_ours() {
        let mut row = Row::new("a", "mp4");
        assert_eq!(row.ratios(), None);
        row.upstream = Some(Side::new(vec![usage(6.0)], false, 300));
        row.ours = Some(Side::new(vec![usage(2.0)], false, 100));
        assert_eq!(row.ratios(), Some(Ratios { wall: 3.0, cpu: 3.0, memory: 1.0, bytes: 3.0 }));
    }
}
