//! The mastering display and the light levels of an output: supplemental enhancement information before its key frames, and
//! boxes of its container.

use hyperfarm_proto::hdr::LightLevels;

/// Chromaticities of the mastering display in 50,000ths, green, blue, red and white: a P3 display with a white of D65.
const GREEN: [u16; 2] = [13_250, 34_500];
const BLUE: [u16; 2] = [7_500, 3_000];
const RED: [u16; 2] = [34_000, 16_000];
const WHITE: [u16; 2] = [15_635, 16_450];
/// Its luminance in 10,000ths of a cd/m²: the least, and the most unless the output has more.
const LEAST: u32 = 1;
const MOST: u32 = 1000 * 10_000;

/// Types of H.265's messages (ITU-T H.265, annex D).
const MASTERING_DISPLAY: u8 = 137;
const CONTENT_LIGHT: u8 = 144;
/// Header of a unit of supplemental enhancement information before a picture: type 39, layer 0, the lowest sublayer.
const UNIT: [u8; 2] = [39 << 1, 1];

fn most(light: LightLevels) -> u32 {
    MOST.max(u32::from(light.pixel) * 10_000)
}

/// Units with the mastering display and with `light`, each after its length in four bytes, as mp4 stores them.
pub(crate) fn units(light: LightLevels) -> Vec<u8> {
    let points = [GREEN, BLUE, RED, WHITE].concat();
    let display: Vec<u8> = points
        .into_iter()
        .flat_map(u16::to_be_bytes)
        .chain([most(light), LEAST].into_iter().flat_map(u32::to_be_bytes))
        .collect();
    let levels = [light.pixel, light.frame].map(u16::to_be_bytes).concat();
    [unit(MASTERING_DISPLAY, &display), unit(CONTENT_LIGHT, &levels)].concat()
}

fn unit(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = UNIT.to_vec();
    let mut zeros = 0;
    // After the payload, a bit that ends it.
    for byte in [kind, payload.len() as u8].iter().chain(payload).chain(&[0x80]) {
        if zeros == 2 && *byte <= 3 {
            // Three bytes that look like a start of a unit are told apart by a byte between them.
            bytes.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        bytes.push(*byte);
    }
    [&(bytes.len() as u32).to_be_bytes(), bytes.as_slice()].concat()
}

/// The mastering display as FFmpeg's structure: ten rationals (red, green, blue, white, least and most light), and whether it has
/// primaries and luminance.
pub(crate) fn display_structure(light: LightLevels) -> Vec<u8> {
    let points = [RED, GREEN, BLUE, WHITE].concat();
    let points = points.into_iter().flat_map(|point| [i32::from(point), 50_000]);
    let lights = [LEAST, most(light)].into_iter().flat_map(|light| [light as i32, 10_000]);
    points.chain(lights).chain([1, 1]).flat_map(i32::to_ne_bytes).collect()
}

/// The light levels as FFmpeg's structure.
pub(crate) fn light_structure(light: LightLevels) -> Vec<u8> {
    [light.pixel, light.frame].into_iter().flat_map(|level| u32::from(level).to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_their_length_and_no_start_codes() {
        for light in
            [LightLevels::default(), LightLevels { pixel: 203, frame: 0 }, LightLevels { pixel: 4000, frame: 1 }]
        {
            let mut bytes = units(light).into_iter().collect::<std::collections::VecDeque<u8>>();
            for kind in [MASTERING_DISPLAY, CONTENT_LIGHT] {
                let length = u32::from_be_bytes(std::array::from_fn(|_| bytes.pop_front().unwrap())) as usize;
                let unit: Vec<u8> = bytes.drain(..length).collect();
                assert_eq!(unit[..3], [UNIT[0], UNIT[1], kind]);
                assert_eq!(unit.last(), Some(&0x80));
                assert!(unit.windows(3).all(|bytes| bytes[..2] != [0, 0] || bytes[2] > 2), "{unit:?}");
            }
            assert!(bytes.is_empty());
        }
    }
}
