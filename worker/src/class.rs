//! The capture class of a worker: everything that its pixels and packets depend on.

use std::path::Path;

use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::plan::{CaptureClass, CaptureKind};

use crate::assets::RUNTIME_VERSION;
use crate::blocking::blocking;
use crate::chrome::{ChromeConfig, Gpu};
use crate::error::WorkerError;

/// Folders of the machine's fonts.
const FONT_FOLDERS: &[&str] = &["/usr/share/fonts", "/usr/local/share/fonts"];

/// The class of a worker with this Chrome, these encoders of a GPU (see [`crate::encoders::DeviceEncoders::name`]) and
/// the operator's label.
///
/// # Errors
///
/// Those of [`ChromeConfig::version`].
pub async fn detect(chrome: &ChromeConfig, encoder: String, label: String) -> Result<CaptureClass, WorkerError> {
    let fonts = blocking("the search for fonts", system_fonts).await?;
    Ok(CaptureClass {
        chrome: chrome.version().await?,
        ffmpeg: hyperfarm_media::versions(),
        runtime: RUNTIME_VERSION.to_owned(),
        farm: hyperfarm_proto::FARM_VERSION.to_owned(),
        kind: if chrome.gpu.is_some() { CaptureKind::Gpu } else { CaptureKind::Cpu },
        device: chrome.gpu.as_ref().map(Gpu::to_string).unwrap_or_default(),
        encoder,
        fonts,
        label,
    })
}

/// Checks that the plan's class is this worker's.
///
/// # Errors
///
/// [`WorkerError::ClassMismatch`] with the first part in which they differ.
pub fn check(plan: &CaptureClass, own: &CaptureClass) -> Result<(), WorkerError> {
    match plan.mismatch(own) {
        None => Ok(()),
        Some((code, planned, own)) => Err(WorkerError::ClassMismatch { code, planned, own }),
    }
}

/// The hash of names and sizes of the machine's fonts, from which glyphs come that no font of the plan has.
fn system_fonts() -> ContentHash {
    let mut fonts = Vec::new();
    for folder in FONT_FOLDERS {
        collect(Path::new(folder), &mut fonts, 0);
    }
    fonts.sort();
    ContentHash::of(fonts.join("\n").as_bytes())
}

fn collect(folder: &Path, fonts: &mut Vec<String>, depth: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if meta.is_dir() && depth < 8 {
            collect(&path, fonts, depth + 1);
        } else if meta.is_file() {
            fonts.push(format!("{} {}", entry.file_name().to_string_lossy(), meta.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::failure::FailureCode;

    use super::*;

    #[test]
    fn a_mismatch_is_named() {
        let own = CaptureClass {
            chrome: "156.0".to_owned(),
            ffmpeg: "59".to_owned(),
            runtime: "0.8".to_owned(),
            farm: "0.1".to_owned(),
            kind: CaptureKind::Cpu,
            device: String::new(),
            encoder: String::new(),
            fonts: ContentHash::of(b""),
            label: String::new(),
        };
        assert!(check(&own, &own).is_ok());
        let other = CaptureClass { ffmpeg: "60".to_owned(), ..own.clone() };
        let error = check(&other, &own).unwrap_err();
        assert_eq!(error.code(), FailureCode::VersionMismatch);
        assert!(error.to_string().starts_with("FFMPEG_VERSION_MISMATCH"), "{error}");
        let drawn =
            CaptureClass { kind: CaptureKind::Gpu, device: "WebGL by a card over vulkan".to_owned(), ..own.clone() };
        let other = CaptureClass { device: "WebGL by another card over vulkan".to_owned(), ..drawn.clone() };
        let encoded = CaptureClass { encoder: "h264_nvenc".to_owned(), ..own.clone() };
        for (plan, own, code) in [
            (&drawn, &own, "CAPTURE_KIND_MISMATCH"),
            (&drawn, &other, "CAPTURE_DEVICE_MISMATCH"),
            (&encoded, &own, "ENCODER_DEVICE_MISMATCH"),
        ] {
            let error = check(plan, own).unwrap_err();
            assert!(error.to_string().starts_with(code), "{error}");
            assert_ne!(plan.id(), own.id());
        }
    }
}
