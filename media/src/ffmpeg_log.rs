//! FFmpeg's log: forwarded to `tracing`, and its last line kept for error messages.
//!
//! FFmpeg returns a number and logs the reason ("moov atom not found"), so the line is part of the error.

use std::cell::RefCell;
use std::sync::Once;

use ffmpeg_next as ffmpeg;

/// What FFmpeg logs when there is no memory for a picture. Decoders return another error than that of memory then, and
/// log another line after it.
pub(crate) const NO_PICTURE_MEMORY: &str = "get_buffer() failed";

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Initialises FFmpeg once a process. Later calls do nothing.
pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = ffmpeg::init() {
            tracing::error!(%error, "FFmpeg could not be initialised");
        }
        install();
    });
}

/// Takes the last warning or error that FFmpeg logged on this thread.
pub(crate) fn take_last() -> Option<String> {
    LAST.with_borrow_mut(Option::take)
}

/// Clears the last line, so that an old one does not explain a new error.
pub(crate) fn clear() {
    LAST.with_borrow_mut(|last| *last = None);
}

// A C `va_list` has another Rust type on every architecture; on others than this one the log is turned off.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn install() {
    ffmpeg::log::set_level(ffmpeg::log::Level::Quiet);
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use callback::install;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod callback {
    #![allow(unsafe_code)] // ffmpeg-next offers a log level and no log callback

    use std::ffi::{CStr, c_char, c_int, c_void};

    use ffmpeg_next::ffi;

    use super::LAST;

    const LINE: usize = 512;

    pub(super) fn install() {
        // SAFETY: `log_line` has the signature FFmpeg asks for and may run on any thread.
        unsafe { ffi::av_log_set_callback(Some(log_line)) };
    }

    unsafe extern "C" fn log_line(
        context: *mut c_void,
        level: c_int,
        format: *const c_char,
        arguments: *mut ffi::__va_list_tag,
    ) {
        if level > ffi::AV_LOG_WARNING as c_int {
            return;
        }
        let mut buffer = [0_u8; LINE];
        let mut prefix: c_int = 1;
        // SAFETY: the pointers are FFmpeg's own and valid during the call; the buffer's length is given with it, and
        // FFmpeg ends the text with a zero byte inside it.
        let text = unsafe {
            ffi::av_log_format_line2(
                context,
                level,
                format,
                arguments,
                buffer.as_mut_ptr().cast(),
                LINE as c_int,
                &raw mut prefix,
            );
            CStr::from_ptr(buffer.as_ptr().cast())
        };
        let text = for_authors(&without_addresses(text.to_string_lossy().trim()));
        if text.is_empty() {
            return;
        }
        tracing::debug!(target: "ffmpeg", "{text}");
        // A thread that is ending has no thread-local storage; its line is only traced.
        let _ = LAST.try_with(|last| {
            if let Ok(mut last) = last.try_borrow_mut()
                && last.as_deref() != Some(super::NO_PICTURE_MEMORY)
            {
                *last = Some(text);
            }
        });
    }

    /// `[mov,mp4 @ 0x55…] [IMGUTILS @ 0x7f…] text` as `text`: addresses would make equal failures differ.
    fn without_addresses(line: &str) -> String {
        let mut text = line;
        while let Some((origin, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once("] "))
            && origin.contains(" @ 0x")
        {
            text = rest;
        }
        text.to_owned()
    }

    /// The first line of `text`, up to the first control character (texts of files are in it), without what FFmpeg says to
    /// those who build it.
    fn for_authors(text: &str) -> String {
        let line = text.split(char::is_control).next().unwrap_or_default();
        if line.starts_with("If you want to help") {
            return String::new();
        }
        let end = ["Update your FFmpeg version", " on whitelist '"].iter().filter_map(|text| line.find(text)).min();
        let text = line[..end.unwrap_or(line.len())].trim_end();
        match text.strip_suffix(" not") {
            Some(refused) if end.is_some() => format!("{refused} not among those that are read"),
            _ => text.to_owned(),
        }
    }

    #[cfg(test)]
    #[test]
    fn lines_are_for_authors() {
        for (line, text) in [
            ("Format not on whitelist 'mov,mp4,m4a'", "Format not among those that are read"),
            ("Codec (text) not on whitelist 'h264'", "Codec (text) not among those that are read"),
            (
                "Bit depth 3 is not implemented. Update your FFmpeg version to the newest",
                "Bit depth 3 is not implemented.",
            ),
            ("If you want to help, upload a sample of this file to https://streams.videolan.org/upload/", ""),
            ("unspecified pixel format\nConsider increasing the value for 'probesize'", "unspecified pixel format"),
            ("Unknown tag a\u{1b}[31m", "Unknown tag a"),
            ("moov atom not found", "moov atom not found"),
            ("it is not", "it is not"),
        ] {
            assert_eq!(for_authors(line), text);
        }
    }

    #[cfg(test)]
    #[test]
    fn lines_have_no_addresses() {
        for (line, text) in [
            ("[gif @ 0x55e0] [IMGUTILS @ 0x7ffd] Picture size is invalid", "Picture size is invalid"),
            ("[mov,mp4 @ 0x55e0] moov atom not found", "moov atom not found"),
            ("[0] is no stream", "[0] is no stream"),
        ] {
            assert_eq!(without_addresses(line), text);
        }
    }
}
