//! Tone mapping of PQ and HLG frames to standard dynamic range.
//!
//! The same steps as FFmpeg's `zscale=t=linear:npl=100,tonemap=hable:desat=0,zscale=p=bt709:t=bt709`, which HyperFrames
//! uses for SDR renders: light in units of 100 cd/m², Hable's curve on the brightest component, BT.2020 to BT.709, a
//! gamma of 2.4. Here in single precision without processor-specific paths, so that the numbers are the same on every
//! machine.

use std::sync::LazyLock;

use ffmpeg_next::frame;
use ffmpeg_next::util::frame::side_data::Type as SideData;
use hyperfarm_proto::spec::Size;

use crate::bitmap::Picture;
use crate::hdr::curves::{HLG_GAMMA, hlg_scene, lights, pq_light, to_bt709};
use crate::{ffi, tags};

/// Luminance of 1.0, in cd/m².
const REFERENCE_WHITE: f64 = 100.0;

/// Peak luminance of a file that does not say, in units of the reference white.
const DEFAULT_PEAK: f32 = 10.0;

static PQ: LazyLock<Vec<f32>> = LazyLock::new(|| lights(pq));
static HLG: LazyLock<Vec<f32>> = LazyLock::new(|| lights(hlg));
static GAMMA: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // By the square root of the light, so that dark steps are as fine as bright ones.
    (0..=u16::MAX).map(|at| ((f64::from(at) / 65535.0).powf(2.0 / 2.4) * 255.0).round() as u8).collect()
});

/// Light of a PQ level, in units of the reference white.
fn pq(level: f64) -> f64 {
    pq_light(level) * 10_000.0 / REFERENCE_WHITE
}

/// Light of an HLG level on a display of 1000 cd/m², in units of the reference white. The display's gamma is applied to each
/// component, as FFmpeg's filter does.
fn hlg(level: f64) -> f64 {
    hlg_scene(level).powf(HLG_GAMMA) * 1000.0 / REFERENCE_WHITE
}

fn hable(light: f32) -> f32 {
    (light * (light * 0.15 + 0.05) + 0.004) / (light * (light * 0.15 + 0.5) + 0.06) - 0.02 / 0.3
}

/// `rgb` (16-bit, full range, BT.2020 unless `frame` says BT.709) as a picture of `size` for a standard display.
pub(super) fn tone_map(rgb: &[u16], size: Size, frame: &frame::Video) -> Picture {
    let tags = ffi::frame_tags(frame);
    let light = if tags.transfer == tags::TRANSFER_PQ { &PQ } else { &HLG };
    let wide = tags.primaries != tags::PRIMARIES_BT709;
    let brightest = hable(peak(frame));
    let mut bgra = Vec::with_capacity(size.width as usize * size.height as usize * 4);
    for pixel in rgb.as_chunks::<3>().0 {
        let [red, green, blue] = pixel.map(|level| light[usize::from(level)]);
        let signal = red.max(green).max(blue).max(1e-6);
        let scale = hable(signal) / brightest / signal;
        let mapped = [red * scale, green * scale, blue * scale];
        let [red, green, blue] = if wide { to_bt709(mapped) } else { mapped };
        bgra.extend([level(blue), level(green), level(red), 255]);
    }
    Picture { size, bgra }
}

fn level(light: f32) -> u8 {
    GAMMA[(light.clamp(0.0, 1.0).sqrt() * 65535.0).round() as usize]
}

/// Peak luminance by the file's metadata, in units of the reference white.
fn peak(frame: &frame::Video) -> f32 {
    let number = |data: &[u8], at: usize| {
        data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
    };
    // MaxCLL is the first number of a content light level.
    let content = frame.side_data(SideData::ContentLightLevel).map(|data| f64::from(number(data.data(), 0)));
    // A mastering display: eight rationals of primaries and white, the least and the most light, and two flags.
    let mastering = || {
        let data = frame.side_data(SideData::MasteringDisplayMetadata)?;
        let bytes = data.data();
        let has_luminance = number(bytes, 84) != 0;
        let (num, den) = (f64::from(number(bytes, 72)), f64::from(number(bytes, 76)));
        (has_luminance && den > 0.0).then_some(num / den)
    };
    let found = content.filter(|light| *light > 0.0).or_else(mastering).filter(|light| *light > 0.0);
    found.map_or(DEFAULT_PEAK, |light| (light / REFERENCE_WHITE) as f32)
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::color::TransferCharacteristic;
    use ffmpeg_next::format::Pixel;

    use super::*;

    #[test]
    fn curves_meet_their_standards() {
        // ST 2084: level 0.508078 is 100 cd/m², 1 is 10,000. BT.2100: HLG's full level is the display's peak.
        assert!((pq(0.508_078_4) - 1.0).abs() < 1e-4, "{}", pq(0.508_078_4));
        assert!((pq(1.0) - 100.0).abs() < 1e-6);
        assert!((hlg(1.0) - 10.0).abs() < 1e-3);
        assert!((hlg(0.5) - 10.0 * (1.0_f64 / 12.0).powf(1.2)).abs() < 1e-9);
        assert_eq!((pq(0.0), hlg(0.0)), (0.0, 0.0));
    }

    #[test]
    fn levels_are_those_of_the_filters() {
        let (pq, hlg) = (TransferCharacteristic::SMPTE2084, TransferCharacteristic::ARIB_STD_B67);
        for (transfer, rgb, want) in [
            (pq, [21_845_u16; 3], [78_u8; 3]),
            (pq, [43_690; 3], [229; 3]),
            (pq, [50_000, 45_000, 20_000], [255, 182, 0]),
            (pq, [20_000, 20_000, 50_000], [0, 17, 255]),
            (hlg, [21_845; 3], [86; 3]),
            (hlg, [39_321; 3], [149; 3]),
            (hlg, [40_000, 20_000, 10_000], [182, 50, 9]),
            (hlg, [50_000, 45_000, 20_000], [218, 158, 0]),
        ] {
            let mut frame = frame::Video::new(Pixel::YUV420P10LE, 2, 2);
            frame.set_color_transfer_characteristic(transfer);
            let picture = tone_map(&rgb, Size { width: 1, height: 1 }, &frame);
            assert_eq!(picture.bgra, [want[2], want[1], want[0], 255], "{transfer:?} {rgb:?}");
        }
    }

    #[test]
    fn grey_stays_grey_and_grows_and_the_peak_is_white() {
        let mut frame = frame::Video::new(Pixel::YUV420P10LE, 2, 2);
        frame.set_color_transfer_characteristic(TransferCharacteristic::SMPTE2084);
        let mut last = 0;
        for level in (0..=65_535_u16).step_by(257) {
            let picture = tone_map(&[level; 3], Size { width: 1, height: 1 }, &frame);
            let [blue, green, red, alpha] = picture.bgra[..] else { panic!("one pixel") };
            assert!(blue.abs_diff(green) <= 1 && red.abs_diff(green) <= 1 && alpha == 255, "{level}");
            assert!(green >= last, "{level}");
            last = green;
        }
        assert_eq!(last, 255);
    }
}
