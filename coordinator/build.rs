//! Bundles the dashboard with the esbuild that `npm ci` puts under `dashboard/node_modules`, and embeds the bundle: every file
//! as it is and, where that is smaller, compressed. esbuild is one binary; no Node is needed. Where the packages are missing, the
//! crate has one compile error that says what to run, and editors check the rest of it.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Packages that are in the bundle, whose licences are given out with it.
const BUNDLED: &[&str] =
    &["preact", "@preact/signals", "@preact/signals-core", "hls.js", "fflate", "@fontsource-variable/inter"];

fn main() -> Result<(), Box<dyn Error>> {
    let source = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../dashboard");
    for part in ["src", "index.html", "package-lock.json", "tsconfig.json", "node_modules/.package-lock.json"] {
        println!("cargo::rerun-if-changed=../dashboard/{part}");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("dashboard");
    let code = generate(&source, &out).unwrap_or_else(|reason| {
        let message = format!("the dashboard cannot be bundled: {reason}");
        format!("compile_error!({message:?});\npub(super) const FILES: &[super::Asset] = &[];\n")
    });
    std::fs::write(out.with_file_name("dashboard.rs"), code)?;
    Ok(())
}

/// The module of the bundled files. The files are written to `out`.
fn generate(source: &Path, out: &Path) -> Result<String, Box<dyn Error>> {
    // Old files would be embedded beside the new ones.
    let _ = std::fs::remove_dir_all(out);
    bundle(source, out)?;
    let mut licences = String::new();
    for package in BUNDLED {
        licences.push_str(&licence(&source.join("node_modules").join(package))?);
    }
    std::fs::write(out.join("licences.txt"), licences)?;

    let mut names: Vec<String> =
        std::fs::read_dir(out)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    std::fs::write(out.join("index.html"), index(source, &names)?)?;
    names.push("index.html".to_owned());

    let mut code = String::from("pub(super) const FILES: &[super::Asset] = &[\n");
    for name in &names {
        let path = out.join(name);
        let gzip = match compress(&path)? {
            Some(path) => format!("Some(include_bytes!({path:?}))"),
            None => "None".to_owned(),
        };
        writeln!(code, "    super::Asset {{ name: {name:?}, plain: include_bytes!({path:?}), gzip: {gzip} }},")?;
    }
    code.push_str("];\n");
    Ok(code)
}

fn bundle(source: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    let machine = match machine {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let system = if system == "macos" { "darwin" } else { system };
    let esbuild = source.join(format!("node_modules/@esbuild/{system}-{machine}/bin/esbuild"));
    if !esbuild.is_file() {
        return Err("its npm packages are missing: run `make setup`, or `npm ci --ignore-scripts` in dashboard".into());
    }
    let output = Command::new(&esbuild)
        .current_dir(source)
        .args(["src/main.tsx", "src/icon.svg", "--bundle", "--minify", "--splitting", "--format=esm", "--charset=utf8"])
        .args(["--target=chrome123,firefox120,safari17.5", "--jsx=automatic", "--jsx-import-source=preact"])
        .args(["--loader:.woff2=file", "--loader:.svg=copy", "--legal-comments=none", "--log-level=warning"])
        .args(["--entry-names=[name]-[hash]", "--chunk-names=[name]-[hash]", "--asset-names=[name]-[hash]"])
        .arg(format!("--outdir={}", out.display()))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(())
}

/// The page, with the hashed names of what it loads.
fn index(source: &Path, names: &[String]) -> Result<String, Box<dyn Error>> {
    let mut page = std::fs::read_to_string(source.join("index.html"))?;
    for (placeholder, start, end) in [
        ("{{script}}", "main-", ".js"),
        ("{{style}}", "main-", ".css"),
        ("{{font}}", "inter-latin-", ".woff2"),
        ("{{icon}}", "icon-", ".svg"),
    ] {
        let name = names.iter().find(|name| name.starts_with(start) && name.ends_with(end));
        let name = name.ok_or_else(|| format!("the bundle has no {start}*{end}"))?;
        page = page.replace(placeholder, &format!("assets/dashboard/{name}"));
    }
    Ok(page)
}

fn licence(package: &Path) -> Result<String, Box<dyn Error>> {
    let manifest = std::fs::read_to_string(package.join("package.json"))?;
    let field = |name: &str| {
        let rest = manifest.split_once(&format!("\"{name}\"")).map_or("", |(_, rest)| rest);
        rest.split('"').nth(1).unwrap_or_default().to_owned()
    };
    let text = ["LICENSE", "LICENSE.md", "LICENSE.txt"]
        .iter()
        .find_map(|name| std::fs::read_to_string(package.join(name)).ok())
        .ok_or_else(|| format!("{} has no licence text", package.display()))?;
    Ok(format!("{} {}\n\n{text}\n\n{}\n\n", field("name"), field("version"), "-".repeat(100)))
}

/// The file compressed, beside it, where that is worth it.
fn compress(path: &Path) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let plain = std::fs::read(path)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&plain)?;
    let packed = encoder.finish()?;
    if packed.len() * 10 > plain.len() * 9 {
        return Ok(None);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    std::fs::write(&name, packed)?;
    Ok(Some(name.into()))
}
