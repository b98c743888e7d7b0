//! Chrome on a GPU. The device is Mesa's software one (`mesa-vulkan-drivers`): slow, but everything between a page and
//! the driver is what it is with a card. Without it the tests are skipped; with `HYPERFARM_TEST_REQUIRE_GPU=1` they
//! fail.

#![allow(clippy::unwrap_used)]

mod one_page;

use std::collections::HashMap;

use hyperfarm_backplane::config;
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::plan::CaptureKind;
use hyperfarm_proto::record::CapturePath;
use hyperfarm_proto::spec::{Size, Viewport};
use hyperfarm_testing::Requirement;
use hyperfarm_worker::capture::{FrameGrabber, GrabbedFrame, Next};
use hyperfarm_worker::chrome::{ChromeConfig, ChromeSettings, GlInterface, GpuPart};
use hyperfarm_worker::{Slot, class};

use one_page::{options, site};

const VIEWPORT: Viewport = Viewport { page: Size { width: 320, height: 180 }, scale: 1 };

/// The upper half is WebGL's, another green in each tenth of a second; the lower one the page's. Its title is WebGL's
/// device.
const PAGE: &str = "<!doctype html><body style='margin:0;background:rgb(0,0,200)'>
<canvas id='c' width='320' height='90' style='display:block'></canvas><script>
    const gl = document.getElementById('c').getContext('webgl', { preserveDrawingBuffer: true });
    const names = gl && gl.getExtension('WEBGL_debug_renderer_info');
    const device = gl ? gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER) : '';
    window.__hf = { duration: 2, seek(time) {
        if (!/llvmpipe/.test(device)) throw new Error(`WebGL is drawn by ${device}`);
        gl.clearColor(0, Math.round(time * 10) / 51, 0, 1);
        gl.clear(gl.COLOR_BUFFER_BIT);
    } };
</script>";

fn config(settings: &[(&str, &str)]) -> ChromeConfig {
    let settings: HashMap<String, String> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let variables = |name: &str| settings.get(name).cloned().or_else(|| std::env::var(name).ok());
    ChromeConfig::find(&config::read(&variables, ChromeSettings::read).unwrap()).unwrap()
}

/// Chrome with the software device drawing `part`, if the machine has that device.
async fn in_software(part: &str, interface: &str) -> Option<ChromeConfig> {
    let settings =
        [("HYPERFARM_GPU", part), ("HYPERFARM_GPU_INTERFACE", interface), ("HYPERFARM_GPU_SOFTWARE", "allow")];
    match config(&settings).with_gpu().await {
        Ok(found) => Some(found),
        Err(failure) => {
            Requirement::Gpu.skip(format!("no GPU draws here, install mesa-vulkan-drivers: {failure}"));
            None
        }
    }
}

/// Blue, green and red of the pixel in the middle of the upper and of the lower half.
fn halves(frame: &GrabbedFrame) -> [[u8; 3]; 2] {
    let at = |bgra: &[u8], y: usize| {
        let start = (y * 320 + 160) * 4;
        [bgra[start], bgra[start + 1], bgra[start + 2]]
    };
    match frame {
        GrabbedFrame::Raw(raw) => [at(raw.bytes(), 45), at(raw.bytes(), 135)],
        GrabbedFrame::Png(file) => {
            let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            let pixel = info.line_size / 320;
            [45, 135].map(|y: usize| {
                let start = (y * 320 + 160) * pixel;
                [pixels[start + 2], pixels[start + 1], pixels[start]]
            })
        }
        GrabbedFrame::Same => panic!("each frame differs from the one before it"),
        GrabbedFrame::Layered(_) => panic!("the page has no video"),
    }
}

async fn draws(part: &str, interface: &str, path: CapturePath) {
    let Some(config) = in_software(part, interface).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let class = class::detect(&config, String::new(), String::new()).await.unwrap();
    assert_eq!(class.kind, CaptureKind::Gpu);
    assert!(class.device.contains("llvmpipe") && class.device.ends_with(&format!("over {interface}")), "{class}");
    let gpu = config.gpu.clone().unwrap();
    assert!(gpu.is_software());
    let mut slot = Slot::new(config).await.unwrap();
    let mut host = slot.open(site(&folder, PAGE), VIEWPORT, &options()).await.unwrap();
    let mut grabber = FrameGrabber::new(&host, false);
    assert_eq!(grabber.path(), path);
    for frame in 0..4 {
        grabber.seek(&mut host, &Next { frame, pictures: Vec::new(), layers: Vec::new() }).await.unwrap();
        let grabbed = grabber.grab(&mut host, None).await.unwrap();
        assert_eq!(halves(&grabbed), [[0, frame as u8 * 5, 0], [200, 0, 0]], "frame {frame} of {gpu}");
    }
    grabber.check(&mut host, VIEWPORT.output()).await.unwrap();
    slot.check_gpu().await.unwrap();
    slot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_draws_webgl_and_frames_are_read_from_memory() {
    draws("webgl", "vulkan", CapturePath::Framebuffer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_draws_the_page_and_frames_are_screenshots() {
    draws("page", "vulkan", CapturePath::Png).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_is_reached_by_egl_too() {
    draws("webgl", "egl", CapturePath::Framebuffer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_the_processor_is_refused_by_name() {
    let error = match config(&[("HYPERFARM_GPU", "page")]).with_gpu().await {
        // A machine with a card.
        Ok(found) => return assert!(!found.gpu.unwrap().is_software()),
        Err(error) => error,
    };
    assert_eq!(error.code(), FailureCode::ChromeLaunch);
    for part in ["HYPERFARM_GPU=page", "over vulkan", "over egl", "driver", "auto or off"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let found = config(&[("HYPERFARM_GPU", "auto")]).with_gpu().await.unwrap();
    assert_eq!(found.gpu, None);
    assert!(found.reads_framebuffer());
}

/// The browser goes on without its GPU process, and draws otherwise. No frame of that may count.
#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_process_that_ends_is_noticed() {
    let Some(config) = in_software("webgl", "vulkan").await else { return };
    assert_eq!(config.gpu.as_ref().map(|gpu| (gpu.part, gpu.interface)), Some((GpuPart::Webgl, GlInterface::Vulkan)));
    let folder = tempfile::tempdir().unwrap();
    let mut slot = Slot::new(config).await.unwrap();
    let host = slot.open(site(&folder, PAGE), VIEWPORT, &options()).await.unwrap();
    let gpu = host.framebuffer().unwrap().process_id();
    drop(host);
    slot.check_gpu().await.unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(gpu).unwrap(), rustix::process::Signal::KILL).unwrap();
    let mut noticed = None;
    for _ in 0..50 {
        if let Err(error) = slot.check_gpu().await {
            noticed = Some(error);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(noticed.unwrap().code(), FailureCode::ChromeCrashed);
    slot.close().await;
}
