//! Assets of the farm that are embedded in the binary: the HyperFrames runtime, host scripts, GSAP, fonts, MediaPipe's face
//! mesh.

use std::collections::BTreeMap;
use std::sync::LazyLock;

mod generated {
    include!(concat!(env!("OUT_DIR"), "/assets.rs"));
}

/// URL paths with this prefix are assets of the farm, never files of the project.
pub const OWN_PREFIX: &str = "/__hyperfarm/";

/// Version of the embedded HyperFrames runtime, as `browser/package.json` pins it.
pub const RUNTIME_VERSION: &str = generated::RUNTIME_VERSION;

/// The embedded runtime.
pub(crate) const RUNTIME: &str = generated::RUNTIME;

/// The embedded script of sound effects, of the same package.
pub(crate) const EFFECTS: &str = generated::EFFECTS;

/// Version of the embedded GSAP, which a page gets that uses GSAP without loading it.
pub const GSAP_VERSION: &str = generated::GSAP_VERSION;

/// Limits the length and the number of messages and exceptions of the page.
pub(crate) const LIMITS_SCRIPT: &str = include_str!("host/limits.js");

/// Replaces clock, timers and random numbers of the page, before any of its scripts.
pub(crate) const EARLY_SCRIPT: &str = include_str!("host/early.js");

/// Moves animations, and tells scripts of them what a browser that plays would tell.
pub(crate) const ANIMATIONS_SCRIPT: &str = include_str!("host/animations.js");

/// Gives dedicated workers the page's clock.
pub(crate) const WORKERS_SCRIPT: &str = include_str!("host/workers.js");

/// Finds elements in shadow roots, and videos that are not in the document.
pub(crate) const TREES_SCRIPT: &str = include_str!("host/trees.js");

/// Shows animated images at the time of the frame.
pub(crate) const IMAGES_SCRIPT: &str = include_str!("host/images.js");

/// The playback of videos, as scripts see it.
pub(crate) const PLAYBACK_SCRIPT: &str = include_str!("host/playback.js");

/// What scripts draw of videos and animated images.
pub(crate) const DRAWING_SCRIPT: &str = include_str!("host/drawing.js");

/// The placeholder of the configuration in [`EARLY_SCRIPT`], where it occurs once.
pub(crate) const CONFIG_PLACEHOLDER: &str = "__HYPERFARM_CONFIG__";

/// What runs in a dedicated worker before its script.
static WORKER: LazyLock<String> = LazyLock::new(|| {
    let clock = EARLY_SCRIPT.replacen(CONFIG_PLACEHOLDER, "self.__hyperfarmConfig", 1);
    format!("{clock}\n{}", include_str!("host/worker.js"))
});

/// The page's part of the page host.
pub(crate) const DRIVER_SCRIPT: &str = include_str!("host/driver.js");

/// Holds the events of the load until the scripts of the body have run.
pub(crate) const LOAD_EVENTS_SCRIPT: &str = include_str!("host/load_events.js");

/// Finds the earlier frames that a chunk has to visit.
pub(crate) const VISITS_SCRIPT: &str = include_str!("host/visits.js");

/// The scope of a nested composition's scripts.
const SCOPE_SCRIPT: &str = include_str!("host/scope.js");

/// Applies edits of HyperFrames' studio after each seek.
const EDITS_SCRIPT: &str = include_str!("host/edits.js");

/// Reads the page's sound: effects, groups, volumes that scripts change. Evaluated on demand.
pub(crate) const SOUND_SCRIPT: &str = include_str!("host/sound.js");

/// Reads the page's captions. Evaluated on demand.
pub(crate) const CAPTIONS_SCRIPT: &str = include_str!("host/captions.js");

/// Path of the page in which effect chains run, below [`OWN_PREFIX`].
pub(crate) const EFFECTS_PAGE: &str = "effects.html";

const EFFECTS_HTML: &str = "<!doctype html><meta charset=\"utf-8\"><title>effects</title>\
     <script src=\"effects-chain.js\"></script><script src=\"effects.js\"></script>";

/// Describes the elements of the page. Evaluated on demand.
pub(crate) const SKETCH_SCRIPT: &str = include_str!("host/sketch.js");

/// Sends network requests of the page's scripts to the slot's server.
pub(crate) const REMOTE_SCRIPT: &str = include_str!("host/remote.js");

/// One embedded font file.
pub(crate) struct FontFace {
    pub(crate) family: &'static str,
    pub(crate) weight: u32,
    pub(crate) file: &'static str,
    pub(crate) bytes: &'static [u8],
}

/// Every embedded face.
pub(crate) const FONTS: &[FontFace] = generated::FONTS;

/// A file of the farm that a page may load.
pub(crate) struct Asset {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: &'static [u8],
}

/// GSAP's scripts as ES modules, by the name of the script.
static GSAP_MODULES: LazyLock<BTreeMap<&'static str, String>> =
    LazyLock::new(|| generated::GSAP.iter().map(|(name, text)| (*name, as_module(name, text))).collect());

/// A UMD script of GSAP as an ES module with the same names.
fn as_module(name: &str, text: &str) -> String {
    let stem = name.trim_end_matches(".min.js");
    let names: &[&str] = match stem {
        "gsap" => &[
            "gsap",
            "TweenMax",
            "TweenLite",
            "TimelineMax",
            "TimelineLite",
            "Power0",
            "Power1",
            "Power2",
            "Power3",
            "Power4",
        ],
        _ => &[stem],
    };
    let exports: String = names.iter().map(|name| format!("export const {name} = own.{name};\n")).collect();
    format!(
        "const own = {{}};\n(function (exports, module, define) {{\n{text}\n}}).call(globalThis, own, {{ exports: own }});\n\
         export default own.default || own.{first};\n{exports}",
        first = names[0]
    )
}

/// The text of a script of GSAP: `gsap/NAME.min.js`, or `gsap/NAME.min.mjs` for the ES module.
pub(crate) fn gsap_file(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix("gsap/")?;
    match name.strip_suffix(".mjs") {
        Some(stem) => GSAP_MODULES.get(format!("{stem}.js").as_str()).map(String::as_str),
        None => generated::GSAP.iter().find(|(known, _)| *known == name).map(|(_, text)| *text),
    }
}

/// The media type of scripts.
pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The asset at `path` below [`OWN_PREFIX`].
pub(crate) fn own(path: &str) -> Option<Asset> {
    match path {
        EFFECTS_PAGE => Some(Asset { media_type: "text/html; charset=utf-8", bytes: EFFECTS_HTML.as_bytes() }),
        "worker.js" => Some(Asset { media_type: SCRIPT, bytes: WORKER.as_bytes() }),
        "effects.js" => Some(Asset { media_type: SCRIPT, bytes: include_bytes!("host/effects.js") }),
        "scope.js" => Some(Asset { media_type: SCRIPT, bytes: SCOPE_SCRIPT.as_bytes() }),
        "edits.js" => Some(Asset { media_type: SCRIPT, bytes: EDITS_SCRIPT.as_bytes() }),
        "gsap.js" => own("gsap/gsap.min.js"),
        _ if path.starts_with("gsap/") => {
            gsap_file(path).map(|text| Asset { media_type: SCRIPT, bytes: text.as_bytes() })
        }
        _ if path.starts_with("mediapipe/") => mediapipe_file(path),
        _ => {
            let file = path.strip_prefix("fonts/")?;
            let face = FONTS.iter().find(|face| face.file == file)?;
            Some(Asset { media_type: "font/woff2", bytes: face.bytes })
        }
    }
}

/// A file of MediaPipe's packages, which find the landmarks of a face and the outline of a person.
fn mediapipe_file(path: &str) -> Option<Asset> {
    let name = path.strip_prefix("mediapipe/")?;
    let (_, bytes) = generated::MEDIAPIPE.iter().find(|(known, _)| *known == name)?;
    let media_type = match name.rsplit('.').next() {
        Some("js") => SCRIPT,
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    Some(Asset { media_type, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asset_is_embedded() {
        assert!(own("gsap.js").is_some_and(|asset| asset.bytes.len() > 50_000));
        assert!(own("gsap/ScrollTrigger.min.js").is_some_and(|asset| asset.bytes.len() > 10_000));
        assert!(gsap_file("gsap/Flip.min.mjs").is_some_and(|text| text.contains("export const Flip")));
        assert!(own("fonts/inter-latin-400-normal.woff2").is_some_and(|asset| asset.bytes.starts_with(b"wOF2")));
        for model in ["face_mesh", "selfie_segmentation"] {
            let wasm = own(&format!("mediapipe/{model}_solution_simd_wasm_bin.wasm"));
            assert!(wasm.is_some_and(|asset| asset.bytes.starts_with(b"\0asm")), "{model}");
        }
        assert!(own("fonts/../gsap.js").is_none() && own("mediapipe/../gsap.js").is_none());
        assert_eq!(RUNTIME_VERSION.split('.').count(), 3);
    }
}
