//! What draws: the processor, or a GPU through ANGLE.
//!
//! A browser falls back to the processor by itself, silently, where its GPU process cannot start or has died. Frames of one render must
//! come from one device, so Chrome is asked what it draws with: once for the capture class, at each start of a browser, and after
//! each chunk.

use std::fmt;

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::spec::{Size, Viewport};
use serde::Serialize;

use super::{Chrome, ChromeConfig, LaunchKey};

/// Words in the name of a device that is the processor in disguise.
const SOFTWARE: [&str; 6] = ["llvmpipe", "lavapipe", "swiftshader", "softpipe", "swrast", "software"];

/// Which part of a page the GPU draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuPart {
    /// What pages draw with WebGL. The processor puts the page together, so that frames are read from the compositor's memory.
    Webgl,
    /// Everything. Frames are read as screenshots, because they are in the device's memory.
    Page,
}

impl GpuPart {
    /// Its name in `HYPERFARM_GPU`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webgl => "webgl",
            Self::Page => "page",
        }
    }
}

/// What ANGLE speaks to the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlInterface {
    /// Vulkan.
    Vulkan,
    /// OpenGL ES by EGL, without a display.
    Egl,
}

impl GlInterface {
    /// Its name in `HYPERFARM_GPU_INTERFACE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vulkan => "vulkan",
            Self::Egl => "egl",
        }
    }
}

/// A GPU that draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// What it draws.
    pub part: GpuPart,
    /// How it is reached.
    pub interface: GlInterface,
    /// The device and its driver, in ANGLE's words.
    pub device: String,
}

impl Gpu {
    /// Whether the device is the processor in disguise.
    pub fn is_software(&self) -> bool {
        is_software(&self.device)
    }

    /// The flags that make Chrome draw with it, and never with the processor instead.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'static str> {
        let interface = match self.interface {
            GlInterface::Vulkan => "--use-angle=vulkan",
            GlInterface::Egl => "--use-angle=gl-egl",
        };
        let part = match self.part {
            GpuPart::Webgl => "--disable-gpu-compositing",
            GpuPart::Page => "--enable-gpu-rasterization",
        };
        [
            "--use-gl=angle",
            interface,
            part,
            "--ignore-gpu-blocklist",
            "--disable-software-rasterizer",
            // A page whose device was lost once is not refused the next time; whether it was lost in a chunk is asked after it.
            "--disable-domain-blocking-for-3d-apis",
            // The first frames of a page compile its shaders, which may take longer than the watchdog waits.
            "--disable-gpu-watchdog",
        ]
        .into_iter()
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            GpuPart::Webgl => "WebGL",
            GpuPart::Page => "the page",
        };
        write!(f, "{part} by {} over {}", self.device, self.interface.name())
    }
}

/// What the operator wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GpuMode {
    /// The processor draws everything.
    #[default]
    Off,
    /// A GPU draws WebGL where there is one.
    Auto,
    /// A GPU draws this part, or the worker does not start.
    Must(GpuPart),
}

/// The operator's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GpuConfig {
    /// What is wished.
    pub wish: GpuMode,
    /// The one interface to try; both where none is named.
    pub interface: Option<GlInterface>,
    /// Whether a device that is the processor in disguise will do. For tests.
    pub software: bool,
}

impl GpuConfig {
    /// `HYPERFARM_GPU` (`off`, `auto`, `webgl`, `page`), `HYPERFARM_GPU_INTERFACE` (`auto`, `vulkan`, `egl`) and
    /// `HYPERFARM_GPU_SOFTWARE` (`off`, `allow`).
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let unknown = |name: &str, found: &str, known: &str| {
            Failure::new(FailureCode::ChromeLaunch, format!("{name} is `{found}`; set it to {known}"))
        };
        let wish = match env("HYPERFARM_GPU").as_deref() {
            None | Some("off") => GpuMode::Off,
            Some("auto") => GpuMode::Auto,
            Some("webgl") => GpuMode::Must(GpuPart::Webgl),
            Some("page") => GpuMode::Must(GpuPart::Page),
            Some(other) => return Err(unknown("HYPERFARM_GPU", other, "off, auto, webgl or page")),
        };
        let interface = match env("HYPERFARM_GPU_INTERFACE").as_deref() {
            None | Some("auto") => None,
            Some("vulkan") => Some(GlInterface::Vulkan),
            Some("egl") => Some(GlInterface::Egl),
            Some(other) => return Err(unknown("HYPERFARM_GPU_INTERFACE", other, "auto, vulkan or egl")),
        };
        let software = match env("HYPERFARM_GPU_SOFTWARE").as_deref() {
            None | Some("off") => false,
            Some("allow") => true,
            Some(other) => return Err(unknown("HYPERFARM_GPU_SOFTWARE", other, "off or allow")),
        };
        Ok(Self { wish, interface, software })
    }
}

impl ChromeConfig {
    /// The same with the GPU that the settings ask for, found by starting Chrome with it.
    ///
    /// Fails where one is asked for by name and none draws; the sentence says what was tried and what to do.
    pub async fn with_gpu(mut self) -> Result<Self, Failure> {
        self.gpu = None;
        let part = match self.gpu_config.wish {
            GpuMode::Off => return Ok(self),
            GpuMode::Auto => GpuPart::Webgl,
            GpuMode::Must(part) => part,
        };
        let (mut tried, mut disguised) = (Vec::new(), None);
        for interface in [GlInterface::Vulkan, GlInterface::Egl] {
            if self.gpu_config.interface.is_some_and(|wanted| wanted != interface) {
                continue;
            }
            match self.try_gpu(Gpu { part, interface, device: String::new() }).await {
                Ok(gpu) if !gpu.is_software() => {
                    tracing::info!(%gpu, "a GPU draws");
                    return Ok(Self { gpu: Some(gpu), ..self });
                }
                Ok(gpu) => {
                    tried.push(format!("over {} there is {}, which is the processor", interface.name(), gpu.device));
                    disguised = disguised.or(Some(gpu));
                }
                Err(failure) => tried.push(format!("over {} {}", interface.name(), failure.message)),
            }
        }
        if let Some(gpu) = disguised.filter(|_| self.gpu_config.software) {
            tracing::warn!(%gpu, "the processor draws in the place of a GPU, because HYPERFARM_GPU_SOFTWARE says so");
            return Ok(Self { gpu: Some(gpu), ..self });
        }
        let tried = tried.join("; ");
        if self.gpu_config.wish == GpuMode::Auto {
            tracing::info!(%tried, "no GPU draws here, the processor does");
            return Ok(self);
        }
        Err(Failure::new(
            FailureCode::ChromeLaunch,
            format!(
                "HYPERFARM_GPU={}, and no GPU draws here: {tried}. Install the card's driver with its Vulkan or EGL library and give \
                 the worker its device files (for NVIDIA in a container NVIDIA_DRIVER_CAPABILITIES=graphics,video,utility; elsewhere \
                 /dev/dri/renderD128), or set HYPERFARM_GPU to auto or off",
                part.name()
            ),
        ))
    }

    /// What Chrome draws with when it is started for `gpu`.
    async fn try_gpu(&self, gpu: Gpu) -> Result<Gpu, Failure> {
        let config = Self { gpu: Some(gpu.clone()), ..self.clone() };
        let viewport = Viewport { page: Size { width: 64, height: 64 }, scale: 1 };
        // No page is opened, so nothing asks for the port.
        let mut chrome = Chrome::launch(&config, LaunchKey { viewport, server_port: 9 }).await?;
        let drawing = chrome.drawing().await;
        chrome.kill().await;
        let drawing = drawing?;
        drawing.check(gpu.part)?;
        Ok(Gpu { device: drawing.device, ..gpu })
    }
}

/// What a browser says that it draws with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drawing {
    /// The device in ANGLE's words; empty without one.
    device: String,
    /// Chrome's word for how pages are put together.
    compositing: String,
    /// Chrome's word for WebGL.
    webgl: String,
    /// How often its GPU process has died.
    crashes: u64,
}

/// Asks for all of it; the library's own type refuses answers of newer versions of Chrome.
#[derive(Debug, Clone, Serialize)]
pub(super) struct GetInfo {}

impl chromiumoxide::types::Method for GetInfo {
    fn identifier(&self) -> chromiumoxide::types::MethodId {
        "SystemInfo.getInfo".into()
    }
}

impl chromiumoxide::types::Command for GetInfo {
    type Response = serde_json::Value;
}

impl Drawing {
    pub(super) fn of(info: &serde_json::Value) -> Self {
        let (attributes, features) = (&info["gpu"]["auxAttributes"], &info["gpu"]["featureStatus"]);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            device: text(&attributes["glRenderer"]),
            compositing: text(&features["gpu_compositing"]),
            webgl: text(&features["webgl"]),
            crashes: attributes["processCrashCount"].as_u64().unwrap_or(0),
        }
    }

    /// Whether a GPU draws `part`.
    fn check(&self, part: GpuPart) -> Result<(), Failure> {
        let refused = |what: String| Err(Failure::new(FailureCode::ChromeLaunch, what));
        if self.device.is_empty() {
            return refused("Chrome finds no device".to_owned());
        }
        let webgl = match part {
            GpuPart::Webgl => "enabled_readback",
            GpuPart::Page => "enabled",
        };
        if self.webgl != webgl {
            return refused(format!("Chrome does not draw WebGL with {} ({})", self.device, self.webgl));
        }
        if part == GpuPart::Page && self.compositing != "enabled" {
            return refused(format!("Chrome does not draw pages with {} ({})", self.device, self.compositing));
        }
        Ok(())
    }

    /// Whether it still is `gpu`, as it was when the browser started.
    pub(super) fn still(&self, gpu: &Gpu) -> Result<(), Failure> {
        let refused = |what: String| Failure::new(FailureCode::ChromeCrashed, what);
        if self.crashes > 0 {
            return Err(refused(format!("the driver of {} failed: Chrome's GPU process ended", gpu.device)));
        }
        self.check(gpu.part).map_err(|failure| refused(failure.message))?;
        // The search for one has no name yet.
        if !gpu.device.is_empty() && self.device != gpu.device {
            return Err(refused(format!("Chrome draws with {} and not with {}", self.device, gpu.device)));
        }
        Ok(())
    }
}

fn is_software(device: &str) -> bool {
    let device = device.to_lowercase();
    SOFTWARE.iter().any(|word| device.contains(word))
}

/// Groups that own the devices of GPUs and are not everybody's, for a Chrome that gives up those of root.
pub(super) fn device_groups() -> Vec<u32> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let folders = ["/dev/dri", "/dev"].map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let mut groups: Vec<u32> = folders
        .into_iter()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("renderD") || name.starts_with("nvidia")
        })
        .filter_map(|entry| entry.metadata().ok())
        .filter(|meta| {
            meta.file_type().is_char_device() && meta.mode() & 0o006 != 0o006 && meta.mode() & 0o060 == 0o060
        })
        .map(|meta| meta.gid())
        // Root's group opens more than a device.
        .filter(|group| *group != 0)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(device: &str, compositing: &str, webgl: &str, crashes: u64) -> Drawing {
        Drawing::of(&serde_json::json!({ "gpu": {
            "auxAttributes": { "glRenderer": device, "processCrashCount": crashes },
            "featureStatus": { "gpu_compositing": compositing, "webgl": webgl },
        } }))
    }

    #[test]
    fn software_is_recognised() {
        for name in [
            "ANGLE (Mesa, Vulkan 1.3.230 (llvmpipe (LLVM 15.0.6 256 bits) (0x00000000)), llvmpipe-0.0.1)",
            "ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero) (0x0000C0DE)), SwiftShader driver-5.0.0)",
        ] {
            assert!(is_software(name), "{name}");
        }
        assert!(!is_software("ANGLE (NVIDIA, Vulkan 1.3.260 (NVIDIA L4 (0x000027B8)), NVIDIA-535.104.5.0)"));
    }

    #[test]
    fn what_does_not_draw_as_wished_is_refused() {
        let card = "ANGLE (NVIDIA, Vulkan 1.3.260 (NVIDIA L4 (0x000027B8)), NVIDIA-535.104.5.0)";
        let gpu = |part| Gpu { part, interface: GlInterface::Vulkan, device: card.to_owned() };
        let (webgl, page) = (gpu(GpuPart::Webgl), gpu(GpuPart::Page));
        drawing(card, "disabled_software", "enabled_readback", 0).still(&webgl).unwrap();
        drawing(card, "enabled", "enabled", 0).still(&page).unwrap();
        for (found, gpu) in [
            (drawing("", "disabled_software", "disabled_off", 0), &webgl),
            (drawing(card, "disabled_software", "unavailable_software", 0), &webgl),
            (drawing(card, "disabled_software", "enabled_readback", 0), &page),
            (drawing(card, "enabled", "enabled", 1), &page),
            (drawing("ANGLE (another)", "enabled", "enabled", 0), &page),
        ] {
            assert!(found.still(gpu).is_err(), "{found:?}");
        }
    }

    #[test]
    fn settings_are_read_and_unknown_ones_refused() {
        let of = |wanted: &'static str, value: &'static str| {
            GpuConfig::from_env(&move |name| (name == wanted).then(|| value.to_owned()))
        };
        assert_eq!(of("-", "").unwrap(), GpuConfig::default());
        assert_eq!(of("HYPERFARM_GPU", "auto").unwrap().wish, GpuMode::Auto);
        assert_eq!(of("HYPERFARM_GPU", "page").unwrap().wish, GpuMode::Must(GpuPart::Page));
        assert_eq!(of("HYPERFARM_GPU_INTERFACE", "egl").unwrap().interface, Some(GlInterface::Egl));
        for name in ["HYPERFARM_GPU", "HYPERFARM_GPU_INTERFACE", "HYPERFARM_GPU_SOFTWARE"] {
            let failure = of(name, "yes").unwrap_err();
            assert!(failure.message.starts_with(name), "{failure}");
        }
    }
}
