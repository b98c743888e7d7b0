//! `hyperfarm ledger`: the farm's ledger, directly in its servers.

use clap::Subcommand;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::config::Config;
use hyperfarm_coordinator::{RebuiltRender, ReconcileError, rebuild_ledger};
use hyperfarm_proto::id::RenderId;
use serde_json::{Value, json};

use crate::client::show_list;
use crate::exit::CliError;
use crate::keys::OutputArgs;
use crate::settings;

/// The subcommands of `hyperfarm ledger`.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Replace the entries of open renders with what storage has of them, and list these renders. The farm may run.
    Rebuild(OutputArgs),
}

/// `hyperfarm ledger`.
pub(crate) async fn run(command: LedgerCommand) -> Result<(), CliError> {
    let LedgerCommand::Rebuild(output) = command;
    let config = settings::read(Config::read)?;
    if config.cluster.is_none() {
        let advice = "the ledger of `hyperfarm up` without HYPERFARM_REDIS_URL is in its memory, and is made anew at each \
                      start; set the farm's HYPERFARM_REDIS_URL, HYPERFARM_AMQP_URL and HYPERFARM_STORAGE_URL";
        return Err(CliError::usage(advice));
    }
    let backplane = Backplane::connect(&config).await.map_err(CliError::system)?;
    let rebuilt = rebuild_ledger(&backplane).await;
    backplane.broker.close().await;
    let rebuilt = rebuilt.map_err(CliError::system)?;
    let rows: Vec<Value> = rebuilt.iter().map(|(render, rebuilt)| view(render, rebuilt)).collect();
    show_list(&rows, &["render_id", "planned", "commits", "error"], output.json);
    match rebuilt.iter().filter(|(_, rebuilt)| rebuilt.is_err()).count() {
        0 => Ok(()),
        failed => Err(CliError::system(format!("{failed} of {} renders could not be rebuilt", rebuilt.len()))),
    }
}

fn view(render: &RenderId, rebuilt: &Result<RebuiltRender, ReconcileError>) -> Value {
    match rebuilt {
        Ok(RebuiltRender { commits, is_planned }) => {
            json!({ "render_id": render, "planned": is_planned, "commits": commits, "error": null })
        }
        Err(error) => json!({ "render_id": render, "planned": null, "commits": null, "error": error.to_string() }),
    }
}
