//! `hyperfarm webhooks`.

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::webhooks::{EndpointChange, EndpointRequest};
use hyperfarm_proto::bounded::Text;
use reqwest::Method;
use url::Url;

use super::renders::{ListArgs, OneArgs};
use super::{Api, FarmArgs, show_list, show_one};
use crate::exit::CliError;

const ROUTE: &str = "/v3/webhooks/endpoints";

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
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
pub(crate) struct CreateArgs {
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
pub(crate) struct UpdateArgs {
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
pub(crate) async fn run(command: WebhooksCommand) -> Result<(), CliError> {
    let (farm, method, path) = match command {
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
            let body = EndpointRequest { url: receiver(&args.url)?, events, entity_id: None };
            let data = Api::new(&args.farm.farm)?.send(Method::POST, ROUTE, &body).await?;
            show_one(&data, args.farm.json);
            return Ok(());
        }
        WebhooksCommand::Update(args) => {
            let url = args.url.as_ref().map(receiver).transpose()?;
            let body = EndpointChange { url, events: (!args.events.is_empty()).then_some(args.events) };
            let path = format!("{ROUTE}/{}", args.id);
            let data = Api::new(&args.farm.farm)?.send(Method::PATCH, &path, &body).await?;
            show_one(&data, args.farm.json);
            return Ok(());
        }
        WebhooksCommand::Rotate(args) => (args.farm, Method::POST, format!("{ROUTE}/{}/rotate-secret", args.id)),
        WebhooksCommand::Delete(args) => (args.farm, Method::DELETE, format!("{ROUTE}/{}", args.id)),
    };
    let data = Api::new(&farm.farm)?.data(method, &path, None).await?;
    show_one(&data, farm.json);
    Ok(())
}

fn receiver(url: &Url) -> Result<Text<2048>, CliError> {
    url.as_str().parse().map_err(|error| CliError::usage(format!("--url: {error}")))
}
