//! Flags of HyperFrames' own renderer that mean nothing here, taken so that a command line that works there works here: each is
//! answered with the reason.

use clap::Args as ClapArgs;

/// The flags.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct CompatArgs {
    #[arg(long, hide = true, conflicts_with = "hdr")]
    sdr: bool,
    #[arg(long, hide = true)]
    gpu: bool,
    #[arg(long, hide = true)]
    docker: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    browser_gpu: Option<bool>,
    #[arg(long, hide = true)]
    no_browser_gpu: bool,
    #[arg(long, hide = true)]
    debug: bool,
    #[arg(long, hide = true)]
    lint_verbose: bool,
    #[arg(long, hide = true)]
    strict: bool,
    #[arg(long, hide = true)]
    strict_all: bool,
    #[arg(long, hide = true)]
    best_effort: bool,
    #[arg(long, hide = true)]
    no_best_effort: bool,
    #[arg(long, hide = true)]
    resume: bool,
    #[arg(long, hide = true)]
    keep_segments: bool,
    #[arg(long, hide = true)]
    low_memory_mode: bool,
    #[arg(long, hide = true)]
    no_low_memory_mode: bool,
    #[arg(long, hide = true)]
    page_side_compositing: bool,
    #[arg(long, hide = true)]
    no_page_side_compositing: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    experimental_fast_capture: Option<bool>,
    #[arg(long, hide = true)]
    video_frame_format: Option<String>,
    #[arg(long, hide = true)]
    browser_timeout: Option<f64>,
    #[arg(long, hide = true)]
    protocol_timeout: Option<f64>,
    #[arg(long, hide = true)]
    player_ready_timeout: Option<f64>,
    #[arg(long, hide = true)]
    frames_cache_dir: Option<String>,
    #[arg(long, hide = true)]
    max_concurrent_renders: Option<u32>,
    #[arg(long, hide = true)]
    skill: Option<String>,
    #[arg(long, hide = true)]
    hls_segment_seconds: Option<u32>,
}

impl CompatArgs {
    /// The flags that were given and change nothing here, each with the reason.
    pub(crate) fn ignored(&self) -> Vec<(&'static str, &'static str)> {
        let drawing = "how pages are drawn is the worker's own affair";
        let waiting = "each wait has its own deadline";
        let flags = [
            (self.gpu, "--gpu", "encoders run on the processor, so that equal plans give equal bytes"),
            (self.docker, "--docker", "the result does not depend on the machine"),
            (self.browser_gpu == Some(true), "--browser-gpu", drawing),
            (
                self.low_memory_mode || self.no_low_memory_mode,
                "--low-memory-mode",
                "slots follow the memory; see --slots",
            ),
            (self.page_side_compositing || self.no_page_side_compositing, "--page-side-compositing", drawing),
            (self.experimental_fast_capture.is_some(), "--experimental-fast-capture", drawing),
            (self.video_frame_format.is_some(), "--video-frame-format", "pictures of videos are lossless"),
            (self.browser_timeout.is_some(), "--browser-timeout", waiting),
            (self.protocol_timeout.is_some(), "--protocol-timeout", waiting),
            (self.player_ready_timeout.is_some(), "--player-ready-timeout", waiting),
            (self.frames_cache_dir.is_some(), "--frames-cache-dir", "videos are decoded where they lie"),
            (
                self.max_concurrent_renders.is_some(),
                "--max-concurrent-renders",
                "one render is one command; see --slots",
            ),
            (self.resume, "--resume", "a render on this machine starts anew; one on a farm goes on by itself"),
            (self.keep_segments, "--keep-segments", "segments go with the render; see --manifest"),
            (self.strict || self.strict_all, "--strict", "compositions are not linted; what is found is a warning"),
            (
                self.no_best_effort,
                "--no-best-effort",
                "what is missing is a warning, or the page does not become ready",
            ),
            (self.debug, "--debug", "set HYPERFARM_LOG=debug instead"),
            (self.lint_verbose, "--lint-verbose", "compositions are not linted"),
            (
                self.hls_segment_seconds.is_some(),
                "--hls-segment-seconds",
                "fragments of hls last as long as the key frames are apart",
            ),
        ];
        flags.into_iter().filter(|(given, ..)| *given).map(|(_, name, reason)| (name, reason)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_ignored_aloud() {
        let given = CompatArgs { gpu: true, skill: Some("x".to_owned()), ..CompatArgs::default() };
        assert_eq!(given.ignored().iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["--gpu"]);
    }
}
