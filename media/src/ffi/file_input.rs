//! A container that is read from an open file: FFmpeg opens nothing by itself.

use std::ffi::{CString, c_int, c_void};
use std::fs::File;
use std::io::{self, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::context::Input;
use ffmpeg_next::{Dictionary, ffi};

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// What FFmpeg reads a file through. It must live longer than the [`Input`] that reads from it.
pub(crate) struct FileInput {
    context: *mut ffi::AVIOContext,
    /// FFmpeg's callbacks point to it.
    _cursor: Box<Cursor>,
}

// SAFETY: the context and the cursor belong to this value alone, and neither is bound to a thread.
unsafe impl Send for FileInput {}

/// An open file and the position of the next read. Several may read one file.
struct Cursor {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position = self.position.saturating_add(read as u64);
        Ok(read)
    }

    fn seek(&mut self, to: SeekFrom) -> Option<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset)?,
            SeekFrom::End(offset) => self.length.checked_add_signed(offset)?,
        };
        Some(self.position)
    }
}

/// FFmpeg's number of a system error.
fn averror(error: &io::Error) -> c_int {
    ffi::AVERROR(error.raw_os_error().unwrap_or(ffmpeg::error::EIO))
}

/// Opens `file` of `length` bytes and reads the headers of its streams. FFmpeg guesses the container by `name` where
/// its bytes leave a doubt.
pub(crate) fn open_input(
    file: Arc<File>,
    length: u64,
    name: &str,
    options: Dictionary<'_>,
) -> Result<(Input, FileInput), ffmpeg::Error> {
    let name = CString::new(name).map_err(|_| ffmpeg::Error::InvalidData)?;
    let mut cursor = Box::new(Cursor { file, position: 0, length });
    let opaque = (&raw mut *cursor).cast::<c_void>();
    // SAFETY: the buffer has the length that is given with it and belongs to the context, which `FileInput` frees. The
    // cursor is boxed and kept beside the context. FFmpeg frees a format context that it cannot open, and
    // `Input` frees one that is open, both without the I/O context, which is ours.
    unsafe {
        let buffer = ffi::av_malloc(BUFFER).cast::<u8>();
        let context = ffi::avio_alloc_context(buffer, BUFFER as c_int, 0, opaque, Some(read), None, Some(seek));
        if context.is_null() {
            ffi::av_free(buffer.cast());
            return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
        }
        let io = FileInput { context, _cursor: cursor };
        let mut raw = ffi::avformat_alloc_context();
        if raw.is_null() {
            return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
        }
        (*raw).pb = context;
        let mut options = options.disown();
        let answer = ffi::avformat_open_input(&raw mut raw, name.as_ptr(), std::ptr::null_mut(), &raw mut options);
        drop(Dictionary::own(options));
        if answer < 0 {
            return Err(answer.into());
        }
        let input = Input::wrap(raw);
        match ffi::avformat_find_stream_info(raw, std::ptr::null_mut()) {
            error if error < 0 => Err(error.into()),
            _ => Ok((input, io)),
        }
    }
}

/// # Safety
/// `opaque` is the cursor of a living [`FileInput`], which no other call uses, and `buffer` has `size` bytes.
unsafe extern "C" fn read(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    let Ok(size) = usize::try_from(size) else { return ffi::AVERROR(ffmpeg::error::EINVAL) };
    // SAFETY: as this function requires.
    let (cursor, buffer) = unsafe { (&mut *opaque.cast::<Cursor>(), std::slice::from_raw_parts_mut(buffer, size)) };
    match cursor.read(buffer) {
        Ok(0) => ffi::AVERROR_EOF,
        Ok(read) => read as c_int,
        Err(error) => averror(&error),
    }
}

/// # Safety
/// `opaque` is the cursor of a living [`FileInput`], which no other call uses.
unsafe extern "C" fn seek(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    const FROM_START: c_int = 0;
    const FROM_POSITION: c_int = 1;
    const FROM_END: c_int = 2;
    // SAFETY: as this function requires.
    let cursor = unsafe { &mut *opaque.cast::<Cursor>() };
    let invalid = i64::from(ffi::AVERROR(ffmpeg::error::EINVAL));
    let to = match whence & !(ffi::AVSEEK_FORCE as c_int) {
        size if size == ffi::AVSEEK_SIZE as c_int => return i64::try_from(cursor.length).unwrap_or(invalid),
        FROM_START => match u64::try_from(offset) {
            Ok(position) => SeekFrom::Start(position),
            Err(_) => return invalid,
        },
        FROM_POSITION => SeekFrom::Current(offset),
        FROM_END => SeekFrom::End(offset),
        _ => return invalid,
    };
    cursor.seek(to).and_then(|position| i64::try_from(position).ok()).unwrap_or(invalid)
}

impl Drop for FileInput {
    fn drop(&mut self) {
        // SAFETY: the input that reads through the context is closed before, and FFmpeg may have replaced the buffer,
        // so the context's own is freed.
        unsafe {
            ffi::av_freep((&raw mut (*self.context).buffer).cast());
            ffi::avio_context_free(&raw mut self.context);
        }
    }
}
