//! Chrome's screenshots: PNG files that are decoded, or compared with pixels.

use hyperfarm_media::Picture;
use hyperfarm_proto::spec::Size;
use png::{ColorType, Decoder, Transformations};

use crate::error::{CaptureError, ChromeError, WorkerError};
use crate::pixels::Difference;

/// Decodes `file` into `bgra` (straight alpha, rows without gaps), whose memory is reused. The picture must be of
/// `size`.
pub(crate) fn decode_into(file: &[u8], size: Size, bgra: &mut Vec<u8>) -> Result<(), WorkerError> {
    let reader = open(file)?;
    check_size(size, size_of(&reader))?;
    Ok(read_pixels(reader, bgra)?)
}

fn check_size(expected: Size, found: Size) -> Result<(), CaptureError> {
    if found == expected { Ok(()) } else { Err(CaptureError::WrongSize { found, expected }) }
}

/// How the opaque picture in `file`, which must be of `size`, differs from `frame` (BGRA, rows without gaps); `None`
/// where it does not. The file is decoded row by row, so that no memory for a whole picture is needed.
pub(crate) fn difference(file: &[u8], size: Size, frame: &[u8]) -> Result<Option<Difference>, WorkerError> {
    let mut reader = open(file)?;
    check_size(size, size_of(&reader))?;
    let bytes = match reader.info().color_type {
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
        other => return Err(unreadable(format!("unexpected colour type {other:?}")).into()),
    };
    let width = size.width as usize;
    let mut found: Option<Difference> = None;
    for (y, pixels) in frame.as_chunks::<4>().0.chunks_exact(width).enumerate() {
        let Some(row) = reader.next_row().map_err(unreadable)? else { return Err(unreadable("it ends early").into()) };
        for (x, (shown, pixel)) in row.data().chunks_exact(bytes).zip(pixels).enumerate() {
            let ([red, green, blue, ..], [b, g, r, _]) = (shown, pixel) else { continue };
            if (red, green, blue) == (r, g, b) {
                continue;
            }
            let largest = red.abs_diff(*r).max(green.abs_diff(*g)).max(blue.abs_diff(*b));
            let found = found.get_or_insert(Difference { pixels: 0, largest: 0, first: y * width + x });
            found.pixels += 1;
            found.largest = found.largest.max(largest);
        }
    }
    Ok(found)
}

/// Decodes `file`, whatever its size.
pub(crate) fn decode(file: &[u8]) -> Result<Picture, ChromeError> {
    let reader = open(file)?;
    let size = size_of(&reader);
    let mut bgra = Vec::new();
    read_pixels(reader, &mut bgra)?;
    Ok(Picture { size, bgra })
}

type Reader<'a> = png::Reader<std::io::Cursor<&'a [u8]>>;

fn open(file: &[u8]) -> Result<Reader<'_>, ChromeError> {
    let mut decoder = Decoder::new(std::io::Cursor::new(file));
    // Chrome encoded it a moment ago on this machine: its checksums need no check.
    decoder.ignore_checksums(true);
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.read_info().map_err(unreadable)
}

fn size_of(reader: &Reader<'_>) -> Size {
    Size { width: reader.info().width, height: reader.info().height }
}

/// Reads all pixels into `bgra`, row by row, so that the picture is in memory once.
fn read_pixels(mut reader: Reader<'_>, bgra: &mut Vec<u8>) -> Result<(), ChromeError> {
    let (Size { width, height }, colours) = (size_of(&reader), reader.info().color_type);
    bgra.resize(width as usize * height as usize * 4, 0);
    for pixels in bgra.as_chunks_mut::<4>().0.chunks_exact_mut(width as usize) {
        let Some(row) = reader.next_row().map_err(unreadable)? else { return Err(unreadable("it ends early")) };
        match colours {
            ColorType::Rgb => {
                for (to, [red, green, blue]) in pixels.iter_mut().zip(row.data().as_chunks::<3>().0) {
                    *to = [*blue, *green, *red, 255];
                }
            }
            ColorType::Rgba => {
                for (to, [red, green, blue, alpha]) in pixels.iter_mut().zip(row.data().as_chunks::<4>().0) {
                    *to = [*blue, *green, *red, *alpha];
                }
            }
            other => return Err(unreadable(format!("unexpected colour type {other:?}"))),
        }
    }
    Ok(())
}

fn unreadable(reason: impl std::fmt::Display) -> ChromeError {
    ChromeError::Screenshot(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(colours: ColorType, bytes: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 2, 1);
        encoder.set_color(colours);
        encoder.write_header().unwrap().write_image_data(bytes).unwrap();
        file
    }

    #[test]
    fn a_difference_from_a_screenshot_is_found() {
        let size = Size { width: 2, height: 1 };
        let rgb = file(ColorType::Rgb, &[1, 2, 3, 4, 5, 6]);
        let rgba = file(ColorType::Rgba, &[1, 2, 3, 255, 4, 5, 6, 255]);
        for file in [rgb, rgba] {
            assert_eq!(difference(&file, size, &[3, 2, 1, 0, 6, 5, 4, 9]).unwrap(), None);
            let found = difference(&file, size, &[3, 2, 1, 0, 6, 9, 2, 9]).unwrap();
            assert_eq!(found, Some(Difference { pixels: 1, largest: 4, first: 1 }));
            assert!(difference(&file, Size { width: 1, height: 2 }, &[0; 8]).is_err());
        }
    }

    #[test]
    fn rgb_and_rgba_become_bgra() {
        let size = Size { width: 2, height: 1 };
        let mut bgra = Vec::new();
        decode_into(&file(ColorType::Rgb, &[1, 2, 3, 4, 5, 6]), size, &mut bgra).unwrap();
        assert_eq!(bgra, [3, 2, 1, 255, 6, 5, 4, 255]);
        decode_into(&file(ColorType::Rgba, &[1, 2, 3, 9, 4, 5, 6, 8]), size, &mut bgra).unwrap();
        assert_eq!(bgra, [3, 2, 1, 9, 6, 5, 4, 8]);
        let grey = file(ColorType::Grayscale, &[1, 2]);
        assert!(decode_into(&grey, size, &mut bgra).is_err());
        let other = Size { width: 1, height: 2 };
        assert!(decode_into(&grey, other, &mut bgra).unwrap_err().to_string().contains("2x1"));
    }
}
