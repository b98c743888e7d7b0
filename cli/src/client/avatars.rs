//! `hyperfarm avatars`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::avatars::{AvatarChange, AvatarCreated, AvatarRequest, AvatarSource, ConsentRequest};
use hyperfarm_proto::bounded::Text;
use reqwest::Method;
use serde_json::Value;

use super::renders::{ListArgs, OneArgs};
use super::{Api, FarmArgs, show_list, show_one, typed, wait_for};
use crate::client::assets;
use crate::exit::CliError;

const ROUTE: &str = "/v3/avatars";
const LOOKS: &str = "/v3/avatars/looks";

/// The columns of a list of looks.
const LOOK_COLUMNS: [&str; 5] = ["id", "name", "group_id", "status", "failure_message"];

/// What to do with avatars: people, each a group of looks.
#[derive(Debug, Subcommand)]
pub(crate) enum AvatarsCommand {
    /// Make a look of a photo: of a new person, or of one who is there.
    Create(CreateArgs),
    /// List people.
    List(ListArgs),
    /// Show a person.
    Get(OneArgs),
    /// Rename a person.
    Rename(RenameArgs),
    /// Delete a person with all looks.
    Delete(OneArgs),
    /// Ask a person for consent: prints the page to send to that person.
    Consent(OneArgs),
    /// List looks, show one, rename one or delete one.
    #[command(subcommand)]
    Looks(LooksCommand),
}

/// What to do with looks.
#[derive(Debug, Subcommand)]
pub(crate) enum LooksCommand {
    /// List looks.
    List(LooksArgs),
    /// Show a look.
    Get(OneArgs),
    /// Rename a look.
    Rename(RenameArgs),
    /// Delete a look.
    Delete(OneArgs),
}

/// `hyperfarm avatars create`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CreateArgs {
    /// The photo: a PNG or a JPEG file with one face that looks at the camera.
    pub photo: PathBuf,
    /// Name to show to people.
    #[arg(long)]
    pub name: Text<200>,
    /// Id of the person whose look it is [default: a new person].
    #[arg(long, value_name = "ID")]
    pub group: Option<Text<64>>,
    /// Wait until the farm has found the face.
    #[arg(long)]
    pub wait: bool,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm avatars rename`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RenameArgs {
    /// Its id.
    pub id: String,
    /// The new name.
    pub name: Text<200>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm avatars looks list`.
#[derive(Debug, ClapArgs)]
pub(crate) struct LooksArgs {
    /// Only the looks of this person.
    #[arg(long, value_name = "ID")]
    pub group: Option<String>,
    /// How many, and of which farm.
    #[command(flatten)]
    pub list: ListArgs,
}

/// `hyperfarm avatars`.
pub(crate) async fn run(command: AvatarsCommand) -> Result<(), CliError> {
    match command {
        AvatarsCommand::Create(args) => create(args).await,
        AvatarsCommand::List(args) => {
            list(ROUTE, &args, &["id", "name", "looks_count", "status", "consent_status"]).await
        }
        AvatarsCommand::Get(args) => one(&args, Method::GET, ROUTE).await,
        AvatarsCommand::Rename(args) => rename(args, ROUTE).await,
        AvatarsCommand::Delete(args) => one(&args, Method::DELETE, ROUTE).await,
        AvatarsCommand::Consent(args) => {
            let path = format!("{ROUTE}/{}/consent", args.id);
            let data = Api::new(&args.farm.farm)?.send(Method::POST, &path, &ConsentRequest::default()).await?;
            show_one(&data, args.farm.json);
            Ok(())
        }
        AvatarsCommand::Looks(LooksCommand::List(args)) => {
            let filter = args.group.map(|group| format!("?group_id={group}")).unwrap_or_default();
            list(&format!("{LOOKS}{filter}"), &args.list, &LOOK_COLUMNS).await
        }
        AvatarsCommand::Looks(LooksCommand::Get(args)) => one(&args, Method::GET, LOOKS).await,
        AvatarsCommand::Looks(LooksCommand::Rename(args)) => rename(args, LOOKS).await,
        AvatarsCommand::Looks(LooksCommand::Delete(args)) => one(&args, Method::DELETE, LOOKS).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let api = Api::new(&args.farm.farm)?;
    let file = Some(assets::upload_file(&api, &args.photo).await?);
    let body = AvatarRequest { kind: AvatarSource::Photo, name: args.name, file, avatar_group_id: args.group };
    let created: AvatarCreated = typed(api.send(Method::POST, ROUTE, &body).await?)?;
    let id = created.avatar_item.id;
    let path = format!("{LOOKS}/{id}");
    let look = if args.wait {
        let line = |_: &Value| "finding the face".to_owned();
        wait_for(&api, &path, &format!("look {id}"), None, line).await?
    } else {
        api.data(Method::GET, &path, None).await?
    };
    show_one(&look, args.farm.json);
    match look["failure_message"].as_str() {
        Some(message) => Err(CliError::user(format!("look {id} failed: {message}"))),
        None => Ok(()),
    }
}

async fn list(route: &str, args: &ListArgs, columns: &[&str]) -> Result<(), CliError> {
    // A page of avatars has 50 at most.
    let items = Api::new(&args.farm.farm)?.list_by(route, args.limit.into(), args.all, 50).await?;
    show_list(&items, columns, args.farm.json);
    Ok(())
}

async fn one(args: &OneArgs, method: Method, route: &str) -> Result<(), CliError> {
    let data = Api::new(&args.farm.farm)?.data(method, &format!("{route}/{}", args.id), None).await?;
    show_one(&data, args.farm.json);
    Ok(())
}

async fn rename(args: RenameArgs, route: &str) -> Result<(), CliError> {
    let change = AvatarChange { name: Some(args.name), ..AvatarChange::default() };
    let path = format!("{route}/{}", args.id);
    let data = Api::new(&args.farm.farm)?.send(Method::PATCH, &path, &change).await?;
    show_one(&data, args.farm.json);
    Ok(())
}
