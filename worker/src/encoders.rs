//! The encoders of a GPU, where the operator asks for them.
//!
//! A render that is planned for such an encoder has it in its plan, and its GPU in the capture class, so that other
//! workers refuse it.

use std::path::{Path, PathBuf};

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{DeviceEncoder, EncoderSettings};
use hyperfarm_proto::spec::{Quality, Size};

use crate::blocking::blocking;
use crate::error::WorkerError;

/// What runs on threads here, for the message of a panic.
const ENCODER: &str = "an encoder";

/// Whether a GPU encodes, as the operator sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncoderMode {
    /// The processor encodes everything: equal plans give equal bytes on every machine.
    #[default]
    Software,
    /// A GPU encodes what it can, where there is one.
    Auto,
    /// A GPU encodes what it can, or the worker does not start.
    Hardware,
}

/// The encoders of this machine's GPU.
#[derive(Debug, Clone)]
pub struct DeviceEncoders {
    available: Vec<DeviceEncoder>,
    device: String,
    folder: PathBuf,
}

impl DeviceEncoders {
    /// Tries every encoder of a GPU that FFmpeg knows, with a file in `folder`. In the mode `Software` none is tried.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Encoder`] in the mode `Hardware` where none opens; the text says why each does not.
    pub async fn find(mode: EncoderMode, folder: &Path) -> Result<Self, WorkerError> {
        let mut found = Self { available: Vec::new(), device: String::new(), folder: folder.to_owned() };
        if mode == EncoderMode::Software {
            return Ok(found);
        }
        let test_folder = folder.to_owned();
        let tried = blocking(ENCODER, move || hyperfarm_media::device_encoders(&test_folder)).await?;
        let mut refused = Vec::new();
        for (encoder, outcome) in tried {
            match outcome {
                Ok(()) => found.available.push(encoder),
                Err(error) => refused.push(format!("{}: {error}", encoder.name())),
            }
        }
        if found.available.is_empty() {
            let refused = refused.join("; ");
            if mode == EncoderMode::Hardware {
                return Err(WorkerError::Encoder(format!(
                    "HYPERFARM_ENCODER=hardware, and no encoder of a GPU opens here: {refused}. Cards for data centres such as H200 and \
                     A100 have none; elsewhere install the driver and give the worker its device, or set HYPERFARM_ENCODER to auto or \
                     software"
                )));
            }
            tracing::info!(%refused, "no encoder of a GPU opens here; the processor encodes");
            return Ok(found);
        }
        found.device = device();
        tracing::info!(encoders = %found.name(), "a GPU encodes");
        Ok(found)
    }

    /// Names of the encoders and of their GPU, for the capture class; empty without encoders.
    pub fn name(&self) -> String {
        if self.available.is_empty() {
            return String::new();
        }
        let names: Vec<&str> = self.available.iter().map(|encoder| encoder.name()).collect();
        format!("{} of {}", names.join(" and "), self.device)
    }

    /// `settings` changed to one of these encoders, where it has the codec and takes pictures of `size`; else
    /// `settings`.
    pub(crate) async fn choose(
        &self,
        settings: EncoderSettings,
        quality: Quality,
        size: Size,
        rate: FrameRate,
    ) -> EncoderSettings {
        let Some(by_device) = settings.by_device(&self.available, quality) else { return settings };
        let (folder, trying) = (self.folder.clone(), by_device.clone());
        // A folder for each attempt: two plans may be made at once.
        let tried = blocking(ENCODER, move || {
            let folder = tempfile::Builder::new().prefix("encoder").tempdir_in(folder);
            let folder = folder.map_err(|error| error.to_string())?;
            hyperfarm_media::try_encoder(folder.path(), &trying, size, rate).map_err(|error| error.to_string())
        });
        match tried.await {
            Ok(Ok(())) => by_device,
            Ok(Err(reason)) => {
                tracing::warn!(%size, %reason, "the GPU does not encode this render; the processor encodes it");
                settings
            }
            Err(error) => {
                tracing::warn!(%error, "the test of the GPU's encoder broke; the processor encodes");
                settings
            }
        }
    }
}

/// Names of the GPU and its driver, as the kernel gives them.
fn device() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    if let Some(version) = read("/proc/driver/nvidia/version") {
        let driver = version.split_whitespace().find(|word| word.chars().filter(|letter| *letter == '.').count() >= 1);
        let mut models: Vec<String> = std::fs::read_dir("/proc/driver/nvidia/gpus")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|card| read(&card.path().join("information").to_string_lossy()))
            .filter_map(|text| {
                text.lines().find_map(|line| line.strip_prefix("Model:").map(|model| model.trim().to_owned()))
            })
            .collect();
        models.sort();
        models.dedup();
        return format!("{}, driver {}", models.join(", "), driver.unwrap_or("unknown"));
    }
    let id =
        |name: &str| read(&format!("/sys/class/drm/renderD128/device/{name}")).unwrap_or_default().trim().to_owned();
    format!("PCI {} {}", id("vendor"), id("device"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn encoders_that_open_are_available_and_the_others_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let none = DeviceEncoders::find(EncoderMode::Software, folder.path()).await.unwrap();
        assert_eq!(none.name(), "");
        let may = DeviceEncoders::find(EncoderMode::Auto, folder.path()).await.unwrap();
        match DeviceEncoders::find(EncoderMode::Hardware, folder.path()).await {
            Ok(must) => assert_eq!(may.name(), must.name()),
            Err(error) => {
                assert_eq!(may.name(), "");
                for encoder in DeviceEncoder::ALL {
                    assert!(error.to_string().contains(encoder.name()), "{error}");
                }
            }
        }
        let settings = EncoderSettings::of(hyperfarm_proto::spec::Format::Mp4, Quality::Draft, FrameRate::DEFAULT);
        let size = Size { width: 640, height: 360 };
        assert_eq!(none.choose(settings.clone(), Quality::Draft, size, FrameRate::DEFAULT).await, settings);
    }
}
