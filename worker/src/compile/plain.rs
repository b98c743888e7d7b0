//! Plain pages, which are no compositions, and durations that the request sets.
//!
//! A page without `data-composition-id` becomes a composition whose root is its body. Its layout does not change, and
//! the runtime seeks its timelines, CSS animations and clips. `plain.js` determines its duration.

use dom_query::Document;
use hyperfarm_proto::spec::RenderSpec;

/// The script at the end of a plain page.
const SCRIPT: &str = include_str!("plain.js");

/// Composition id of a plain page.
const ID: &str = "main";

/// The entry page as a composition, with the duration that `spec` sets; `None` where nothing changes.
pub(super) fn prepare(page: &str, spec: &RenderSpec) -> Option<String> {
    let document = Document::from(page);
    let root = document.select("[data-composition-id]").first();
    let seconds = spec.asked_duration().map(|seconds| seconds.to_string());
    if root.exists() {
        root.set_attr("data-duration", &seconds?);
        return Some(document.html().to_string());
    }
    if has_own_seek(page) {
        return None;
    }
    let body = document.select("body").first();
    body.set_attr("data-composition-id", ID);
    body.set_attr("data-start", "0");
    if let Ok(viewport) = spec.viewport(None) {
        body.set_attr("data-width", &viewport.page.width.to_string());
        body.set_attr("data-height", &viewport.page.height.to_string());
    }
    if let Some(seconds) = seconds {
        body.set_attr("data-duration", &seconds);
    }
    body.append_html(format!("<script data-hyperfarm>{SCRIPT}</script>"));
    Some(document.html().to_string())
}

/// Whether the page defines `window.__hf` itself and needs no runtime to be sought.
fn has_own_seek(page: &str) -> bool {
    page.match_indices("__hf").any(|(at, name)| page[at + name.len()..].trim_start().starts_with(['=', '|', '?']))
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::spec::Seconds;

    use hyperfarm_proto::bounded::Bounded;

    use super::*;

    fn spec(duration: f64) -> RenderSpec {
        let duration = Some(Seconds::try_from(duration).unwrap());
        RenderSpec { width: Bounded::new(540), height: Bounded::new(960), duration, ..RenderSpec::default() }
    }

    #[test]
    fn a_plain_page_becomes_a_composition() {
        let page = prepare("<h1>Hello</h1>", &spec(2.5)).unwrap();
        let document = Document::from(page.as_str());
        let body = document.select("body");
        let attr = |name: &str| body.attr(name).unwrap().to_string();
        assert_eq!(
            (attr("data-width"), attr("data-height"), attr("data-duration")),
            ("540".into(), "960".into(), "2.5".into())
        );
        assert!(!prepare("<h1>Hello</h1>", &spec(0.0)).unwrap().contains("data-duration=\""));
    }

    #[test]
    fn compositions_only_get_the_duration() {
        let page = "<div data-composition-id=\"a\" data-duration=\"9\"></div>";
        assert!(prepare(page, &spec(0.0)).is_none());
        let longer = prepare(page, &spec(4.0)).unwrap();
        assert!(longer.contains("data-duration=\"4\"") && !longer.contains("data-hyperfarm"), "{longer}");
    }

    #[test]
    fn pages_with_their_own_seek_are_not_changed() {
        assert!(prepare("<script>window.__hf = { duration: 1, seek() {} }</script>", &spec(0.0)).is_none());
        assert!(prepare("<script>use(window.__hfVariables)</script>", &spec(0.0)).is_some());
    }
}
