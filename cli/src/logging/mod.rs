//! Logs and traces. Logs go to standard error as text or JSON; spans go to an OpenTelemetry collector where one is set.
//!
//! All roles use the same fields: `render`, `step`, `chunk`, `attempt`, `worker` in every line of a task, `request_id`
//! in every line of a request.

mod escape;
mod json;
mod traces;

use std::io::IsTerminal;

use tokio::runtime::Handle;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::args::{Args, Command};
use crate::exit::CliError;
use crate::settings::LogSettings;

pub(crate) use traces::Traces;

/// Starts logging. Without a filter in the settings a service logs at `info`, a command at `error`.
///
/// The returned value sends the last spans when it is dropped, for which `runtime` must still run.
///
/// # Errors
///
/// The collector's URL cannot be used.
pub(crate) fn start(args: &Args, settings: LogSettings, runtime: &Handle) -> Result<Option<Traces>, CliError> {
    let default = match (&args.command, args.verbose) {
        (_, true) => {
            "info,hyperfarm_worker=debug,hyperfarm_coordinator=debug,hyperfarm_backplane=debug,hyperfarm_stitcher=debug"
        }
        (Command::Render(_) | Command::Check(_) | Command::Snapshot(_) | Command::Doctor(_), false) => "error",
        _ => "info",
    };
    // The client library logs every message of a newer Chrome that it does not know.
    let default = format!("{default},chromiumoxide=off");
    let filter = settings.filter.as_deref().and_then(|filter| EnvFilter::try_new(filter).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer::<Registry>();
    let lines = if settings.json {
        lines.with_writer(std::io::stderr).fmt_fields(JsonFields::new()).event_format(json::Flat).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).with_writer(escape::Lines(std::io::stderr)).boxed()
    };
    let (spans, traces) = Traces::start(settings.collector, settings.service, runtime)?.unzip();
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
    Ok(traces)
}
