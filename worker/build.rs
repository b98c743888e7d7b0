//! Embeds what the page loads and the farm does not write: the HyperFrames runtime, GSAP and the fonts, as `npm ci` put them
//! under `browser/node_modules`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Family, package and weights of the font table.
const FONTS: &[(&str, &str, &[u32])] = &[
    ("Inter", "inter", &[400, 700, 900]),
    ("Montserrat", "montserrat", &[400, 700, 900]),
    ("Outfit", "outfit", &[400, 700, 900]),
    ("Nunito", "nunito", &[400, 700, 900]),
    ("Oswald", "oswald", &[400, 700]),
    ("League Gothic", "league-gothic", &[400]),
    ("Archivo Black", "archivo-black", &[400]),
    ("Space Mono", "space-mono", &[400, 700]),
    ("IBM Plex Mono", "ibm-plex-mono", &[400, 700]),
    ("JetBrains Mono", "jetbrains-mono", &[400, 700]),
    ("EB Garamond", "eb-garamond", &[400, 700]),
    ("Playfair Display", "playfair-display", &[400, 700, 900]),
    ("Source Code Pro", "source-code-pro", &[400, 700]),
    ("Noto Sans JP", "noto-sans-jp", &[400, 700]),
    ("Roboto", "roboto", &[400, 700, 900]),
    ("Open Sans", "open-sans", &[400, 700]),
    ("Lato", "lato", &[400, 700, 900]),
    ("Poppins", "poppins", &[400, 700, 900]),
];

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let modules = root.join("browser/node_modules");
    println!("cargo::rerun-if-changed=browser/package-lock.json");
    println!("cargo::rerun-if-changed=browser/node_modules/.package-lock.json");
    if !modules.join("hyperframes").is_dir() {
        panic!(
            "the browser assets are not installed: run `make setup` (or `npm ci --ignore-scripts` in worker/browser)"
        );
    }
    let mut out = String::new();
    constant(&mut out, "RUNTIME", &modules.join("hyperframes/dist/hyperframe.runtime.iife.js"));
    let target = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let effects = target.join("effects-chain.js");
    std::fs::write(&effects, effects_script(&modules.join("hyperframes/dist")))
        .expect("the build folder can be written");
    constant(&mut out, "EFFECTS", &effects);
    gsap(&mut out, &modules.join("gsap/dist"));
    writeln!(out, "pub(super) const RUNTIME_VERSION: &str = {:?};", version(&modules.join("hyperframes")))
        .expect("write");
    writeln!(out, "pub(super) const GSAP_VERSION: &str = {:?};", version(&modules.join("gsap"))).expect("write");
    out.push_str("pub(super) const FONTS: &[super::FontFace] = &[\n");
    for (family, package, weights) in FONTS {
        for weight in *weights {
            let file = format!("{package}-latin-{weight}-normal.woff2");
            let path = modules.join("@fontsource").join(package).join("files").join(&file);
            check(&path);
            writeln!(
                out,
                "    super::FontFace {{ family: {family:?}, weight: {weight}, file: {file:?}, bytes: include_bytes!({:?}) }},",
                path.display().to_string()
            )
            .expect("write");
        }
    }
    out.push_str("];\n");
    std::fs::write(target.join("assets.rs"), out).expect("the build folder can be written");
}

/// Every minified script of GSAP, the plugins included.
fn gsap(out: &mut String, folder: &Path) {
    check(&folder.join("gsap.min.js"));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder of GSAP can be read")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".min.js"))
        .collect();
    names.sort();
    out.push_str("pub(super) const GSAP: &[(&str, &str)] = &[\n");
    for name in names {
        let path = folder.join(&name).display().to_string();
        writeln!(out, "    ({name:?}, include_str!({path:?})),").expect("write");
    }
    out.push_str("];\n");
}

fn check(path: &Path) {
    assert!(path.is_file(), "{} is missing: run `make setup`", path.display());
}

fn constant(out: &mut String, name: &str, path: &Path) {
    check(path);
    writeln!(out, "pub(super) const {name}: &str = include_str!({:?});", path.display().to_string()).expect("write");
}

/// The script of the effect chains. The package carries it as a string in one of its modules, whose name changes with each
/// version; evaluating that string is what the package does with it too.
fn effects_script(dist: &Path) -> String {
    const NAME: &str = "AUDIO_FX_RUNTIME_IIFE";
    let start = format!("var {NAME} = '");
    let files = std::fs::read_dir(dist).expect("the package has a dist folder");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("the dist folder can be read").path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "js")) {
        let text = std::fs::read_to_string(path).expect("a module is text");
        if let Some(line) = text.lines().find(|line| line.starts_with(&start) && line.ends_with("';")) {
            return format!("{line}\n(0, eval)({NAME});\n");
        }
    }
    panic!("the hyperframes package has no {NAME}: the effects moved, see effects_script in build.rs");
}

/// The version in a package's manifest; the first `"version"` is the package's own.
fn version(package: &Path) -> String {
    let manifest = std::fs::read_to_string(package.join("package.json")).expect("the package has a manifest");
    let rest = manifest.split_once("\"version\"").expect("the manifest has a version").1;
    rest.split('"').nth(1).expect("the version is a string").to_owned()
}
