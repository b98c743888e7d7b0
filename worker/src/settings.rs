//! The worker's section of the configuration: what an operator sets for Chrome, the encoders and remote files.

use hyperfarm_backplane::config::Env;

use crate::chrome::ChromeSettings;
use crate::encoders::EncoderMode;
use crate::remote::RemoteSettings;

/// The settings of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Chrome.
    pub chrome: ChromeSettings,
    /// Whether a GPU encodes (`HYPERFARM_ENCODER`).
    pub encoder: EncoderMode,
    /// The operator's part of the capture class (`HYPERFARM_CAPTURE_LABEL`).
    pub label: String,
    /// Remote files.
    pub remote: RemoteSettings,
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
            remote: RemoteSettings::read(env),
        }
    }
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
            "HYPERFARM_CHROME_SANDBOX",
        ] {
            let errors = of(name, "yes").unwrap_err();
            assert!(errors.to_string().starts_with(name), "{errors}");
        }
        let errors = of("HYPERFARM_ENCODER", "gpu").unwrap_err();
        assert!(errors.to_string().contains("hardware"), "{errors}");
    }
}
