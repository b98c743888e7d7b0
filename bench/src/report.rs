//! What the comparison found: rows, means, the table on the screen and in the documentation, the file.

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

/// What has to be equal before anything is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Pictures in the file.
    pub frames: u64,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames a second.
    pub fps: String,
}

impl Facts {
    /// Of a video.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
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

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}, {} frames at {}", self.width, self.height, self.frames, self.fps)
    }
}

/// One renderer's part of a row.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The run that counts.
    #[serde(flatten)]
    pub usage: Usage,
    /// Length of the file.
    pub bytes: u64,
    /// Against the lossless capture.
    pub quality: Option<Quality>,
    /// Every run.
    pub runs: Vec<Usage>,
}

impl Side {
    /// From every run of it, at least one.
    pub fn new(runs: Vec<Usage>, median: bool, bytes: u64) -> Self {
        let mut sorted = runs.clone();
        sorted.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        let at = if median { sorted.len() / 2 } else { 0 };
        let usage = sorted.get(at).copied().unwrap_or(Usage { wall_s: 0.0, cpu_s: 0.0, peak_bytes: 0 });
        Self { usage, bytes, quality: None, runs }
    }
}

/// How our lossless capture and the published CLI's agree.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Agreement {
    /// Decibels over red, green and blue.
    pub psnr: f64,
    /// Similarity of luma.
    pub ssim: f64,
    /// Largest difference of a byte.
    pub largest_difference: u8,
}

/// One composition.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Container.
    pub format: String,
    /// Frames in the videos.
    pub frames: u64,
    /// What the videos have in common.
    pub facts: Option<Facts>,
    /// Chunks of our render.
    pub chunks: usize,
    /// Whether ours read the framebuffer, in every chunk.
    pub framebuffer: bool,
    /// Where the time of our last render went, as `--timings` says it.
    pub timings: serde_json::Value,
    /// The published CLI.
    pub upstream: Option<Side>,
    /// hyperfarm.
    pub ours: Option<Side>,
    /// Lossless captures held against each other, where that was asked for.
    pub reference: Option<Agreement>,
    /// What went wrong.
    pub wrong: Vec<String>,
}

/// The published CLI's figures over ours: above 1 is in our favour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratios {
    /// Wall clock.
    pub wall: f64,
    /// Processor time.
    pub cpu: f64,
    /// Peak memory.
    pub memory: f64,
    /// Size of the file.
    pub bytes: f64,
}

impl Row {
    /// A row without figures.
    pub fn new(name: &str, format: &str) -> Self {
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
    pub fn ratios(&self) -> Option<Ratios> {
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

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The published CLI's version.
    pub upstream_version: String,
    /// hyperfarm's and Chrome's.
    pub versions: Vec<String>,
    /// Quality by name.
    pub quality: String,
    /// The machine, in words.
    pub machine: String,
    /// Load average of the last minute before the run; the bench wants it near 0.
    pub load_before: f64,
    /// How processor time was found.
    pub cpu_method: String,
    /// How memory was found.
    pub memory_method: String,
    /// Renders of each by each.
    pub runs: usize,
    /// Which of them counts.
    pub counts: String,
    /// What was found.
    pub rows: Vec<Row>,
}

impl Report {
    /// An empty one.
    pub fn new(renderers: &Renderers, meter: &Meter, runs: usize, median: bool) -> anyhow::Result<Self> {
        let version = |program: &Path| -> anyhow::Result<String> {
            let mut command = std::process::Command::new("timeout");
            let output = command.arg("30").arg(program).arg("--version").output()?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
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
    pub fn means(&self) -> Ratios {
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

    /// What comes above the rows.
    pub fn head(&self) -> anyhow::Result<()> {
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

    /// One row.
    pub fn line(&self, row: &Row) -> anyhow::Result<()> {
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

    /// What comes below them.
    pub fn end(&self) -> anyhow::Result<()> {
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

    /// Everything as JSON.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut value = serde_json::to_value(self)?;
        value["geometric_means"] = serde_json::to_value(self.means())?;
        if let Some(rows) = value["rows"].as_array_mut() {
            for (value, row) in rows.iter_mut().zip(&self.rows) {
                value["ratios"] = serde_json::to_value(row.ratios())?;
            }
        }
        std::fs::write(path, serde_json::to_vec_pretty(&value)?).with_context(|| format!("writing {}", path.display()))
    }

    /// `bench/results.json`, the chart and the table in the documentation.
    pub fn publish(&self) -> anyhow::Result<()> {
        self.write(&repository().join("bench/results.json"))?;
        let bars: Vec<chart::Pair> = self
            .rows
            .iter()
            .filter_map(|row| Some((row.name.clone(), row.ratios()?)))
            .chain([("geometric mean".to_owned(), self.means())])
            .map(|(name, ratios)| chart::Pair { name, wall: ratios.wall, cpu: ratios.cpu })
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

/// The machine, in words.
pub fn machine() -> String {
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
