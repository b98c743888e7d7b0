//! The templates of the agent's videos.

/// A template.
#[derive(Debug)]
pub(crate) struct Style {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) tags: &'static [&'static str],
    /// The rules of its pages, after those of `base.css`.
    pub(crate) css: &'static str,
}

/// Every template; the first is used where none is asked for.
pub(crate) const STYLES: &[Style] = &[
    Style { id: "style_clean", name: "Clean", tags: &["print"], css: include_str!("styles/clean.css") },
    Style { id: "style_night", name: "Night", tags: &["cinematic"], css: include_str!("styles/night.css") },
    Style { id: "style_terminal", name: "Terminal", tags: &["retro-tech"], css: include_str!("styles/terminal.css") },
    Style {
        id: "style_poster",
        name: "Poster",
        tags: &["pop-culture", "print"],
        css: include_str!("styles/poster.css"),
    },
    Style { id: "style_paper", name: "Paper", tags: &["handmade"], css: include_str!("styles/paper.css") },
];

/// The rules that all templates share.
pub(crate) const BASE: &str = include_str!("styles/base.css");

/// The template with this id.
pub(crate) fn find(id: &str) -> Option<&'static Style> {
    STYLES.iter().find(|style| style.id == id)
}
