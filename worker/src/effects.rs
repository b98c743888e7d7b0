//! Effect chains of sounds: samples go into a page, the effects of the HyperFrames package run there on an offline
//! audio context, and samples come back. No other implementation gives the samples of the browser's audio engine.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use hyperfarm_proto::plan::EffectChain;
use hyperfarm_proto::spec::Viewport;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::assets::{EFFECTS_PAGE, OWN_PREFIX};
use crate::chrome::{FrameKind, Page};
use crate::error::{DiskError, PageError, ProjectError, WorkerError};
use crate::runtimes::RuntimeScripts;
use crate::server::{Site, SiteFile, SlotServer};
use crate::slot::Slot;

/// Path of the page's input.
const INPUT: &str = "samples.f32";
/// Bytes of samples in one answer of the page.
const SLICE_BYTES: u64 = 6 * 1024 * 1024;
/// Bytes of a stereo sample.
const SAMPLE_BYTES: u64 = 8;
/// Longest time from the navigation to a page whose scripts have run.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Most bytes of input: an hour. A page holds several copies of it.
const MAX_INPUT_BYTES: u64 = 3600 * 48_000 * SAMPLE_BYTES;

/// The page of effects, ready.
struct EffectsPage<'a> {
    page: &'a mut Page,
}

impl<'a> EffectsPage<'a> {
    async fn open(page: &'a mut Page, server: &SlotServer, site: Arc<Site>) -> Result<Self, WorkerError> {
        server.serve(site);
        page.reset(&server.origin()).await?;
        for _ in 0..2 {
            page.begin_frame(1000.0 / 30.0, FrameKind::NoDraw).await?;
        }
        page.navigate(&format!("{}{OWN_PREFIX}{EFFECTS_PAGE}", server.origin())).await?;
        let deadline = Instant::now() + READY_WITHIN;
        while !page.evaluate::<bool>("typeof window.__hyperfarmEffects === 'object'".to_owned()).await? {
            if Instant::now() > deadline {
                let text = "the page of the sound effects does not become ready".to_owned();
                return Err(PageError::NotReady(text).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { page })
    }

    /// Runs the input through `effects`, and returns the number of bytes of output.
    async fn render(&self, effects: &EffectChain) -> Result<u64, WorkerError> {
        let (chain, automation) = (json!(effects.chain), json!(effects.automation));
        let call = format!("window.__hyperfarmEffects.render('/{INPUT}', {chain}, {automation})");
        self.page.evaluate(call).await
    }

    /// Bytes of output from byte `from`.
    async fn read(&self, from: u64) -> Result<Vec<u8>, WorkerError> {
        let text: String =
            self.page.evaluate(format!("window.__hyperfarmEffects.slice({from}, {SLICE_BYTES})")).await?;
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| WorkerError::Inconsistent(format!("the page's samples cannot be read: {error}")))
    }
}

/// Runs the samples in `input` through `effects`, by the code of `runtime`, into `output`, both in the format of
/// [`hyperfarm_media::mix_raw`]. An effect that rings makes the output longer. `owner` names the sound in errors.
/// Returns the number of samples of the output.
pub(crate) async fn apply(
    slot: &mut Slot,
    viewport: Viewport,
    runtime: Arc<RuntimeScripts>,
    effects: &EffectChain,
    owner: &str,
    input: &Path,
    output: &Path,
) -> Result<u64, WorkerError> {
    let unreadable = DiskError::at(input, "cannot be read");
    let unwritable = || DiskError::at(output, "cannot be written");
    let bytes = tokio::fs::metadata(input).await.map_err(unreadable)?.len();
    if bytes > MAX_INPUT_BYTES {
        let text = format!("{owner} has sound effects and is longer than an hour; split it");
        return Err(ProjectError::Media(text).into());
    }
    if bytes == 0 {
        tokio::fs::write(output, []).await.map_err(unwritable())?;
        return Ok(0);
    }
    let files = HashMap::from([(INPUT.to_owned(), SiteFile { path: input.to_owned(), bytes })]);
    let (page, server) = slot.page(viewport).await?;
    let page = EffectsPage::open(page, server, Arc::new(Site::new(files, Vec::new()).with_runtime(runtime))).await?;
    let rendered = page.render(effects).await.map_err(|error| error.about(format!("the sound effects of {owner}")))?;
    let mut file = tokio::fs::File::create(output).await.map_err(unwritable())?;
    let mut written = 0;
    while written < rendered {
        let slice = page.read(written).await?;
        if slice.is_empty() {
            return Err(WorkerError::Inconsistent("the page's samples end early".to_owned()));
        }
        file.write_all(&slice).await.map_err(unwritable())?;
        written += slice.len() as u64;
    }
    file.flush().await.map_err(unwritable())?;
    page.page.evaluate::<()>("window.__hyperfarmEffects.forget()".to_owned()).await?;
    Ok(written / SAMPLE_BYTES)
}
