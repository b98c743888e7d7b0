//! Chrome's launch flags. A change of them changes pixels, so they count as part of the farm's version in the capture
//! class.

use super::config::{ChromeConfig, LaunchKey};

/// The processor draws everything, WebGL and WebGPU included.
const SOFTWARE: &[&str] = &["--disable-gpu", "--enable-unsafe-swiftshader"];

/// A frame is drawn only on demand, and in the order of one thread.
const BEGIN_FRAME: &[&str] = &[
    "--deterministic-mode",
    "--enable-begin-frame-control",
    "--run-all-compositor-stages-before-draw",
    "--disable-new-content-rendering-timeout",
    "--disable-threaded-animation",
    "--disable-threaded-scrolling",
    "--disable-checker-imaging",
    // A tile that is redrawn only where it changed has other edges there than one that is drawn whole, so a frame would
    // depend on everything that moved before it.
    "--disable-partial-raster",
    // For the same reason frames are drawn whole, as screenshots are.
    "--ui-disable-partial-swap",
    "--disable-image-animation-resync",
    "--enable-surface-synchronization",
];

/// The same glyphs and colours on every machine.
const RENDERING: &[&str] = &[
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--lang=en-US",
    "--disable-lcd-text",
    // Elements drawn into a canvas (`layoutsubtree`, `drawElementImage`), which HyperFrames offers its pages. The
    // network service in the browser process saves a process, its memory, and a copy of each picture of a video.
    "--enable-features=CanvasDrawElement,NetworkServiceInProcess2",
];

/// No background services of the browser, and no throttling of invisible pages.
const QUIET: &[&str] = &[
    "--headless",
    "--mute-audio",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-extensions-with-background-pages",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-hang-monitor",
    "--disable-ipc-flooding-protection",
    // Neither a script nor a link opens a window: one would outlive its page.
    "--block-new-web-contents",
    "--disable-prompt-on-repost",
    "--disable-quic",
    "--disable-renderer-backgrounding",
    "--disable-search-engine-choice-screen",
    "--disable-sync",
    "--metrics-recording-only",
    "--password-store=basic",
    "--use-mock-keychain",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,AutofillServerCommunication,\
     InterestFeedContentSuggestions,CertificateTransparencyComponentUpdater,AudioServiceOutOfProcess,BackForwardCache",
];

/// All flags for a launch. Every request of the page, loopback included, goes to the slot's server as its proxy; host
/// names are not resolved, and WebRTC may not bypass the proxy.
pub(super) fn all(config: &ChromeConfig, key: &LaunchKey, profile: &std::path::Path) -> Vec<String> {
    let output = key.viewport.output();
    let mut flags: Vec<String> = [BEGIN_FRAME, RENDERING, QUIET].concat().into_iter().map(str::to_owned).collect();
    match &config.gpu {
        Some(gpu) => flags.extend(gpu.flags().map(str::to_owned)),
        None => flags.extend(SOFTWARE.iter().map(|flag| (*flag).to_owned())),
    }
    flags.extend([
        format!("--window-size={},{}", output.width, output.height),
        format!("--force-device-scale-factor={}", key.viewport.scale),
        format!("--proxy-server=http://127.0.0.1:{}", key.server_port),
        "--proxy-bypass-list=<-loopback>".to_owned(),
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1".to_owned(),
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp".to_owned(),
        "--remote-debugging-address=127.0.0.1".to_owned(),
        "--remote-debugging-port=0".to_owned(),
        format!("--user-data-dir={}", profile.display()),
    ]);
    if !config.sandbox {
        flags.push("--no-sandbox".to_owned());
    }
    // No address is given: the browser would open a page for it, with a process that draws nothing.
    flags
}
