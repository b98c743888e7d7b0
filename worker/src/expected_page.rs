//! What is known of a page before it is compiled.

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::{RenderSpec, Viewport};

use crate::compile::html::AuthoredPage;

/// Longest composition in seconds. A longer one mostly is a mistake.
pub const MAX_DURATION: f64 = 6.0 * 3600.0;

/// What a browser is started for before its page is compiled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpectedPage {
    /// Page size and device scale.
    pub viewport: Viewport,
    /// Whether the output is transparent, and its frames are read as screenshots.
    pub transparent: bool,
    /// Seconds of the page in the output, where they are known.
    pub seconds: Option<f64>,
}

impl ExpectedPage {
    /// The page that `spec` asks for where the root composition says `authored`; `None` where it can have no size.
    pub fn of(spec: &RenderSpec, authored: AuthoredPage) -> Option<Self> {
        let rate = spec.fps.unwrap_or(FrameRate::DEFAULT);
        let in_output = |seconds: f64| {
            let range = spec.range(rate.frames_in(seconds.min(MAX_DURATION)), rate).ok()?;
            Some(rate.seconds_of(range.count()))
        };
        Some(Self {
            viewport: spec.viewport(authored.size).ok()?,
            transparent: spec.is_transparent(),
            seconds: spec.asked_duration().or(authored.seconds).and_then(in_output),
        })
    }

    /// Most browsers that its render needs: a chunk has a second of the page at least, unless the page is shorter.
    pub(crate) fn browsers(&self) -> usize {
        self.seconds.map_or(usize::MAX, |seconds| (seconds as usize).max(1))
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::spec::Size;

    use super::*;

    #[test]
    fn a_render_needs_a_browser_for_each_second_at_most() {
        let browsers = |spec: &str, seconds| {
            let spec: RenderSpec = serde_json::from_str(spec).unwrap();
            let authored = AuthoredPage { size: Some(Size { width: 640, height: 360 }), seconds };
            ExpectedPage::of(&spec, authored).unwrap().browsers()
        };
        assert_eq!(browsers("{}", None), usize::MAX, "the length is not known");
        assert_eq!(browsers("{}", Some(0.4)), 1);
        assert_eq!(browsers("{}", Some(2.9)), 2);
        assert_eq!(browsers(r#"{"duration":5}"#, Some(2.9)), 5);
        assert_eq!(browsers(r#"{"from":1,"to":"45f"}"#, Some(60.0)), 1);
        assert_eq!(browsers(r#"{"from":9}"#, Some(2.0)), usize::MAX, "the plan refuses it");
    }
}
