//! The check of `--verify`: whether a page looks the same each time it is opened.
//!
//! Frames spread over the length are drawn from three fresh navigations. The second takes its time where the first hurries, so
//! that what looks at the clock shows. The third, made only where the page draws random numbers, draws others: the farm seeds
//! them, and what depends on them is told apart from what differs anyway.

mod differences;
mod pixels;
mod sketch;

use std::sync::Arc;
use std::time::Duration;

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::plan::{PlanContent, Warning};

use self::differences::Finding;
use self::sketch::Sketch;
use crate::assets::SKETCH_SCRIPT;
use crate::chrome::Shot;
use crate::host::{OpenOptions, PageHost, VideoPicture};
use crate::server::Site;
use crate::slot::Slot;

/// Frames that are compared.
const SAMPLES: u64 = 8;
/// Elements that are named.
const NAMED: usize = 10;
/// How long the second pass dawdles before a frame is sought, and again before it is drawn.
const DAWDLE: Duration = Duration::from_millis(60);
/// Seed of the third pass; the first two have 0.
const OTHER_SEED: u32 = 0x5eed;
/// Code of the warnings.
const CODE: &str = "NON_DETERMINISTIC";

/// A frame as it was drawn.
struct Look {
    frame: u64,
    png: Vec<u8>,
    sketch: Sketch,
}

/// An element that differs in some of the frames.
struct Fault {
    finding: Finding,
    frames: Vec<u64>,
}

/// Draws sampled frames of the plan's page from fresh navigations and answers a warning for each element that differs.
pub(crate) async fn run(
    slot: &mut Slot,
    site: &Arc<Site>,
    content: &PlanContent,
    options: &OpenOptions,
    pictures: &(dyn Fn(u64) -> Vec<VideoPicture> + Sync),
    going_on: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Warning>, Failure> {
    let frames = sampled(content.frames);
    let mut looks = Vec::new();
    let mut faults: Vec<(Fault, bool)> = Vec::new();
    for (seed, dawdle) in [(0, Duration::ZERO), (0, DAWDLE), (OTHER_SEED, Duration::ZERO)] {
        let options = OpenOptions { seed, ..options.clone() };
        let mut host = slot.open(site.clone(), content.viewport, &options).await?;
        let found = draw(&mut host, &frames, content.encoder.alpha, dawdle, pictures, going_on).await?;
        if looks.is_empty() {
            looks = found;
            continue;
        }
        let drew_lots = looks.iter().chain(&found).any(|look| look.sketch.lots > 0);
        let scale = content.viewport.scale;
        let comparing = tokio::task::spawn_blocking(move || compare(looks, found, scale));
        let differing;
        (looks, differing) = comparing
            .await
            .map_err(|panic| Failure::new(FailureCode::Internal, format!("the comparison broke: {panic}")))??;
        for fault in differing {
            if !faults.iter().any(|(known, _)| known.finding.element == fault.finding.element) {
                faults.push((fault, seed != 0));
            }
        }
        if !drew_lots {
            break;
        }
    }
    Ok(warnings(&faults, frames.len()))
}

/// The first frame, the last one and some between.
fn sampled(frames: u64) -> Vec<u64> {
    let count = frames.min(SAMPLES);
    (0..count).map(|sample| sample * (frames - 1) / (count - 1).max(1)).collect()
}

/// Draws `frames` as a chunk would.
async fn draw(
    host: &mut PageHost<'_>,
    frames: &[u64],
    alpha: bool,
    dawdle: Duration,
    pictures: &(dyn Fn(u64) -> Vec<VideoPicture> + Sync),
    going_on: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Look>, Failure> {
    let mut looks = Vec::new();
    let mut next = 0;
    for frame in frames.iter().copied() {
        if frame > next {
            host.walk(next..frame - 1, going_on).await?;
            host.seek(frame - 1, &pictures(frame - 1)).await?;
            host.draw(Shot::None).await?;
        }
        tokio::time::sleep(dawdle).await;
        host.seek(frame, &pictures(frame)).await?;
        let sketch = host.evaluate(SKETCH_SCRIPT.to_owned()).await?;
        tokio::time::sleep(dawdle).await;
        let png = host.picture(alpha).await?.ok_or_else(|| {
            Failure::new(FailureCode::CaptureStalled, "Chrome draws, and gives no picture of what it drew")
        })?;
        looks.push(Look { frame, png, sketch });
        next = frame + 1;
    }
    Ok(looks)
}

/// What differs between two passes; gives the first one back.
fn compare(a: Vec<Look>, b: Vec<Look>, scale: u32) -> Result<(Vec<Look>, Vec<Fault>), Failure> {
    let mut faults: Vec<Fault> = Vec::new();
    for (a, b) in a.iter().zip(&b) {
        let cells = pixels::compare(&a.png, &b.png, scale)?;
        for finding in differences::name(&a.sketch, &b.sketch, &cells) {
            match faults.iter_mut().find(|fault| fault.finding.element == finding.element) {
                Some(fault) => fault.frames.push(a.frame),
                None => faults.push(Fault { finding, frames: vec![a.frame] }),
            }
        }
    }
    Ok((a, faults))
}

fn warnings(faults: &[(Fault, bool)], compared: usize) -> Vec<Warning> {
    let warning = |message: String| Warning { code: CODE.to_owned(), message };
    let mut warnings: Vec<Warning> = Vec::new();
    for (Fault { finding: Finding { element, tag, what }, frames }, by_lot) in faults.iter().take(NAMED) {
        let frames: Vec<String> = frames.iter().map(u64::to_string).collect();
        let frames =
            if frames.len() == 1 { format!("frame {}", frames[0]) } else { format!("frames {}", frames.join(", ")) };
        warnings.push(warning(if *by_lot {
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
    if faults.len() > NAMED {
        warnings.push(warning(format!("{} more elements differ", faults.len() - NAMED)));
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
