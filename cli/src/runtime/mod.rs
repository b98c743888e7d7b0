//! `hyperfarm runtime`: the versions of the HyperFrames runtime on this machine, or on a farm.

mod npm;
mod package;

use std::path::Path;

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::runtimes::{Runtime, RuntimePackage};
use hyperfarm_backplane::config::Config;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::runtimes::{RuntimeError, RuntimeStore, is_version_or_range};
use hyperfarm_coordinator::runtimes;
use hyperfarm_worker::RUNTIME_VERSION;
use reqwest::Method;
use serde_json::Value;
use url::Url;

use crate::client::{Api, show_list, show_one};
use crate::exit::CliError;
use crate::settings;

const ROUTE: &str = "/v3/hyperframes/runtimes";

/// Folder of the data folder below which versions are stored.
const FOLDER: &str = "runtimes";

/// What to do with versions of the HyperFrames runtime. On a farm, all but `list` need a key with the scope `admin`.
#[derive(Debug, Subcommand)]
pub(crate) enum RuntimeCommand {
    /// Add a version.
    Add(AddArgs),
    /// List the versions.
    List(WhereArgs),
    /// Make a version the one of renders for which none is asked.
    Default(VersionArgs),
    /// Remove a version. Renders that are planned with it keep it.
    Remove(VersionArgs),
}

/// Which versions, and how results are printed.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct WhereArgs {
    /// Those of the farm at this URL instead of this machine's. The key comes from HYPERFARM_API_KEY.
    #[arg(long, value_name = "URL", value_parser = crate::client::farm_url)]
    pub(crate) farm: Option<Url>,
    /// Print JSON; the default where standard output is no terminal.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `hyperfarm runtime add`.
#[derive(Debug, ClapArgs)]
pub(crate) struct AddArgs {
    /// A published package of HyperFrames: a .tgz file, a folder with its files, or a version, which npm downloads from
    /// its registry.
    #[arg(value_name = "PACKAGE.tgz|FOLDER|VERSION")]
    pub(crate) package: String,
    /// Where it is added.
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

/// `hyperfarm runtime default` and `remove`.
#[derive(Debug, ClapArgs)]
pub(crate) struct VersionArgs {
    /// The version.
    pub(crate) version: String,
    /// Where it is.
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

/// `hyperfarm runtime`.
pub(crate) async fn run(command: RuntimeCommand) -> Result<(), CliError> {
    let (place, shown) = match command {
        RuntimeCommand::List(place) => {
            let items = match &place.farm {
                Some(url) => Api::new(url)?.list(ROUTE, 100, true).await?,
                None => {
                    let listed = runtimes::list(&own_store()?, RUNTIME_VERSION).await.map_err(CliError::system)?;
                    listed.iter().map(to_json).collect::<Result<_, _>>()?
                }
            };
            let columns = ["version", "is_default", "is_built_in", "name", "license", "size_bytes"];
            show_list(&items, &columns, place.json);
            return Ok(());
        }
        RuntimeCommand::Add(AddArgs { package, place }) => {
            let package = package_of(&package).await?;
            let shown = match &place.farm {
                Some(url) => Api::new(url)?.send(Method::POST, ROUTE, &package).await?,
                None => {
                    let store = new_store()?;
                    store.add(&package, RUNTIME_VERSION).await.map_err(refused)?;
                    find(&store, &package.version).await?
                }
            };
            (place, shown)
        }
        RuntimeCommand::Default(VersionArgs { version, place }) => {
            let shown = match &place.farm {
                Some(url) => Api::new(url)?.data(Method::POST, &format!("{ROUTE}/{version}/default"), None).await?,
                None => {
                    let store = own_store()?;
                    store.set_default(&version, RUNTIME_VERSION).await.map_err(refused)?;
                    find(&store, &version).await?
                }
            };
            (place, shown)
        }
        RuntimeCommand::Remove(VersionArgs { version, place }) => {
            let shown = match &place.farm {
                Some(url) => Api::new(url)?.data(Method::DELETE, &format!("{ROUTE}/{version}"), None).await?,
                None => {
                    let store = own_store()?;
                    let shown = find(&store, &version).await;
                    store.remove(&version, RUNTIME_VERSION).await.map_err(refused)?;
                    shown?
                }
            };
            (place, shown)
        }
    };
    show_one(&shown, place.json);
    Ok(())
}

/// The package at a path, or of a version.
async fn package_of(given: &str) -> Result<RuntimePackage, CliError> {
    let path = Path::new(given);
    if path.is_dir() {
        return package::of_folder(path).map_err(CliError::usage);
    }
    if path.is_file() {
        return package::of_archive(path).map_err(CliError::usage);
    }
    if is_version_or_range(given) {
        return npm::download(given).await;
    }
    Err(CliError::usage(format!("{given} is no file, no folder and no version such as 0.8.170")))
}

/// The versions of this machine, for renders on it.
///
/// # Errors
///
/// The data folder cannot be opened.
pub(crate) fn store_in(data_dir: &Path) -> Result<RuntimeStore, CliError> {
    // The data folder is not made for reading.
    let objects = match data_dir.join(FOLDER).is_dir() {
        true => Objects::local(data_dir).map_err(CliError::system)?,
        false => Objects::memory(),
    };
    Ok(RuntimeStore::new(objects))
}

fn own_store() -> Result<RuntimeStore, CliError> {
    store_in(&settings::read(Config::read)?.data_dir)
}

/// The same, with a data folder that is made if it does not exist.
fn new_store() -> Result<RuntimeStore, CliError> {
    let objects = Objects::local(&settings::read(Config::read)?.data_dir).map_err(CliError::system)?;
    Ok(RuntimeStore::new(objects))
}

async fn find(store: &RuntimeStore, version: &str) -> Result<Value, CliError> {
    let found = runtimes::find(store, RUNTIME_VERSION, version).await.map_err(CliError::system)?;
    found.as_ref().map_or(Ok(Value::Null), to_json)
}

fn to_json(runtime: &Runtime) -> Result<Value, CliError> {
    serde_json::to_value(runtime).map_err(CliError::system)
}

fn refused(error: RuntimeError) -> CliError {
    match error {
        RuntimeError::Storage(error) => CliError::system(error),
        error => CliError::user(error.to_string()),
    }
}
