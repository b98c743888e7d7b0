//! Published packages of HyperFrames: what the farm needs of one, from its archive or its folder.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use hyperfarm_api::runtimes::RuntimePackage;
use hyperfarm_proto::archive::{ArchiveLimits, check_name};
use hyperfarm_proto::bounded::Text;
use serde_json::Value;
use tar::Archive;

/// The runtime in a package.
const SCRIPT: &str = "dist/hyperframe.runtime.iife.js";

/// Largest file that is read. The largest of published packages has 15 MB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The variable that contains the script of sound effects, in one of the package's modules.
const EFFECTS: &str = "AUDIO_FX_RUNTIME_IIFE";

/// What was found in the files of a package.
#[derive(Default)]
struct Found {
    manifest: Option<Value>,
    script: Option<String>,
    /// The path of the module and the script in it: of several modules the first in the order of names counts.
    effects: Option<(String, String)>,
    /// Licence files by path.
    licenses: Vec<(String, String)>,
}

/// Reads the package in the archive at `path`, as `npm pack` writes it.
///
/// # Errors
///
/// A sentence that names what is wrong with it.
pub(super) fn of_archive(path: &Path) -> Result<RuntimePackage, String> {
    let unreadable = |error: std::io::Error| format!("{} is no package archive (.tgz): {error}", path.display());
    let file = File::open(path).map_err(unreadable)?;
    let limits = ArchiveLimits::DEFAULT;
    let packed = file.metadata().map_err(unreadable)?.len();
    let most = limits.unpacked_bytes.min(limits.ratio_from.max(packed.saturating_mul(limits.ratio)));
    // A last byte more than is allowed, so that an archive that ends there is told from a longer one.
    let mut archive = Archive::new(GzDecoder::new(file).take(most + 1));
    let (mut found, mut names, mut total) = (Found::default(), HashSet::new(), 0_u64);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let shown = name.escape_debug().take(200).collect::<String>();
        check_name(&name, &limits)?;
        let kind = entry.header().entry_type();
        if !kind.is_file() && !kind.is_dir() {
            return Err(format!("the archive's entry `{shown}` is a link or a device"));
        }
        total = total.saturating_add(entry.size());
        if names.len() >= limits.entries || total > most {
            return Err(format!("the archive has more than {} entries, or unpacks to too many bytes", limits.entries));
        }
        if !names.insert(name.trim_end_matches('/').to_lowercase()) {
            return Err(format!("the archive has two entries named `{shown}`"));
        }
        // All files of a package are in one folder, which is named `package` or otherwise.
        let Some((_, inner)) = name.split_once('/').filter(|_| kind.is_file()) else { continue };
        if is_needed(inner) {
            let length = entry.size();
            found.add(inner, length, &mut entry)?;
        }
    }
    found.into_package()
}

/// Reads the package in the folder at `path`, such as `node_modules/hyperframes`.
///
/// # Errors
///
/// A sentence that names what is wrong with it.
pub(super) fn of_folder(path: &Path) -> Result<RuntimePackage, String> {
    let mut found = Found::default();
    for part in ["", "dist/"] {
        let folder = path.join(part);
        let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = format!("{part}{}", entry.file_name().to_string_lossy());
            if !is_needed(&name) {
                continue;
            }
            // Without following links.
            let kind = entry.metadata().map_err(unreadable)?;
            if kind.is_symlink() {
                return Err(format!("{} is a link", entry.path().display()));
            }
            if kind.is_file() {
                let mut file = File::open(entry.path()).map_err(unreadable)?;
                found.add(&name, kind.len(), &mut file)?;
            }
        }
    }
    found.into_package()
}

/// Whether a file of a package, named from its root, is read.
fn is_needed(name: &str) -> bool {
    let module = name.strip_prefix("dist/").and_then(|name| name.strip_suffix(".js"));
    name == "package.json" || module.is_some_and(|name| !name.contains('/')) || is_license(name)
}

fn is_license(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    !name.contains('/') && ["LICENSE", "LICENCE", "NOTICE"].iter().any(|start| upper.starts_with(start))
}

impl Found {
    fn add(&mut self, name: &str, length: u64, reader: &mut impl Read) -> Result<(), String> {
        let wrong = |reason: &dyn std::fmt::Display| format!("{name} of the package cannot be read: {reason}");
        if length > MAX_FILE_BYTES {
            return Err(wrong(&format!("it has {length} bytes; {MAX_FILE_BYTES} are allowed")));
        }
        let mut bytes = Vec::new();
        reader.take(length).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
        let text = String::from_utf8(bytes).map_err(|error| wrong(&error))?;
        if name == "package.json" {
            self.manifest = Some(serde_json::from_str(&text).map_err(|error| wrong(&error))?);
        } else if name == SCRIPT {
            self.script = Some(text);
        } else if is_license(name) {
            self.licenses.push((name.to_owned(), text));
        } else if let Some(effects) = effects_in(&text)
            && self.effects.as_ref().is_none_or(|(other, _)| name < other.as_str())
        {
            self.effects = Some((name.to_owned(), effects));
        }
        Ok(())
    }

    fn into_package(mut self) -> Result<RuntimePackage, String> {
        let manifest = self.manifest.ok_or("the package has no package.json at its root")?;
        let script = self.script.ok_or_else(|| format!("the package has no {SCRIPT}; is it one of HyperFrames?"))?;
        self.licenses.sort();
        Ok(RuntimePackage {
            name: field(&manifest, "name")?,
            version: field(&manifest, "version")?,
            license: field(&manifest, "license")?,
            license_text: self.licenses.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n"),
            script,
            effects: self.effects.map(|(_, effects)| effects),
        })
    }
}

fn field<const MAX: usize>(manifest: &Value, name: &str) -> Result<Text<MAX>, String> {
    let text = manifest[name].as_str().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| format!("the package's package.json has no `{name}`"))?;
    Text::new(text).ok_or_else(|| format!("`{name}` of the package's package.json has more than {MAX} characters"))
}

/// The script of the effect chains, which a module contains as a string in a variable. The module evaluates that string
/// too.
fn effects_in(module: &str) -> Option<String> {
    let start = format!("{EFFECTS} = '");
    let value = module.lines().find_map(|line| {
        let line = line.trim();
        line.strip_prefix("var ").unwrap_or(line).strip_prefix(&start)?.strip_suffix("';")
    })?;
    Some(format!("var {start}{value}';\n(0, eval)({EFFECTS});\n"))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, EntryType, Header};

    use super::*;

    const MANIFEST: &str = r#"{ "name": "hyperframes", "version": "0.8.60", "license": "Apache-2.0" }"#;

    fn written(entries: &[(&str, &str, EntryType)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = Builder::new(GzEncoder::new(file.reopen().unwrap(), Compression::best()));
        for (name, text, kind) in entries {
            let mut header = Header::new_gnu();
            // The name as it is: `set_path` refuses what is tested here.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        file
    }

    fn read(entries: &[(&str, &str, EntryType)]) -> Result<RuntimePackage, String> {
        of_archive(written(entries).path())
    }

    fn files(entries: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str, EntryType)> {
        entries.iter().map(|(name, text)| (*name, *text, EntryType::Regular)).collect()
    }

    #[test]
    fn what_the_farm_needs_of_a_package_is_read() {
        let entries = files(&[
            ("package/package.json", MANIFEST),
            ("package/dist/hyperframe.runtime.iife.js", "window.__player = 1;"),
            ("package/dist/chunk-b.js", "    AUDIO_FX_RUNTIME_IIFE = 'second';\n"),
            ("package/dist/chunk-a.js", "x\nvar AUDIO_FX_RUNTIME_IIFE = 'it\\'s';\ny"),
            ("package/dist/studio/package.json", "no JSON, and not read"),
            ("package/LICENSE", "the licence"),
        ]);
        let package = read(&entries).unwrap();
        assert_eq!((&*package.name, &*package.version, &*package.license), ("hyperframes", "0.8.60", "Apache-2.0"));
        assert_eq!((package.script.as_str(), package.license_text.as_str()), ("window.__player = 1;", "the licence"));
        let effects = "var AUDIO_FX_RUNTIME_IIFE = 'it\\'s';\n(0, eval)(AUDIO_FX_RUNTIME_IIFE);\n";
        assert_eq!(package.effects.as_deref(), Some(effects));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("dist/studio")).unwrap();
        for (name, text, _) in &entries {
            std::fs::write(folder.path().join(name.strip_prefix("package/").unwrap()), text).unwrap();
        }
        assert_eq!(of_folder(folder.path()).unwrap(), package);
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("NOTICE")).unwrap();
        assert!(of_folder(folder.path()).unwrap_err().ends_with("NOTICE is a link"));
    }

    #[test]
    fn the_package_that_is_built_in_can_be_read() {
        let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/../worker/browser/node_modules/hyperframes");
        let package = of_folder(Path::new(modules)).unwrap();
        assert_eq!(&*package.version, hyperfarm_worker::RUNTIME_VERSION);
        assert!(package.effects.is_some_and(|effects| effects.len() > 30_000), "no sound effects");
        assert!(package.script.contains("__player"));
    }

    #[test]
    fn wrong_archives_are_refused_by_name() {
        let manifest = ("package/package.json", MANIFEST, EntryType::Regular);
        let script = ("package/dist/hyperframe.runtime.iife.js", "window.__player = 1;", EntryType::Regular);
        for (entry, reason) in [
            (("package/../../x", "", EntryType::Regular), "climbs out"),
            (("/etc/x", "", EntryType::Regular), "absolute"),
            (("package/LICENSE", "", EntryType::Symlink), "is a link"),
            (("package/LICENSE", "", EntryType::Link), "is a link"),
            (("package/fifo", "", EntryType::Fifo), "is a link or a device"),
            (("package/PACKAGE.json", "{}", EntryType::Regular), "two entries"),
        ] {
            let error = read(&[manifest, script, entry]).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(read(&[manifest]).unwrap_err().contains(SCRIPT));
        assert!(read(&[script]).unwrap_err().contains("no package.json"));
        for (text, reason) in [("{", "package.json"), (r#"{ "name": "hyperframes" }"#, "no `version`")] {
            let error = read(&[("package/package.json", text, EntryType::Regular), script]).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let no_archive = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(no_archive.path(), "no archive").unwrap();
        assert!(of_archive(no_archive.path()).unwrap_err().contains("no package archive"));
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_is_refused() {
        let zeros = " ".repeat(80 * 1024 * 1024);
        let error = read(&[("package/x", &zeros, EntryType::Regular)]).unwrap_err();
        assert!(error.contains("too many bytes"), "{error}");
    }
}
