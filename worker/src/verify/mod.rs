//! The check of `--verify`: whether a page draws the same frames each time it is opened.
//!
//! Frames spread over the duration are drawn after each of three fresh navigations. The second pass waits where the
//! first does not, so that elements that read the clock differ. The third pass, which is made only where the page uses
//! random numbers, has another seed, so that elements that depend on random numbers are told from those that differ
//! anyway.

mod differences;
mod pixels;
mod sketch;

use std::sync::Arc;
use std::time::Duration;

use hyperfarm_proto::plan::{PlanContent, Warning};

use self::differences::ElementDifference;
use self::sketch::Sketch;
use crate::assets::SKETCH_SCRIPT;
use crate::blocking::blocking;
use crate::chrome::FrameKind;
use crate::error::WorkerError;
use crate::host::{OpenOptions, PageHost, VideoPicture, VisitedPictures};
use crate::server::Site;
use crate::slot::Slot;

/// Most frames that are compared.
const SAMPLES: u64 = 8;
/// Most elements that are named in warnings.
const MAX_NAMED: usize = 10;
/// Pause of the second pass before a frame is sought, and again before it is drawn.
const PAUSE: Duration = Duration::from_millis(60);
/// Seed of the third pass; the first two have 0.
const OTHER_SEED: u32 = 0x5eed;
/// Code of the warnings.
const CODE: &str = "NON_DETERMINISTIC";

/// A frame that was drawn.
struct DrawnSample {
    frame: u64,
    png: Vec<u8>,
    sketch: Sketch,
}

/// An element that differs in some of the frames.
struct UnstableElement {
    difference: ElementDifference,
    frames: Vec<u64>,
}

/// Draws sampled frames of the plan's page after fresh navigations and returns a warning for each element that differs.
pub(crate) async fn run(
    slot: &mut Slot,
    site: &Arc<Site>,
    content: &PlanContent,
    options: &OpenOptions,
    pictures: &(dyn Fn(u64) -> Vec<VideoPicture> + Sync),
    is_active: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Warning>, WorkerError> {
    let frames = sampled(content.frames).into_iter().map(|frame| content.first_frame + frame).collect::<Vec<_>>();
    let mut first = Vec::new();
    // Elements, and whether they differ only with another seed.
    let mut unstable: Vec<(UnstableElement, bool)> = Vec::new();
    for (seed, pause) in [(0, Duration::ZERO), (0, PAUSE), (OTHER_SEED, Duration::ZERO)] {
        let options = OpenOptions { seed, ..options.clone() };
        let mut host = slot.open(site.clone(), content.viewport, &options).await?;
        let samples = draw(&mut host, &frames, content.encoder.alpha, pause, pictures, is_active).await?;
        if first.is_empty() {
            first = samples;
            continue;
        }
        let uses_random_numbers = first.iter().chain(&samples).any(|sample| sample.sketch.random_numbers > 0);
        let scale = content.viewport.scale;
        let differing;
        (first, differing) = blocking("the comparison", move || compare(first, samples, scale)).await??;
        for element in differing {
            if !unstable.iter().any(|(known, _)| known.difference.element == element.difference.element) {
                unstable.push((element, seed != 0));
            }
        }
        if !uses_random_numbers {
            break;
        }
    }
    Ok(warnings(&unstable, frames.len()))
}

/// The first frame, the last one and some between them.
fn sampled(frames: u64) -> Vec<u64> {
    let count = frames.min(SAMPLES);
    (0..count).map(|sample| sample * (frames - 1) / (count - 1).max(1)).collect()
}

/// Draws `frames` as a chunk would.
async fn draw(
    host: &mut PageHost<'_>,
    frames: &[u64],
    alpha: bool,
    pause: Duration,
    pictures: &(dyn Fn(u64) -> Vec<VideoPicture> + Sync),
    is_active: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<DrawnSample>, WorkerError> {
    let mut samples = Vec::new();
    let mut next = 0;
    for frame in frames.iter().copied() {
        if frame > next {
            let walk = host.walk(next..frame - 1, false).await?;
            // Both passes find the same old pictures in the frames between.
            let visited_pictures = VisitedPictures { of: pictures, are_read: &|_| false };
            host.visit(0, &walk.visits, &visited_pictures, is_active).await?;
            host.seek(frame - 1, &pictures(frame - 1)).await?;
            host.draw(FrameKind::Draw).await?;
        }
        tokio::time::sleep(pause).await;
        host.seek(frame, &pictures(frame)).await?;
        let sketch = host.ask(SKETCH_SCRIPT).await?;
        tokio::time::sleep(pause).await;
        let png = host.screenshot(alpha).await?;
        samples.push(DrawnSample { frame, png, sketch });
        next = frame + 1;
    }
    Ok(samples)
}

/// Elements that differ between two passes, with the first pass.
fn compare(
    a: Vec<DrawnSample>,
    b: Vec<DrawnSample>,
    scale: u32,
) -> Result<(Vec<DrawnSample>, Vec<UnstableElement>), WorkerError> {
    let mut unstable: Vec<UnstableElement> = Vec::new();
    for (a, b) in a.iter().zip(&b) {
        let cells = pixels::compare(&a.png, &b.png, scale)?;
        for difference in differences::between(&a.sketch, &b.sketch, &cells) {
            match unstable.iter_mut().find(|known| known.difference.element == difference.element) {
                Some(known) => known.frames.push(a.frame),
                None => unstable.push(UnstableElement { difference, frames: vec![a.frame] }),
            }
        }
    }
    Ok((a, unstable))
}

fn warnings(unstable: &[(UnstableElement, bool)], compared: usize) -> Vec<Warning> {
    let warning = |message: String| Warning { code: CODE.to_owned(), message };
    let mut warnings: Vec<Warning> = Vec::new();
    for (UnstableElement { difference, frames }, by_seed) in unstable.iter().take(MAX_NAMED) {
        let ElementDifference { element, tag, what } = difference;
        let frames: Vec<String> = frames.iter().map(u64::to_string).collect();
        let frames =
            if frames.len() == 1 { format!("frame {}", frames[0]) } else { format!("frames {}", frames.join(", ")) };
        warnings.push(warning(if *by_seed {
            format!(
                "{element} ({tag}) depends on random numbers: {what} ({frames} of {compared} compared). They are seeded here, so \
                 that renders agree; HyperFrames does not seed them. Use a generator with a seed of its own"
            )
        } else {
            format!(
                "{element} ({tag}) is not the same each time the page is opened: {what} ({frames} of {compared} compared). Let it \
                 depend on the composition's time only"
            )
        }));
    }
    if unstable.len() > MAX_NAMED {
        warnings.push(warning(format!("{} more elements differ", unstable.len() - MAX_NAMED)));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_from_the_first_frame_to_the_last() {
        assert_eq!(sampled(1), [0]);
        assert_eq!(sampled(3), [0, 1, 2]);
        assert_eq!(sampled(71), [0, 10, 20, 30, 40, 50, 60, 70]);
        assert_eq!(sampled(0), [] as [u64; 0]);
    }
}
