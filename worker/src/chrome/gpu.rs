//! The device that draws: the processor, or a GPU through ANGLE.
//!
//! A browser silently falls back to the processor where its GPU process cannot start or has died. Frames of one render
//! must come from one device, so Chrome is asked which device it draws with: once for the capture class, at each start
//! of a browser, and after each chunk.

use std::fmt;

use serde::Serialize;

use crate::error::ChromeError;

/// Words in the names of devices that are implemented in software.
const SOFTWARE_DEVICES: [&str; 6] = ["llvmpipe", "lavapipe", "swiftshader", "softpipe", "swrast", "software"];

/// Which part of a page the GPU draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuPart {
    /// What pages draw with WebGL. The processor composes the page, so that frames are read from the compositor's
    /// memory.
    Webgl,
    /// Everything. Frames are in the device's memory and are read as screenshots.
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

/// The interface by which ANGLE uses the driver.
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
    /// The part of a page that it draws.
    pub part: GpuPart,
    /// The interface to its driver.
    pub interface: GlInterface,
    /// Names of the device and its driver, as ANGLE gives them.
    pub device: String,
}

impl Gpu {
    /// Whether the device is implemented in software.
    pub fn is_software(&self) -> bool {
        is_software(&self.device)
    }

    /// The flags that make Chrome draw with this GPU, and never with the processor instead.
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
            // A page whose device was lost is not refused a device the next time; each chunk is followed by a check of
            // the device.
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

/// What the operator asks of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GpuMode {
    /// The processor draws everything.
    #[default]
    Off,
    /// A GPU draws WebGL where there is one.
    Auto,
    /// A GPU draws this part, or the worker does not start.
    Required(GpuPart),
}

/// The operator's settings of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GpuConfig {
    /// Whether a GPU is used.
    pub mode: GpuMode,
    /// The interface to try; `None` tries both.
    pub interface: Option<GlInterface>,
    /// Whether a device that is implemented in software is accepted. For tests.
    pub software: bool,
}

/// The device that a browser draws with, as Chrome reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DrawingDevice {
    /// Names of the device and its driver, as ANGLE gives them; empty without one.
    pub(super) device: String,
    /// Chrome's status of GPU compositing.
    compositing: String,
    /// Chrome's status of WebGL.
    webgl: String,
    /// Number of times that the GPU process has ended unexpectedly.
    crashes: u64,
}

/// The call `SystemInfo.getInfo`. The client library's own type refuses the answers of newer versions of Chrome.
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

impl DrawingDevice {
    /// Reads the answer to [`GetInfo`].
    pub(super) fn from_info(info: &serde_json::Value) -> Self {
        let (attributes, features) = (&info["gpu"]["auxAttributes"], &info["gpu"]["featureStatus"]);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            device: text(&attributes["glRenderer"]),
            compositing: text(&features["gpu_compositing"]),
            webgl: text(&features["webgl"]),
            crashes: attributes["processCrashCount"].as_u64().unwrap_or(0),
        }
    }

    /// Fails where no GPU draws `part`.
    pub(super) fn check_part(&self, part: GpuPart) -> Result<(), ChromeError> {
        let refused = |reason: String| Err(ChromeError::NoGpu(reason));
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

    /// Fails where the device is not `gpu`, which drew when the browser started.
    pub(super) fn check_unchanged(&self, gpu: &Gpu) -> Result<(), ChromeError> {
        if self.crashes > 0 {
            return Err(ChromeError::GpuLost(format!(
                "the driver of {} failed: Chrome's GPU process ended",
                gpu.device
            )));
        }
        self.check_part(gpu.part).map_err(|error| ChromeError::GpuLost(error.to_string()))?;
        // While a GPU is searched for, its name is not known yet.
        if !gpu.device.is_empty() && self.device != gpu.device {
            return Err(ChromeError::GpuLost(format!("Chrome draws with {} and not with {}", self.device, gpu.device)));
        }
        Ok(())
    }
}

fn is_software(device: &str) -> bool {
    let device = device.to_lowercase();
    SOFTWARE_DEVICES.iter().any(|word| device.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(device: &str, compositing: &str, webgl: &str, crashes: u64) -> DrawingDevice {
        DrawingDevice::from_info(&serde_json::json!({ "gpu": {
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
    fn a_device_that_does_not_draw_what_it_should_is_refused() {
        let card = "ANGLE (NVIDIA, Vulkan 1.3.260 (NVIDIA L4 (0x000027B8)), NVIDIA-535.104.5.0)";
        let gpu = |part| Gpu { part, interface: GlInterface::Vulkan, device: card.to_owned() };
        let (webgl, page) = (gpu(GpuPart::Webgl), gpu(GpuPart::Page));
        report(card, "disabled_software", "enabled_readback", 0).check_unchanged(&webgl).unwrap();
        report(card, "enabled", "enabled", 0).check_unchanged(&page).unwrap();
        for (found, gpu) in [
            (report("", "disabled_software", "disabled_off", 0), &webgl),
            (report(card, "disabled_software", "unavailable_software", 0), &webgl),
            (report(card, "disabled_software", "enabled_readback", 0), &page),
            (report(card, "enabled", "enabled", 1), &page),
            (report("ANGLE (another)", "enabled", "enabled", 0), &page),
        ] {
            assert!(found.check_unchanged(gpu).is_err(), "{found:?}");
        }
    }
}
