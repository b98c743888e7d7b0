//! Light and signals.

use std::sync::LazyLock;

use hyperfarm_proto::hdr::{HdrTransfer, SDR_WHITE};

/// Luminance of PQ's highest level, in units of SDR white.
const PQ_PEAK: f32 = (10_000.0 / SDR_WHITE) as f32;
/// Luminance of HLG's highest level on its reference display of 1000 cd/m².
const HLG_PEAK: f32 = (1000.0 / SDR_WHITE) as f32;
/// The system gamma of that display.
pub(crate) const HLG_GAMMA: f64 = 1.2;

/// Highest signal of extended sRGB in the tables: more than that of PQ's highest level.
const MAX_SRGB: f32 = 6.0;

/// Weights of red, green and blue in the luminance of BT.2020.
pub(super) const LUMA: [f32; 3] = [0.2627, 0.678, 0.0593];

/// Linear BT.709 to linear BT.2020, by rows (ITU-R BT.2087).
const TO_BT2020: [[f32; 3]; 3] = [
    [0.627_403_9, 0.329_283, 0.043_313_1],
    [0.069_097_3, 0.919_540_4, 0.011_362_3],
    [0.016_391_4, 0.088_013_3, 0.895_595_3],
];

/// The inverse.
const TO_BT709: [[f32; 3]; 3] = [
    [1.660_491, -0.587_641_1, -0.072_849_9],
    [-0.124_550_5, 1.132_899_9, -0.008_349_4],
    [-0.018_150_8, -0.100_578_9, 1.118_729_7],
];

#[inline(always)]
fn multiplied(rows: &[[f32; 3]; 3], [x, y, z]: [f32; 3]) -> [f32; 3] {
    rows.map(|row| row[0] * x + row[1] * y + row[2] * z)
}

/// Light of BT.709 primaries in those of BT.2020.
#[inline(always)]
pub(super) fn to_bt2020(light: [f32; 3]) -> [f32; 3] {
    multiplied(&TO_BT2020, light)
}

/// Light of BT.2020 primaries in those of BT.709; colours outside of these have negative parts.
#[inline(always)]
pub(crate) fn to_bt709(light: [f32; 3]) -> [f32; 3] {
    multiplied(&TO_BT709, light)
}

/// A table over 0 to 1 by the fourth root of its argument, so that dark steps are as fine as bright ones.
struct RootTable<T>(Vec<T>);

impl<T: Copy> RootTable<T> {
    fn new(value: impl Fn(f64) -> T) -> Self {
        let at = |index: u16| value((f64::from(index) / 65_535.0).powi(4));
        Self((0..=u16::MAX).map(at).collect())
    }

    #[inline(always)]
    fn at(&self, argument: f32) -> T {
        self.0[(argument.clamp(0.0, 1.0).sqrt().sqrt() * 65_535.0 + 0.5) as usize & 0xffff]
    }
}

/// Light of each 16-bit signal.
pub(crate) fn lights(light: impl Fn(f64) -> f64) -> Vec<f32> {
    (0..=u16::MAX).map(|signal| light(f64::from(signal) / 65_535.0) as f32).collect()
}

fn sixteen(signal: f64) -> u16 {
    (signal.clamp(0.0, 1.0) * 65_535.0).round() as u16
}

/// Linear light of a signal of sRGB, both from 0 to 1 (IEC 61966-2-1).
pub fn srgb_light(signal: f64) -> f64 {
    if signal <= 0.040_45 { signal / 12.92 } else { ((signal + 0.055) / 1.055).powf(2.4) }
}

/// Signal of sRGB of a linear light, both from 0 to 1.
pub fn srgb_signal(light: f64) -> f64 {
    if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

/// ST 2084: light as a part of 10,000 cd/m².
pub(crate) fn pq_light(signal: f64) -> f64 {
    let power = signal.powf(32.0 / 2523.0);
    ((power - 3424.0 / 4096.0).max(0.0) / (2413.0 / 128.0 - 2392.0 / 128.0 * power)).powf(16384.0 / 2610.0)
}

fn pq_signal(light: f64) -> f64 {
    let power = light.powf(2610.0 / 16384.0);
    ((3424.0 / 4096.0 + 2413.0 / 128.0 * power) / (1.0 + 2392.0 / 128.0 * power)).powf(2523.0 / 32.0)
}

const HLG: [f64; 3] = [0.178_832_77, 0.284_668_92, 0.559_910_73];

/// BT.2100: light of the scene.
pub(crate) fn hlg_scene(signal: f64) -> f64 {
    let [a, b, c] = HLG;
    if signal <= 0.5 { signal * signal / 3.0 } else { (((signal - c) / a).exp() + b) / 12.0 }
}

fn hlg_signal(scene: f64) -> f64 {
    let [a, b, c] = HLG;
    if scene <= 1.0 / 12.0 { (3.0 * scene).sqrt() } else { a * (12.0 * scene - b).ln() + c }
}

/// Every table, made once.
pub(super) struct Curves {
    srgb8_light: [f32; 256],
    srgb_light: Vec<f32>,
    srgb_of_light: RootTable<f32>,
    light_of_srgb: Vec<f32>,
    pq_light: Vec<f32>,
    pq_signal: RootTable<u16>,
    hlg_scene: Vec<f32>,
    hlg_signal: RootTable<u16>,
    /// What the display's gamma multiplies the light of a scene of this luminance with.
    hlg_gain: RootTable<f32>,
    /// The inverse, by the luminance of the display.
    hlg_inverse: RootTable<f32>,
}

static CURVES: LazyLock<Curves> = LazyLock::new(|| Curves {
    srgb8_light: std::array::from_fn(|value| srgb_light(value as f64 / 255.0) as f32),
    srgb_light: lights(srgb_light),
    srgb_of_light: RootTable::new(|part| srgb_signal(part * f64::from(PQ_PEAK)) as f32),
    light_of_srgb: lights(|part| srgb_light(part * f64::from(MAX_SRGB))),
    pq_light: lights(|signal| pq_light(signal) * f64::from(PQ_PEAK)),
    pq_signal: RootTable::new(|light| sixteen(pq_signal(light))),
    hlg_scene: lights(hlg_scene),
    hlg_signal: RootTable::new(|scene| sixteen(hlg_signal(scene))),
    hlg_gain: RootTable::new(|luminance| luminance.powf(HLG_GAMMA - 1.0) as f32),
    hlg_inverse: RootTable::new(
        |luminance| {
            if luminance > 0.0 { luminance.powf(1.0 / HLG_GAMMA - 1.0) as f32 } else { 0.0 }
        },
    ),
});

#[inline(always)]
fn luminance([red, green, blue]: [f32; 3]) -> f32 {
    LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
}

/// The brightest light that `transfer` has.
#[inline(always)]
pub(super) fn peak(transfer: HdrTransfer) -> f32 {
    match transfer {
        HdrTransfer::Pq => PQ_PEAK,
        HdrTransfer::Hlg => HLG_PEAK,
    }
}

impl Curves {
    pub(super) fn get() -> &'static Self {
        &CURVES
    }

    /// Light of an 8-bit value of sRGB.
    #[inline(always)]
    pub(super) fn light_of_srgb8(&self, value: u8) -> f32 {
        self.srgb8_light[usize::from(value)]
    }

    /// The signal of extended sRGB of any light, negative for negative light.
    #[inline(always)]
    pub(super) fn srgb_of_light(&self, light: f32) -> f32 {
        self.srgb_of_light.at(light.abs() / PQ_PEAK).copysign(light)
    }

    /// The inverse.
    #[inline(always)]
    pub(super) fn light_of_srgb(&self, signal: f32) -> f32 {
        let index = (signal.abs().min(MAX_SRGB) / MAX_SRGB * 65_535.0 + 0.5) as usize;
        self.light_of_srgb[index & 0xffff].copysign(signal)
    }

    /// Light of 16-bit signals of `transfer`, in their own primaries; those of sRGB without one.
    #[inline(always)]
    pub(super) fn light(&self, transfer: Option<HdrTransfer>, signals: [u16; 3]) -> [f32; 3] {
        match transfer {
            None => signals.map(|signal| self.srgb_light[usize::from(signal)]),
            Some(HdrTransfer::Pq) => signals.map(|signal| self.pq_light[usize::from(signal)]),
            Some(HdrTransfer::Hlg) => {
                let scene = signals.map(|signal| self.hlg_scene[usize::from(signal)]);
                let gain = self.hlg_gain.at(luminance(scene)) * HLG_PEAK;
                scene.map(|part| part * gain)
            }
        }
    }

    /// The 16-bit signals of `transfer` of light in BT.2020 primaries. Light outside of what it has is cut.
    #[inline(always)]
    pub(super) fn signals(&self, transfer: HdrTransfer, light: [f32; 3]) -> [u16; 3] {
        match transfer {
            HdrTransfer::Pq => light.map(|part| self.pq_signal.at(part / PQ_PEAK)),
            HdrTransfer::Hlg => {
                let display = light.map(|part| (part / HLG_PEAK).clamp(0.0, 1.0));
                let gain = self.hlg_inverse.at(luminance(display));
                display.map(|part| self.hlg_signal.at(part * gain))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::id::ContentHash;

    use super::*;

    fn curves() -> &'static Curves {
        Curves::get()
    }

    /// The tables are made with the C library's powers and logarithms. If a library rounds one of them otherwise, segments of
    /// two workers differ.
    #[test]
    fn the_tables_are_these_on_every_machine() {
        let Curves {
            srgb8_light,
            srgb_light,
            srgb_of_light,
            light_of_srgb,
            pq_light,
            pq_signal,
            hlg_scene,
            hlg_signal,
            hlg_gain,
            hlg_inverse,
        } = curves();
        let lights = [&srgb8_light[..], srgb_light, &srgb_of_light.0, light_of_srgb, pq_light, hlg_scene];
        let lights = lights.into_iter().chain([&hlg_gain.0[..], &hlg_inverse.0]).flatten();
        let signals = pq_signal.0.iter().chain(&hlg_signal.0);
        let bytes: Vec<u8> = lights
            .flat_map(|light| light.to_le_bytes())
            .chain(signals.flat_map(|signal| signal.to_le_bytes()))
            .collect();
        let pinned = "6d3800f4513c056ac533d20434433c43fc464fbe460711d602c1a6e425e73f75";
        assert_eq!(ContentHash::of(&bytes).to_string(), pinned);
    }

    const BOTH: [HdrTransfer; 2] = [HdrTransfer::Pq, HdrTransfer::Hlg];

    fn is_close(found: f32, expected: f32, part: f32) -> bool {
        (found - expected).abs() <= expected.abs() * part
    }

    #[test]
    fn sdr_white_has_the_levels_of_the_standard() {
        // BT.2408: 203 cd/m² is 58 % of PQ and 75 % of HLG.
        let white = |transfer| f64::from(curves().signals(transfer, [1.0; 3])[1]) / 65_535.0;
        assert!((white(HdrTransfer::Pq) - 0.580_69).abs() < 1e-4, "{}", white(HdrTransfer::Pq));
        assert!((white(HdrTransfer::Hlg) - 0.749_88).abs() < 1e-4, "{}", white(HdrTransfer::Hlg));
        assert!((pq_light(0.508_078_4) * 10_000.0 - 100.0).abs() < 0.01);
        assert!((pq_light(pq_signal(0.3)) - 0.3).abs() < 1e-12 && (hlg_scene(hlg_signal(0.3)) - 0.3).abs() < 1e-12);
    }

    #[test]
    fn light_survives_its_signals() {
        for transfer in BOTH {
            for step in 1..=400_u16 {
                // Bright colours have less light than white in HLG.
                let bright = peak(transfer) * 0.7 * (f32::from(step) / 400.0).powi(3);
                for colour in [[bright; 3], [bright, bright / 2.0, bright / 3.0], [bright / 5.0, bright, bright / 2.0]]
                {
                    let again = curves().light(Some(transfer), curves().signals(transfer, colour));
                    for (found, expected) in again.into_iter().zip(colour) {
                        let part = if expected > 0.001 { 0.002 } else { 0.05 };
                        assert!(is_close(found, expected, part), "{transfer:?} {colour:?}: {again:?}");
                    }
                }
            }
            assert!(curves().signals(transfer, [1e9; 3]).iter().all(|signal| *signal > 65_530));
            assert_eq!(curves().signals(transfer, [-1.0, 0.0, -0.0]), [0; 3]);
        }
    }

    #[test]
    fn extended_srgb_is_srgb_up_to_white_and_goes_on() {
        for value in 0..=u8::MAX {
            let (light, signal) = (curves().light_of_srgb8(value), f32::from(value) / 255.0);
            assert!((curves().srgb_of_light(light) - signal).abs() < 2e-4, "{value}");
            assert!((curves().light_of_srgb(signal) - light).abs() < 2e-4, "{value}");
        }
        for light in [0.5, 2.0, 4.926, 20.0, 49.0] {
            assert!(is_close(curves().light_of_srgb(curves().srgb_of_light(light)), light, 1e-3), "{light}");
            assert!(is_close(curves().light_of_srgb(curves().srgb_of_light(-light)), -light, 1e-3), "{light}");
        }
    }

    #[test]
    fn primaries_convert_both_ways_and_grey_stays_grey() {
        for colour in [[1.0; 3], [1.0, 0.0, 0.0], [0.1, 0.7, 0.3]] {
            let again = to_bt709(to_bt2020(colour));
            assert!(again.iter().zip(colour).all(|(found, expected)| (found - expected).abs() < 1e-5), "{again:?}");
        }
        assert!(to_bt2020([1.0; 3]).iter().all(|part| (part - 1.0).abs() < 1e-6));
    }
}
