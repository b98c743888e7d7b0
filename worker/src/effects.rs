//! Effect chains: samples go into a page, the HyperFrames package's own effects run on an offline audio context there, and samples
//! come back. What the browser's engine does to sound has no second implementation that is equal to it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::plan::EffectChain;
use hyperfarm_proto::spec::Viewport;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::assets::EFFECTS_PAGE;
use crate::chrome::{Page, Shot};
use crate::server::{OWN_PREFIX, Site, SiteFile, SlotServer};
use crate::slot::Slot;

/// Path at which the page finds its input.
const INPUT: &str = "samples.f32";
/// Bytes of samples that come back in one answer.
const SLICE: u64 = 6 * 1024 * 1024;
/// Bytes of a stereo sample.
const BYTES: u64 = 8;
/// From the navigation to a page whose scripts have run.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Longest input in bytes: an hour. A page holds several copies of it.
const LONGEST: u64 = 3600 * 48_000 * BYTES;

/// The page, ready.
pub(crate) struct EffectsPage<'a> {
    page: &'a mut Page,
}

impl<'a> EffectsPage<'a> {
    pub(crate) async fn open(page: &'a mut Page, server: &SlotServer, site: Arc<Site>) -> Result<Self, Failure> {
        server.serve(site);
        page.reset(&server.origin()).await?;
        for _ in 0..2 {
            page.begin_frame(1000.0 / 30.0, Shot::Tick).await?;
        }
        page.navigate(&format!("{}{OWN_PREFIX}{EFFECTS_PAGE}", server.origin())).await?;
        let deadline = Instant::now() + READY_WITHIN;
        while !page.evaluate::<bool>("typeof window.__hyperfarmEffects === 'object'".to_owned()).await? {
            if Instant::now() > deadline {
                return Err(Failure::new(FailureCode::PageNotReady, "the page of the sound effects does not come up"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { page })
    }

    /// Answers the bytes that wait to be read.
    async fn render(&self, effects: &EffectChain) -> Result<u64, Failure> {
        let (chain, automation) = (json!(effects.chain), json!(effects.automation));
        let call = format!("window.__hyperfarmEffects.render('/{INPUT}', {chain}, {automation})");
        self.page.evaluate(call).await
    }

    async fn read(&self, from: u64) -> Result<Vec<u8>, Failure> {
        let text: String = self.page.evaluate(format!("window.__hyperfarmEffects.slice({from}, {SLICE})")).await?;
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| Failure::new(FailureCode::Internal, format!("the page's samples cannot be read: {error}")))
    }
}

/// Runs the samples in `input` through `effects` into `output`, both as [`hyperfarm_media::mix_raw`] writes them. What rings on
/// after the end makes the output longer. `owner` is for the error. Answers the samples of the output.
pub(crate) async fn apply(
    slot: &mut Slot,
    viewport: Viewport,
    effects: &EffectChain,
    owner: &str,
    input: &Path,
    output: &Path,
) -> Result<u64, Failure> {
    let local = |error: std::io::Error| Failure::new(FailureCode::Internal, format!("{}: {error}", output.display()));
    let bytes = tokio::fs::metadata(input).await.map_err(local)?.len();
    if bytes > LONGEST {
        let message = format!("{owner} has sound effects and is longer than an hour; split it");
        return Err(Failure::new(FailureCode::MediaInvalid, message));
    }
    if bytes == 0 {
        tokio::fs::write(output, []).await.map_err(local)?;
        return Ok(0);
    }
    let files = HashMap::from([(INPUT.to_owned(), SiteFile { path: input.to_owned(), bytes })]);
    let page = slot.open_effects(Arc::new(Site::new(files, Vec::new())), viewport).await?;
    let explained =
        |failure: Failure| Failure::new(failure.code, format!("the sound effects of {owner}: {}", failure.message));
    let waiting = page.render(effects).await.map_err(explained)?;
    let mut file = tokio::fs::File::create(output).await.map_err(local)?;
    let mut written = 0;
    while written < waiting {
        let slice = page.read(written).await?;
        if slice.is_empty() {
            return Err(Failure::new(FailureCode::Internal, "the page's samples end early"));
        }
        file.write_all(&slice).await.map_err(local)?;
        written += slice.len() as u64;
    }
    file.flush().await.map_err(local)?;
    page.page.evaluate::<()>("window.__hyperfarmEffects.forget()".to_owned()).await?;
    Ok(written / BYTES)
}
