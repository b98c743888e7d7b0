//! What is embedded in the binary for the page: runtime, host scripts, GSAP, fonts.

use std::sync::LazyLock;

mod generated {
    include!(concat!(env!("OUT_DIR"), "/assets.rs"));
}

/// Version of the HyperFrames runtime that this build embeds, the one place where it is named: `browser/package.json`.
pub const RUNTIME_VERSION: &str = generated::RUNTIME_VERSION;

/// Version of GSAP that a page gets which uses it without loading it.
pub const GSAP_VERSION: &str = generated::GSAP_VERSION;

/// Clock, timers and randomness of the page, before any of its scripts.
pub(crate) const EARLY_SCRIPT: &str = include_str!("host/early.js");

/// The host's side of the page.
pub(crate) const DRIVER_SCRIPT: &str = include_str!("host/driver.js");

/// The world of a nested composition's scripts.
const SCOPE_SCRIPT: &str = include_str!("host/scope.js");

/// Edits of positions, applied after each seek.
const EDITS_SCRIPT: &str = include_str!("host/edits.js");
/// The page's sound: effects, groups, volumes by script. Evaluated where it is needed.
pub(crate) const SOUND_SCRIPT: &str = include_str!("host/sound.js");

/// Path of the page in which effect chains run, below the farm's own prefix.
pub(crate) const EFFECTS_PAGE: &str = "effects.html";

const EFFECTS_HTML: &str = "<!doctype html><meta charset=\"utf-8\"><title>effects</title>\
     <script src=\"effects-chain.js\"></script><script src=\"effects.js\"></script>";

/// One embedded font file.
pub(crate) struct FontFace {
    pub(crate) family: &'static str,
    pub(crate) weight: u32,
    pub(crate) file: &'static str,
    pub(crate) bytes: &'static [u8],
}

/// Every embedded face.
pub(crate) const FONTS: &[FontFace] = generated::FONTS;

/// A file of the farm's own that a page may load.
pub(crate) struct Asset {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: &'static [u8],
}

/// The runtime keeps the real timers: it waits with them for things that happen outside composition time.
static RUNTIME: LazyLock<String> = LazyLock::new(|| {
    format!(
        "(function (setTimeout, clearTimeout, setInterval, clearInterval) {{\n{}\n}})(...((c) => [c.originalSetTimeout, \
         c.originalClearTimeout, c.originalSetInterval, c.originalClearInterval])(window.__HF_VIRTUAL_TIME__));\n",
        generated::RUNTIME
    )
});

/// The asset at `path` below the farm's own prefix.
pub(crate) fn own(path: &str) -> Option<Asset> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    match path {
        "runtime.js" => Some(Asset { media_type: SCRIPT, bytes: RUNTIME.as_bytes() }),
        EFFECTS_PAGE => Some(Asset { media_type: "text/html; charset=utf-8", bytes: EFFECTS_HTML.as_bytes() }),
        "effects-chain.js" => Some(Asset { media_type: SCRIPT, bytes: generated::EFFECTS.as_bytes() }),
        "effects.js" => Some(Asset { media_type: SCRIPT, bytes: include_bytes!("host/effects.js") }),
        "gsap.js" => Some(Asset { media_type: SCRIPT, bytes: generated::GSAP.as_bytes() }),
        "scope.js" => Some(Asset { media_type: SCRIPT, bytes: SCOPE_SCRIPT.as_bytes() }),
        "edits.js" => Some(Asset { media_type: SCRIPT, bytes: EDITS_SCRIPT.as_bytes() }),
        _ => {
            let file = path.strip_prefix("fonts/")?;
            let face = FONTS.iter().find(|face| face.file == file)?;
            Some(Asset { media_type: "font/woff2", bytes: face.bytes })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_embedded_is_there() {
        assert!(own("runtime.js").is_some_and(|asset| asset.bytes.len() > 100_000));
        assert!(own("gsap.js").is_some_and(|asset| asset.bytes.len() > 50_000));
        assert!(own("effects-chain.js").is_some_and(|asset| asset.bytes.len() > 30_000));
        assert!(own("fonts/inter-latin-400-normal.woff2").is_some_and(|asset| asset.bytes.starts_with(b"wOF2")));
        assert!(own("fonts/../runtime.js").is_none());
        assert_eq!(RUNTIME_VERSION.split('.').count(), 3);
    }
}
