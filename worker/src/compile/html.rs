//! The entry page: the attributes of its root, and what is added to its head.

use std::collections::BTreeMap;

use dom_query::{Document, NodeRef, Selection};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::shutter::Shutter;
use hyperfarm_proto::spec::Size;
use serde::{Deserialize, Serialize};

use super::dom::{all, attr, trimmed};
use super::{css, paths, scripts, transitions};
use crate::assets::{GSAP_VERSION, OWN_PREFIX};
use crate::error::ProjectError;

/// Without this rule glyph advances differ between builds of Chrome by about one percent. The HyperFrames compiler adds
/// the same rule.
const TEXT_RULE: &str = "html,body,*{text-rendering:geometricPrecision}";

/// `will-change: transform` keeps a raster scale for longer than a frame, so that a chunk would differ from a walk from
/// frame 0.
const RASTER_RULE: &str = "*{will-change:auto !important}";

/// The style sheet of the document that HyperFrames puts around a fragment.
const FRAGMENT_RULE: &str = "*{margin:0;padding:0;box-sizing:border-box;text-rendering:geometricPrecision}\
    body{overflow:hidden;background:#000;font-family:\"Inter\",sans-serif}";

/// Attributes of the root composition.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) page: AuthoredPage,
    /// Whether its duration is 0, so that it lasts as long as what is in it.
    pub(super) has_zero_duration: bool,
    pub(super) fps: Option<FrameRate>,
    pub(super) shutter: Shutter,
}

/// What the root composition says of its page.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AuthoredPage {
    /// `data-width` and `data-height`, where it has both.
    pub size: Option<Size>,
    /// `data-duration` in seconds; the page may last longer or shorter than it says.
    pub seconds: Option<f64>,
}

impl AuthoredPage {
    /// What the root of `document` says, as far as it is valid.
    pub(crate) fn read(document: &Document) -> Self {
        root(document).map(|root| root.page).unwrap_or_default()
    }
}

/// The page as a whole document. A fragment with a composition gets the document that HyperFrames puts around it.
pub(super) fn complete_document(page: String) -> String {
    let start: String = page.trim_start().chars().take(14).collect::<String>().to_ascii_lowercase();
    let is_complete = start.starts_with("<!doctype html") || start.starts_with("<html");
    if is_complete || all(&Document::from(page.as_str()), "[data-composition-id]").is_empty() {
        return page;
    }
    format!(
        "<!DOCTYPE html><html><head><meta charset=\"UTF-8\"><style>{FRAGMENT_RULE}</style></head>\
         <body style=\"margin:0;overflow:hidden\">\n{page}\n</body></html>"
    )
}

/// Reads and checks the attributes of the root composition.
pub(super) fn root(document: &Document) -> Result<Root, ProjectError> {
    let root = document.select("[data-composition-id]").first();
    let (size, fps) = (authored_size(&root)?, authored_fps(&root)?);
    let seconds = authored_seconds(&root)?;
    let has_zero_duration = seconds.is_none() && root.attr("data-duration").is_some();
    Ok(Root { page: AuthoredPage { size, seconds }, has_zero_duration, fps, shutter: authored_shutter(&root)? })
}

/// Rewrites the paths of an entry page in a folder to paths from the root, where the compiled page is.
pub(super) fn rebase(document: &Document, entry: &str, exists: &dyn Fn(&str) -> bool) {
    if !entry.contains('/') {
        return;
    }
    for element in all(document, "[src], [href]") {
        for name in ["src", "href"] {
            if let Some(rebased) = trimmed(element, name).and_then(|url| paths::rebase(entry, &url, exists)) {
                element.set_attr(name, &rebased);
            }
        }
    }
    let rewrite = |text: &str| css::rewrite_urls(text, &mut |url| paths::rebase(entry, url, exists));
    for element in all(document, "[style*=\"url(\"]") {
        let style = attr(element, "style").unwrap_or_default();
        element.set_attr("style", &rewrite(&style));
    }
    for style in all(document, "style") {
        style.set_text(rewrite(&style.text()));
    }
}

/// Joins neighbouring style elements of the head, with their imports first, as in HyperFrames' own renders. One with an id
/// stays by itself: a script may look for it.
pub(super) fn join_styles(document: &Document) {
    let mut last: Option<(String, NodeRef<'_>)> = None;
    for style in all(document, "head style") {
        let kind = attr(style, "type").unwrap_or_default();
        let is_css = kind.is_empty() || kind.eq_ignore_ascii_case("text/css");
        if !is_css || attr(style, "id").is_some() {
            last = None;
            continue;
        }
        let media = attr(style, "media").unwrap_or_default().trim().to_ascii_lowercase();
        let key = format!("{}\n{}", if media == "all" { "" } else { &media }, attr(style, "title").unwrap_or_default());
        match &last {
            Some((same, first)) if *same == key => {
                let (mut imports, before) = css::split_imports(&first.text());
                let (more, after) = css::split_imports(&style.text());
                imports.extend(more.into_iter().filter(|import| !imports.contains(import)).collect::<Vec<_>>());
                let text = [imports.join("\n"), before.trim().to_owned(), after.trim().to_owned()];
                first.set_text(text.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n"));
                style.remove_from_parent();
            }
            _ => last = Some((key, style)),
        }
    }
}

/// Adds to the page what the farm adds to every page, and returns its HTML. `entry` is its path, `texts` are the text
/// files of the project by path, and `faces` is HTML with the page's fonts. The runtime runs deferred scripts where
/// `defers_scripts`.
pub(super) fn finish(
    document: &Document,
    entry: &str,
    texts: &BTreeMap<String, String>,
    faces: &str,
    defers_scripts: bool,
    warnings: &mut Vec<Warning>,
) -> String {
    remove_embedded_runtime(document);
    open_closed_roots(document);
    let mut head = format!("<style data-hyperfarm>{TEXT_RULE}{RASTER_RULE}</style>");
    head.push_str(transitions::script(texts.values()));
    head.push_str(faces);
    if provide_gsap(document, texts, warnings) {
        head.push_str(&format!("<script src=\"{OWN_PREFIX}gsap.js\"></script>"));
    }
    scripts::name_inline(document, entry, texts.get(entry).map_or("", String::as_str));
    // After this the scripts of the body have a type of their own.
    if defers_scripts {
        scripts::defer_until_fonts(document);
    }
    let own_head = document.select("head").first();
    own_head.prepend_html(head);
    own_head.append_html(format!(
        "<script src=\"{OWN_PREFIX}runtime.js\"></script><script src=\"{OWN_PREFIX}scope.js\"></script>"
    ));
    document.html().to_string()
}

fn authored_size(root: &Selection<'_>) -> Result<Option<Size>, ProjectError> {
    let (Some(width), Some(height)) = (root.attr("data-width"), root.attr("data-height")) else { return Ok(None) };
    let side = |name: &str, text: &str| {
        text.trim()
            .trim_end_matches("px")
            .parse::<f64>()
            .ok()
            .filter(|side| *side >= 1.0 && side.fract() == 0.0)
            .ok_or_else(|| {
                ProjectError::Size(format!(
                    "{name} of the composition's root is `{text}`; give whole pixels, such as {name}=\"1920\""
                ))
            })
    };
    let (width, height) = (side("data-width", &width)?, side("data-height", &height)?);
    Ok(Some(Size { width: width.min(f64::from(u32::MAX)) as u32, height: height.min(f64::from(u32::MAX)) as u32 }))
}

fn authored_fps(root: &Selection<'_>) -> Result<Option<FrameRate>, ProjectError> {
    let Some(text) = root.attr("data-fps") else { return Ok(None) };
    text.trim()
        .parse()
        .map(Some)
        .map_err(|error| ProjectError::FrameRate(format!("data-fps of the composition's root: {error}")))
}

/// The motion blur of the root, by the attributes of HyperFrames.
fn authored_shutter(root: &Selection<'_>) -> Result<Shutter, ProjectError> {
    let number = |name: &str, usual: f64, is_right: &dyn Fn(f64) -> bool, expected: &str| match root.attr(name) {
        None => Ok(usual),
        Some(text) => text.trim().parse::<f64>().ok().filter(|number| is_right(*number)).ok_or_else(|| {
            ProjectError::MotionBlur(format!("{name} of the composition's root is `{text}`; give {expected}"))
        }),
    };
    let Shutter { samples, angle, phase } = Shutter::default();
    let is_count = |count: f64| count.fract() == 0.0 && (0.0..=f64::from(Shutter::MAX_SAMPLES)).contains(&count);
    let expected = format!("a whole number from 0, which is none, to {}", Shutter::MAX_SAMPLES);
    let samples = number("data-motion-blur-samples", samples.into(), &is_count, &expected)? as u32;
    let is_angle = |angle: f64| angle > 0.0 && angle <= 360.0;
    let angle = number("data-shutter-angle", angle, &is_angle, "degrees above 0 and up to 360")?;
    let is_phase = |phase: f64| (-360.0..=0.0).contains(&phase);
    let phase = number("data-shutter-phase", phase, &is_phase, "degrees from -360 to 0")?;
    Ok(Shutter { samples, angle, phase })
}

/// The duration of the root. The runtime would ignore an invalid one, and report another cause.
fn authored_seconds(root: &Selection<'_>) -> Result<Option<f64>, ProjectError> {
    let Some(text) = root.attr("data-duration") else { return Ok(None) };
    match text.trim().trim_end_matches('s').parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(Some(seconds).filter(|seconds| *seconds > 0.0)),
        _ => Err(ProjectError::Duration(format!(
            "data-duration of the composition's root is `{text}`; give seconds above 0, or leave it out to take the timeline's own \
             duration"
        ))),
    }
}

/// Removes a runtime that the page loads itself; it gets the embedded one.
fn remove_embedded_runtime(document: &Document) {
    for script in document.select("script").iter() {
        let source = script.attr("src").unwrap_or_default();
        let marked = script.has_attr("data-hyperframes-preview-runtime") || script.has_attr("data-hyperframes-runtime");
        let by_name = ["hyperframe.runtime", "hyperframes.runtime", "hyperframe-runtime"];
        if marked || by_name.iter().any(|name| source.contains(name)) {
            script.remove();
        }
    }
}

/// Opens declarative shadow roots that are closed: the host has to find what moves in them. It hides them from scripts.
fn open_closed_roots(document: &Document) {
    for template in all(document, "template[shadowrootmode=\"closed\"]") {
        template.set_attr("shadowrootmode", "open");
        if let Some(host) = template.parent().filter(|parent| parent.is_element()) {
            host.set_attr("data-hf-closed-root", "");
        }
    }
}

/// Whether the page uses GSAP without loading it. A GSAP that is loaded from an address that is not in the project is
/// replaced by the embedded one.
fn provide_gsap(document: &Document, texts: &BTreeMap<String, String>, warnings: &mut Vec<Warning>) -> bool {
    let mut loads = false;
    for script in all(document, "script[src]") {
        let source = trimmed(script, "src").unwrap_or_default();
        let file = source.split(['?', '#']).next().unwrap_or_default();
        let is_core = ["gsap.min.js", "gsap.js"].iter().any(|name| file.rsplit('/').next() == Some(name))
            || file.trim_end_matches('/').ends_with("npm/gsap");
        if !is_core {
            continue;
        }
        loads = true;
        let remote = paths::is_remote(&source);
        // Projects that use a package manager name its folder, which is seldom in the archive.
        let unpacked = file.contains("gsap/dist/") && !texts.contains_key(&paths::file_of(&source));
        if remote || unpacked {
            script.set_attr("src", &format!("{OWN_PREFIX}gsap.js"));
            warnings.push(Warning {
                code: "REMOTE_REPLACED".to_owned(),
                message: format!("{source} was replaced by the farm's own GSAP {GSAP_VERSION}"),
            });
        }
    }
    let inline = all(document, "script:not([src])");
    let found = inline
        .iter()
        // The farm's own script of a plain page uses GSAP where the page has it.
        .filter(|script| !script.has_attr("data-hyperfarm"))
        .filter(|script| scripts::runs(**script) || scripts::is_deferred(**script))
        .map(|script| use_of_gsap(&script.text()))
        .chain(all(document, "script[src]").iter().map(|script| {
            let file = trimmed(*script, "src").map(|source| paths::file_of(&source)).unwrap_or_default();
            texts.get(&file).map_or(GsapUse::None, |text| use_of_gsap(text))
        }))
        .max()
        .unwrap_or(GsapUse::None);
    let bundled =
        inline.iter().any(|script| script.text().contains("window.gsap=") || script.text().contains("GreenSock"));
    // Several timelines of a plain page are joined by GSAP.
    let joins = document.select("script[data-hyperfarm]").exists()
        && inline.iter().any(|script| !script.has_attr("data-hyperfarm") && script.text().contains("__timelines"));
    if loads || bundled || (found == GsapUse::None && !joins) {
        return false;
    }
    if found == GsapUse::Called {
        warnings.push(Warning {
            code: "GSAP_PROVIDED".to_owned(),
            message: format!("the project uses gsap without loading it; it got the farm's own GSAP {GSAP_VERSION}"),
        });
    }
    true
}

/// How a script uses GSAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum GsapUse {
    /// Not at all.
    None,
    /// Perhaps: what looks like a call is in what looks like a comment.
    Perhaps,
    /// It calls it.
    Called,
}

fn use_of_gsap(script: &str) -> GsapUse {
    let calls = ["gsap.timeline", "gsap.to(", "gsap.from(", "gsap.fromTo(", "gsap.set("];
    let found = calls.iter().flat_map(|call| script.match_indices(call)).filter_map(|(at, _)| {
        let before = &script[..at];
        // The end of a longer name.
        if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            return None;
        }
        let line = before.rsplit('\n').next().unwrap_or_default();
        let in_line = line.trim_start().starts_with("//") || line.contains(" // ");
        let in_block = before.rfind("/*").is_some_and(|start| before.rfind("*/").is_none_or(|end| end < start));
        Some(if in_line || in_block { GsapUse::Perhaps } else { GsapUse::Called })
    });
    found.max().unwrap_or(GsapUse::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Page {
        html: String,
        size: Option<Size>,
    }

    fn compile(page: &str) -> (Page, Vec<Warning>) {
        compile_for(page, true)
    }

    fn compile_for(page: &str, defers_scripts: bool) -> (Page, Vec<Warning>) {
        let mut warnings = Vec::new();
        let texts = BTreeMap::from([("index.html".to_owned(), page.to_owned())]);
        let document = Document::from(complete_document(page.to_owned()));
        let size = root(&document).unwrap().page.size;
        let html = finish(&document, "index.html", &texts, "", defers_scripts, &mut warnings);
        (Page { html, size }, warnings)
    }

    #[test]
    fn scripts_are_deferred_only_for_a_runtime_that_runs_them() {
        let page = "<html><body><script>start()</script></body></html>";
        assert!(compile_for(page, true).0.html.contains("hf-after-fonts"));
        assert!(compile_for(page, false).0.html.contains("<script>start()\n//# sourceURL="));
    }

    #[test]
    fn the_head_is_completed_even_where_the_page_has_none() {
        let (page, _) = compile("<div data-composition-id=\"m\" data-width=\"640\" data-height=\"360\">x</div>");
        assert_eq!(page.size, Some(Size { width: 640, height: 360 }));
        let runtime = page.html.find("runtime.js").unwrap();
        assert!(page.html.find("geometricPrecision").unwrap() < runtime);
        assert!(runtime < page.html.find("data-composition-id").unwrap());
    }

    #[test]
    fn templates_keep_their_content() {
        let (page, _) = compile("<html><body><template id=\"t\"><p>inside</p></template></body></html>");
        assert!(page.html.contains("<template id=\"t\"><p>inside</p></template>"), "{}", page.html);
    }

    #[test]
    fn a_runtime_of_the_page_is_replaced() {
        let (page, _) =
            compile("<html><head><script src=\"x/hyperframe.runtime.iife.js\"></script></head><body></body></html>");
        assert!(!page.html.contains("iife"));
    }

    #[test]
    fn gsap_is_provided_where_it_is_missing() {
        let uses = "<html><body><script>gsap.timeline()</script></body></html>";
        let (page, warnings) = compile(uses);
        assert!(page.html.contains("gsap.js"));
        assert_eq!(warnings[0].code, "GSAP_PROVIDED");
        let (page, warnings) = compile("<script src=\"lib/gsap.min.js\"></script><script>gsap.timeline()</script>");
        assert!(!page.html.contains("__hyperfarm/gsap.js") && warnings.is_empty());
        let (page, warnings) = compile(
            "<script src=\"https://cdn.example/npm/gsap@3/dist/gsap.min.js\"></script><script>gsap.timeline()</script>",
        );
        assert!(page.html.contains("__hyperfarm/gsap.js") && !page.html.contains("cdn.example"));
        assert_eq!(warnings[0].code, "REMOTE_REPLACED");
    }

    #[test]
    fn a_page_that_calls_no_gsap_has_no_warning_of_it() {
        let own = "<script data-hyperfarm>window.gsap.timeline({ paused: true })</script>";
        for (script, is_provided, is_told) in [
            ("document.body.animate([], 1)", false, false),
            ("msgsap.to(1)", false, false),
            ("// gsap.to('#a', {})\nanime()", true, false),
            ("/* once\n gsap.from(1) */ anime()", true, false),
            ("window.__timelines = { a, b }", true, false),
            ("const u = 'https://x'; gsap.to('#a', {})", true, true),
            ("/* a */ window.gsap.timeline()", true, true),
        ] {
            let (page, warnings) = compile(&format!("<html><body><script>{script}</script>{own}</body></html>"));
            assert_eq!(page.html.contains("__hyperfarm/gsap.js"), is_provided, "{script}");
            assert_eq!(warnings.iter().any(|warning| warning.code == "GSAP_PROVIDED"), is_told, "{script}");
        }
    }

    #[test]
    fn invalid_sizes_and_rates_are_named() {
        let bad = |page: &str| root(&Document::from(page)).unwrap_err();
        let error = bad("<div data-composition-id=m data-width=wide data-height=9>");
        assert!(error.to_string().contains("data-width") && error.to_string().contains("wide"), "{error}");
        let error = bad("<div data-composition-id=m data-fps=1000>");
        assert!(error.to_string().contains("data-fps") && error.to_string().contains("1000"), "{error}");
    }
}
