//! The search for a picture in the memory of a process.

use super::marker::Marker;
use super::process::{GpuProcess, ReadError};

/// Bytes of memory read at once: few, because each page of the reader's own memory costs more than a call.
const WINDOW: usize = 1 << 20;

/// Addresses at which memory holds the whole picture of `marker`, at most `limit` of them.
///
/// Small mappings are searched first: a bitmap has a mapping of its own that is hardly larger, and the large mappings,
/// hundreds of megabytes, need not be read then.
pub(super) fn candidates(process: &GpuProcess, marker: &Marker, limit: usize) -> Result<Vec<usize>, ReadError> {
    let bytes = marker.bytes();
    let (needle, offset) = marker.needle();
    let finder = memchr::memmem::Finder::new(&needle);
    let mut candidates = Vec::new();
    let (mut window, mut frame) = (Vec::new(), vec![0; bytes]);
    let mut refused = None;
    let mut read_any = false;
    let mut ranges = process.writable(bytes)?;
    ranges.sort_by_key(|range| (range.len(), range.start));
    for range in ranges {
        let mut start = range.start;
        while start < range.end {
            window.resize(WINDOW.min(range.end - start), 0);
            match process.read(start, &mut window) {
                Ok(()) => read_any = true,
                // The rest of the window is not readable.
                Err(ReadError::Short { found, .. }) => window.truncate(found),
                // A mapping may be gone by now; the others are still searched.
                Err(error) => {
                    refused = Some(error);
                    window.clear();
                }
            }
            for found in finder.find_iter(&window) {
                let Some(address) = (start + found).checked_sub(offset) else { continue };
                let whole = address >= range.start && address + bytes <= range.end;
                if whole
                    && !candidates.contains(&address)
                    && process.read(address, &mut frame).is_ok()
                    && marker.matches(&frame)
                {
                    candidates.push(address);
                    if candidates.len() == limit {
                        return Ok(candidates);
                    }
                }
            }
            // Windows overlap, so that a needle across their border is found.
            start += WINDOW - needle.len();
        }
    }
    match refused {
        Some(error) if !read_any => Err(error),
        _ => Ok(candidates),
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::spec::{Size, Viewport};

    use super::*;

    #[test]
    fn a_picture_is_found_where_it_is() {
        let viewport = Viewport { page: Size { width: 640, height: 360 }, scale: 2 };
        let marker = Marker::random(viewport).unwrap();
        let mut memory = vec![0; 40 << 20];
        let here = GpuProcess::with_id(std::process::id()).unwrap();
        let at = (17 << 20) + 12;
        let pixels = marker.pixels();
        memory[at..at + pixels.len()].copy_from_slice(&pixels);
        // A copy with one wrong byte is none.
        let broken = 1 << 20;
        memory[broken..broken + pixels.len()].copy_from_slice(&pixels);
        memory[broken + pixels.len() - 4] ^= 1;
        drop(pixels);
        let found = candidates(&here, &marker, usize::MAX).unwrap();
        assert!(found.contains(&(memory.as_ptr() as usize + at)), "{found:x?}");
        assert!(!found.contains(&(memory.as_ptr() as usize + broken)), "{found:x?}");
        assert_eq!(candidates(&here, &marker, 1).unwrap().len(), 1);
    }
}
