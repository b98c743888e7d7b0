//! `hyperfarm assets`.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::assets::{AssetUploaded, CompleteRequest, UploadBegun, UploadRequest};
use hyperfarm_api::avatars::FileInput;
use hyperfarm_backplane::http::media_type;
use hyperfarm_backplane::objects::hash_file;
use hyperfarm_proto::bounded::{BoundsError, Text};
use reqwest::Method;
use serde_json::Value;

use super::renders::{ListArgs, OneArgs};
use super::{Api, FarmArgs, show_list, show_one, typed};
use crate::exit::CliError;

const ROUTE: &str = "/v3/assets";

/// What to do with assets.
#[derive(Debug, Subcommand)]
pub(crate) enum AssetsCommand {
    /// Upload a file.
    Upload(UploadArgs),
    /// List assets, newest first.
    List(ListArgs),
    /// Show an asset.
    Get(OneArgs),
    /// Delete an asset.
    Delete(OneArgs),
}

/// `hyperfarm assets upload`.
#[derive(Debug, ClapArgs)]
pub(crate) struct UploadArgs {
    /// The file: png, jpeg, mp4, webm, mp3, wav, pdf, srt or zip.
    pub file: PathBuf,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm assets`.
pub(crate) async fn run(command: AssetsCommand) -> Result<(), CliError> {
    let (args, method) = match command {
        AssetsCommand::List(args) => {
            let items = Api::new(&args.farm.farm)?.list(ROUTE, args.limit.into(), args.all).await?;
            show_list(&items, &["id", "name", "type", "size_bytes", "status"], args.farm.json);
            return Ok(());
        }
        AssetsCommand::Upload(args) => {
            let api = Api::new(&args.farm.farm)?;
            show_one(&upload_path(&api, &args.file).await?, args.farm.json);
            return Ok(());
        }
        AssetsCommand::Get(args) => (args, Method::GET),
        AssetsCommand::Delete(args) => (args, Method::DELETE),
    };
    let data = Api::new(&args.farm.farm)?.data(method, &format!("{ROUTE}/{}", args.id), None).await?;
    show_one(&data, args.farm.json);
    Ok(())
}

/// Uploads the file at a path, and answers the asset.
async fn upload_path(api: &Api, path: &Path) -> Result<Value, CliError> {
    let is_file = std::fs::metadata(path).map(|meta| meta.is_file());
    if !is_file.map_err(|error| CliError::usage(format!("{}: {error}", path.display())))? {
        return Err(CliError::usage(format!("{} is no file", path.display())));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    upload(api, &name, path).await
}

/// Uploads the file at a path, and answers the id of the asset.
pub(super) async fn upload_id(api: &Api, path: &Path) -> Result<Text<64>, CliError> {
    id_of(upload_path(api, path).await?)
}

/// The id of an asset that `upload` has answered.
pub(crate) fn id_of(asset: Value) -> Result<Text<64>, CliError> {
    let AssetUploaded { asset_id, .. } = typed(asset)?;
    asset_id.parse().map_err(|error: BoundsError| CliError::system(error))
}

/// Uploads the file at a path, as requests name it.
pub(super) async fn upload_file(api: &Api, path: &Path) -> Result<FileInput, CliError> {
    Ok(FileInput::AssetId { asset_id: upload_id(api, path).await? })
}

/// Uploads the file at a path straight to the farm's storage, by the buffer, and answers the asset.
pub(crate) async fn upload(api: &Api, name: &str, file: &Path) -> Result<Value, CliError> {
    let (hash, bytes) = hash_file(file).await.map_err(|error| CliError::usage(error.to_string()))?;
    let hash = hash.to_string();
    let refused = |error: BoundsError| CliError::usage(format!("{name}: the file's name is too long: {error}"));
    let body = UploadRequest {
        filename: name.parse().map_err(refused)?,
        content_type: media_type(name).parse().map_err(refused)?,
        size_bytes: bytes,
        checksum_sha256: Some(hash.clone()),
    };
    let begun: UploadBegun = typed(api.send(Method::POST, &format!("{ROUTE}/direct-uploads"), &body).await?)?;
    api.put(&begun, file, bytes).await?;
    let body = CompleteRequest { checksum_sha256: Some(hash) };
    api.send(Method::POST, &format!("{ROUTE}/{}/complete", begun.asset_id), &body).await
}
