//! npm packages: their URLs at the content delivery networks, and the files of installed packages.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use url::Url;

/// A file of an npm package that a URL requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackageFile {
    pub(super) package: String,
    /// Version as written, for example `3` or `^3.12`; empty if the URL names none.
    pub(super) version: String,
    /// Path in the package; empty where the URL names only the package.
    pub(super) file: String,
    /// Whether an ES module is requested (`+esm`, esm.sh and the like).
    pub(super) module: bool,
}

/// The file that `url` requests, if its host is a known content delivery network.
pub(super) fn requested_by(url: &Url) -> Option<PackageFile> {
    let path = url.path();
    match url.host_str()?.trim_start_matches("www.") {
        "cdn.jsdelivr.net" | "fastly.jsdelivr.net" | "esm.run" => {
            let esm_run = url.host_str() == Some("esm.run");
            npm(path.strip_prefix("/npm/").or_else(|| path.strip_prefix('/').filter(|_| esm_run))?, esm_run)
        }
        "unpkg.com" => npm(path.strip_prefix('/')?, url.query().is_some_and(|query| query.contains("module"))),
        "esm.sh" | "cdn.skypack.dev" | "jspm.dev" => {
            let rest = path.strip_prefix('/')?;
            let rest = rest.strip_prefix("npm/").or_else(|| rest.strip_prefix("stable/")).unwrap_or(rest);
            npm(rest, true)
        }
        "cdnjs.cloudflare.com" => {
            let mut parts = path.strip_prefix("/ajax/libs/")?.splitn(3, '/');
            let (name, version, file) = (parts.next()?, parts.next()?, parts.next()?);
            let package = match name {
                "three.js" => "three",
                "lottie-web" | "bodymovin" => "lottie-web",
                other => other.strip_suffix(".js").unwrap_or(other),
            };
            Some(PackageFile {
                package: package.to_owned(),
                version: version.to_owned(),
                file: file.to_owned(),
                module: false,
            })
        }
        "d3js.org" => {
            let rest = path.strip_prefix("/d3.")?;
            let version = rest.split('.').next()?.trim_start_matches('v').to_owned();
            Some(PackageFile { package: "d3".to_owned(), version, file: String::new(), module: false })
        }
        "cdn.tailwindcss.com" => Some(PackageFile {
            package: "@tailwindcss/browser".to_owned(),
            // This address serves the last of version 3, which no package has for the browser.
            version: if path == "/" { "3".to_owned() } else { path.trim_matches('/').to_owned() },
            file: String::new(),
            module: false,
        }),
        _ => None,
    }
}

fn npm(path: &str, module: bool) -> Option<PackageFile> {
    let path = path.trim_end_matches('/');
    let (scope, rest) = match path.strip_prefix('@') {
        Some(scoped) => {
            let (scope, rest) = scoped.split_once('/')?;
            (format!("@{scope}/"), rest)
        }
        None => (String::new(), path),
    };
    let (name, file) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, version) = name.split_once('@').unwrap_or((name, ""));
    if name.is_empty() {
        return None;
    }
    let (file, module) = match file.strip_suffix("+esm") {
        Some(file) => (file.trim_end_matches('/'), true),
        None => (file, module),
    };
    Some(PackageFile { package: format!("{scope}{name}"), version: version.to_owned(), file: file.to_owned(), module })
}

/// Whether the version `installed` is one of those that `requested` allows, compared as precisely as `requested` is.
pub(super) fn version_fits(requested: &str, installed: &str) -> bool {
    let requested = requested.trim_start_matches(['^', '~', 'v', '=', 'r']);
    if requested.is_empty() || requested == "latest" || requested == "next" {
        return true;
    }
    let parts = |text: &str| -> Vec<String> {
        text.split(['.', '-']).filter(|part| *part != "x" && *part != "*").map(str::to_owned).collect()
    };
    parts(installed).starts_with(&parts(requested))
}

/// An installed package.
pub(super) struct InstalledPackage {
    folder: PathBuf,
    manifest: Value,
}

impl InstalledPackage {
    /// The package of this name in a `node_modules` folder.
    pub(super) fn open(modules: &Path, name: &str) -> Option<Self> {
        let folder = inside(modules, name)?;
        let manifest = std::fs::read(folder.join("package.json")).ok()?;
        Some(Self { folder, manifest: serde_json::from_slice(&manifest).ok()? })
    }

    /// Its version.
    pub(super) fn version(&self) -> &str {
        self.manifest.get("version").and_then(Value::as_str).unwrap_or("?")
    }

    /// The requested file: by its name, with an extension, or without `.min`; where none is named, the one that the
    /// package's manifest chooses.
    pub(super) fn file(&self, requested: &PackageFile) -> Option<PathBuf> {
        if !requested.file.is_empty() {
            let file = requested.file.as_str();
            let plain = file.replace(".min.", ".");
            let base = file.rsplit('/').next().unwrap_or(file);
            let names = [
                file.to_owned(),
                format!("{file}.js"),
                format!("{file}.mjs"),
                format!("{file}/index.js"),
                plain.clone(),
                // The paths of cdnjs lack the build folder.
                format!("dist/{file}"),
                format!("build/{file}"),
                format!("lib/{base}"),
                format!("build/player/{base}"),
                format!("dist/{plain}"),
                format!("build/{plain}"),
            ];
            return names.iter().find_map(|name| self.existing(name));
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let field = |name: &str| self.manifest.get(name).and_then(text);
        let exported = self.manifest.get("exports").map(|exports| exports.get(".").unwrap_or(exports));
        let import = exported.and_then(|dot| dot.get("import").or_else(|| dot.get("default")));
        let import = import.and_then(|import| text(import.get("default").unwrap_or(import)));
        let chosen = if requested.module {
            [import, field("module"), field("main"), None]
        } else {
            [field("unpkg"), field("jsdelivr"), field("browser"), field("main")]
        };
        let index = Some("index.js".to_owned());
        chosen.into_iter().chain([index]).flatten().find_map(|name| {
            let name = name.trim_start_matches("./").to_owned();
            self.existing(&name).or_else(|| self.existing(&format!("{name}.js")))
        })
    }

    /// The path of `file` in the package.
    pub(super) fn name_of(&self, file: &Path) -> Option<String> {
        file.strip_prefix(&self.folder).ok()?.to_str().map(str::to_owned)
    }

    fn existing(&self, name: &str) -> Option<PathBuf> {
        inside(&self.folder, name).filter(|path| path.is_file())
    }
}

/// The path of `name` below `folder`; `None` where it leads out of it.
pub(super) fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)).then(|| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> (String, String, String, bool) {
        let requested = requested_by(&Url::parse(url).unwrap()).unwrap();
        (requested.package, requested.version, requested.file, requested.module)
    }

    #[test]
    fn every_spelling_of_a_package_is_read() {
        let gsap = |version: &str, file: &str| ("gsap".to_owned(), version.to_owned(), file.to_owned(), false);
        assert_eq!(of("https://cdn.jsdelivr.net/npm/gsap@3/dist/gsap.min.js"), gsap("3", "dist/gsap.min.js"));
        assert_eq!(of("https://cdn.jsdelivr.net/npm/gsap"), gsap("", ""));
        assert_eq!(of("https://unpkg.com/gsap@3.12.5/dist/Flip.min.js"), gsap("3.12.5", "dist/Flip.min.js"));
        assert_eq!(of("https://cdnjs.cloudflare.com/ajax/libs/gsap/3.12.2/gsap.min.js"), gsap("3.12.2", "gsap.min.js"));
        let (package, version, file, module) = of("https://cdn.jsdelivr.net/npm/@scope/pkg@1.2/a/b.js/+esm");
        assert_eq!((package.as_str(), version.as_str(), file.as_str(), module), ("@scope/pkg", "1.2", "a/b.js", true));
        assert!(of("https://esm.sh/three@0.160.0").3);
        assert_eq!(of("https://d3js.org/d3.v7.min.js").0, "d3");
        assert!(requested_by(&Url::parse("https://example.com/npm/gsap").unwrap()).is_none());
    }

    #[test]
    fn versions_are_compared_as_far_as_they_are_given() {
        for fits in ["", "3", "3.15", "^3", "3.15.0", "latest", "3.x"] {
            assert!(version_fits(fits, "3.15.0"), "{fits}");
        }
        for differs in ["2", "3.1", "3.12.5"] {
            assert!(!version_fits(differs, "3.15.0"), "{differs}");
        }
    }

    #[test]
    fn files_of_an_installed_package_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("lib");
        std::fs::create_dir_all(package.join("dist")).unwrap();
        for (name, text) in [
            ("package.json", r#"{"version":"1.2.3","unpkg":"dist/lib.min.js","module":"./dist/lib.mjs"}"#),
            ("dist/lib.min.js", "umd"),
            ("dist/lib.mjs", "esm"),
        ] {
            std::fs::write(package.join(name), text).unwrap();
        }
        let installed = InstalledPackage::open(folder.path(), "lib").unwrap();
        let ask = |file: &str, module| {
            let requested = PackageFile { package: "lib".into(), version: String::new(), file: file.into(), module };
            installed.file(&requested).map(|path| std::fs::read_to_string(path).unwrap())
        };
        assert_eq!(ask("", false).as_deref(), Some("umd"));
        assert_eq!(ask("", true).as_deref(), Some("esm"));
        assert_eq!(ask("lib.min.js", false).as_deref(), Some("umd"));
        assert_eq!(ask("../lib/package.json", false), None);
        assert!(InstalledPackage::open(folder.path(), "../lib").is_none());
    }
}
