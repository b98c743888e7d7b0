//! `hyperfarm webhooks`.

use clap::{Args as ClapArgs, Subcommand};
use reqwest::Method;
use serde_json::json;
use url::Url;

use super::renders::{ListArgs, OneArgs};
use super::{Api, FarmArgs, show_list, show_one};
use crate::exit::CliError;

const ROUTE: &str = "/v3/webhooks/endpoints";

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// Register an endpoint and print its secret: it cannot be read again.
    Create(CreateArgs),
    /// List endpoints, newest first.
    List(ListArgs),
    /// Change an endpoint.
    Update(UpdateArgs),
    /// Give an endpoint a new secret; the old one stops at once.
    Rotate(OneArgs),
    /// Delete an endpoint.
    Delete(OneArgs),
    /// List what has happened, newest first.
    Events(ListArgs),
}

/// `hyperfarm webhooks create`.
#[derive(Debug, ClapArgs)]
pub struct CreateArgs {
    /// The receiver.
    pub url: Url,
    /// Types to hear of [default: all].
    #[arg(long = "event", value_name = "TYPE")]
    pub events: Vec<String>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm webhooks update`.
#[derive(Debug, ClapArgs)]
pub struct UpdateArgs {
    /// The endpoint.
    pub id: String,
    /// The receiver.
    #[arg(long)]
    pub url: Option<Url>,
    /// Types to hear of, instead of those before.
    #[arg(long = "event", value_name = "TYPE")]
    pub events: Vec<String>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm webhooks`.
pub async fn run(command: WebhooksCommand) -> Result<(), CliError> {
    let (farm, method, path, body) = match command {
        WebhooksCommand::List(args) => {
            let items = Api::new(&args.farm.farm)?.list(ROUTE, args.limit.into(), args.all).await?;
            show_list(&items, &["endpoint_id", "url", "events", "status", "created_at"], args.farm.json);
            return Ok(());
        }
        WebhooksCommand::Events(args) => {
            let items = Api::new(&args.farm.farm)?.list("/v3/webhooks/events", args.limit.into(), args.all).await?;
            show_list(&items, &["event_id", "event_type", "created_at"], args.farm.json);
            return Ok(());
        }
        WebhooksCommand::Create(args) => {
            let events = (!args.events.is_empty()).then_some(args.events);
            (args.farm, Method::POST, ROUTE.to_owned(), Some(json!({ "url": args.url, "events": events })))
        }
        WebhooksCommand::Update(args) => {
            let mut body = json!({});
            if let Some(url) = args.url {
                body["url"] = json!(url);
            }
            if !args.events.is_empty() {
                body["events"] = json!(args.events);
            }
            (args.farm, Method::PATCH, format!("{ROUTE}/{}", args.id), Some(body))
        }
        WebhooksCommand::Rotate(args) => (args.farm, Method::POST, format!("{ROUTE}/{}/rotate-secret", args.id), None),
        WebhooksCommand::Delete(args) => (args.farm, Method::DELETE, format!("{ROUTE}/{}", args.id), None),
    };
    let data = Api::new(&farm.farm)?.data(method, &path, body.as_ref()).await?;
    show_one(&data, farm.json);
    Ok(())
}
