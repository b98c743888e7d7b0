//! The operator's map from URL prefixes to local folders, and the packages of the farm.

use std::path::{Path, PathBuf};

use url::Url;

use super::package::{self, InstalledPackage, PackageFile};
use crate::assets::{GSAP_VERSION, OWN_PREFIX, gsap_file};
use crate::urls::decode_path;

/// A map from URL prefixes to local folders, with a folder of packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UrlMap {
    /// Prefixes with their targets, the longest prefix first.
    prefixes: Vec<(String, Target)>,
    packages: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Folder(PathBuf),
    Package(String),
}

/// The file that the map has for a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MapEntry {
    pub(super) location: Location,
    /// The base of relative URLs in the file, where it is not the file's URL.
    pub(super) base: Option<Url>,
    /// What replaces the requested file, where it is another one.
    pub(super) replaced_by: Option<String>,
}

/// Where a mapped file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// URL path of an asset of the farm.
    Asset(String),
    /// Path of a local file.
    File(PathBuf),
}

impl UrlMap {
    /// Reads `HYPERFARM_URL_MAP`: the path of a JSON file `{"https://cdn.example/lib/": "/srv/lib"}`, or
    /// `prefix=folder` pairs separated by commas. A folder `npm:NAME` is that package in the packages folder.
    ///
    /// # Errors
    ///
    /// A text that names the prefix or folder that cannot be used.
    pub fn parse(text: Option<&str>, packages: Option<PathBuf>) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        if let Some(text) = text {
            if Path::new(text).is_file() {
                let json = std::fs::read(text).map_err(|error| format!("{text}: {error}"))?;
                let map: std::collections::BTreeMap<String, String> = serde_json::from_slice(&json)
                    .map_err(|error| format!("{text} is no JSON object of texts: {error}"))?;
                pairs.extend(map);
            } else {
                for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
                    let (prefix, folder) = pair.split_once('=').ok_or_else(|| {
                        format!("`{pair}` is neither a file nor a pair such as https://cdn.example/lib/=/srv/lib")
                    })?;
                    pairs.push((prefix.to_owned(), folder.to_owned()));
                }
            }
        }
        let mut prefixes = Vec::new();
        for (prefix, folder) in pairs {
            if !prefix.starts_with("https://") && !prefix.starts_with("http://") {
                return Err(format!("the prefix `{prefix}` does not begin with https:// or http://"));
            }
            let target = match folder.strip_prefix("npm:") {
                Some(package) => Target::Package(package.to_owned()),
                None if Path::new(&folder).is_dir() => Target::Folder(PathBuf::from(folder)),
                None => return Err(format!("{prefix} leads to {folder}, which is no folder")),
            };
            prefixes.push((prefix, target));
        }
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        if let Some(folder) = packages.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(format!("the packages folder {} is no folder", folder.display()));
        }
        Ok(Self { prefixes, packages })
    }

    /// The file for `url` that needs no network.
    pub(super) fn find(&self, url: &Url) -> Option<MapEntry> {
        self.by_prefix(url).or_else(|| {
            let requested = package::requested_by(url);
            let installed = requested.as_ref().and_then(|requested| self.by_package(requested));
            installed.or_else(|| embedded_gsap(url, requested.as_ref()))
        })
    }

    fn by_prefix(&self, url: &Url) -> Option<MapEntry> {
        let mut bare = url.clone();
        bare.set_query(None);
        bare.set_fragment(None);
        let entry = |file: PathBuf| Some(MapEntry { location: Location::File(file), base: None, replaced_by: None });
        for (prefix, target) in &self.prefixes {
            let Some(rest) = bare.as_str().strip_prefix(prefix.as_str()) else { continue };
            let rest = decode_path(rest)?;
            let found = match target {
                Target::Folder(folder) => package::inside(folder, &rest).filter(|path| path.is_file()),
                Target::Package(name) => {
                    let file = PackageFile { package: name.clone(), version: String::new(), file: rest, module: false };
                    InstalledPackage::open(self.packages.as_deref()?, name)?.file(&file)
                }
            };
            if let Some(file) = found {
                return entry(file);
            }
        }
        None
    }

    fn by_package(&self, requested: &PackageFile) -> Option<MapEntry> {
        let installed = InstalledPackage::open(self.packages.as_deref()?, &requested.package)?;
        let file = installed.file(requested)?;
        let version = installed.version();
        let replaced_by = (!package::version_fits(&requested.version, version))
            .then(|| format!("the installed {} {version} ({} was asked for)", requested.package, requested.version));
        let base = installed.name_of(&file).and_then(|name| {
            Url::parse(&format!("https://cdn.jsdelivr.net/npm/{}@{version}/{name}", requested.package)).ok()
        });
        Some(MapEntry { location: Location::File(file), base, replaced_by })
    }
}

/// The embedded GSAP, which replaces every version of GSAP from any address.
fn embedded_gsap(url: &Url, requested: Option<&PackageFile>) -> Option<MapEntry> {
    let is_package = requested.is_some_and(|requested| requested.package == "gsap");
    let file = match requested.filter(|_| is_package) {
        Some(requested) => requested.file.as_str(),
        None if requested.is_none() && url.path().to_ascii_lowercase().contains("gsap") => url.path(),
        None => return None,
    };
    let module = requested.is_some_and(|requested| requested.module);
    let name = file.rsplit('/').next().unwrap_or_default();
    let stem = name.strip_suffix(".js").unwrap_or(name).trim_end_matches(".min");
    let stem = if (stem.is_empty() || stem == "index" || stem == "all") && is_package { "gsap" } else { stem };
    let path = format!("gsap/{stem}.min.{}", if module { "mjs" } else { "js" });
    gsap_file(&path)?;
    let version = requested.map(|requested| requested.version.as_str()).unwrap_or_default();
    let replaced_by = (!package::version_fits(version, GSAP_VERSION) || !is_package).then(|| {
        let note = if version.is_empty() { String::new() } else { format!(" ({version} was asked for)") };
        format!("the farm's own GSAP {GSAP_VERSION}{note}")
    });
    Some(MapEntry { location: Location::Asset(format!("{OWN_PREFIX}{path}")), base: None, replaced_by })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(map: &UrlMap, url: &str) -> Option<MapEntry> {
        map.find(&Url::parse(url).unwrap())
    }

    #[test]
    fn gsap_and_its_plugins_are_embedded_for_any_version() {
        let map = UrlMap::default();
        let major = find(&map, "https://cdn.jsdelivr.net/npm/gsap@3/dist/gsap.min.js").unwrap();
        assert_eq!(major.location, Location::Asset("/__hyperfarm/gsap/gsap.min.js".to_owned()));
        assert_eq!(major.replaced_by, None);
        let old = find(&map, "https://cdnjs.cloudflare.com/ajax/libs/gsap/3.12.2/ScrollTrigger.min.js").unwrap();
        assert_eq!(old.location, Location::Asset("/__hyperfarm/gsap/ScrollTrigger.min.js".to_owned()));
        let replaced = old.replaced_by.unwrap();
        assert!(replaced.contains("3.12.2") && replaced.contains(GSAP_VERSION), "{replaced}");
        assert!(find(&map, "https://unpkg.com/gsap").is_some());
        assert!(find(&map, "https://cdn.example.com/gsap/SplitText.js").is_some());
        assert_eq!(
            find(&map, "https://esm.sh/gsap@3").unwrap().location,
            Location::Asset("/__hyperfarm/gsap/gsap.min.mjs".to_owned())
        );
        assert!(find(&map, "https://cdn.jsdelivr.net/npm/gsap@3/dist/Nothing.min.js").is_none());
        assert!(find(&map, "https://cdn.jsdelivr.net/npm/three@0.1/build/three.js").is_none());
    }

    #[test]
    fn prefixes_and_packages_lead_to_files() {
        let folder = tempfile::tempdir().unwrap();
        let (lib, modules) = (folder.path().join("lib"), folder.path().join("modules"));
        std::fs::create_dir_all(lib.join("deep")).unwrap();
        std::fs::create_dir_all(modules.join("three/build")).unwrap();
        std::fs::write(lib.join("deep/a b.js"), "x").unwrap();
        std::fs::write(modules.join("three/build/three.js"), "x").unwrap();
        std::fs::write(modules.join("three/package.json"), r#"{"version":"0.160.0","main":"build/three.js"}"#).unwrap();
        let text = format!("https://cdn.example/l/={},https://t.example/=npm:three", lib.display());
        let map = UrlMap::parse(Some(&text), Some(modules.clone())).unwrap();
        let at = |url: &str| match find(&map, url)?.location {
            Location::File(path) => Some(path),
            Location::Asset(_) => None,
        };
        assert_eq!(at("https://cdn.example/l/deep/a%20b.js?v=1"), Some(lib.join("deep/a b.js")));
        assert_eq!(at("https://cdn.example/l/%2e%2e/modules/three/package.json"), None);
        assert_eq!(at("https://t.example/"), Some(modules.join("three/build/three.js")));
        let other = find(&map, "https://unpkg.com/three@0.150.1").unwrap();
        let replaced = other.replaced_by.unwrap();
        assert!(replaced.contains("0.160.0") && replaced.contains("0.150.1"), "{replaced}");
        let file = folder.path().join("map.json");
        std::fs::write(&file, format!("{{\"https://x.example/\":{:?}}}", lib.display().to_string())).unwrap();
        let map = UrlMap::parse(Some(file.to_str().unwrap()), None).unwrap();
        assert!(map.find(&Url::parse("https://x.example/deep/a%20b.js").unwrap()).is_some());
        for (bad, named) in
            [("nonsense", "nonsense"), ("ftp://x=/tmp", "ftp://x"), ("https://x/=/nowhere/at/all", "/nowhere")]
        {
            assert!(UrlMap::parse(Some(bad), None).unwrap_err().contains(named), "{bad}");
        }
    }
}
