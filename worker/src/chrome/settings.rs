//! What an operator sets for Chrome.

use std::path::PathBuf;

use hyperfarm_backplane::config::Env;

use super::gpu::{GlInterface, GpuConfig, GpuMode, GpuPart};
use super::watchdog::BrowserLimits;

/// The settings of Chrome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChromeSettings {
    /// The executable (`HYPERFARM_CHROME`); searched for on the path if there is none.
    pub executable: Option<PathBuf>,
    /// Folders to search for the executable (`PATH`).
    pub path: String,
    /// Whether Chrome's own sandbox is on (`HYPERFARM_CHROME_SANDBOX`). Off is for kernels without unprivileged user
    /// namespaces.
    pub sandbox: bool,
    /// Whether frames are read from the compositor's memory where they can be (`HYPERFARM_CAPTURE`), else as
    /// screenshots.
    pub framebuffer: bool,
    /// What the processes of a browser may use together (`HYPERFARM_PAGE_MEMORY_MB`, `HYPERFARM_PAGE_PROCESSES`).
    pub limits: BrowserLimits,
    /// Whether a GPU draws (`HYPERFARM_GPU`, `HYPERFARM_GPU_INTERFACE`, `HYPERFARM_GPU_SOFTWARE`).
    pub gpu: GpuConfig,
}

impl ChromeSettings {
    /// Reads the section.
    pub fn read(env: &Env<'_>) -> Self {
        let modes = [
            ("off", GpuMode::Off),
            ("auto", GpuMode::Auto),
            ("webgl", GpuMode::Required(GpuPart::Webgl)),
            ("page", GpuMode::Required(GpuPart::Page)),
        ];
        let interfaces = [("auto", None), ("vulkan", Some(GlInterface::Vulkan)), ("egl", Some(GlInterface::Egl))];
        Self {
            executable: env.text("HYPERFARM_CHROME").map(PathBuf::from),
            path: env.text("PATH").unwrap_or_default(),
            sandbox: env.switch("HYPERFARM_CHROME_SANDBOX", true),
            framebuffer: env.choice("HYPERFARM_CAPTURE", &[("auto", true), ("png", false)]).unwrap_or(true),
            limits: limits(env),
            gpu: GpuConfig {
                mode: env.choice("HYPERFARM_GPU", &modes).unwrap_or_default(),
                interface: env.choice("HYPERFARM_GPU_INTERFACE", &interfaces).unwrap_or_default(),
                software: env.choice("HYPERFARM_GPU_SOFTWARE", &[("off", false), ("allow", true)]).unwrap_or(false),
            },
        }
    }
}

/// Least memory of a browser, in MiB: one with an empty page has about 150.
const MIN_MEMORY_MB: u64 = 512;
/// Least number of processes of a browser: one with a usual page has 8.
const MIN_PROCESSES: u64 = 12;

fn limits(env: &Env<'_>) -> BrowserLimits {
    let number = |name, least: u64, most: u64| {
        env.parsed_by(name, |text| match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(format!("`{text}` is no whole number from {least} to {most}")),
        })
    };
    let default = BrowserLimits::default();
    BrowserLimits {
        memory: number("HYPERFARM_PAGE_MEMORY_MB", MIN_MEMORY_MB, 1 << 20).map_or(default.memory, |mb| mb << 20),
        processes: number("HYPERFARM_PAGE_PROCESSES", MIN_PROCESSES, 1 << 16).unwrap_or(default.processes),
    }
}
