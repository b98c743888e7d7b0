//! Bundles the dashboard with the esbuild that `npm ci` put under `dashboard/node_modules`, and embeds what comes out: every file
//! as it is and, where that is smaller, compressed. esbuild is one binary; no Node is needed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Packages that are in the bundle, whose licences are given out with it.
const BUNDLED: &[&str] =
    &["preact", "@preact/signals", "@preact/signals-core", "hls.js", "fflate", "@fontsource-variable/inter"];

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let source = root.join("../dashboard");
    for part in ["src", "index.html", "package-lock.json", "tsconfig.json", "node_modules/.package-lock.json"] {
        println!("cargo::rerun-if-changed=../dashboard/{part}");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("dashboard");
    // Old files would be embedded beside the new ones.
    let _ = std::fs::remove_dir_all(&out);
    bundle(&source, &out);
    let text: String = BUNDLED.iter().map(|package| licence(&source.join("node_modules").join(package))).collect();
    std::fs::write(out.join("licences.txt"), text).expect("the build folder can be written");

    let mut names: Vec<String> = std::fs::read_dir(&out)
        .expect("the bundle can be listed")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.ends_with(".gz"))
        .collect();
    names.sort();
    std::fs::write(out.join("index.html"), index(&source, &names)).expect("the build folder can be written");
    names.push("index.html".to_owned());

    let mut code = String::from("pub(super) const FILES: &[super::Asset] = &[\n");
    for name in &names {
        let path = out.join(name);
        let gzip = match compress(&path) {
            Some(path) => format!("Some(include_bytes!({:?}))", path.display().to_string()),
            None => "None".to_owned(),
        };
        let plain = path.display().to_string();
        writeln!(code, "    super::Asset {{ name: {name:?}, plain: include_bytes!({plain:?}), gzip: {gzip} }},")
            .expect("a string can be written to");
    }
    code.push_str("];\n");
    std::fs::write(out.with_file_name("dashboard.rs"), code).expect("the build folder can be written");
}

fn bundle(source: &Path, out: &Path) {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    let machine = match machine {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let system = if system == "macos" { "darwin" } else { system };
    let esbuild = source.join(format!("node_modules/@esbuild/{system}-{machine}/bin/esbuild"));
    assert!(
        esbuild.is_file(),
        "the dashboard's packages are not installed: run `make setup` (or `npm ci --ignore-scripts` in dashboard)"
    );
    let status = Command::new(&esbuild)
        .current_dir(source)
        .args(["src/main.tsx", "src/icon.svg", "--bundle", "--minify", "--splitting", "--format=esm", "--charset=utf8"])
        .args(["--target=chrome123,firefox120,safari17.5", "--jsx=automatic", "--jsx-import-source=preact"])
        .args(["--loader:.woff2=file", "--loader:.svg=copy", "--legal-comments=none", "--log-level=warning"])
        .args(["--entry-names=[name]-[hash]", "--chunk-names=[name]-[hash]", "--asset-names=[name]-[hash]"])
        .arg(format!("--outdir={}", out.display()))
        .status()
        .expect("esbuild starts");
    assert!(status.success(), "esbuild refused the dashboard; it says why above");
}

/// The page, with the hashed names of what it loads.
fn index(source: &Path, names: &[String]) -> String {
    let find = |start: &str, end: &str| {
        let name = names.iter().find(|name| name.starts_with(start) && name.ends_with(end));
        format!("assets/dashboard/{}", name.unwrap_or_else(|| panic!("the bundle has no {start}*{end}")))
    };
    std::fs::read_to_string(source.join("index.html"))
        .expect("dashboard/index.html can be read")
        .replace("{{script}}", &find("main-", ".js"))
        .replace("{{style}}", &find("main-", ".css"))
        .replace("{{font}}", &find("inter-latin-", ".woff2"))
        .replace("{{icon}}", &find("icon-", ".svg"))
}

fn licence(package: &Path) -> String {
    let manifest = std::fs::read_to_string(package.join("package.json")).expect("a package has a manifest");
    let field = |name: &str| {
        let rest = manifest.split_once(&format!("\"{name}\"")).map_or("", |(_, rest)| rest);
        rest.split('"').nth(1).unwrap_or_default().to_owned()
    };
    let text = ["LICENSE", "LICENSE.md", "LICENSE.txt"]
        .iter()
        .find_map(|name| std::fs::read_to_string(package.join(name)).ok())
        .unwrap_or_else(|| panic!("{} has no licence text", package.display()));
    format!("{} {}\n\n{text}\n\n{}\n\n", field("name"), field("version"), "-".repeat(100))
}

/// The file compressed, beside it, where that is worth it.
fn compress(path: &Path) -> Option<PathBuf> {
    let plain = std::fs::read(path).expect("the bundle can be read");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&plain).expect("memory can be written");
    let packed = encoder.finish().expect("memory can be written");
    if packed.len() * 10 > plain.len() * 9 {
        return None;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    std::fs::write(&name, packed).expect("the build folder can be written");
    Some(name.into())
}
