//! Style sheets of Google Fonts. Those of families that the farm has are not downloaded.

use url::Url;

use crate::compile::font_table;
use crate::compile::services::FontFace;

/// URL of a style sheet without rules.
pub(super) const EMPTY_SHEET: &str = "data:text/css,";

/// Whether the farm has every family of the style sheet at `url`. `operator` are the faces of the operator's folder.
pub(super) fn all_known(url: &Url, operator: &[FontFace]) -> bool {
    let families = families(url);
    !families.is_empty() && families.iter().all(|family| font_table::is_known(family, operator))
}

/// The families of the style sheet at `url`; none for any other URL.
fn families(url: &Url) -> Vec<String> {
    if url.host_str() != Some("fonts.googleapis.com") || !["/css", "/css2"].contains(&url.path()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (_, value) in url.query_pairs().filter(|(name, _)| name == "family") {
        for entry in value.split('|') {
            let family = entry.split(':').next().unwrap_or_default().trim();
            if !family.is_empty() {
                found.push(family.to_owned());
            }
        }
    }
    found
}

/// URL of the style sheet with all weights of a family.
pub(super) fn by_name(family: &str) -> Option<Url> {
    let weights = "0,100;0,200;0,300;0,400;0,500;0,600;0,700;0,800;0,900;1,400;1,700";
    let mut url = Url::parse("https://fonts.googleapis.com/css2").ok()?;
    url.query_pairs_mut().append_pair("family", &format!("{family}:ital,wght@{weights}"));
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_address_are_read() {
        let of = |url: &str| families(&Url::parse(url).unwrap());
        assert_eq!(
            of("https://fonts.googleapis.com/css2?family=Space+Mono:wght@400;700&family=Inter&display=swap"),
            ["Space Mono", "Inter"]
        );
        assert_eq!(of("https://fonts.googleapis.com/css?family=Lato:400,700|Open%20Sans"), ["Lato", "Open Sans"]);
        assert!(of("https://fonts.gstatic.com/css2?family=Inter").is_empty());
        assert!(all_known(
            &Url::parse("https://fonts.googleapis.com/css2?family=Space+Mono&family=inter").unwrap(),
            &[]
        ));
        assert!(!all_known(&Url::parse("https://fonts.googleapis.com/css2?family=Zapfino&family=Inter").unwrap(), &[]));
    }
}
