//! `hyperfarm workers`.

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::farm::QuarantineRequest;
use hyperfarm_proto::bounded::Text;
use reqwest::Method;
use serde_json::Value;

use super::renders::{ListArgs, OneArgs};
use super::{Api, FarmArgs, show_list, show_one};
use crate::exit::CliError;

const ROUTE: &str = "/v3/hyperframes/workers";

/// What to do with the workers of a farm. The key needs the scope `admin`.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// List the workers and stitchers that are alive.
    List(ListArgs),
    /// Have a worker finish what it has and end.
    Drain(OneArgs),
    /// Have a worker finish what it has and rest until it is resumed.
    Quarantine(QuarantineArgs),
    /// Have a quarantined worker take tasks again.
    Resume(OneArgs),
}

/// `hyperfarm workers quarantine`.
#[derive(Debug, ClapArgs)]
pub(crate) struct QuarantineArgs {
    /// Its id.
    pub id: String,
    /// Why, for people who look at the worker.
    #[arg(long)]
    pub reason: Option<Text<500>>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm workers`.
pub(crate) async fn run(command: WorkersCommand) -> Result<(), CliError> {
    let (farm, data) = match command {
        WorkersCommand::List(args) => {
            let items = Api::new(&args.farm.farm)?.list(ROUTE, args.limit.into(), args.all).await?;
            let columns = ["worker_id", "role", "pool", "state", "slots_busy", "slots", "version", "state_reason"];
            show_list(&items, &columns, args.farm.json);
            return Ok(());
        }
        WorkersCommand::Drain(args) => (args.farm.clone(), change(&args, "drain").await?),
        WorkersCommand::Resume(args) => (args.farm.clone(), change(&args, "resume").await?),
        WorkersCommand::Quarantine(args) => {
            let (route, body) = (format!("{ROUTE}/{}/quarantine", args.id), QuarantineRequest { reason: args.reason });
            let data = Api::new(&args.farm.farm)?.send(Method::POST, &route, &body).await?;
            (args.farm, data)
        }
    };
    show_one(&data, farm.json);
    Ok(())
}

async fn change(args: &OneArgs, verb: &str) -> Result<Value, CliError> {
    Api::new(&args.farm.farm)?.data(Method::POST, &format!("{ROUTE}/{}/{verb}", args.id), None).await
}
