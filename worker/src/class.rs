//! The worker's capture class: everything that its pixels and packets depend on.

use std::path::Path;

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::plan::{CaptureClass, CaptureKind};

use crate::assets::RUNTIME_VERSION;
use crate::chrome::{ChromeConfig, Gpu};

/// Where distributions and people put fonts.
const FONT_FOLDERS: &[&str] = &["/usr/share/fonts", "/usr/local/share/fonts"];

/// The class of a worker with this Chrome, these encoders of a device (see [`crate::encoders::DeviceEncoders::name`]) and the
/// operator's label.
pub async fn detect(chrome: &ChromeConfig, encoder: String, label: String) -> Result<CaptureClass, Failure> {
    let fonts = tokio::task::spawn_blocking(system_fonts)
        .await
        .map_err(|panic| Failure::new(FailureCode::Internal, format!("the fonts cannot be listed: {panic}")))?;
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

/// The first part in which the plan's class differs from this worker's, as a failure that names it.
pub fn check(plan: &CaptureClass, own: &CaptureClass) -> Result<(), Failure> {
    match plan.mismatch(own) {
        None => Ok(()),
        Some((code, planned, ours)) => Err(Failure::new(
            FailureCode::VersionMismatch,
            format!("{code}: the render is pinned to {planned}, this worker has {ours}"),
        )),
    }
}

/// A hash over names and sizes of the machine's fonts: glyphs that no font of the plan has come from them.
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
        let failure = check(&other, &own).unwrap_err();
        assert_eq!(failure.code, FailureCode::VersionMismatch);
        assert!(failure.message.starts_with("FFMPEG_VERSION_MISMATCH"), "{failure}");
        let drawn =
            CaptureClass { kind: CaptureKind::Gpu, device: "WebGL by a card over vulkan".to_owned(), ..own.clone() };
        let other = CaptureClass { device: "WebGL by another card over vulkan".to_owned(), ..drawn.clone() };
        let encoded = CaptureClass { encoder: "h264_nvenc".to_owned(), ..own.clone() };
        for (plan, own, code) in [
            (&drawn, &own, "CAPTURE_KIND_MISMATCH"),
            (&drawn, &other, "CAPTURE_DEVICE_MISMATCH"),
            (&encoded, &own, "ENCODER_DEVICE_MISMATCH"),
        ] {
            let failure = check(plan, own).unwrap_err();
            assert!(failure.message.starts_with(code), "{failure}");
            assert_ne!(plan.id(), own.id());
        }
    }
}
