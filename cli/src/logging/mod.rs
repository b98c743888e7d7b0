//! Logs go to standard error: text, or JSON where `HYPERFARM_LOG_FORMAT=json` asks for it. Spans go to a collector of
//! OpenTelemetry where one is named.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `HYPERFARM_LOG` | what is logged: a level, or `target=level,…` | `info` for services, `error` for commands |
//! | `HYPERFARM_LOG_FORMAT` | `text` or `json` | `text` |
//! | `HYPERFARM_OTLP_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT` | URL of a collector that takes OTLP over HTTP (protobuf) | none |
//!
//! The vocabulary is one for all roles: `render`, `step`, `chunk`, `attempt`, `worker` stand in every line of a task, `request_id`
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

pub use traces::Traces;

/// Starts logging. A service says what it does; a command only what went wrong. `HYPERFARM_LOG` decides otherwise.
///
/// What is answered sends the last spans when it is dropped, for which `runtime` must still run.
pub fn start(args: &Args, runtime: &Handle) -> Result<Option<Traces>, CliError> {
    let default = match (&args.command, args.verbose) {
        (_, true) => {
            "info,hyperfarm_worker=debug,hyperfarm_coordinator=debug,hyperfarm_backplane=debug,hyperfarm_stitcher=debug"
        }
        (Command::Render(_) | Command::Doctor, false) => "error",
        _ => "info",
    };
    // The client library logs every message of a newer Chrome that it does not know.
    let default = format!("{default},chromiumoxide=off");
    let filter = EnvFilter::try_from_env("HYPERFARM_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer::<Registry>();
    let lines = match std::env::var("HYPERFARM_LOG_FORMAT").unwrap_or_default().trim() {
        "json" => lines.with_writer(std::io::stderr).fmt_fields(JsonFields::new()).event_format(json::Flat).boxed(),
        "" | "text" => {
            lines.with_ansi(std::io::stderr().is_terminal()).with_writer(escape::Lines(std::io::stderr)).boxed()
        }
        other => return Err(CliError::user(format!("HYPERFARM_LOG_FORMAT is `{other}`; set it to text or json"))),
    };
    let (spans, traces) = Traces::start(runtime)?.unzip();
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
    Ok(traces)
}
