//! Pages and pictures of high dynamic range to limited-range BT.2020 planes of 10 bits, written directly into the encoder's
//! frame.
//!
//! The code is compiled twice: for every processor, and for those with AVX2. Both give the same numbers, because no
//! operation is fused.
#![allow(unsafe_code)] // the one call into what was compiled for AVX2

use ffmpeg_next::frame;
use hyperfarm_proto::hdr::{HdrTransfer, LightLevels, SDR_WHITE};
use hyperfarm_proto::spec::Size;

use super::curves::{self, Curves};
use super::picture::{HdrPicture, Placement, Sample};
use crate::bitmap::{Bitmap, Picture, PixelLayout};
use crate::ffi;

/// A video of high dynamic range in a page that was captured with the video black.
#[derive(Debug, Clone, Copy)]
pub struct HdrLayer<'a> {
    /// The same page with this video white.
    pub white: Bitmap<'a>,
    /// What the video shows.
    pub picture: &'a HdrPicture,
    /// Where.
    pub placement: &'a Placement,
}

/// What a 16-bit signal of red, green and blue is in levels of 10 bits (BT.2020, non-constant luminance), times 2 to the
/// power of [`SHIFT`].
const LUMA: [i64; 3] = factors([0.2627, 0.678, 0.0593], 876.0);
const BLUE: [i64; 3] = factors([-0.2627 / 1.8814, -0.678 / 1.8814, 0.5], 896.0);
const RED: [i64; 3] = factors([0.5, -0.678 / 1.4746, -0.0593 / 1.4746], 896.0);
/// Bits of fraction.
const SHIFT: u32 = 24;

const fn factors(parts: [f64; 3], levels: f64) -> [i64; 3] {
    let [red, green, blue] = parts;
    let scale = levels * (1 << SHIFT) as f64 / 65_535.0;
    let sum = ((red + green + blue) * scale) as i64;
    let (red, blue) = ((red * scale) as i64, (blue * scale) as i64);
    // The sum is exact, so that grey has no colour.
    [red, sum - red - blue, blue]
}

/// Parts of a cd/m² in which the light of a frame is summed up.
const LIGHT_PARTS: f32 = 64.0;

/// Converts frames of one size, and measures their light.
pub(crate) struct HdrWriter {
    transfer: HdrTransfer,
    size: Size,
    coded: Size,
    curves: &'static Curves,
    rows: [Vec<[u16; 3]>; 2],
    levels: LightLevels,
}

impl HdrWriter {
    /// A writer of frames of `coded` pixels from bitmaps of `size`, which is as large or smaller by one column or row.
    pub(crate) fn new(transfer: HdrTransfer, size: Size, coded: Size) -> Self {
        let rows = [Vec::new(), Vec::new()];
        Self { transfer, size, coded, curves: Curves::get(), rows, levels: LightLevels::default() }
    }

    /// The brightest light so far.
    pub(crate) fn levels(&self) -> LightLevels {
        self.levels
    }

    /// Writes `page` with `layers` (all checked to be of the writer's size) into the planes of `frame` (allocated as
    /// 10-bit 4:2:0 of the coded size).
    pub(crate) fn write(&mut self, page: &Bitmap<'_>, layers: &[HdrLayer<'_>], frame: &mut frame::Video) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { self.write_avx2(page, layers, frame) };
        }
        self.write_anywhere(page, layers, frame);
    }

    /// The same code compiled for AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn write_avx2(&mut self, page: &Bitmap<'_>, layers: &[HdrLayer<'_>], frame: &mut frame::Video) {
        self.write_anywhere(page, layers, frame);
    }

    // Inlined always, like everything below, so that it is compiled with AVX2 in `write_avx2`.
    #[inline(always)]
    fn write_anywhere(&mut self, page: &Bitmap<'_>, layers: &[HdrLayer<'_>], frame: &mut frame::Video) {
        let (width, height) = (self.coded.width as usize, self.coded.height as usize);
        // As in SDR outputs, the last pair of columns and rows of an odd size is black.
        let (columns, rows) = (self.size.width as usize & !1, self.size.height as usize & !1);
        let [mut luma_plane, mut blue_plane, mut red_plane, _] = ffi::planes_mut(frame);
        let mut light = FrameLight::default();
        let lights = lights_of(self.curves, layers);
        for y in (0..height).step_by(2) {
            for (below, signals) in self.rows.iter_mut().enumerate() {
                signals.clear();
                if y + below < rows {
                    let row = Row::new(page, layers, &lights, y + below);
                    row.write(self.curves, self.transfer, columns, signals, &mut light);
                }
                signals.resize(width, [0; 3]);
                luma(signals, luma_plane.row(y + below, width * 2));
            }
            let [above, below] = &self.rows;
            chroma([above, below], blue_plane.row(y / 2, width), red_plane.row(y / 2, width));
        }
        let pixels = u64::from(self.size.width) * u64::from(self.size.height);
        self.levels = self.levels.max(light.levels(pixels));
    }
}

/// The light of a frame, in [`LIGHT_PARTS`].
#[derive(Default)]
struct FrameLight {
    brightest: u32,
    sum: u64,
}

impl FrameLight {
    #[inline(always)]
    fn add(&mut self, light: f32) {
        let light = (light * SDR_WHITE as f32 * LIGHT_PARTS + 0.5) as u32;
        self.brightest = self.brightest.max(light);
        self.sum += u64::from(light);
    }

    fn levels(&self, pixels: u64) -> LightLevels {
        let parts = LIGHT_PARTS as u64;
        let level = |light: u64| u16::try_from((light + parts / 2) / parts).unwrap_or(u16::MAX);
        LightLevels { pixel: level(self.brightest.into()), frame: level(self.sum / pixels.max(1)) }
    }
}

/// Red, green and blue of the pixels of a row.
#[derive(Clone, Copy)]
struct Pixels<'a> {
    bytes: &'a [u8],
    layout: PixelLayout,
}

impl<'a> Pixels<'a> {
    #[inline(always)]
    fn of(bitmap: &Bitmap<'a>, y: usize) -> Self {
        Self { bytes: bitmap.row(y), layout: bitmap.layout }
    }

    #[inline(always)]
    fn at(self, x: usize) -> [u8; 3] {
        let step = self.layout.bytes();
        match (self.layout, &self.bytes[x * step..][..step]) {
            (PixelLayout::Bgra, [blue, green, red, ..]) | (_, [red, green, blue, ..]) => [*red, *green, *blue],
            _ => [0; 3],
        }
    }
}

/// A row of a page with what is seen of videos in it.
struct Row<'a> {
    y: usize,
    page: Pixels<'a>,
    layers: Vec<Seen<'a>>,
}

/// What is seen of a video in a row.
struct Seen<'a> {
    white: Pixels<'a>,
    picture: &'a HdrPicture,
    placement: &'a Placement,
    /// As in [`Placement::sample`].
    lights: &'a [[f32; 3]],
}

impl Seen<'_> {
    #[inline(always)]
    fn sample(&self, x: usize, y: usize) -> Sample {
        self.placement.sample(self.picture, self.lights, x, y)
    }
}

/// The light of each picture that is not only moved.
#[inline(always)]
fn lights_of(curves: &Curves, layers: &[HdrLayer<'_>]) -> Vec<Vec<[f32; 3]>> {
    let lights =
        |layer: &HdrLayer<'_>| if layer.placement.is_shift() { Vec::new() } else { layer.picture.lights(curves) };
    layers.iter().map(lights).collect()
}

impl<'a> Row<'a> {
    #[inline(always)]
    fn new(page: &Bitmap<'a>, layers: &[HdrLayer<'a>], lights: &'a [Vec<[f32; 3]>], y: usize) -> Self {
        let page = Pixels::of(page, y);
        let seen = layers.iter().zip(lights).map(|(layer, lights)| {
            let HdrLayer { white, picture, placement } = *layer;
            Seen { white: Pixels::of(&white, y), picture, placement, lights }
        });
        Self { y, page, layers: seen.filter(|seen| seen.white.bytes != page.bytes).collect() }
    }

    /// Appends the signals of the first `columns` pixels.
    #[inline(always)]
    fn write(
        &self,
        curves: &Curves,
        transfer: HdrTransfer,
        columns: usize,
        out: &mut Vec<[u16; 3]>,
        frame: &mut FrameLight,
    ) {
        let peak = curves::peak(transfer);
        // Of a page, many pixels are as the one before.
        let mut last = ([0; 3], [0; 3], 0.0);
        for x in 0..columns {
            let under = self.page.at(x);
            let seen = self.layers.iter().map(|seen| (seen, seen.white.at(x))).find(|(_, white)| *white != under);
            let light = match seen {
                None => {
                    if last.0 != under {
                        let light = curves::to_bt2020(under.map(|value| curves.light_of_srgb8(value)));
                        last = (under, curves.signals(transfer, light), brightest(light));
                    }
                    frame.add(last.2);
                    out.push(last.1);
                    continue;
                }
                Some((seen, white)) if under == [0; 3] && white == [u8::MAX; 3] => {
                    let (sample, picture) = (seen.sample(x, self.y), seen.picture);
                    let light = sample.light(curves, picture);
                    if let Sample::Pixel(signals) = sample
                        && picture.transfer == Some(transfer)
                        && picture.wide
                    {
                        // The video's own signals, as they are.
                        frame.add(brightest(light).min(peak));
                        out.push(signals);
                        continue;
                    }
                    light
                }
                Some(_) => self.mixed(curves, under, x),
            };
            frame.add(brightest(light).clamp(0.0, peak));
            out.push(curves.signals(transfer, light));
        }
    }

    /// Light of a pixel of the page, whose colour is `under`, and of the parts of videos in it, in BT.2020 primaries.
    #[inline(always)]
    fn mixed(&self, curves: &Curves, under: [u8; 3], x: usize) -> [f32; 3] {
        let mut signals = under.map(|value| f32::from(value) / 255.0);
        for seen in &self.layers {
            let white = seen.white.at(x);
            if white == under {
                continue;
            }
            let light = seen.sample(x, self.y).light(curves, seen.picture);
            let video = curves::to_bt709(light).map(|part| curves.srgb_of_light(part));
            for (part, signal) in signals.iter_mut().enumerate() {
                *signal += (f32::from(white[part]) - f32::from(under[part])) / 255.0 * video[part];
            }
        }
        curves::to_bt2020(signals.map(|signal| curves.light_of_srgb(signal))).map(|part| part.max(0.0))
    }
}

#[inline(always)]
fn brightest([red, green, blue]: [f32; 3]) -> f32 {
    red.max(green).max(blue)
}

#[inline(always)]
fn level(signals: [i64; 3], [red, green, blue]: [i64; 3], shift: u32, offset: i64) -> [u8; 2] {
    let sum = signals[0] * red + signals[1] * green + signals[2] * blue + (1 << (shift - 1));
    (((sum >> shift) + offset) as u16).to_le_bytes()
}

#[inline(always)]
fn luma(signals: &[[u16; 3]], out: &mut [u8]) {
    for (out, signals) in out.as_chunks_mut::<2>().0.iter_mut().zip(signals) {
        *out = level(signals.map(i64::from), LUMA, SHIFT, 64);
    }
}

/// Both chroma planes of two rows of an even number of pixels.
#[inline(always)]
fn chroma([above, below]: [&[[u16; 3]]; 2], blue_out: &mut [u8], red_out: &mut [u8]) {
    let outs = blue_out.as_chunks_mut::<2>().0.iter_mut().zip(red_out.as_chunks_mut::<2>().0);
    let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
    for ((blue_out, red_out), ([one, two], [three, four])) in outs.zip(pairs) {
        let sum =
            |part: usize| i64::from(one[part]) + i64::from(two[part]) + i64::from(three[part]) + i64::from(four[part]);
        let sums = [sum(0), sum(1), sum(2)];
        *blue_out = level(sums, BLUE, SHIFT + 2, 512);
        *red_out = level(sums, RED, SHIFT + 2, 512);
    }
}

/// `page` with `layers` as a picture of standard dynamic range, in which all that is brighter than SDR white is as
/// bright as that.
///
/// # Panics
/// A bitmap has too few bytes for its size, or the sizes differ.
pub fn sdr_preview(page: &Bitmap<'_>, layers: &[HdrLayer<'_>]) -> Picture {
    let (width, height) = (page.size.width as usize, page.size.height as usize);
    let curves = Curves::get();
    let lights = lights_of(curves, layers);
    let mut bgra = Vec::with_capacity(width * height * 4);
    for y in 0..height {
        let row = Row::new(page, layers, &lights, y);
        for x in 0..width {
            let light = curves::to_bt709(row.mixed(curves, row.page.at(x), x));
            let level = |part: f32| (curves.srgb_of_light(part).clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
            let [red, green, blue] = light.map(level);
            bgra.extend([blue, green, red, u8::MAX]);
        }
    }
    Picture { size: page.size, bgra }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::format::Pixel;

    use super::*;

    const SIZE: Size = Size { width: 4, height: 2 };

    fn solid(colour: [u8; 3]) -> Vec<u8> {
        let [red, green, blue] = colour;
        [blue, green, red, 255].repeat(8)
    }

    fn bitmap(data: &[u8]) -> Bitmap<'_> {
        Bitmap { data, stride: 16, size: SIZE, layout: PixelLayout::Bgra }
    }

    /// Luma, blue and red chroma of the first pixel, and the light of a frame.
    fn written(transfer: HdrTransfer, page: &[u8], layers: &[HdrLayer<'_>]) -> ([u16; 3], LightLevels) {
        let mut frame = frame::Video::new(Pixel::YUV420P10LE, 4, 2);
        let mut writer = HdrWriter::new(transfer, SIZE, SIZE);
        writer.write(&bitmap(page), layers, &mut frame);
        let first = |plane: usize| u16::from_le_bytes([frame.data(plane)[0], frame.data(plane)[1]]);
        ([first(0), first(1), first(2)], writer.levels())
    }

    /// Light in cd/m² of levels of limited range.
    fn light_of(transfer: HdrTransfer, [luma, blue, red]: [u16; 3]) -> [f64; 3] {
        let luma = (f64::from(luma) - 64.0) / 876.0;
        let [blue, red] = [blue, red].map(|level| (f64::from(level) - 512.0) / 896.0);
        let (blue, red) = (luma + 1.8814 * blue, luma + 1.4746 * red);
        let green = (luma - 0.2627 * red - 0.0593 * blue) / 0.678;
        let signals = [red, green, blue].map(|signal| (signal.clamp(0.0, 1.0) * 65_535.0).round() as u16);
        Curves::get().light(Some(transfer), signals).map(|part| f64::from(part) * SDR_WHITE)
    }

    fn is_close(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= expected * 0.02 + 0.05
    }

    fn picture(nits: f64) -> HdrPicture {
        let signals = Curves::get().signals(HdrTransfer::Pq, [(nits / SDR_WHITE) as f32; 3]);
        HdrPicture { size: SIZE, rgb: vec![signals; 8], transfer: Some(HdrTransfer::Pq), wide: true }
    }

    fn placement() -> Placement {
        let corners = [[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]];
        Placement::new(corners, [4.0, 2.0], [0.0, 0.0, 4.0, 2.0], SIZE).unwrap()
    }

    #[test]
    fn a_page_has_the_light_of_its_colours() {
        for transfer in [HdrTransfer::Pq, HdrTransfer::Hlg] {
            let (white, levels) = written(transfer, &solid([255; 3]), &[]);
            assert_eq!(white[1..], [512, 512]);
            assert!(light_of(transfer, white).iter().all(|part| is_close(*part, 203.0)), "{white:?}");
            assert_eq!(levels, LightLevels { pixel: 203, frame: 203 });
            assert_eq!(written(transfer, &solid([0; 3]), &[]), ([64, 512, 512], LightLevels::default()));
            for grey in [32, 64, 128, 188, 220] {
                let (found, _) = written(transfer, &solid([grey; 3]), &[]);
                let expected = f64::from(Curves::get().light_of_srgb8(grey)) * 203.0;
                let found = light_of(transfer, found);
                assert!(found.iter().all(|part| is_close(*part, expected)), "{grey}: {found:?} {expected}");
            }
            for colour in [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 200, 40]] {
                let found = light_of(transfer, written(transfer, &solid(colour), &[]).0);
                let expected = curves::to_bt2020(colour.map(|value| Curves::get().light_of_srgb8(value)))
                    .map(|part| f64::from(part) * 203.0);
                for (found, expected) in found.into_iter().zip(expected) {
                    // Dark components of bright colours lie between few levels of chroma.
                    assert!(
                        (found - expected).abs() <= expected * 0.02 + 3.0,
                        "{transfer:?} {colour:?}: {found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_video_keeps_its_light_where_it_is_seen() {
        let (black, white, place) = (solid([0; 3]), solid([255; 3]), placement());
        for transfer in [HdrTransfer::Pq, HdrTransfer::Hlg] {
            for nits in [50.0, 203.0, 500.0, 900.0] {
                let picture = picture(nits);
                let layer = HdrLayer { white: bitmap(&white), picture: &picture, placement: &place };
                let (found, levels) = written(transfer, &black, &[layer]);
                let found = light_of(transfer, found);
                assert!(found.iter().all(|part| is_close(*part, nits)), "{transfer:?} {nits}: {found:?}");
                assert!(is_close(f64::from(levels.pixel), nits) && levels.frame == levels.pixel, "{levels:?}");
            }
        }
        // Its signals stay exactly as they are.
        let picture = HdrPicture { rgb: vec![[50_000; 3]; 8], ..picture(1.0) };
        let layer = HdrLayer { white: bitmap(&white), picture: &picture, placement: &place };
        let exact = (50_000.0_f64 / 65_535.0 * 876.0).round() as u16 + 64;
        assert_eq!(written(HdrTransfer::Pq, &black, &[layer]).0, [exact, 512, 512]);
    }

    #[test]
    fn what_is_above_and_below_a_video_is_mixed_by_signals() {
        let place = placement();
        let nits = 1000.0;
        let bright = picture(nits);
        let mix = |under: u8, above: u8| {
            let (page, white) = (solid([under; 3]), solid([above; 3]));
            let layer = HdrLayer { white: bitmap(&white), picture: &bright, placement: &place };
            light_of(HdrTransfer::Pq, written(HdrTransfer::Pq, &page, &[layer]).0)[1]
        };
        // A white cover of half opacity, a fade to black, and a cover that hides it.
        let signal = f64::from(Curves::get().srgb_of_light((nits / SDR_WHITE) as f32));
        let expected = |under: f64, above: f64| {
            let mixed = under / 255.0 + (above - under) / 255.0 * signal;
            f64::from(Curves::get().light_of_srgb(mixed as f32)) * SDR_WHITE
        };
        for (under, above) in [(128, 255), (0, 128), (10, 90)] {
            let wanted = expected(f64::from(under), f64::from(above));
            assert!(is_close(mix(under, above), wanted), "{under} {above}: {} {wanted}", mix(under, above));
        }
        assert!(is_close(mix(255, 255), 203.0));
        // Of a video at SDR white the mix is that of an SDR video.
        let (page, white) = (solid([40; 3]), solid([168; 3]));
        let picture = picture(SDR_WHITE);
        let layer = HdrLayer { white: bitmap(&white), picture: &picture, placement: &place };
        let preview = sdr_preview(&bitmap(&page), &[layer]);
        assert!(preview.bgra[0].abs_diff(168) <= 1, "{:?}", &preview.bgra[..4]);
    }
}
