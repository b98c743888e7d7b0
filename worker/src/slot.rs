//! A slot: its server, and the browser that is kept running between tasks.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyperfarm_proto::failure::{FailureCode, Owner};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::spec::Viewport;

use crate::chrome::{Chrome, ChromeConfig, Confinement, LaunchKey, Layer, Network, Page, PageLog, ProcessKind};
use crate::error::{ChromeError, WorkerError};
use crate::expected_page::ExpectedPage;
use crate::framebuffer::FramebufferFinder;
use crate::host::{OpenOptions, PageHost};
use crate::server::{Serving, Site, SlotServer};

/// How long it may take until the end of a browser is known.
const BROWSER_END_SEEN_WITHIN: Duration = Duration::from_millis(500);

/// One slot of a worker. One task at a time works in it.
pub struct Slot {
    server: SlotServer,
    config: ChromeConfig,
    browser: Option<Browser>,
    /// The render whose pages the browser has shown; `None` for a browser that has shown none.
    render: Option<RenderId>,
    /// Number of tasks that have used the slot.
    tasks: u64,
    log: PageLog,
    /// How its first browser was confined.
    confinement: Arc<OnceLock<Confinement>>,
}

/// A running browser with its page.
struct Browser {
    // Dropped before the process that it talks to.
    page: Page,
    chrome: Chrome,
    finder: FramebufferFinder,
    /// Serves the slot's pages in the browser's network, where it has one of its own.
    _serving: Option<Serving>,
}

impl Slot {
    /// A slot without a browser.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Listen`] where its server does not start.
    pub async fn new(config: ChromeConfig) -> Result<Self, WorkerError> {
        let server = match config.network {
            Network::Shared => SlotServer::on_loopback().await?,
            Network::OfThread | Network::OfProgram(_) => SlotServer::in_network()?,
        };
        Ok(Self {
            server,
            config,
            browser: None,
            render: None,
            tasks: 0,
            log: PageLog::default(),
            confinement: Arc::default(),
        })
    }

    /// The log of its pages.
    pub fn log(&self) -> PageLog {
        self.log.clone()
    }

    /// How the processes of its first browser were confined, once that was measured.
    pub fn confinement(&self) -> Arc<OnceLock<Confinement>> {
        self.confinement.clone()
    }

    /// Assigns the slot to a task of `render`. A browser that has shown pages of another render is ended, and the
    /// server gets a new origin, so that nothing of one render remains for the next: windows, workers, timers, storage,
    /// names, memory.
    ///
    /// # Errors
    ///
    /// Those of [`SlotServer::renew`].
    pub async fn assign(&mut self, render: &RenderId) -> Result<(), WorkerError> {
        self.tasks += 1;
        if self.render.as_ref() != Some(render) {
            if self.render.take().is_some() {
                self.close().await;
            }
            self.server.renew()?;
            self.render = Some(render.clone());
        }
        Ok(())
    }

    /// Number of tasks that have used the slot.
    pub fn tasks(&self) -> u64 {
        self.tasks
    }

    /// Ends the browser of the last render and returns the viewport that it was started for.
    pub async fn clear(&mut self) -> Option<Viewport> {
        self.render.take()?;
        let viewport = self.browser.as_ref().map(|browser| browser.chrome.key().viewport);
        self.close().await;
        self.server.serve(Arc::default());
        viewport
    }

    /// Opens the page of `site` by a fresh navigation and checks its first picture. The running browser is used where
    /// its launch flags are the same.
    ///
    /// # Errors
    ///
    /// Those of the launch, of a page that does not become ready, and of a page without a picture.
    pub async fn open(
        &mut self,
        site: Arc<Site>,
        viewport: Viewport,
        options: &OpenOptions,
    ) -> Result<PageHost<'_>, WorkerError> {
        let mut host = self.open_unchecked(site, viewport, options).await?;
        host.check(viewport.output(), options.transparent).await?;
        Ok(host)
    }

    /// Opens a page of which no frame is stored: the framebuffer is not compared with a screenshot.
    pub(crate) async fn open_unchecked(
        &mut self,
        site: Arc<Site>,
        viewport: Viewport,
        options: &OpenOptions,
    ) -> Result<PageHost<'_>, WorkerError> {
        self.start_browser(viewport).await?;
        let Some(Browser { page, chrome, finder, .. }) = &mut self.browser else {
            return Err(ChromeError::Gone.into());
        };
        // Before markers are drawn: the scripts of the last page would run in them.
        let started = Instant::now();
        self.server.rename(&site);
        page.reset(&self.server.origin()).await?;
        if options.transparent {
            page.measure_fast_alpha().await?;
        }
        let framebuffer = if options.transparent || !self.config.reads_framebuffer() {
            None
        } else {
            finder.find(page, chrome.process_id(), viewport).await?
        };
        tracing::debug!(took_ms = started.elapsed().as_millis(), "browser reset");
        PageHost::open(page, &self.server, site, options, framebuffer).await
    }

    /// Starts a browser for `page`, so that the next task need not wait for it. A browser that was started for another
    /// page and has shown none is replaced; one that is in use stays.
    ///
    /// # Errors
    ///
    /// Those of the launch.
    pub(crate) async fn prepare(&mut self, page: ExpectedPage) -> Result<(), WorkerError> {
        let ExpectedPage { viewport, transparent, .. } = page;
        if self.browser.is_some() && (self.render.is_some() || self.has_browser_for(viewport)) {
            return Ok(());
        }
        self.start_browser(viewport).await?;
        let Some(Browser { page, chrome, finder, .. }) = &mut self.browser else { return Ok(()) };
        if transparent {
            page.measure_fast_alpha().await?;
        } else if self.config.reads_framebuffer() {
            finder.find_ahead(page, chrome.process_id(), viewport).await?;
        }
        Ok(())
    }

    /// Whether a browser with the flags for `viewport` runs.
    fn has_browser_for(&self, viewport: Viewport) -> bool {
        let key = LaunchKey { viewport, server_port: self.server.port() };
        self.browser.as_ref().is_some_and(|browser| {
            browser.chrome.key() == key && browser.chrome.is_alive() && browser.page.can_navigate()
        })
    }

    /// From now on this slot's browser is captured with screenshots, for `reason`.
    pub fn distrust_framebuffer(&mut self, reason: &str) {
        if let Some(browser) = &mut self.browser {
            browser.finder.distrust(reason);
        }
    }

    /// The page of a browser for `viewport`, with the server that serves it.
    pub(crate) async fn page(&mut self, viewport: Viewport) -> Result<(&mut Page, &SlotServer), WorkerError> {
        self.start_browser(viewport).await?;
        match &mut self.browser {
            Some(browser) => Ok((&mut browser.page, &self.server)),
            None => Err(ChromeError::Gone.into()),
        }
    }

    /// Starts a browser with the flags for `viewport`, unless one runs.
    async fn start_browser(&mut self, viewport: Viewport) -> Result<(), WorkerError> {
        if !self.has_browser_for(viewport) {
            self.close().await;
            let started = Instant::now();
            let key = LaunchKey { viewport, server_port: self.server.port() };
            let mut chrome = Chrome::launch(&self.config, key).await?;
            let serving = chrome.take_listener().map(|listener| self.server.serve_network(listener)).transpose()?;
            chrome.check_gpu().await?;
            let page = chrome.open_page(self.log.clone()).await?;
            tracing::debug!(took_ms = started.elapsed().as_millis(), "browser started");
            self.confinement.get_or_init(|| measure_confinement(&chrome, &self.config));
            self.browser = Some(Browser { page, chrome, finder: FramebufferFinder::default(), _serving: serving });
        }
        Ok(())
    }

    /// Checks that the GPU that should draw has not failed since the browser was started.
    ///
    /// # Errors
    ///
    /// [`ChromeError::GpuLost`].
    pub async fn check_gpu(&mut self) -> Result<(), WorkerError> {
        match &mut self.browser {
            Some(browser) => browser.chrome.check_gpu().await,
            None => Ok(()),
        }
    }

    /// Whether a GPU draws its pages, or parts of them.
    pub(crate) fn draws_with_gpu(&self) -> bool {
        self.config.gpu.is_some()
    }

    /// Whether its browser has ended by itself. What was done with it may have failed a moment before that is known.
    pub(crate) async fn has_browser_ended(&self) -> bool {
        match &self.browser {
            Some(browser) => browser.chrome.ends_within(BROWSER_END_SEEN_WITHIN).await,
            None => false,
        }
    }

    /// Ends the browser, if one runs.
    pub async fn close(&mut self) {
        if let Some(Browser { page, chrome, .. }) = self.browser.take() {
            drop(page);
            chrome.kill().await;
        }
    }

    /// Ends the browser after a task that did not succeed: a browser that took part in an error is not used again, and
    /// after a cancelled task it may still work. Returns `outcome`, with Chrome's last output where the author is not
    /// at fault.
    ///
    /// # Errors
    ///
    /// The error of `outcome`.
    pub async fn settle<T>(&mut self, outcome: Result<T, WorkerError>) -> Result<T, WorkerError> {
        match outcome {
            Ok(value) => Ok(value),
            Err(error) => {
                // What was done when the browser ended may have failed first, with an error of its own.
                let end = self.browser.as_ref().and_then(|browser| browser.chrome.end_error());
                let is_cause = |end: &WorkerError| {
                    ![FailureCode::Drained, end.code()].contains(&error.code())
                        && (end.code().owner() == Owner::User || error.code().owner() == Owner::System)
                };
                let error = match end {
                    Some(end) if is_cause(&end) => end,
                    _ => error,
                };
                let error = match &self.browser {
                    Some(browser) if error.code().owner() == Owner::System => browser.chrome.with_output(error),
                    _ => error,
                };
                self.close().await;
                Err(error)
            }
        }
    }
}

/// Measures how a browser with a page is confined, and logs it.
fn measure_confinement(chrome: &Chrome, config: &ChromeConfig) -> Confinement {
    let confinement = chrome.confinement();
    let summary = |kind| confinement.summary(kind);
    tracing::info!(
        renderer = summary(ProcessKind::Renderer),
        gpu = summary(ProcessKind::Gpu),
        browser = summary(ProcessKind::Browser),
        "confinement of Chrome's processes"
    );
    if config.sandbox && confinement.holds(ProcessKind::Renderer, Layer::Seccomp) == Some(false) {
        tracing::warn!("Chrome's sandbox is on, and its renderer has no filter of system calls");
    }
    confinement
}
