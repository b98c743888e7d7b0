//! Launch flags. Part of the farm's version: a change of them changes pixels, so the capture class carries it.

use super::{ChromeConfig, LaunchKey};

/// The processor draws, with the software compositor; what pages ask of WebGL and WebGPU as well.
const SOFTWARE: &[&str] = &["--disable-gpu", "--enable-unsafe-swiftshader"];

/// Draw only when told to, in one thread's order.
const BEGIN_FRAME: &[&str] = &[
    "--deterministic-mode",
    "--enable-begin-frame-control",
    "--run-all-compositor-stages-before-draw",
    "--disable-new-content-rendering-timeout",
    "--disable-threaded-animation",
    "--disable-threaded-scrolling",
    "--disable-checker-imaging",
    // A tile that is drawn anew only where it changed has other edges there than one that is drawn at once, so a frame would
    // depend on all that moved before it.
    "--disable-partial-raster",
    // Nor does a frame that is drawn only where it changed have the edges of one that is drawn whole, as a screenshot is.
    "--ui-disable-partial-swap",
    "--disable-image-animation-resync",
    "--enable-surface-synchronization",
];

/// The same glyphs and colours on every machine.
const LOOK: &[&str] = &[
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--lang=en-US",
    "--disable-lcd-text",
    // Elements drawn into a canvas (`layoutsubtree`, `drawElementImage`), which HyperFrames gives its pages; and one process fewer to
    // start, to hold in memory and to hand pictures of videos through.
    "--enable-features=CanvasDrawElement,NetworkServiceInProcess2",
];

/// No service of the browser's own, and no throttling of a page that nobody sees.
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

/// All flags for a launch. The page's only way out of the machine's memory is the slot's own server: every request,
/// loopback included, goes to it as to a proxy, names are not resolved, and WebRTC may not bypass it.
pub(super) fn all(config: &ChromeConfig, key: &LaunchKey, profile: &std::path::Path) -> Vec<String> {
    let output = key.viewport.output();
    let mut flags: Vec<String> = [BEGIN_FRAME, LOOK, QUIET].concat().into_iter().map(str::to_owned).collect();
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
    // No address: a browser that is told one opens a page for it, and that page keeps a process that draws nothing.
    flags
}
