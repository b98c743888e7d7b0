//! What the person sees while it renders: a bar on a terminal; elsewhere only what the render waits for.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::RenderArgs;
use crate::exit::{self, CliError};

/// How far a render is, from whichever side it is watched.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Progress {
    /// Stage in one word.
    pub stage: String,
    /// Frames done.
    pub done: u64,
    /// Frames in all; 0 while unknown.
    pub total: u64,
    /// Until the end.
    pub eta: Option<Duration>,
    /// What the render waits for, as a sentence.
    pub waiting: Option<String>,
}

/// The bar.
pub(super) struct Bar {
    bar: ProgressBar,
    capture_began: Option<(Instant, u64)>,
    /// Whether what a render waits for is printed as a line.
    has_lines: bool,
    /// What the render waits for.
    waiting: Option<String>,
    /// What was printed last.
    said: Option<String>,
}

impl Bar {
    /// A bar on standard error, if that is a terminal and nobody asked for silence or for JSON.
    pub(super) fn new(args: &RenderArgs) -> Self {
        let has_bar = std::io::stderr().is_terminal() && !args.quiet && !args.json;
        Self::with(has_bar, !has_bar && !args.quiet)
    }

    fn with(has_bar: bool, has_lines: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if has_bar {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
        bar.set_style(style("{spinner} {prefix:8} {elapsed_precise}  {msg}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, capture_began: None, has_lines, waiting: None, said: None }
    }

    /// What the render waits for, as far as is known.
    pub(super) fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }

    /// A line about what the render waits for, where that is another thing than the last line said.
    fn news(&mut self, waiting: Option<&str>) -> Option<String> {
        self.waiting = waiting.map(str::to_owned);
        let waiting = waiting.filter(|waiting| self.has_lines && self.said.as_deref() != Some(*waiting))?;
        self.said = Some(waiting.to_owned());
        Some(format!("waiting: {waiting}"))
    }

    /// Shows `progress`.
    pub(super) fn show(&mut self, progress: &Progress) {
        if let Some(line) = self.news(progress.waiting.as_deref()) {
            eprintln!("{line}");
        }
        self.bar.set_prefix(progress.stage.clone());
        if progress.total == 0 {
            let usual = if progress.stage == "plan" { "compiling the project, probing its page" } else { "" };
            self.bar.set_message(progress.waiting.clone().unwrap_or_else(|| usual.to_owned()));
            return;
        }
        if self.bar.length() != Some(progress.total) {
            self.bar.set_length(progress.total);
            self.bar.set_style(style("{prefix:8} {bar:32} {pos}/{len} frames  {msg}"));
        }
        self.bar.set_position(progress.done);
        let (began, first) = *self.capture_began.get_or_insert((Instant::now(), progress.done));
        let seconds = began.elapsed().as_secs_f64();
        let pace = if seconds > 0.5 { (progress.done - first.min(progress.done)) as f64 / seconds } else { 0.0 };
        let eta = progress.eta.map(|eta| format!("  {} left", human(eta))).unwrap_or_default();
        let usual = || format!("{pace:.1} frames/s{eta}");
        self.bar.set_message(progress.waiting.clone().unwrap_or_else(usual));
    }

    /// Removes the bar of a render that is complete or goes on elsewhere. That of another one stays and says so.
    pub(super) fn finish<T>(&self, result: &Result<T, CliError>) {
        match result {
            Ok(_) | Err(CliError { code: exit::TIMED_OUT, .. }) => return self.bar.finish_and_clear(),
            Err(CliError { code: exit::INTERRUPTED, .. }) => self.bar.set_prefix("stopped"),
            Err(_) => self.bar.set_prefix("failed"),
        }
        self.bar.abandon();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A duration as people say it.
pub(super) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_what_a_render_waits_for_while_it_waits() {
        let mut bar = Bar::with(false, false);
        let mut said = |stage: &str, total, waiting: Option<&str>| {
            let (stage, waiting) = (stage.to_owned(), waiting.map(str::to_owned));
            bar.show(&Progress { stage, done: 0, total, eta: None, waiting });
            bar.bar.message()
        };
        assert_eq!(said("queued", 0, Some("no worker")), "no worker");
        assert_eq!(said("plan", 0, None), "compiling the project, probing its page");
        assert_eq!(said("capture", 90, Some("storage")), "storage");
        assert_eq!(said("capture", 90, None), "0.0 frames/s");
    }

    #[test]
    fn without_a_terminal_each_thing_that_is_waited_for_is_one_line() {
        let mut bar = Bar::with(false, true);
        let mut said = |waiting: Option<&str>| bar.news(waiting);
        assert_eq!(said(None), None);
        assert_eq!(said(Some("no worker")).as_deref(), Some("waiting: no worker"));
        assert_eq!(said(Some("no worker")), None);
        assert_eq!(said(None), None);
        assert_eq!(said(Some("no worker")), None, "a render that waits again and again fills no log");
        assert_eq!(said(Some("storage")).as_deref(), Some("waiting: storage"));
        assert_eq!(bar.waiting(), Some("storage"));
        assert_eq!(Bar::with(false, false).news(Some("storage")), None);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(human(Duration::from_secs(59)), "59 s");
        assert_eq!(human(Duration::from_secs(61)), "1 min 01 s");
        assert_eq!(human(Duration::from_secs(7260)), "2 h 01 min");
    }
}
