//! Embeds the files that pages load and the farm does not write: the HyperFrames runtime, GSAP, the fonts and
//! MediaPipe's models, which `npm ci` puts into `browser/node_modules`. Where they are missing, the crate has one compile error
//! that says what to run.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Files of MediaPipe's packages that a page of the farm loads: what finds a face, and what finds a person.
const MEDIAPIPE: &[(&str, &[&str])] = &[
    (
        "face_mesh",
        &[
            "face_mesh.js",
            "face_mesh.binarypb",
            "face_mesh_solution_packed_assets.data",
            "face_mesh_solution_packed_assets_loader.js",
            "face_mesh_solution_simd_wasm_bin.js",
            "face_mesh_solution_simd_wasm_bin.wasm",
        ],
    ),
    (
        "selfie_segmentation",
        &[
            "selfie_segmentation.js",
            "selfie_segmentation.binarypb",
            "selfie_segmentation.tflite",
            "selfie_segmentation_solution_simd_wasm_bin.js",
            "selfie_segmentation_solution_simd_wasm_bin.wasm",
        ],
    ),
];

/// Families of embedded fonts, with their packages and weights.
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

fn main() -> Result<(), Box<dyn Error>> {
    let modules = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("browser/node_modules");
    let target = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=browser/package-lock.json");
    println!("cargo::rerun-if-changed=browser/node_modules/.package-lock.json");
    let code = generate(&modules, &target).unwrap_or_else(|reason| compile_error(&reason.to_string()));
    std::fs::write(target.join("assets.rs"), code)?;
    Ok(())
}

/// The module of the assets in the npm packages in `modules`.
fn generate(modules: &Path, target: &Path) -> Result<String, Box<dyn Error>> {
    let (hyperframes, gsap) = (modules.join("hyperframes"), modules.join("gsap"));
    let mut code = text_constant("RUNTIME", &hyperframes.join("dist/hyperframe.runtime.iife.js"))?;
    let effects = target.join("effects-chain.js");
    std::fs::write(&effects, effects_script(&hyperframes.join("dist"))?)?;
    code.push_str(&text_constant("EFFECTS", &effects)?);
    code.push_str(&gsap_scripts(&gsap.join("dist"))?);
    for (name, package) in [("RUNTIME_VERSION", hyperframes), ("GSAP_VERSION", gsap)] {
        writeln!(code, "pub(super) const {name}: &str = {:?};", version(&package)?)?;
    }
    code.push_str("pub(super) const FONTS: &[super::FontFace] = &[\n");
    for (family, package, weights) in FONTS {
        for weight in *weights {
            let file = format!("{package}-latin-{weight}-normal.woff2");
            let path = existing(&modules.join("@fontsource").join(package).join("files").join(&file))?;
            writeln!(
                code,
                "    super::FontFace {{ family: {family:?}, weight: {weight}, file: {file:?}, bytes: include_bytes!({path:?}) }},"
            )?;
        }
    }
    code.push_str("];\npub(super) const MEDIAPIPE: &[(&str, &[u8])] = &[\n");
    for (package, files) in MEDIAPIPE {
        for file in *files {
            let path = existing(&modules.join("@mediapipe").join(package).join(file))?;
            writeln!(code, "    ({file:?}, include_bytes!({path:?})),")?;
        }
    }
    code.push_str("];\n");
    Ok(code)
}

/// The same module with empty assets and a compile error, so that the error is the only one and an editor works.
fn compile_error(reason: &str) -> String {
    let text = format!(
        "the browser assets of the worker are not installed ({reason}): run `make setup`, or `npm ci --ignore-scripts` in \
         worker/browser"
    );
    format!(
        "compile_error!({text:?});\n\
         pub(super) const RUNTIME: &str = \"\";\n\
         pub(super) const EFFECTS: &str = \"\";\n\
         pub(super) const GSAP: &[(&str, &str)] = &[];\n\
         pub(super) const RUNTIME_VERSION: &str = \"\";\n\
         pub(super) const GSAP_VERSION: &str = \"\";\n\
         pub(super) const FONTS: &[super::FontFace] = &[];\n\
         pub(super) const MEDIAPIPE: &[(&str, &[u8])] = &[];\n"
    )
}

/// All minified scripts of GSAP, with its plugins.
fn gsap_scripts(folder: &Path) -> Result<String, Box<dyn Error>> {
    existing(&folder.join("gsap.min.js"))?;
    let mut names: Vec<String> = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".min.js"))
        .collect();
    names.sort();
    let mut code = String::from("pub(super) const GSAP: &[(&str, &str)] = &[\n");
    for name in names {
        writeln!(code, "    ({name:?}, include_str!({:?})),", folder.join(&name).display().to_string())?;
    }
    code.push_str("];\n");
    Ok(code)
}

/// The path of a file that exists.
fn existing(path: &Path) -> Result<String, Box<dyn Error>> {
    if path.is_file() { Ok(path.display().to_string()) } else { Err(format!("{} is missing", path.display()).into()) }
}

/// A constant with the text of a file.
fn text_constant(name: &str, path: &Path) -> Result<String, Box<dyn Error>> {
    Ok(format!("pub(super) const {name}: &str = include_str!({:?});\n", existing(path)?))
}

/// The script of the effect chains. The package contains it as a string in one of its modules, whose name changes with
/// each version; the package evaluates that string too.
fn effects_script(dist: &Path) -> Result<String, Box<dyn Error>> {
    const NAME: &str = "AUDIO_FX_RUNTIME_IIFE";
    let start = format!("var {NAME} = '");
    let mut paths = Vec::new();
    for file in std::fs::read_dir(dist)? {
        paths.push(file?.path());
    }
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "js")) {
        let text = std::fs::read_to_string(path)?;
        if let Some(line) = text.lines().find(|line| line.starts_with(&start) && line.ends_with("';")) {
            return Ok(format!("{line}\n(0, eval)({NAME});\n"));
        }
    }
    Err(format!("the hyperframes package has no {NAME}; see effects_script in worker/build.rs").into())
}

/// The version in a package's manifest. The first `"version"` is that of the package itself.
fn version(package: &Path) -> Result<String, Box<dyn Error>> {
    let manifest = package.join("package.json");
    let text = std::fs::read_to_string(&manifest)?;
    let version = text.split_once("\"version\"").and_then(|(_, rest)| rest.split('"').nth(1));
    version.map(str::to_owned).ok_or_else(|| format!("{} has no version", manifest.display()).into())
}
