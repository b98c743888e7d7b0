//! The boxes of fragmented mp4 (ISO 14496-12) that FFmpeg does not write for us.

/// A packet in a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Duration in ticks.
    pub duration: u32,
    /// Length of the data in bytes.
    pub bytes: u32,
    /// Whether decoding can start here.
    pub is_key: bool,
    /// Ticks from decoding to presentation; negative where frames are reordered.
    pub composition_offset: i32,
}

/// Sample flags: `sample_depends_on` 2 (none), and 1 (others) with `sample_is_non_sync_sample`.
const KEY: u32 = 0x0200_0000;
const NOT_KEY: u32 = 0x0101_0000;

/// Bytes of a box's header: its length and its name.
const HEAD: usize = 8;

/// A box `name` with `content`.
fn boxed(name: &[u8; 4], content: &[&[u8]]) -> Vec<u8> {
    let length = HEAD + content.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    bytes.extend_from_slice(name);
    content.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// Numbers as big-endian bytes.
fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Fragment `number` of track 1, from tick `start` on, with its data.
pub(crate) fn fragment(number: u32, start: u64, samples: &[Sample], data: &[u8]) -> Vec<u8> {
    let sequence = boxed(b"mfhd", &[&numbers(&[0, number + 1])]);
    // Offsets count from the start of this fragment.
    let track = boxed(b"tfhd", &[&numbers(&[0x0002_0000, 1])]);
    let time = boxed(b"tfdt", &[&numbers(&[0x0100_0000]), &start.to_be_bytes()]);
    let mut run = Vec::with_capacity(samples.len() * 16);
    for sample in samples {
        let flags = if sample.is_key { KEY } else { NOT_KEY };
        run.extend(numbers(&[sample.duration, sample.bytes, flags]));
        run.extend_from_slice(&sample.composition_offset.to_be_bytes());
    }
    // Version 1 has signed composition offsets. First the offset of the data, then duration, size, flags and offset of
    // each sample.
    let run_of = |offset: u32| boxed(b"trun", &[&numbers(&[0x0100_0f01, samples.len() as u32, offset]), &run]);
    let fragment_of = |offset: u32| {
        let track = boxed(b"traf", &[&track, &time, &run_of(offset)]);
        boxed(b"moof", &[&sequence, &track])
    };
    let length = fragment_of(0).len() + HEAD;
    let mut bytes = fragment_of(length as u32);
    bytes.extend(boxed(b"mdat", &[data]));
    bytes
}

/// The boxes of `bytes` in order: name, and whole box.
fn boxes_in(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let whole = rest.get(..length.max(HEAD))?;
        rest = &rest[whole.len()..];
        Some((&whole[4..HEAD], whole))
    })
}

/// The bytes of `file` before its first fragment: file type and movie header.
pub(crate) fn before_fragments(file: &[u8]) -> &[u8] {
    let length =
        boxes_in(file).take_while(|(name, _)| matches!(*name, b"ftyp" | b"moov")).map(|(_, whole)| whole.len()).sum();
    &file[..length]
}

/// `header` with an edit list in each track that skips the first `skipped` ticks, or without edit lists.
pub(crate) fn with_edit_list(header: &[u8], skipped: Option<u64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(header.len() + 64);
    for (name, whole) in boxes_in(header) {
        match name {
            b"moov" => bytes.extend(boxed(b"moov", &[&with_edit_list(&whole[HEAD..], skipped)])),
            b"trak" => {
                let mut track = Vec::new();
                for (name, whole) in boxes_in(&whole[HEAD..]).filter(|(name, _)| *name != b"edts") {
                    track.extend_from_slice(whole);
                    if let (b"tkhd", Some(skipped)) = (name, skipped) {
                        let list = boxed(b"elst", &[&numbers(&[0, 1, 0, skipped as u32, 0x0001_0000])]);
                        track.extend(boxed(b"edts", &[&list]));
                    }
                }
                bytes.extend(boxed(b"trak", &[&track]));
            }
            _ => bytes.extend_from_slice(whole),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_points_at_its_data() {
        let sample = |bytes, offset| Sample { duration: 3000, bytes, is_key: offset == 0, composition_offset: offset };
        let bytes = fragment(4, 90_000, &[sample(2, 0), sample(3, -3000)], b"abcde");
        let names: Vec<&[u8]> = boxes_in(&bytes).map(|(name, _)| name).collect();
        assert_eq!(names, [b"moof", b"mdat"]);
        let at = bytes.windows(4).position(|four| four == b"trun").unwrap() + 4;
        let number = |place: usize| u32::from_be_bytes(bytes[at + place * 4..][..4].try_into().unwrap());
        assert_eq!((number(1), &bytes[number(2) as usize..]), (2, &b"abcde"[..]));
        assert_eq!((number(5), number(9), number(10) as i32), (KEY, NOT_KEY, -3000));
    }

    #[test]
    fn an_edit_list_is_put_in_and_taken_out() {
        let track = boxed(b"trak", &[&boxed(b"tkhd", &[b"head"]), &boxed(b"mdia", &[b"media"])]);
        let plain = [boxed(b"ftyp", &[b"isom"]), boxed(b"moov", &[&boxed(b"mvhd", &[b"x"]), &track])].concat();
        let edited = with_edit_list(&plain, Some(1024));
        assert_eq!(edited.len(), plain.len() + 36);
        assert!(edited.windows(4).any(|four| four == b"elst"));
        assert_eq!(with_edit_list(&edited, None), plain);
        assert_eq!(before_fragments(&[plain.clone(), boxed(b"mfra", &[])].concat()), plain);
    }
}
