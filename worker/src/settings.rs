//! The worker's section of the configuration: what an operator sets for Chrome, the encoders and remote files.

use std::num::NonZeroU64;

use hyperfarm_backplane::config::Env;
use hyperfarm_media::MediaLimits;

use crate::chrome::ChromeSettings;
use crate::compiler::CompileLimits;
use crate::encoders::EncoderMode;
use crate::remote::RemoteSettings;
use crate::runtimes::MissingRuntime;

/// The settings of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Chrome.
    pub chrome: ChromeSettings,
    /// Whether a GPU encodes (`HYPERFARM_ENCODER`).
    pub encoder: EncoderMode,
    /// The operator's part of the capture class (`HYPERFARM_CAPTURE_LABEL`).
    pub label: String,
    /// Limits on the decoding of sources.
    pub media: MediaLimits,
    /// Limits on the process of a compile (`HYPERFARM_COMPILE_MEMORY_MIB`).
    pub compile: CompileLimits,
    /// Remote files.
    pub remote: RemoteSettings,
    /// What becomes of a project that names a version of the runtime that is not there (`HYPERFARM_RUNTIME_MISSING`).
    pub missing_runtime: MissingRuntime,
}

impl WorkerSettings {
    /// Reads the section.
    pub fn read(env: &Env<'_>) -> Self {
        let modes =
            [("software", EncoderMode::Software), ("auto", EncoderMode::Auto), ("hardware", EncoderMode::Hardware)];
        Self {
            chrome: ChromeSettings::read(env),
            encoder: env.choice("HYPERFARM_ENCODER", &modes).unwrap_or_default(),
            label: env.text("HYPERFARM_CAPTURE_LABEL").unwrap_or_default(),
            media: media_limits(env),
            compile: compile_limits(env),
            remote: RemoteSettings::read(env),
            missing_runtime: env.choice("HYPERFARM_RUNTIME_MISSING", &MISSING_RUNTIME).unwrap_or_default(),
        }
    }
}

/// The values of `HYPERFARM_RUNTIME_MISSING`.
const MISSING_RUNTIME: [(&str, MissingRuntime); 2] =
    [("default", MissingRuntime::Default), ("error", MissingRuntime::Error)];

/// Limits on the decoding of sources.
fn media_limits(env: &Env<'_>) -> MediaLimits {
    let default = MediaLimits::default();
    let pixels = env.parsed::<NonZeroU64>("HYPERFARM_MEDIA_PIXELS").map(NonZeroU64::get);
    MediaLimits {
        // FFmpeg's own limit.
        pixels: pixels.map_or(default.pixels, |pixels| pixels.min(i32::MAX as u64)),
        memory: mebibytes(env, "HYPERFARM_MEDIA_MEMORY_MIB").unwrap_or(default.memory),
        answer: env.duration("HYPERFARM_MEDIA_TIMEOUT").filter(|time| !time.is_zero()).unwrap_or(default.answer),
    }
}

/// Limits on the process of a compile.
fn compile_limits(env: &Env<'_>) -> CompileLimits {
    let memory = mebibytes(env, "HYPERFARM_COMPILE_MEMORY_MIB").unwrap_or(CompileLimits::default().memory);
    CompileLimits { memory }
}

/// The bytes of a setting in MiB.
fn mebibytes(env: &Env<'_>, name: &'static str) -> Option<u64> {
    env.parsed::<NonZeroU64>(name).map(|mebibytes| mebibytes.get().saturating_mul(1 << 20))
}

#[cfg(test)]
mod tests {
    use hyperfarm_backplane::config::{self, ConfigErrors};

    use super::*;
    use crate::chrome::{GlInterface, GpuConfig, GpuMode, GpuPart};

    fn of(name: &'static str, value: &'static str) -> Result<WorkerSettings, ConfigErrors> {
        config::read(&move |asked| (asked == name).then(|| value.to_owned()), WorkerSettings::read)
    }

    #[test]
    fn settings_are_read_and_unknown_ones_refused() {
        let gpu = |name, value| of(name, value).unwrap().chrome.gpu;
        assert_eq!(gpu("-", ""), GpuConfig::default());
        assert_eq!(gpu("HYPERFARM_GPU", "auto").mode, GpuMode::Auto);
        assert_eq!(gpu("HYPERFARM_GPU", "page").mode, GpuMode::Required(GpuPart::Page));
        assert_eq!(gpu("HYPERFARM_GPU_INTERFACE", "egl").interface, Some(GlInterface::Egl));
        for name in [
            "HYPERFARM_GPU",
            "HYPERFARM_GPU_INTERFACE",
            "HYPERFARM_GPU_SOFTWARE",
            "HYPERFARM_ENCODER",
            "HYPERFARM_CAPTURE",
            "HYPERFARM_RUNTIME_MISSING",
            "HYPERFARM_CHROME_SANDBOX",
        ] {
            let errors = of(name, "yes").unwrap_err();
            assert!(errors.to_string().starts_with(name), "{errors}");
        }
        assert_eq!(of("HYPERFARM_MEDIA_PIXELS", "1000").unwrap().media.pixels, 1000);
        assert_eq!(of("HYPERFARM_MEDIA_MEMORY_MIB", "64").unwrap().media.memory, 64 << 20);
        assert_eq!(of("HYPERFARM_COMPILE_MEMORY_MIB", "64").unwrap().compile.memory, 64 << 20);
        assert_eq!(of("HYPERFARM_MEDIA_TIMEOUT", "5s").unwrap().media.answer, std::time::Duration::from_secs(5));
        assert!(of("HYPERFARM_MEDIA_PIXELS", "0").is_err());
        let errors = of("HYPERFARM_ENCODER", "gpu").unwrap_err();
        assert!(errors.to_string().contains("hardware"), "{errors}");
    }
}
