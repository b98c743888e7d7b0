//! The encoders of a GPU, where the operator asks for them.
//!
//! A render that is planned for one has it in its plan, and its device in the capture class: other workers refuse it by name.

use std::path::{Path, PathBuf};

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{DeviceEncoder, EncoderSettings};
use hyperfarm_proto::spec::{Quality, Size};

/// What the operator wishes.
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

impl EncoderMode {
    /// `HYPERFARM_ENCODER`: `software`, `auto` or `hardware`.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        match env("HYPERFARM_ENCODER").as_deref() {
            None | Some("software") => Ok(Self::Software),
            Some("auto") => Ok(Self::Auto),
            Some("hardware") => Ok(Self::Hardware),
            Some(other) => Err(Failure::new(
                FailureCode::EncodeFailed,
                format!("HYPERFARM_ENCODER is `{other}`; set it to software, auto or hardware"),
            )),
        }
    }
}

/// The encoders of this machine's GPU.
#[derive(Debug, Clone)]
pub struct DeviceEncoders {
    offered: Vec<DeviceEncoder>,
    device: String,
    folder: PathBuf,
}

impl DeviceEncoders {
    /// Tries every one as far as `wish` asks for it, with a file in `folder`.
    ///
    /// Fails where one is demanded and none opens; the sentence says why each does not.
    pub async fn find(wish: EncoderMode, folder: &Path) -> Result<Self, Failure> {
        let mut found = Self { offered: Vec::new(), device: String::new(), folder: folder.to_owned() };
        if wish == EncoderMode::Software {
            return Ok(found);
        }
        let place = folder.to_owned();
        let tried = blocking(move || hyperfarm_media::device_encoders(&place)).await?;
        let mut refused = Vec::new();
        for (encoder, outcome) in tried {
            match outcome {
                Ok(()) => found.offered.push(encoder),
                Err(error) => refused.push(format!("{}: {error}", encoder.name())),
            }
        }
        if found.offered.is_empty() {
            let refused = refused.join("; ");
            if wish == EncoderMode::Hardware {
                return Err(Failure::new(
                    FailureCode::EncodeFailed,
                    format!(
                        "HYPERFARM_ENCODER=hardware, and no encoder of a GPU opens here: {refused}. Cards for data centres such as H200 and \
                         A100 have none; elsewhere install the driver and give the worker its device, or set HYPERFARM_ENCODER to auto or \
                         software"
                    ),
                ));
            }
            tracing::info!(%refused, "no encoder of a GPU opens here, the processor encodes");
            return Ok(found);
        }
        found.device = device();
        tracing::info!(encoders = %found.name(), "a GPU encodes");
        Ok(found)
    }

    /// All of them and what they come with, for the capture class; empty without any.
    pub fn name(&self) -> String {
        if self.offered.is_empty() {
            return String::new();
        }
        let names: Vec<&str> = self.offered.iter().map(|encoder| encoder.name()).collect();
        format!("{} of {}", names.join(" and "), self.device)
    }

    /// `settings` for one of them, where it makes this codec and takes pictures of `size`; as they were elsewhere.
    pub(crate) async fn choose(
        &self,
        settings: EncoderSettings,
        quality: Quality,
        size: Size,
        rate: FrameRate,
    ) -> EncoderSettings {
        let Some(wanted) = settings.by_device(&self.offered, quality) else { return settings };
        let (folder, trying) = (self.folder.clone(), wanted.clone());
        // One folder for each try: two plans may be made at once.
        let tried = blocking(move || {
            let folder = tempfile::Builder::new().prefix("encoder").tempdir_in(folder);
            let folder = folder.map_err(|error| error.to_string())?;
            hyperfarm_media::try_encoder(folder.path(), &trying, size, rate).map_err(|error| error.to_string())
        });
        match tried.await {
            Ok(Ok(())) => wanted,
            Ok(Err(reason)) => {
                tracing::warn!(%size, %reason, "the GPU does not encode this render, the processor does");
                settings
            }
            Err(failure) => {
                tracing::warn!(%failure, "the GPU's encoder broke, the processor encodes");
                settings
            }
        }
    }
}

/// The card and its driver as the kernel names them.
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|panic| Failure::new(FailureCode::Internal, format!("an encoder broke: {panic}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_opens_is_offered_and_what_does_not_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let none = DeviceEncoders::find(EncoderMode::Software, folder.path()).await.unwrap();
        assert_eq!(none.name(), "");
        let may = DeviceEncoders::find(EncoderMode::Auto, folder.path()).await.unwrap();
        match DeviceEncoders::find(EncoderMode::Hardware, folder.path()).await {
            Ok(must) => assert_eq!(may.name(), must.name()),
            Err(failure) => {
                assert_eq!(may.name(), "");
                for encoder in DeviceEncoder::ALL {
                    assert!(failure.message.contains(encoder.name()), "{failure}");
                }
            }
        }
        let settings = EncoderSettings::of(hyperfarm_proto::spec::Format::Mp4, Quality::Draft, FrameRate::DEFAULT);
        let size = Size { width: 640, height: 360 };
        assert_eq!(none.choose(settings.clone(), Quality::Draft, size, FrameRate::DEFAULT).await, settings);
    }

    #[test]
    fn an_unknown_wish_is_refused() {
        let failure = EncoderMode::from_env(&|_| Some("gpu".to_owned())).unwrap_err();
        assert!(failure.message.contains("HYPERFARM_ENCODER") && failure.message.contains("hardware"), "{failure}");
    }
}
