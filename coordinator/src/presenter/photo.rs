//! The size of a photo, by its header. Its pixels are decoded by a browser only.

use hyperfarm_proto::spec::Size;

/// The size of a PNG or JPEG file, as it is shown, upright; `None` where the header of `file` has none.
pub(crate) fn photo_size(file: &[u8]) -> Option<Size> {
    if file.starts_with(b"\x89PNG\r\n\x1a\n") { png(file) } else { jpeg(file) }
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn of(width: u32, height: u32) -> Option<Size> {
    (width > 0 && height > 0).then_some(Size { width, height })
}

fn png(file: &[u8]) -> Option<Size> {
    if file.get(12..16) != Some(b"IHDR") {
        return None;
    }
    of(be32(file, 16)?, be32(file, 20)?)
}

fn jpeg(file: &[u8]) -> Option<Size> {
    if !file.starts_with(b"\xff\xd8") {
        return None;
    }
    let (mut at, mut is_turned) = (2, false);
    loop {
        // Markers may be preceded by any number of fill bytes.
        while file.get(at) == Some(&0xff) && file.get(at + 1) == Some(&0xff) {
            at += 1;
        }
        let (0xff, marker) = (*file.get(at)?, *file.get(at + 1)?) else { return None };
        let length = be16(file, at + 2)? as usize;
        let segment = file.get(at + 4..(at + 2).checked_add(length)?)?;
        match marker {
            0xe1 => {
                is_turned = is_turned || segment.strip_prefix(b"Exif\0\0").and_then(orientation).is_some_and(|o| o >= 5)
            }
            // Frames of every kind; the three others are tables.
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                let (height, width) = (be16(segment, 1)?, be16(segment, 3)?);
                let (width, height) = if is_turned { (height, width) } else { (width, height) };
                return of(width, height);
            }
            0xd9 | 0xda => return None,
            _ => {}
        }
        at += 2 + length;
    }
}

/// The orientation of Exif data, 1 to 8; from 5 on, width and height are exchanged.
fn orientation(exif: &[u8]) -> Option<u32> {
    let is_little = exif.starts_with(b"II");
    let word = |at: usize| {
        let pair: [u8; 2] = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(u32::from(if is_little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }))
    };
    let directory = {
        let four: [u8; 4] = exif.get(4..8)?.try_into().ok()?;
        (if is_little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }) as usize
    };
    let entries = word(directory)?;
    (0..entries as usize)
        .map(|index| directory + 2 + 12 * index)
        .find(|entry| word(*entry) == Some(0x0112))
        .and_then(|entry| word(entry + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg_of(segments: &[(u8, &[u8])]) -> Vec<u8> {
        let mut file = vec![0xff, 0xd8];
        for (marker, body) in segments {
            file.extend([0xff, *marker]);
            file.extend((body.len() as u16 + 2).to_be_bytes());
            file.extend(*body);
        }
        file
    }

    const FRAME: (u8, &[u8]) = (0xc2, &[8, 0, 100, 0, 200, 3]);

    fn exif(orientation: u8) -> Vec<u8> {
        let mut body = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        body.extend([orientation, 0, 0, 0]);
        body
    }

    #[test]
    fn headers_tell_the_size() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x20";
        assert_eq!(photo_size(png), Some(Size { width: 16, height: 32 }));
        let upright = jpeg_of(&[(0xe0, b"JFIF"), (0xc4, b"table"), FRAME]);
        assert_eq!(photo_size(&upright).unwrap(), Size { width: 200, height: 100 });
        for (orientation, size) in [(1, (200, 100)), (3, (200, 100)), (6, (100, 200))] {
            let found = photo_size(&jpeg_of(&[(0xe1, &exif(orientation)), FRAME])).unwrap();
            assert_eq!((found.width, found.height), size, "{orientation}");
        }
    }

    #[test]
    fn what_is_no_photo_has_no_size() {
        let whole = jpeg_of(&[(0xe1, &exif(6)), FRAME]);
        for length in 0..whole.len() {
            assert_eq!(photo_size(&whole[..length]), None, "{length}");
        }
        for file in [&b"GIF89a"[..], b"", b"\x89PNG\r\n\x1a\n", &jpeg_of(&[(0xda, b""), FRAME])] {
            assert_eq!(photo_size(file), None, "{file:?}");
        }
    }
}
