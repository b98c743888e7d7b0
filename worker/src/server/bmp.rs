//! Windows bitmap files: the cheapest lossless format that a browser decodes.

use hyperfarm_media::Picture;

const FILE_HEADER: usize = 14;
const V4_HEADER: usize = 108;

/// The header of a 32-bit top-down bitmap of `picture`, with an alpha channel where `alpha` is set. The pixels follow
/// as they are, and need not be copied.
pub(super) fn header(picture: &Picture, alpha: bool) -> Vec<u8> {
    let offset = FILE_HEADER + V4_HEADER;
    let mut file = Vec::with_capacity(offset);
    let u32_at = |file: &mut Vec<u8>, value: u32| file.extend_from_slice(&value.to_le_bytes());
    file.extend_from_slice(b"BM");
    u32_at(&mut file, (offset + picture.bgra.len()) as u32);
    u32_at(&mut file, 0);
    u32_at(&mut file, offset as u32);
    u32_at(&mut file, V4_HEADER as u32);
    u32_at(&mut file, picture.size.width);
    // A negative height says that the first row is the top one.
    u32_at(&mut file, (picture.size.height as i32).wrapping_neg() as u32);
    file.extend_from_slice(&1u16.to_le_bytes());
    file.extend_from_slice(&32u16.to_le_bytes());
    u32_at(&mut file, 3); // the masks below say where each channel is
    u32_at(&mut file, picture.bgra.len() as u32);
    u32_at(&mut file, 2835);
    u32_at(&mut file, 2835);
    u32_at(&mut file, 0);
    u32_at(&mut file, 0);
    u32_at(&mut file, 0x00ff_0000);
    u32_at(&mut file, 0x0000_ff00);
    u32_at(&mut file, 0x0000_00ff);
    u32_at(&mut file, if alpha { 0xff00_0000 } else { 0 });
    file.extend_from_slice(b"BGRs"); // "sRGB", little endian
    file.resize(offset, 0);
    file
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::spec::Size;

    use super::*;

    #[test]
    fn the_header_is_as_long_as_it_says() {
        let picture = Picture { size: Size { width: 2, height: 3 }, bgra: vec![7; 24] };
        let file = header(&picture, true);
        assert_eq!(file.len(), 122);
        assert_eq!(u32::from_le_bytes(file[2..6].try_into().unwrap()), 122 + 24);
        assert_eq!(u32::from_le_bytes(file[10..14].try_into().unwrap()), 122);
        assert_eq!(i32::from_le_bytes(file[22..26].try_into().unwrap()), -3);
    }
}
