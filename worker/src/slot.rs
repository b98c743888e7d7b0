//! A slot: its server, and the browser it keeps warm between tasks.

use std::sync::Arc;
use std::time::Instant;

use hyperfarm_proto::failure::{Failure, FailureCode, Owner};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::spec::Viewport;

use crate::chrome::{Chrome, ChromeConfig, LaunchKey, Page, PageLog};
use crate::effects::EffectsPage;
use crate::host::{OpenOptions, PageHost};
use crate::server::{Site, SlotServer};

/// Characters of a failure's message.
const MESSAGE_CHARACTERS: usize = 2000;

/// One slot of a worker. A task has it to itself.
pub struct Slot {
    server: SlotServer,
    config: ChromeConfig,
    browser: Option<(Page, Chrome)>,
    /// Whose pages the browser has shown. None: it is as new.
    render: Option<RenderId>,
    /// Tasks that had the slot.
    tasks: u64,
    log: PageLog,
}

impl Slot {
    /// A slot without a browser yet.
    pub async fn new(config: ChromeConfig) -> Result<Self, Failure> {
        Ok(Self {
            server: SlotServer::start().await?,
            config,
            browser: None,
            render: None,
            tasks: 0,
            log: PageLog::default(),
        })
    }

    /// Where what its pages say goes.
    pub fn log(&self) -> PageLog {
        self.log.clone()
    }

    /// Gives the slot to a task of `render`. A browser that has shown pages of another render ends, and the server's origin is
    /// another one, so that nothing of one render is there in the next: windows, workers, timers, storage, names, memory.
    pub async fn assign(&mut self, render: &RenderId) -> Result<(), Failure> {
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

    /// Number of tasks that had the slot so far.
    pub fn tasks(&self) -> u64 {
        self.tasks
    }

    /// Ends the browser of the last render, with all that its pages left, and answers the size of the page it was started for.
    pub async fn clear(&mut self) -> Option<Viewport> {
        self.render.take()?;
        let viewport = self.browser.as_ref().map(|(_, chrome)| chrome.key().viewport);
        self.close().await;
        // Without random numbers the next task fails; the files of this one are not served any more either way.
        self.server.serve(Arc::default());
        viewport
    }

    /// Opens a page of `site` from a fresh navigation, in the warm browser where its launch flags are the same.
    pub async fn open(
        &mut self,
        site: Arc<Site>,
        viewport: Viewport,
        options: &OpenOptions,
    ) -> Result<PageHost<'_>, Failure> {
        let mut host = self.open_to_look(site, viewport, options).await?;
        host.check(viewport.output(), options.transparent).await?;
        Ok(host)
    }

    /// Opens a page of which no frame is kept: what the framebuffer shows is not held against a screenshot.
    pub(crate) async fn open_to_look(
        &mut self,
        site: Arc<Site>,
        viewport: Viewport,
        options: &OpenOptions,
    ) -> Result<PageHost<'_>, Failure> {
        self.warm(viewport).await?;
        let Some((page, chrome)) = &mut self.browser else { return Err(gone()) };
        // Before pages of random colours are drawn: what was injected into the last page would run in them.
        let started = Instant::now();
        page.reset(&self.server.origin()).await?;
        let framebuffer = if options.transparent || !self.config.reads_framebuffer() {
            None
        } else {
            chrome.framebuffer(page).await?
        };
        tracing::debug!(took_ms = started.elapsed().as_millis(), "browser reset");
        PageHost::open(page, &self.server, site, options, framebuffer).await
    }

    /// Starts a browser for `viewport` where there is none yet, so that the next task finds it warm.
    pub async fn prepare(&mut self, viewport: Viewport, transparent: bool) -> Result<(), Failure> {
        if self.browser.is_some() {
            return Ok(());
        }
        self.warm(viewport).await?;
        if let Some((page, chrome)) = &mut self.browser
            && self.config.reads_framebuffer()
            && !transparent
        {
            chrome.look_ahead(page).await?;
        }
        Ok(())
    }

    /// From now on this slot's browser is captured with screenshots, because its framebuffer cannot be trusted.
    pub fn distrust_framebuffer(&mut self, reason: &str) {
        if let Some((_, chrome)) = &mut self.browser {
            chrome.distrust_framebuffer(reason);
        }
    }

    /// Opens the page of effect chains, with `site` beside it.
    pub(crate) async fn open_effects(
        &mut self,
        site: Arc<Site>,
        viewport: Viewport,
    ) -> Result<EffectsPage<'_>, Failure> {
        self.warm(viewport).await?;
        match &mut self.browser {
            Some((page, _)) => EffectsPage::open(page, &self.server, site).await,
            None => Err(gone()),
        }
    }

    /// A browser with the flags for `viewport`.
    async fn warm(&mut self, viewport: Viewport) -> Result<(), Failure> {
        let key = LaunchKey { viewport, server_port: self.server.port() };
        let fits = self.browser.as_mut().is_some_and(|(_, chrome)| chrome.key() == key && chrome.is_alive());
        if !fits {
            self.close().await;
            let started = Instant::now();
            let mut chrome = Chrome::launch(&self.config, key).await?;
            chrome.check_gpu().await?;
            let page = chrome.open_page(self.log.clone()).await?;
            tracing::debug!(took_ms = started.elapsed().as_millis(), "browser started");
            self.browser = Some((page, chrome));
        }
        Ok(())
    }

    /// Fails where the GPU that should have drawn has failed since the browser was started.
    pub async fn check_gpu(&mut self) -> Result<(), Failure> {
        match &mut self.browser {
            Some((_, chrome)) => chrome.check_gpu().await,
            None => Ok(()),
        }
    }

    /// Ends the browser, if there is one.
    pub async fn close(&mut self) {
        if let Some((page, chrome)) = self.browser.take() {
            drop(page);
            chrome.kill().await;
        }
    }

    /// After a task: a browser that had part in a failure of ours is not used again, and one whose task was cancelled may
    /// still be at it.
    pub async fn settle<T>(&mut self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        match outcome {
            Ok(value) => Ok(value),
            Err(failure) => {
                let explained = match &self.browser {
                    Some((_, chrome)) if failure.code.owner() == Owner::System => chrome.explain(failure),
                    _ => failure,
                };
                let explained = shortened(explained);
                self.close().await;
                Err(explained)
            }
        }
    }
}

/// What a page makes a message of is as long as the page likes.
fn shortened(mut failure: Failure) -> Failure {
    if let Some((end, _)) = failure.message.char_indices().nth(MESSAGE_CHARACTERS) {
        failure.message.truncate(end);
        failure.message.push('…');
    }
    failure
}

fn gone() -> Failure {
    Failure::new(FailureCode::Internal, "the browser is gone")
}
