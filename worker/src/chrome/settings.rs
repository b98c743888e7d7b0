//! What an operator sets for Chrome.

use std::path::PathBuf;

use hyperfarm_backplane::config::Env;

use super::gpu::{GlInterface, GpuConfig, GpuMode, GpuPart};

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
            gpu: GpuConfig {
                mode: env.choice("HYPERFARM_GPU", &modes).unwrap_or_default(),
                interface: env.choice("HYPERFARM_GPU_INTERFACE", &interfaces).unwrap_or_default(),
                software: env.choice("HYPERFARM_GPU_SOFTWARE", &[("off", false), ("allow", true)]).unwrap_or(false),
            },
        }
    }
}
