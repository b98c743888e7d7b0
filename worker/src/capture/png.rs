//! Decoding Chrome's screenshots.

use hyperfarm_media::Picture;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::spec::Size;

use crate::framebuffer::Difference;

/// Decodes `file` into `bgra` (straight alpha, rows without gaps), whose memory is reused. The picture must be of `size`.
pub(super) fn decode(file: &[u8], size: Size, bgra: &mut Vec<u8>) -> Result<(), Failure> {
    let reader = open(file)?;
    expect(size, size_of(&reader))?;
    read(reader, bgra)
}

fn expect(size: Size, found: Size) -> Result<(), Failure> {
    if found == size {
        return Ok(());
    }
    Err(Failure::new(FailureCode::CaptureStalled, format!("Chrome drew {found} pixels instead of {size}")))
}

/// How the opaque picture in `file`, which must be of `size`, differs from `frame` (BGRA, rows without gaps); none where it does not. Row
/// by row, so that no memory for a whole picture is needed.
pub(super) fn difference(file: &[u8], size: Size, frame: &[u8]) -> Result<Option<Difference>, Failure> {
    let mut reader = open(file)?;
    expect(size, size_of(&reader))?;
    let bytes = match reader.info().color_type {
        ::png::ColorType::Rgb => 3,
        ::png::ColorType::Rgba => 4,
        other => return Err(broken(format!("unexpected colour type {other:?}"))),
    };
    let width = size.width as usize;
    let mut found: Option<Difference> = None;
    for (y, pixels) in frame.as_chunks::<4>().0.chunks_exact(width).enumerate() {
        let Some(row) = reader.next_row().map_err(broken)? else { return Err(broken("it ends early")) };
        for (x, (shown, pixel)) in row.data().chunks_exact(bytes).zip(pixels).enumerate() {
            let ([red, green, blue, ..], [b, g, r, _]) = (shown, pixel) else { continue };
            if (red, green, blue) == (r, g, b) {
                continue;
            }
            let most = red.abs_diff(*r).max(green.abs_diff(*g)).max(blue.abs_diff(*b));
            let found = found.get_or_insert(Difference { pixels: 0, most: 0, first: y * width + x });
            found.pixels += 1;
            found.most = found.most.max(most);
        }
    }
    Ok(found)
}

/// Decodes `file`, whatever its size.
pub(crate) fn picture(file: &[u8]) -> Result<Picture, Failure> {
    let reader = open(file)?;
    let size = size_of(&reader);
    let mut bgra = Vec::new();
    read(reader, &mut bgra)?;
    Ok(Picture { size, bgra })
}

type Reader<'a> = ::png::Reader<std::io::Cursor<&'a [u8]>>;

fn open(file: &[u8]) -> Result<Reader<'_>, Failure> {
    let mut decoder = ::png::Decoder::new(std::io::Cursor::new(file));
    // Chrome made it a moment ago on this machine: the checksums only cost time.
    decoder.ignore_checksums(true);
    decoder.set_transformations(::png::Transformations::IDENTITY);
    decoder.read_info().map_err(broken)
}

fn size_of(reader: &Reader<'_>) -> Size {
    Size { width: reader.info().width, height: reader.info().height }
}

/// Row by row, so that the picture is in memory once.
fn read(mut reader: Reader<'_>, bgra: &mut Vec<u8>) -> Result<(), Failure> {
    let (Size { width, height }, colours) = (size_of(&reader), reader.info().color_type);
    bgra.resize(width as usize * height as usize * 4, 0);
    for pixels in bgra.as_chunks_mut::<4>().0.chunks_exact_mut(width as usize) {
        let Some(row) = reader.next_row().map_err(broken)? else { return Err(broken("it ends early")) };
        match colours {
            ::png::ColorType::Rgb => {
                for (to, [red, green, blue]) in pixels.iter_mut().zip(row.data().as_chunks::<3>().0) {
                    *to = [*blue, *green, *red, 255];
                }
            }
            ::png::ColorType::Rgba => {
                for (to, [red, green, blue, alpha]) in pixels.iter_mut().zip(row.data().as_chunks::<4>().0) {
                    *to = [*blue, *green, *red, *alpha];
                }
            }
            other => return Err(broken(format!("unexpected colour type {other:?}"))),
        }
    }
    Ok(())
}

fn broken(reason: impl std::fmt::Display) -> Failure {
    Failure::new(FailureCode::ChromeCrashed, format!("a screenshot cannot be decoded: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(colours: ::png::ColorType, bytes: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut file, 2, 1);
        encoder.set_color(colours);
        encoder.write_header().unwrap().write_image_data(bytes).unwrap();
        file
    }

    #[test]
    fn a_frame_that_differs_from_its_screenshot_is_told() {
        let size = Size { width: 2, height: 1 };
        let rgb = file(::png::ColorType::Rgb, &[1, 2, 3, 4, 5, 6]);
        let rgba = file(::png::ColorType::Rgba, &[1, 2, 3, 255, 4, 5, 6, 255]);
        for file in [rgb, rgba] {
            assert_eq!(difference(&file, size, &[3, 2, 1, 0, 6, 5, 4, 9]).unwrap(), None);
            let found = difference(&file, size, &[3, 2, 1, 0, 6, 9, 2, 9]).unwrap();
            assert_eq!(found, Some(Difference { pixels: 1, most: 4, first: 1 }));
            assert!(difference(&file, Size { width: 1, height: 2 }, &[0; 8]).is_err());
        }
    }

    #[test]
    fn both_kinds_become_bgra() {
        let size = Size { width: 2, height: 1 };
        let mut bgra = Vec::new();
        decode(&file(::png::ColorType::Rgb, &[1, 2, 3, 4, 5, 6]), size, &mut bgra).unwrap();
        assert_eq!(bgra, [3, 2, 1, 255, 6, 5, 4, 255]);
        decode(&file(::png::ColorType::Rgba, &[1, 2, 3, 9, 4, 5, 6, 8]), size, &mut bgra).unwrap();
        assert_eq!(bgra, [3, 2, 1, 9, 6, 5, 4, 8]);
        let grey = file(::png::ColorType::Grayscale, &[1, 2]);
        assert!(decode(&grey, size, &mut bgra).is_err());
        let other = Size { width: 1, height: 2 };
        assert!(decode(&grey, other, &mut bgra).unwrap_err().message.contains("2x1"));
    }
}
