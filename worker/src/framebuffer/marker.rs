//! Markers: pages of random colours, by which the bitmap is recognised.

use std::hash::{BuildHasher, Hasher, RandomState};

use hyperfarm_proto::spec::Viewport;

use crate::pixels::equal_colours;

/// Rectangles in a row.
const COLUMNS: u32 = 8;
/// Rows of rectangles, below a strip of one CSS pixel with colours of its own, so that the first row of pixels is like
/// no other.
const ROWS: u32 = 6;
/// Pixels of one colour on each side of the edge in [`Marker::needle`].
const NEEDLE_PIXELS: usize = 4;

/// A page of rectangles of random colours, and its pixels.
#[derive(Debug, Clone)]
pub struct Marker {
    viewport: Viewport,
    /// Red, green and blue of each rectangle: the strip first, then the rows.
    colours: Vec<[u8; 3]>,
}

impl Marker {
    /// A marker with new colours; `None` where the page is too small for the rectangles.
    pub fn random(viewport: Viewport) -> Option<Self> {
        let size = viewport.page;
        if size.width < COLUMNS * NEEDLE_PIXELS as u32 || size.height < 1 + ROWS {
            return None;
        }
        let colours = (0..COLUMNS * (ROWS + 1)).map(|number| {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u32(number);
            let [red, green, blue, ..] = hasher.finish().to_le_bytes();
            [red, green, blue]
        });
        Some(Self { viewport, colours: colours.collect() })
    }

    /// The script that turns a page into this marker.
    pub fn script(&self) -> String {
        let mut html = "<body style=\"margin:0;overflow:hidden;background:#fff\">".to_owned();
        for (number, [red, green, blue]) in self.colours.iter().enumerate() {
            let [left, top, width, height] = self.rectangle(number as u32);
            html.push_str(&format!(
                "<div style=\"position:absolute;left:{left}px;top:{top}px;width:{width}px;height:{height}px;\
                 background:rgb({red},{green},{blue})\"></div>"
            ));
        }
        format!("document.documentElement.innerHTML = {}; undefined", serde_json::Value::from(html))
    }

    /// Left, top, width and height of rectangle `number` in CSS pixels.
    fn rectangle(&self, number: u32) -> [u32; 4] {
        let (width, height) = (self.viewport.page.width / COLUMNS, (self.viewport.page.height - 1) / ROWS);
        let (column, row) = (number % COLUMNS, number / COLUMNS);
        let (top, height) = if row == 0 { (0, 1) } else { (1 + (row - 1) * height, height) };
        [column * width, top, width, height]
    }

    /// Length of its pixels in bytes.
    pub fn bytes(&self) -> usize {
        let output = self.viewport.output();
        output.width as usize * output.height as usize * 4
    }

    /// Its pixels: BGRA, rows without gaps.
    pub fn pixels(&self) -> Vec<u8> {
        self.bands().into_iter().flat_map(|(rows, row)| row.repeat(rows)).collect()
    }

    /// Bands of equal rows from top to bottom: number of rows, and the pixels of one.
    fn bands(&self) -> Vec<(usize, Vec<u8>)> {
        let output = self.viewport.output();
        let white = || vec![255; output.width as usize * 4];
        let mut bands = Vec::new();
        let mut end = 0;
        for (band, colours) in self.colours.chunks(COLUMNS as usize).enumerate() {
            let mut row = white();
            let mut rows = 0;
            for (column, [red, green, blue]) in colours.iter().enumerate() {
                let rectangle = self.rectangle((band * COLUMNS as usize + column) as u32);
                let [left, _, width, height] = rectangle.map(|value| (value * self.viewport.scale) as usize);
                for pixel in row.as_chunks_mut::<4>().0.iter_mut().skip(left).take(width) {
                    *pixel = [*blue, *green, *red, 255];
                }
                rows = height;
            }
            end += rows;
            bands.push((rows, row));
        }
        bands.push((output.height as usize - end, white()));
        bands
    }

    /// Bytes of its first row that are searched for, and their offset in the row.
    pub fn needle(&self) -> (Vec<u8>, usize) {
        let edge = (self.viewport.page.width / COLUMNS * self.viewport.scale) as usize;
        let start = (edge - NEEDLE_PIXELS) * 4;
        let pixels =
            self.colours.iter().take(2).flat_map(|[red, green, blue]| {
                std::iter::repeat_n([*blue, *green, *red, 255], NEEDLE_PIXELS).flatten()
            });
        (pixels.collect(), start)
    }

    /// Whether `frame` shows this marker.
    pub fn matches(&self, frame: &[u8]) -> bool {
        let stride = self.viewport.output().width as usize * 4;
        let mut rows = frame.chunks_exact(stride);
        frame.len() == self.bytes()
            && self.bands().iter().all(|(count, row)| rows.by_ref().take(*count).all(|found| equal_colours(found, row)))
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::spec::Size;

    use super::*;

    fn viewport(width: u32, height: u32, scale: u32) -> Viewport {
        Viewport { page: Size { width, height }, scale }
    }

    #[test]
    fn the_needle_is_in_the_first_row_and_nowhere_below_it() {
        for viewport in [viewport(320, 180, 1), viewport(321, 177, 2), viewport(32, 7, 1)] {
            let marker = Marker::random(viewport).unwrap();
            let (needle, offset) = marker.needle();
            let pixels = marker.pixels();
            assert_eq!(&pixels[offset..offset + needle.len()], needle);
            let rows = viewport.scale as usize;
            let below = &pixels[rows * viewport.output().width as usize * 4..];
            assert!(!below.windows(needle.len()).any(|window| window == needle));
            assert!(marker.matches(&pixels));
            assert!(!Marker::random(viewport).unwrap().matches(&pixels), "two markers have the same colours");
        }
    }

    #[test]
    fn small_pages_have_none() {
        assert!(Marker::random(viewport(31, 200, 1)).is_none());
        assert!(Marker::random(viewport(200, 6, 1)).is_none());
    }
}
