//! Downloads of published packages by npm, from the registry that it is configured with.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyperfarm_api::runtimes::RuntimePackage;
use serde_json::Value;
use sha2::{Digest, Sha512};
use tokio::process::Command;

use super::package;
use crate::exit::CliError;

/// The published package.
const NAME: &str = "hyperframes";

/// Longest time of one call of npm.
const LIMIT: Duration = Duration::from_secs(300);

/// Downloads a version, or the highest that satisfies a range. The hash that the registry states for it is compared
/// with that of the file.
pub(super) async fn download(version: &str) -> Result<RuntimePackage, CliError> {
    let folder = tempfile::Builder::new().prefix("hyperfarm-npm-").tempdir();
    let folder = folder.map_err(|error| CliError::system(format!("no temporary folder can be made: {error}")))?;
    let target = folder.path().to_string_lossy().into_owned();
    let wanted = format!("{NAME}@{version}");
    let packed = npm(&["pack", &wanted, "--json", "--ignore-scripts", "--pack-destination", &target]).await?;
    // Of a range npm packs the highest version alone.
    let packed = packed.as_array().and_then(|list| list.last()).cloned().unwrap_or(packed);
    let (Some(file), Some(exact)) = (packed["filename"].as_str(), packed["version"].as_str()) else {
        return Err(CliError::system(format!("npm did not say what it downloaded for {wanted}")));
    };
    let stated = npm(&["view", &format!("{NAME}@{exact}"), "dist.integrity", "--json"]).await?;
    let path = folder.path().join(Path::new(file).file_name().unwrap_or_default());
    let bytes = std::fs::read(&path).map_err(|error| CliError::system(format!("npm left no {file}: {error}")))?;
    check_integrity(stated.as_str(), &bytes).map_err(|reason| CliError::user(format!("{NAME}@{exact}: {reason}")))?;
    let package = package::of_archive(&path).map_err(CliError::user)?;
    if *package.version != *exact {
        let message = format!("{NAME}@{exact} contains the version {}", package.version);
        return Err(CliError::user(message));
    }
    Ok(package)
}

/// Compares a file with the hash that the registry states, `sha512-…` in base64.
fn check_integrity(stated: Option<&str>, bytes: &[u8]) -> Result<(), String> {
    let stated = stated.ok_or("the registry states no integrity for it")?;
    let found = format!("sha512-{}", STANDARD.encode(Sha512::digest(bytes)));
    match stated.split_whitespace().any(|hash| hash == found) {
        true => Ok(()),
        false => Err(format!("the registry states the integrity {stated}, and the file has {found}")),
    }
}

/// The JSON that a call of npm prints.
async fn npm(arguments: &[&str]) -> Result<Value, CliError> {
    let call = Command::new("npm").args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, call)
        .await
        .map_err(|_| CliError::system(format!("npm did not end within {} s", LIMIT.as_secs())))?;
    let output = output.map_err(|error| {
        CliError::system(format!("npm cannot be started: {error}; install it, or give the package's .tgz file"))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().filter(|line| !line.contains("complete log")).take(5).collect();
        return Err(CliError::user(format!("npm {} failed: {}", arguments[0], lines.join("; "))));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| CliError::system(format!("npm {} printed no JSON: {error}", arguments[0])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_hash_is_refused() {
        let good = format!("sha512-{}", STANDARD.encode(Sha512::digest(b"package")));
        assert!(check_integrity(Some(&good), b"package").is_ok());
        assert!(check_integrity(Some(&format!("sha1-x {good}")), b"package").is_ok());
        assert!(check_integrity(Some(&good), b"Package").unwrap_err().contains(&good));
        assert!(check_integrity(None, b"package").is_err());
    }
}
