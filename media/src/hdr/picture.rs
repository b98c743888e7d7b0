//! Pictures of videos at their own depth, and where they lie in the output.

use hyperfarm_proto::hdr::HdrTransfer;
use hyperfarm_proto::spec::Size;

use super::curves::{Curves, to_bt2020};

/// A decoded picture at its own depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HdrPicture {
    /// Pixels across and down, in square pixels, rotated.
    pub size: Size,
    /// Full-range red, green and blue of each pixel, 16 bits each, rows from top to bottom.
    pub rgb: Vec<[u16; 3]>,
    /// The transfer characteristic; none for a picture of standard dynamic range, in sRGB.
    pub transfer: Option<HdrTransfer>,
    /// Whether its primaries are those of BT.2020, and not of BT.709.
    pub wide: bool,
}

impl HdrPicture {
    /// Index of a pixel, or of the nearest one of the picture.
    #[inline(always)]
    fn index(&self, x: i64, y: i64) -> usize {
        let across = x.clamp(0, i64::from(self.size.width).saturating_sub(1)) as usize;
        let down = y.clamp(0, i64::from(self.size.height).saturating_sub(1)) as usize;
        down * self.size.width as usize + across
    }

    /// Light of every pixel in BT.2020 primaries.
    #[inline(always)]
    pub(super) fn lights(&self, curves: &Curves) -> Vec<[f32; 3]> {
        self.rgb.iter().map(|signals| self.light_of(curves, *signals)).collect()
    }

    /// Light of signals of this picture in BT.2020 primaries.
    #[inline(always)]
    pub(super) fn light_of(&self, curves: &Curves, signals: [u16; 3]) -> [f32; 3] {
        let light = curves.light(self.transfer, signals);
        if self.wide { light } else { to_bt2020(light) }
    }
}

/// Where a picture lies in the output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// From a point of the output to one of the picture, both in pixels, as a projective map by rows.
    map: [[f64; 3]; 3],
    /// Points of the picture that are averaged for a pixel of the output, across and down: more than one where the
    /// picture is reduced.
    samples: [u32; 2],
    /// From a pixel of the output to that of the picture, where each shows exactly one.
    shift: Option<[i64; 2]>,
}

/// Most points that are averaged for a pixel, in one direction.
const MAX_SAMPLES: f64 = 8.0;
/// Distance in pixels of the output that is none.
const SAME: f64 = 1e-2;

impl Placement {
    /// The place of a picture of `size` pixels that is drawn in `rect` (left, top, width, height) of a box of `extent`
    /// (width and height), both in pixels of the output before any transform. The corners of the box are drawn at
    /// `corners`: top left, top right, bottom right, bottom left.
    ///
    /// Returns `None` for a box without area and for numbers that are not finite.
    pub fn new(corners: [[f64; 2]; 4], extent: [f64; 2], rect: [f64; 4], size: Size) -> Option<Self> {
        let [left, top, width, height] = rect;
        let numbers = corners.as_flattened().iter().chain(&extent).chain(&rect);
        let is_usable = |number: &f64| number.is_finite() && number.abs() < 1e7;
        if !numbers.copied().all(|number| is_usable(&number)) || [width, height].iter().any(|side| *side <= 0.0) {
            return None;
        }
        let [across, down] = extent;
        let ([first, second, third, fourth], area) = (corners, across * down);
        if area <= 0.0 || size.width == 0 || size.height == 0 {
            return None;
        }
        let is_same = |a: f64, b: f64| (a - b).abs() < SAME;
        let is_upright = is_same(first[1], second[1])
            && is_same(second[0], third[0])
            && is_same(third[1], fourth[1])
            && is_same(fourth[0], first[0])
            && is_same(second[0] - first[0], across)
            && is_same(third[1] - second[1], down);
        let pixels = [f64::from(size.width), f64::from(size.height)];
        let map = if is_upright {
            // A picture that is only moved begins and ends between pixels.
            let edges = |from: f64, length: f64| (from.round(), (from + length).round());
            let ((x, right), (y, bottom)) = (edges(first[0] + left, width), edges(first[1] + top, height));
            if right <= x || bottom <= y {
                return None;
            }
            let (scale_x, scale_y) = (pixels[0] / (right - x), pixels[1] / (bottom - y));
            [[scale_x, 0.0, -x * scale_x], [0.0, scale_y, -y * scale_y], [0.0, 0.0, 1.0]]
        } else {
            // The box as a part of 1, then its rectangle, then pixels of the picture.
            let inverse = inverted(of_unit_square(corners)?)?;
            let (scale_x, scale_y) = (across / width * pixels[0], down / height * pixels[1]);
            let (from_x, from_y) = (left / width * pixels[0], top / height * pixels[1]);
            let [x, y, w] = inverse;
            [
                std::array::from_fn(|at| x[at] * scale_x - w[at] * from_x),
                std::array::from_fn(|at| y[at] * scale_y - w[at] * from_y),
                w,
            ]
        };
        let is_shift = is_upright && map[0][0] == 1.0 && map[1][1] == 1.0;
        let shift = is_shift.then_some([map[0][2] as i64, map[1][2] as i64]);
        let mut placement = Self { map, samples: [1; 2], shift };
        let middle = corners.iter().fold([0.0; 2], |sum, corner| [sum[0] + corner[0] / 4.0, sum[1] + corner[1] / 4.0]);
        let here = placement.at(middle[0], middle[1]);
        let length = |there: [f64; 2]| (there[0] - here[0]).hypot(there[1] - here[1]);
        let steps = [placement.at(middle[0] + 1.0, middle[1]), placement.at(middle[0], middle[1] + 1.0)].map(length);
        if steps.iter().any(|step| !step.is_finite()) {
            return None;
        }
        placement.samples = steps.map(|step| (step - SAME).ceil().clamp(1.0, MAX_SAMPLES) as u32);
        Some(placement)
    }

    #[inline(always)]
    fn at(&self, x: f64, y: f64) -> [f64; 2] {
        let [across, down, depth] = self.map.map(|row| row[0] * x + row[1] * y + row[2]);
        if depth == 1.0 { [across, down] } else { [across / depth, down / depth] }
    }

    /// Bytes that are equal for equal places.
    pub fn bytes(&self) -> Vec<u8> {
        self.map.as_flattened().iter().flat_map(|number| number.to_bits().to_le_bytes()).collect()
    }

    /// What pixel (`x`, `y`) of the output shows of `picture`: the pixel itself where it is exactly one.
    ///
    /// `lights` are [`HdrPicture::lights`]; they are not needed where the picture is only moved
    /// ([`Placement::is_shift`]).
    #[inline(always)]
    pub(super) fn sample(&self, picture: &HdrPicture, lights: &[[f32; 3]], x: usize, y: usize) -> Sample {
        if let Some([right, down]) = self.shift {
            let index = picture.index(x as i64 + right, y as i64 + down);
            return Sample::Pixel(picture.rgb.get(index).copied().unwrap_or_default());
        }
        let [across, down] = self.samples;
        if (across, down) == (1, 1) {
            return Sample::Light(self.point(picture, lights, x as f64 + 0.5, y as f64 + 0.5));
        }
        let mut sum = [0.0_f32; 3];
        for row in 0..down {
            for column in 0..across {
                let right = x as f64 + (f64::from(column) + 0.5) / f64::from(across);
                let below = y as f64 + (f64::from(row) + 0.5) / f64::from(down);
                let light = self.point(picture, lights, right, below);
                sum = std::array::from_fn(|part| sum[part] + light[part]);
            }
        }
        let count = (across * down) as f32;
        Sample::Light(sum.map(|part| part / count))
    }

    /// Whether each pixel of the output shows exactly one of the picture.
    pub(super) fn is_shift(&self) -> bool {
        self.shift.is_some()
    }

    /// Light at a point of the output, between four pixels of the picture in a straight line of light.
    #[inline(always)]
    fn point(&self, picture: &HdrPicture, lights: &[[f32; 3]], x: f64, y: f64) -> [f32; 3] {
        let [across, down] = self.at(x, y).map(|place| place.clamp(-1e7, 1e7) - 0.5);
        let (left, top) = (across.floor(), down.floor());
        let (right, below) = ((across - left) as f32, (down - top) as f32);
        let (column, row) = (left as i64, top as i64);
        let at = |dx: i64, dy: i64| lights.get(picture.index(column + dx, row + dy)).copied().unwrap_or_default();
        let (one, two, three, four) = (at(0, 0), at(1, 0), at(0, 1), at(1, 1));
        std::array::from_fn(|part| {
            let above = one[part] * (1.0 - right) + two[part] * right;
            let under = three[part] * (1.0 - right) + four[part] * right;
            above * (1.0 - below) + under * below
        })
    }
}

/// What a pixel of the output shows of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sample {
    /// One pixel of it.
    Pixel([u16; 3]),
    /// The light of several, in BT.2020 primaries.
    Light([f32; 3]),
}

impl Sample {
    /// Its light in BT.2020 primaries.
    #[inline(always)]
    pub(super) fn light(self, curves: &Curves, picture: &HdrPicture) -> [f32; 3] {
        match self {
            Self::Pixel(signals) => picture.light_of(curves, signals),
            Self::Light(light) => light,
        }
    }
}

/// The projective map of the unit square to four corners.
fn of_unit_square([a, b, c, d]: [[f64; 2]; 4]) -> Option<[[f64; 3]; 3]> {
    let (first, second) = ([b[0] - c[0], b[1] - c[1]], [d[0] - c[0], d[1] - c[1]]);
    let rest = [a[0] - b[0] + c[0] - d[0], a[1] - b[1] + c[1] - d[1]];
    let determinant = first[0] * second[1] - second[0] * first[1];
    if determinant.abs() < 1e-9 {
        return None;
    }
    let g = (rest[0] * second[1] - second[0] * rest[1]) / determinant;
    let h = (first[0] * rest[1] - rest[0] * first[1]) / determinant;
    let row = |at: usize| [b[at] - a[at] + g * b[at], d[at] - a[at] + h * d[at], a[at]];
    Some([row(0), row(1), [g, h, 1.0]])
}

/// The inverse of a projective map, of any scale.
fn inverted([[a, b, c], [d, e, f], [g, h, i]]: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
    let adjugate = [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ];
    (determinant.abs() > 1e-9).then(|| adjugate.map(|row| row.map(|part| part / determinant)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 4, height: 2 };

    /// A picture whose pixels say where they are.
    fn picture() -> HdrPicture {
        let pixel = |at: u16| [at % 4 * 1000, at / 4 * 1000, 0];
        HdrPicture { size: SIZE, rgb: (0..8).map(pixel).collect(), transfer: Some(HdrTransfer::Pq), wide: true }
    }

    fn corners(left: f64, top: f64, width: f64, height: f64) -> [[f64; 2]; 4] {
        [[left, top], [left + width, top], [left + width, top + height], [left, top + height]]
    }

    /// What a pixel of the output shows, as a place in the picture of [`picture`].
    fn seen(placement: &Placement, x: usize, y: usize) -> [f32; 2] {
        // Light that grows with the place in a straight line.
        let place = |at: usize| [(at % 4) as f32, (at / 4) as f32, 0.0];
        match placement.sample(&picture(), &std::array::from_fn::<_, 8, _>(place), x, y) {
            Sample::Pixel([right, down, _]) => [f32::from(right / 1000), f32::from(down / 1000)],
            Sample::Light([right, down, _]) => [right, down],
        }
    }

    #[test]
    fn a_picture_that_is_only_moved_keeps_its_pixels() {
        let extent = [4.0, 2.0];
        // Chrome moves it to whole pixels.
        let placement = Placement::new(corners(10.3, 5.4, 4.0, 2.0), extent, [0.0, 0.0, 4.0, 2.0], SIZE).unwrap();
        assert!(placement.is_shift());
        for (x, y) in [(0, 0), (3, 0), (1, 1), (3, 1)] {
            assert_eq!(seen(&placement, x + 10, y + 5), [x as f32, y as f32], "{x} {y}");
        }
        // What lies outside shows the edge.
        assert_eq!(seen(&placement, 0, 0), [0.0, 0.0]);
        assert_eq!(seen(&placement, 99, 99), [3.0, 1.0]);
    }

    #[test]
    fn transforms_are_followed() {
        let extent = [4.0, 2.0];
        let whole = [0.0, 0.0, 4.0, 2.0];
        // Turned by 90 degrees: its first column is the last row from the right.
        let turned = [[20.0, 10.0], [20.0, 14.0], [18.0, 14.0], [18.0, 10.0]];
        let placement = Placement::new(turned, extent, whole, SIZE).unwrap();
        assert_eq!(seen(&placement, 19, 10), [0.0, 0.0]);
        assert_eq!(seen(&placement, 18, 13), [3.0, 1.0]);
        // A projection: the corners are the picture's corners.
        let from = [[0.0, 0.0], [100.0, 20.0], [100.0, 80.0], [0.0, 100.0]];
        let placement = Placement::new(from, extent, whole, SIZE).unwrap();
        for (corner, expected) in from.into_iter().zip([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]) {
            let found = placement.at(corner[0], corner[1]);
            assert!((found[0] - expected[0]).hypot(found[1] - expected[1]) < 1e-9, "{found:?} {expected:?}");
        }
        let centre = placement.at(62.5, 50.0);
        assert!(centre[0] > 2.0 && (centre[1] - 1.0).abs() < 1e-9, "{centre:?}");
    }

    #[test]
    fn a_picture_that_covers_its_box_is_cut() {
        // A box of 2 by 2 with a picture of 4 by 2 in its middle, enlarged by 1.5.
        let placement = Placement::new(corners(0.0, 0.0, 3.0, 3.0), [2.0, 2.0], [-1.0, 0.0, 4.0, 2.0], SIZE).unwrap();
        let found = placement.at(0.0, 1.5);
        assert!((found[0] - 1.0).abs() < 1e-9 && (found[1] - 1.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn a_reduced_picture_is_a_mean_of_light() {
        let placement = Placement::new(corners(0.0, 0.0, 2.0, 1.0), [2.0, 1.0], [0.0, 0.0, 2.0, 1.0], SIZE).unwrap();
        assert_eq!(placement.samples, [2, 2]);
        let lights = picture().lights(Curves::get());
        let Sample::Light(mean) = placement.sample(&picture(), &lights, 0, 0) else { panic!("several pixels") };
        for (part, found) in mean.into_iter().enumerate() {
            let expected = [0, 1, 4, 5].map(|at: usize| lights[at][part]).iter().sum::<f32>() / 4.0;
            assert!((found - expected).abs() <= expected * 1e-5, "{mean:?}");
        }
    }

    #[test]
    fn what_has_no_area_has_no_place() {
        let (whole, extent) = ([0.0, 0.0, 4.0, 2.0], [4.0, 2.0]);
        assert!(Placement::new([[1.0, 1.0]; 4], extent, whole, SIZE).is_none());
        assert!(Placement::new(corners(0.0, 0.0, f64::NAN, 1.0), extent, whole, SIZE).is_none());
        assert!(Placement::new(corners(0.0, 0.0, 4.0, 2.0), extent, [0.0; 4], SIZE).is_none());
        assert!(Placement::new(corners(0.0, 0.0, 4.0, 2.0), [0.0, 2.0], whole, SIZE).is_none());
    }
}
