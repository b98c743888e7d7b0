//! The entry page: what is put into its head, and what its root says.

use std::collections::BTreeMap;

use dom_query::{Document, NodeRef, Selection};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::spec::Size;

use super::dom::{all, attr, trimmed};
use super::{css, paths, scripts, transitions};
use crate::assets::GSAP_VERSION;
use crate::server::OWN_PREFIX;

/// Glyph advances differ between builds of Chrome by about one percent without it; the HyperFrames compiler sets the same rule.
const TEXT_RULE: &str = "html,body,*{text-rendering:geometricPrecision}";

/// `will-change: transform` keeps a raster scale for longer than a frame, so a chunk would differ from the walk from frame 0.
const RASTER_RULE: &str = "*{will-change:auto !important}";

/// What HyperFrames puts around an entry that is no whole document.
const FRAGMENT_RULE: &str = "*{margin:0;padding:0;box-sizing:border-box;text-rendering:geometricPrecision}\
    body{overflow:hidden;background:#000;font-family:\"Inter\",sans-serif}";

/// What the root of the entry page says.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) size: Option<Size>,
    pub(super) fps: Option<FrameRate>,
}

/// A composition that is no whole document, in the document that HyperFrames puts around it.
pub(super) fn whole(page: String) -> String {
    let begins: String = page.trim_start().chars().take(14).collect::<String>().to_ascii_lowercase();
    let is_whole = begins.starts_with("<!doctype html") || begins.starts_with("<html");
    if is_whole || all(&Document::from(page.as_str()), "[data-composition-id]").is_empty() {
        return page;
    }
    format!(
        "<!DOCTYPE html><html><head><meta charset=\"UTF-8\"><style>{FRAGMENT_RULE}</style></head>\
         <body style=\"margin:0;overflow:hidden\">\n{page}\n</body></html>"
    )
}

/// Reads and checks the root's attributes.
pub(super) fn root(document: &Document) -> Result<Root, Failure> {
    let root = document.select("[data-composition-id]").first();
    let (size, fps) = (authored_size(&root)?, authored_fps(&root)?);
    check_duration(&root)?;
    Ok(Root { size, fps })
}

/// The assets of an entry page below the root, with paths from the root: that is where the compiled page stands.
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

/// Neighbouring style elements of the head become one, their imports first, as in HyperFrames' own renders.
pub(super) fn join_styles(document: &Document) {
    let mut last: Option<(String, NodeRef<'_>)> = None;
    for style in all(document, "head style") {
        let kind = attr(style, "type").unwrap_or_default();
        if !kind.is_empty() && !kind.eq_ignore_ascii_case("text/css") {
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

/// Puts in the page what the farm adds to every page; `entry` is its path, `texts` are all text files of the project, by path,
/// `faces` the page's fonts as HTML.
pub(super) fn finish(
    document: &Document,
    entry: &str,
    texts: &BTreeMap<String, String>,
    faces: &str,
    warnings: &mut Vec<Warning>,
) -> String {
    remove_embedded_runtime(document);
    let mut head = format!("<style data-hyperfarm>{TEXT_RULE}{RASTER_RULE}</style>");
    head.push_str(transitions::script(texts.values()));
    head.push_str(faces);
    if provide_gsap(document, texts, warnings) {
        head.push_str(&format!("<script src=\"{OWN_PREFIX}gsap.js\"></script>"));
    }
    // From here on the scripts of the body have a type of their own.
    scripts::defer_until_fonts(document, entry);
    let own_head = document.select("head").first();
    own_head.prepend_html(head);
    own_head.append_html(format!(
        "<script src=\"{OWN_PREFIX}runtime.js\"></script><script src=\"{OWN_PREFIX}scope.js\"></script>"
    ));
    document.html().to_string()
}

fn authored_size(root: &Selection<'_>) -> Result<Option<Size>, Failure> {
    let (Some(width), Some(height)) = (root.attr("data-width"), root.attr("data-height")) else { return Ok(None) };
    let side = |name: &str, text: &str| {
        text.trim()
            .trim_end_matches("px")
            .parse::<f64>()
            .ok()
            .filter(|side| *side >= 1.0 && side.fract() == 0.0)
            .ok_or_else(|| {
                Failure::new(
                    FailureCode::SizeInvalid,
                    format!("{name} of the composition's root is `{text}`; give whole pixels, such as {name}=\"1920\""),
                )
            })
    };
    let (width, height) = (side("data-width", &width)?, side("data-height", &height)?);
    Ok(Some(Size { width: width.min(f64::from(u32::MAX)) as u32, height: height.min(f64::from(u32::MAX)) as u32 }))
}

fn authored_fps(root: &Selection<'_>) -> Result<Option<FrameRate>, Failure> {
    let Some(text) = root.attr("data-fps") else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|error| {
        Failure::new(FailureCode::FrameRateInvalid, format!("data-fps of the composition's root: {error}"))
    })
}

/// The runtime takes a duration that makes no sense for none at all, and would then name the wrong cause.
fn check_duration(root: &Selection<'_>) -> Result<(), Failure> {
    let Some(text) = root.attr("data-duration") else { return Ok(()) };
    match text.trim().trim_end_matches('s').parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(()),
        _ => Err(Failure::new(
            FailureCode::DurationInvalid,
            format!(
                "data-duration of the composition's root is `{text}`; give seconds above 0, or leave it out to take the \
                 timeline's own duration"
            ),
        )),
    }
}

/// A page that brings a runtime of its own gets the pinned one instead.
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

/// Whether the page needs the farm's GSAP: it uses `gsap` and loads none, or loads it from where it is not.
fn provide_gsap(document: &Document, texts: &BTreeMap<String, String>, warnings: &mut Vec<Warning>) -> bool {
    let mut loads = false;
    for script in all(document, "script[src]") {
        let source = trimmed(script, "src").unwrap_or_default();
        let file = source.split(['?', '#']).next().unwrap_or_default();
        let core = ["gsap.min.js", "gsap.js"].iter().any(|name| file.rsplit('/').next() == Some(name))
            || file.trim_end_matches('/').ends_with("npm/gsap");
        if !core {
            continue;
        }
        loads = true;
        let remote = paths::is_remote(&source);
        // Projects that were made with a package manager name its folder, which is seldom packed.
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
    let uses =
        inline.iter().any(|script| (scripts::runs(*script) || scripts::waits(*script)) && uses_gsap(&script.text()))
            || all(document, "script[src]").iter().any(|script| {
                let file = trimmed(*script, "src").map(|source| paths::file_of(&source)).unwrap_or_default();
                texts.get(&file).is_some_and(|text| uses_gsap(text))
            });
    let bundled =
        inline.iter().any(|script| script.text().contains("window.gsap=") || script.text().contains("GreenSock"));
    if uses && !loads && !bundled {
        warnings.push(Warning {
            code: "GSAP_PROVIDED".to_owned(),
            message: format!("the project uses gsap without loading it; it got the farm's own GSAP {GSAP_VERSION}"),
        });
        return true;
    }
    false
}

fn uses_gsap(script: &str) -> bool {
    ["gsap.timeline", "gsap.to(", "gsap.from(", "gsap.fromTo(", "gsap.set("].iter().any(|call| script.contains(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Page {
        html: String,
        size: Option<Size>,
    }

    fn compile(page: &str) -> (Page, Vec<Warning>) {
        let mut warnings = Vec::new();
        let texts = BTreeMap::from([("index.html".to_owned(), page.to_owned())]);
        let document = Document::from(whole(page.to_owned()));
        let size = root(&document).unwrap().size;
        (Page { html: finish(&document, "index.html", &texts, "", &mut warnings), size }, warnings)
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
    fn sizes_and_rates_that_make_no_sense_are_named() {
        let bad = |page: &str| root(&Document::from(page)).unwrap_err();
        let failure = bad("<div data-composition-id=m data-width=wide data-height=9>");
        assert!(failure.message.contains("data-width") && failure.message.contains("wide"), "{failure}");
        let failure = bad("<div data-composition-id=m data-fps=1000>");
        assert!(failure.message.contains("data-fps") && failure.message.contains("1000"), "{failure}");
    }
}
