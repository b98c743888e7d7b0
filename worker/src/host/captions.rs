//! The captions of a page: which text is shown when.

use hyperfarm_proto::plan::{Caption, Warning};
use serde::Deserialize;
use serde_json::json;

use super::page_host::PageHost;
use crate::assets::CAPTIONS_SCRIPT;
use crate::error::WorkerError;

/// A text that the page shows for a while.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ProbedCaption {
    /// Second of the composition at which it appears.
    pub start: f64,
    /// Second at which it is gone.
    pub end: f64,
    /// Its lines.
    pub text: String,
}

/// The captions of a page, as the page reports them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ProbedCaptions {
    /// Captions in the order of their elements.
    pub captions: Vec<ProbedCaption>,
    /// Elements that are never shown.
    pub hidden: Vec<String>,
    /// Caption elements beyond the number that is read.
    pub left_out: u64,
}

impl ProbedCaptions {
    /// The captions of the output that shows the seconds from `from` to `to` of the composition, by their start. Adds
    /// a warning where there are none, or not all.
    pub(crate) fn of_output(self, from: f64, to: f64, warnings: &mut Vec<Warning>) -> Vec<Caption> {
        let mut warn = |code: &str, message: String| warnings.push(Warning { code: code.to_owned(), message });
        if !self.hidden.is_empty() {
            let names = self.hidden.join(", ");
            warn(
                "CAPTIONS_HIDDEN",
                format!("captions that no clip and no GSAP tween shows are left out: {names}; give them a data-start"),
            );
        }
        if self.left_out > 0 {
            warn("CAPTIONS_LEFT_OUT", format!("{} captions are left out; 10000 are written", self.left_out));
        }
        let in_ms = |seconds: f64| ((seconds.clamp(from, to) - from) * 1000.0).round() as u64;
        let in_output = |caption: ProbedCaption| {
            let (start_ms, end_ms) = (in_ms(caption.start), in_ms(caption.end));
            let text: String = caption.text.chars().filter(|char| *char == '\n' || !char.is_control()).collect();
            (start_ms < end_ms && !text.is_empty()).then_some(Caption { start_ms, end_ms, text })
        };
        let mut captions: Vec<Caption> = self.captions.into_iter().filter_map(in_output).collect();
        // The sort is stable: captions of one time keep the order of their elements.
        captions.sort_by_key(|caption| (caption.start_ms, caption.end_ms));
        if captions.is_empty() {
            warn(
                "NO_CAPTIONS",
                "captions were asked for and the output shows none; caption elements have the class caption or \
                 caption-group, or data-caption"
                    .to_owned(),
            );
        }
        captions
    }
}

impl PageHost<'_> {
    /// The captions of the page within `duration` seconds. It leaves the page at another time.
    ///
    /// # Errors
    ///
    /// Those of [`Page::evaluate`](crate::chrome::Page::evaluate).
    pub async fn captions(&self, duration: f64) -> Result<ProbedCaptions, WorkerError> {
        self.run(CAPTIONS_SCRIPT).await?;
        self.ask(&format!("window.__hyperfarmCaptions.read({})", json!(duration))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caption(start: f64, end: f64, text: &str) -> ProbedCaption {
        ProbedCaption { start, end, text: text.to_owned() }
    }

    #[test]
    fn captions_are_cut_to_the_output_and_sorted() {
        let probed = ProbedCaptions {
            captions: vec![
                caption(2.0, 3.0, "late"),
                caption(0.5, 1.2504, "early\u{0}"),
                caption(2.0, 2.5, "short"),
                caption(0.0, 1.0, "before"),
                caption(3.9999, 4.2, "too short"),
            ],
            hidden: vec!["#a".to_owned()],
            left_out: 0,
        };
        let mut warnings = Vec::new();
        let captions = probed.of_output(1.0, 4.0, &mut warnings);
        let times: Vec<_> = captions.iter().map(|found| (found.start_ms, found.end_ms, found.text.as_str())).collect();
        assert_eq!(times, [(0, 250, "early"), (1000, 1500, "short"), (1000, 2000, "late")]);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].message.contains("#a"), "{warnings:?}");
        ProbedCaptions::default().of_output(0.0, 1.0, &mut warnings);
        assert_eq!(warnings[1].code, "NO_CAPTIONS");
    }
}
