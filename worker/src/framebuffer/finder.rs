//! What is known of the bitmap of one browser.

use hyperfarm_proto::spec::Viewport;

use super::bitmap::Framebuffer;
use super::process::GpuProcess;
use crate::chrome::Page;
use crate::error::WorkerError;

#[derive(Debug, Default)]
enum State {
    /// Not searched for yet.
    #[default]
    Unknown,
    Found(Framebuffer),
    /// Not found, or no longer trusted.
    Unusable,
}

/// Finds the bitmap of one browser, and remembers where it is.
#[derive(Debug, Default)]
pub struct FramebufferFinder {
    state: State,
    /// Whether the bitmap was found by the last thing that the page showed.
    just_found: bool,
}

impl FramebufferFinder {
    /// The bitmap of the compositor that draws `page` at `viewport`, in the browser whose process is `browser`; `None`
    /// where it cannot be found. The page is replaced by a marker.
    ///
    /// # Errors
    ///
    /// Those of a call of the page.
    pub async fn find(
        &mut self,
        page: &mut Page,
        browser: Option<u32>,
        viewport: Viewport,
    ) -> Result<Option<Framebuffer>, WorkerError> {
        let just_found = std::mem::take(&mut self.just_found);
        match &self.state {
            State::Unusable => return Ok(None),
            State::Found(known) if just_found => return Ok(Some(known.clone())),
            // The bitmap moves when the page's size changes, and the old address can stay readable.
            State::Found(known) if known.shows(page, viewport).await? => return Ok(Some(known.clone())),
            State::Found(_) | State::Unknown => {}
        }
        let Some(process) = browser.and_then(GpuProcess::of) else {
            self.distrust("Chrome has no GPU process");
            return Ok(None);
        };
        match Framebuffer::find(page, process, viewport).await? {
            Ok(found) => {
                self.state = State::Found(found.clone());
                Ok(Some(found))
            }
            Err(reason) => {
                self.distrust(&reason);
                Ok(None)
            }
        }
    }

    /// Finds the bitmap in advance: the next [`FramebufferFinder::find`] returns it without a check.
    ///
    /// # Errors
    ///
    /// Those of a call of the page.
    pub async fn find_ahead(
        &mut self,
        page: &mut Page,
        browser: Option<u32>,
        viewport: Viewport,
    ) -> Result<(), WorkerError> {
        let found = self.find(page, browser, viewport).await?.is_some();
        self.just_found = found;
        Ok(())
    }

    /// The bitmap of this browser is not used any more, for `reason`.
    pub fn distrust(&mut self, reason: &str) {
        tracing::warn!(%reason, "this browser's frames are captured with screenshots, which is slower");
        self.just_found = false;
        self.state = State::Unusable;
    }
}
