//! The framebuffer of a real Chrome, and what becomes of a capture when it is not where it was.

#![allow(clippy::unwrap_used)]

mod one_page;

use std::sync::Arc;

use hyperfarm_backplane::config;
use hyperfarm_proto::record::CapturePath;
use hyperfarm_proto::spec::{Size, Viewport};
use hyperfarm_worker::Slot;
use hyperfarm_worker::capture::{FrameGrabber, GrabbedFrame, Next};
use hyperfarm_worker::chrome::{Chrome, ChromeConfig, ChromeSettings, LaunchKey, PageLog};
use hyperfarm_worker::error::{CaptureError, WorkerError};
use hyperfarm_worker::framebuffer::{Framebuffer, FramebufferFinder, GpuProcess};

use one_page::{options, site};

const VIEWPORT: Viewport = Viewport { page: Size { width: 320, height: 180 }, scale: 1 };

/// Every tenth of a second has a colour of its own up to the half second; then it rests.
const PAGE: &str = "<!doctype html><body><script>window.__hf = { duration: 2, seek(time) {
    const step = Math.min(5, Math.floor(time * 10 + 0.001));
    document.body.style.background = `rgb(${step * 40},10,20)`;
} }</script>";

fn config() -> ChromeConfig {
    let settings = config::read(&|name| std::env::var(name).ok(), ChromeSettings::read).unwrap();
    ChromeConfig::find(&settings).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_read_and_resting_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut slot = Slot::new(config()).await.unwrap();
    // The second time in a warm browser, where the place is known.
    for _ in 0..2 {
        let mut host = slot.open(site(&folder, PAGE), VIEWPORT, &options()).await.unwrap();
        let mut grabber = FrameGrabber::new(&host, false);
        assert_eq!(grabber.path(), CapturePath::Framebuffer);
        let at = |frame| Next { frame, pictures: Vec::new(), layers: Vec::new() };
        grabber.seek(&mut host, &at(0)).await.unwrap();
        let mut reds = Vec::new();
        for frame in 0..10 {
            match grabber.grab(&mut host, Some(&at(frame + 1))).await.unwrap() {
                GrabbedFrame::Raw(raw) => {
                    assert_eq!(raw.bytes().len(), 320 * 180 * 4);
                    let first = &raw.bytes()[..4];
                    assert!(raw.bytes().chunks_exact(4).all(|pixel| pixel == first));
                    assert_eq!((first[0], first[1], first[3]), (20, 10, 255));
                    reds.push(Some(first[2]));
                }
                GrabbedFrame::Same => reds.push(None),
                GrabbedFrame::Png(_) | GrabbedFrame::Layered(_) => panic!("frame {frame} is no bitmap"),
            }
        }
        assert_eq!(reds[..6], [Some(0), Some(40), Some(80), Some(120), Some(160), Some(200)]);
        // Chrome may draw a frame that looks like the last one; it must not do so for ever.
        assert!(reds[6..].iter().all(|red| matches!(red, None | Some(200))) && reds[9].is_none(), "{reds:?}");
        grabber.check(&mut host, VIEWPORT.output()).await.unwrap();
    }
    // From here on it is not trusted.
    slot.distrust_framebuffer("a test says so");
    let host = slot.open(site(&folder, PAGE), VIEWPORT, &options()).await.unwrap();
    assert_eq!(FrameGrabber::new(&host, false).path(), CapturePath::Png);
    drop(host);
    slot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_takes_the_framebuffer_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut slot = Slot::new(config()).await.unwrap();
    let mut host = slot.open(site(&folder, PAGE), VIEWPORT, &options()).await.unwrap();
    let mut grabber = FrameGrabber::new(&host, false);
    let next = Next { frame: 0, pictures: Vec::new(), layers: Vec::new() };
    grabber.seek(&mut host, &next).await.unwrap();
    grabber.grab(&mut host, None).await.unwrap();
    let gpu = host.framebuffer().unwrap().process_id();
    rustix::process::kill_process(rustix::process::Pid::from_raw(gpu).unwrap(), rustix::process::Signal::KILL).unwrap();
    // Chrome starts another one, or does not answer; neither is a frame.
    let mut outcome = Ok(());
    for frame in 1..5 {
        let next = Next { frame, pictures: Vec::new(), layers: Vec::new() };
        let frame = async {
            grabber.seek(&mut host, &next).await?;
            grabber.grab(&mut host, None).await
        };
        match tokio::time::timeout(std::time::Duration::from_secs(20), frame).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => outcome = Err(Some(error)),
            Err(_) => outcome = Err(None),
        }
        if outcome.is_err() {
            break;
        }
    }
    // Either the page's process ended, or a call of it, or the framebuffer.
    let expected = matches!(
        outcome,
        Err(None
            | Some(
                WorkerError::Capture(CaptureError::FramebufferLost(_)) | WorkerError::Chrome(_) | WorkerError::Page(_)
            ))
    );
    assert!(expected, "{outcome:?}");
    slot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_place_is_noticed_and_the_right_one_found_again() {
    let key = LaunchKey { viewport: VIEWPORT, server_port: 9 };
    let chrome = Chrome::launch(&config(), key).await.unwrap();
    let mut page = chrome.open_page(PageLog::default()).await.unwrap();
    let mut finder = FramebufferFinder::default();
    let found = finder.find(&mut page, chrome.process_id(), VIEWPORT).await.unwrap().expect("the framebuffer is found");
    assert!(found.shows(&mut page, VIEWPORT).await.unwrap());
    // Twice the same browser, twice the same place.
    let again = finder.find(&mut page, chrome.process_id(), VIEWPORT).await.unwrap().unwrap();
    assert_eq!(found.address(), again.address());

    let process = || Arc::new(GpuProcess::of(chrome.process_id().unwrap()).unwrap());
    for wrong in [8, found.address() + 4, found.address() - 4096] {
        let elsewhere = Framebuffer::at(process(), wrong, VIEWPORT);
        assert!(!elsewhere.shows(&mut page, VIEWPORT).await.unwrap(), "{wrong:x}");
    }
    // A Chrome that draws in another size, or another way, has no such bitmap.
    let other = Viewport { page: Size { width: 300, height: 180 }, scale: 1 };
    let gpu = GpuProcess::of(chrome.process_id().unwrap()).unwrap();
    let reason = Framebuffer::find(&mut page, gpu, other).await.unwrap().unwrap_err();
    assert!(reason.contains("does not hold"), "{reason}");

    // The page grows and shrinks again: wherever the bitmap is afterwards, what is answered shows what is drawn.
    let grown = Viewport { page: Size { width: 640, height: 480 }, scale: 1 };
    page.resize(grown).await.unwrap();
    let gpu = GpuProcess::of(chrome.process_id().unwrap()).unwrap();
    if let Ok(moved) = Framebuffer::find(&mut page, gpu, grown).await.unwrap() {
        assert!(moved.shows(&mut page, grown).await.unwrap());
        assert!(!found.shows(&mut page, grown).await.unwrap(), "a bitmap of another size");
    }
    page.resize(VIEWPORT).await.unwrap();
    let again = finder.find(&mut page, chrome.process_id(), VIEWPORT).await.unwrap().expect("it is found again");
    assert!(again.shows(&mut page, VIEWPORT).await.unwrap());
    drop(page);
    chrome.kill().await;
}
