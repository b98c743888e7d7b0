//! What ffmpeg-next has no call for. Every block of `unsafe` that touches a field of FFmpeg's structures is here or in the
//! three modules beside (`convert::bgra`, `ffmpeg_log`); the rest of the crate is safe code over these functions.
//!
//! Only fields that exist from FFmpeg 5.1 to today are used (`ch_layout` and not `channel_layout`, for one).
#![allow(unsafe_code)] // the reason is the line above; each block has its own

use std::ffi::{CStr, c_char, c_int};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Parameters;
use ffmpeg_next::ffi;
use ffmpeg_next::format::context::{Input, Output};
use ffmpeg_next::format::{Pixel, Sample};
use ffmpeg_next::{Packet, frame};

use crate::tags::Tags;

/// What a container says about a stream of pictures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VideoParameters {
    pub width: u32,
    pub height: u32,
    pub pixel: Pixel,
    pub aspect: (i32, i32),
    pub tags: Tags,
    /// Pictures that a decoder holds back to put them in order.
    pub delay: u32,
    pub extradata: Vec<u8>,
}

/// What a container says about a stream of sound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AudioParameters {
    pub sample_rate: u32,
    pub channels: u32,
    pub opus: bool,
    /// Samples before the first one that sounds.
    pub initial_padding: u64,
}

/// One of FFmpeg's enums as its number, whatever number it is.
///
/// # Safety
/// `tag` points into a live structure.
unsafe fn number<T>(tag: *const T) -> i32 {
    const { assert!(size_of::<T>() == size_of::<i32>()) };
    // SAFETY: FFmpeg's enums are four bytes, and any four bytes are an `i32`; none is ever made a `T`.
    unsafe { tag.cast::<i32>().read() }
}

/// The colour tags of a decoded frame.
pub(crate) fn frame_tags(frame: &frame::Video) -> Tags {
    // SAFETY: the wrapper keeps the frame alive; only places are taken, no enum is read.
    unsafe {
        let raw = frame.as_ptr();
        Tags {
            primaries: number(&raw const (*raw).color_primaries),
            transfer: number(&raw const (*raw).color_trc),
            matrix: number(&raw const (*raw).colorspace),
            range: number(&raw const (*raw).color_range),
        }
    }
}

/// Whether the frame's rows lie one after another from top to bottom, as ffmpeg-next's slices of planes assume.
pub(crate) fn rows_go_down(frame: &frame::Video) -> bool {
    // SAFETY: numbers of a live frame are read.
    unsafe { (*frame.as_ptr()).linesize.iter().all(|bytes| *bytes >= 0) }
}

pub(crate) fn video_parameters(parameters: &Parameters) -> VideoParameters {
    // SAFETY: the wrapper keeps the structure alive; `format` of a video stream is a pixel format of this very library or
    // -1, both of which the enum generated from its headers has, unlike tags, which are read as numbers. Extradata is read
    // within the length given beside it. No reference to the whole is made, as that would claim its tags to be valid.
    unsafe {
        let raw = parameters.as_ptr();
        let extradata = match ((*raw).extradata.is_null(), usize::try_from((*raw).extradata_size)) {
            (false, Ok(length)) => std::slice::from_raw_parts((*raw).extradata, length).to_vec(),
            _ => Vec::new(),
        };
        VideoParameters {
            width: u32::try_from((*raw).width).unwrap_or(0),
            height: u32::try_from((*raw).height).unwrap_or(0),
            pixel: Pixel::from(std::mem::transmute::<c_int, ffi::AVPixelFormat>((*raw).format)),
            aspect: ((*raw).sample_aspect_ratio.num, (*raw).sample_aspect_ratio.den),
            tags: Tags {
                primaries: number(&raw const (*raw).color_primaries),
                transfer: number(&raw const (*raw).color_trc),
                matrix: number(&raw const (*raw).color_space),
                range: number(&raw const (*raw).color_range),
            },
            delay: u32::try_from((*raw).video_delay).unwrap_or(0),
            extradata,
        }
    }
}

pub(crate) fn audio_parameters(parameters: &Parameters) -> AudioParameters {
    // SAFETY: the wrapper keeps the structure alive, and only numbers are read.
    unsafe {
        let raw = parameters.as_ptr();
        AudioParameters {
            sample_rate: u32::try_from((*raw).sample_rate).unwrap_or(0),
            channels: u32::try_from((*raw).ch_layout.nb_channels).unwrap_or(0),
            opus: (*raw).codec_id == ffi::AVCodecID::AV_CODEC_ID_OPUS,
            initial_padding: u64::try_from((*raw).initial_padding).unwrap_or(0),
        }
    }
}

/// Whether pictures of this format have an alpha plane or an alpha in their palette.
pub(crate) fn pixel_has_alpha(pixel: Pixel) -> bool {
    // SAFETY: the library answers null for formats without a description, and descriptions are static.
    unsafe {
        let descriptor = ffi::av_pix_fmt_desc_get(pixel.into());
        !descriptor.is_null() && ((*descriptor).flags & ffi::AV_PIX_FMT_FLAG_ALPHA as u64) != 0
    }
}

/// Microseconds at which the file's timeline starts; 0 where it does not say, and where only priming lies before zero.
pub(crate) fn start_time(input: &Input) -> i64 {
    // SAFETY: the wrapper keeps the context alive, and a number is read.
    let start = unsafe { (*input.as_ptr()).start_time };
    if start == ffi::AV_NOPTS_VALUE { 0 } else { start.max(0) }
}

/// Microseconds that the file lasts, where it says.
pub(crate) fn duration(input: &Input) -> Option<i64> {
    Some(input.duration()).filter(|duration| *duration != ffi::AV_NOPTS_VALUE && *duration > 0)
}

/// Puts the reader at a key frame of stream `index` at or before `timestamp` (stream ticks).
pub(crate) fn seek(input: &mut Input, index: usize, timestamp: i64) -> Result<(), ffmpeg::Error> {
    // SAFETY: the context is open, and the library checks the stream's index.
    let answer = unsafe {
        ffi::av_seek_frame(input.as_mut_ptr(), index as c_int, timestamp, ffi::AVSEEK_FLAG_BACKWARD as c_int)
    };
    if answer < 0 { Err(answer.into()) } else { Ok(()) }
}

/// The index's last key frame of stream `index` at or before `timestamp`, in stream ticks, if the index knows one.
pub(crate) fn key_frame_before(input: &mut Input, index: usize, timestamp: i64) -> Option<i64> {
    if index >= input.nb_streams() as usize {
        return None;
    }
    // SAFETY: the stream's index was checked, and the entry belongs to the stream and is read at once.
    unsafe {
        let stream = *(*input.as_mut_ptr()).streams.add(index);
        let entry = ffi::av_index_search_timestamp(stream, timestamp, ffi::AVSEEK_FLAG_BACKWARD as c_int);
        if entry < 0 {
            return None;
        }
        let entry = ffi::avformat_index_get_entry(stream, entry);
        if entry.is_null() { None } else { Some((*entry).timestamp) }
    }
}

/// The byte behind the last one that the file's index names.
pub(crate) fn index_end(input: &mut Input) -> Option<u64> {
    let mut end = None;
    for index in 0..input.nb_streams() as usize {
        // SAFETY: `index` is below the number of streams; entries are below their count and are read at once.
        unsafe {
            let stream = *(*input.as_mut_ptr()).streams.add(index);
            for entry in 0..ffi::avformat_index_get_entries_count(stream) {
                let entry = ffi::avformat_index_get_entry(stream, entry);
                if entry.is_null() {
                    break;
                }
                let last = u64::try_from((*entry).pos).ok()?.checked_add(u64::try_from((*entry).size()).ok()?)?;
                end = end.max(Some(last));
            }
        }
    }
    end
}

/// A plane that is written.
pub(crate) struct PlaneMut<'a> {
    data: &'a mut [u8],
    stride: usize,
}

impl PlaneMut<'_> {
    /// The first `bytes` of row `y`.
    #[inline(always)]
    pub(crate) fn row(&mut self, y: usize, bytes: usize) -> &mut [u8] {
        &mut self.data[y * self.stride..][..bytes]
    }
}

/// All planes of an allocated frame at once, empty where it has none.
pub(crate) fn planes_mut(frame: &mut frame::Video) -> [PlaneMut<'_>; 4] {
    std::array::from_fn(|plane| {
        if plane >= frame.planes() {
            return PlaneMut { data: &mut [], stride: 0 };
        }
        let stride = frame.stride(plane);
        let data = frame.data_mut(plane);
        // SAFETY: planes of a frame do not overlap, the frame stays borrowed as long as they do, and each is given once.
        let data = unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr(), data.len()) };
        PlaneMut { data, stride }
    })
}

/// Gives `frame` a buffer that nobody else reads, with whatever content.
pub(crate) fn make_fresh(frame: &mut frame::Video) -> Result<(), ffmpeg::Error> {
    // SAFETY: the frame is ours. If an encoder still reads the buffer, ours is given up and a new one taken, so that
    // nothing is copied only to be overwritten.
    unsafe {
        let raw = frame.as_mut_ptr();
        if ffi::av_frame_is_writable(raw) > 0 {
            return Ok(());
        }
        let (format, width, height) = ((*raw).format, (*raw).width, (*raw).height);
        ffi::av_frame_unref(raw);
        (*raw).format = format;
        (*raw).width = width;
        (*raw).height = height;
        match ffi::av_frame_get_buffer(raw, 0) {
            0 => Ok(()),
            error => Err(error.into()),
        }
    }
}

/// A stereo frame of `samples` samples at 48 kHz, silent or not.
pub(crate) fn stereo_frame(format: Sample, samples: usize) -> Result<frame::Audio, ffmpeg::Error> {
    let mut frame = frame::Audio::empty();
    frame.set_format(format);
    frame.set_samples(samples);
    frame.set_rate(crate::SAMPLE_RATE);
    // SAFETY: the frame is new and ours; the layout is written before its buffer is allocated from it.
    unsafe {
        let raw = frame.as_mut_ptr();
        ffi::av_channel_layout_default(&raw mut (*raw).ch_layout, 2);
        match ffi::av_frame_get_buffer(raw, 0) {
            0 => Ok(frame),
            error => Err(error.into()),
        }
    }
}

/// The floats of plane `plane` of an audio frame in a float format: `samples` of them if planar, twice as many if packed.
pub(crate) fn floats_mut(frame: &mut frame::Audio, plane: usize) -> &mut [f32] {
    let planar = frame.format() == Sample::F32(ffmpeg::format::sample::Type::Planar);
    let packed = frame.format() == Sample::F32(ffmpeg::format::sample::Type::Packed);
    let length = if planar { frame.samples() } else { frame.samples() * 2 };
    if !(planar && plane < 2 || packed && plane == 0) {
        return &mut [];
    }
    // SAFETY: `stereo_frame` allocated this many floats in the plane, aligned for them, and the frame is borrowed.
    unsafe { std::slice::from_raw_parts_mut((*frame.as_mut_ptr()).data[plane].cast::<f32>(), length) }
}

/// The samples of a packed stereo float frame, as filters of ours give them.
pub(crate) fn stereo_floats(frame: &frame::Audio) -> &[[f32; 2]] {
    // SAFETY: format and channel count are checked first; such a frame has two floats a sample in its first plane.
    unsafe {
        let raw = frame.as_ptr();
        let packed = frame.format() == Sample::F32(ffmpeg::format::sample::Type::Packed);
        if !packed || (*raw).ch_layout.nb_channels != 2 || (*raw).data[0].is_null() {
            return &[];
        }
        std::slice::from_raw_parts((*raw).data[0].cast::<[f32; 2]>(), frame.samples())
    }
}

/// The channel layout of an audio frame as filters read it; an unordered one as the usual layout of its count.
pub(crate) fn layout_text(frame: &mut frame::Audio) -> Result<String, ffmpeg::Error> {
    // SAFETY: the frame is ours; the buffer's length is given with it and the library ends the text inside it.
    unsafe {
        let layout = &raw mut (*frame.as_mut_ptr()).ch_layout;
        if (*layout).order == ffi::AVChannelOrder::AV_CHANNEL_ORDER_UNSPEC {
            let channels = (*layout).nb_channels;
            ffi::av_channel_layout_default(layout, channels);
        }
        let mut text = [0 as c_char; 128];
        let length = ffi::av_channel_layout_describe(layout, text.as_mut_ptr(), text.len());
        if length < 0 {
            return Err(length.into());
        }
        Ok(CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned())
    }
}

/// Channels of an audio frame.
pub(crate) fn channels(frame: &frame::Audio) -> u32 {
    // SAFETY: a number of a frame of ours is read.
    u32::try_from(unsafe { (*frame.as_ptr()).ch_layout.nb_channels }).unwrap_or(0)
}

/// Makes an audio encoder a stereo one.
pub(crate) fn set_stereo(encoder: &mut ffmpeg::codec::encoder::audio::Audio) {
    // SAFETY: the context is ours and not open yet.
    unsafe { ffi::av_channel_layout_default(&raw mut (*encoder.as_mut_ptr()).ch_layout, 2) };
}

/// Sets the four characters by which a container names the codec of a stream.
pub(crate) fn set_codec_tag(parameters: &mut Parameters, tag: [u8; 4]) {
    // SAFETY: the wrapper keeps the structure alive, and a number is written.
    unsafe { (*parameters.as_mut_ptr()).codec_tag = u32::from_le_bytes(tag) };
}

/// The name of a muxer, for a missing one to be told before a file is opened.
pub(crate) fn has_muxer(name: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(name) else { return false };
    // SAFETY: the name ends with a zero byte; the answer is only compared with null.
    unsafe { !ffi::av_guess_format(name.as_ptr(), std::ptr::null(), std::ptr::null()).is_null() }
}

/// Leaves out everything in a container that tells versions or dates.
pub(crate) fn set_bit_exact(output: &mut Output) {
    // SAFETY: the context is ours and its header is not written yet.
    unsafe { (*output.as_mut_ptr()).flags |= ffi::AVFMT_FLAG_BITEXACT as c_int };
}

/// Samples to drop at the start and the end of what `packet` decodes to.
pub(crate) fn skipped_samples(packet: &Packet) -> (u64, u64) {
    let Some(data) = packet.side_data().find(|data| data.kind() == ffmpeg::packet::side_data::Type::SkipSamples) else {
        return (0, 0);
    };
    let number = |at: usize| {
        data.data().get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes).into()
    };
    (number(0), number(4))
}

/// Gives `packet` the packet of its picture's alpha plane, as WebM keeps it beside that of the colours.
pub(crate) fn add_alpha(packet: &mut Packet, alpha: &[u8]) -> Result<(), ffmpeg::Error> {
    use ffmpeg_next::packet::Mut;
    const KIND: ffi::AVPacketSideDataType = ffi::AVPacketSideDataType::AV_PKT_DATA_MATROSKA_BLOCKADDITIONAL;
    // Which addition it is comes first: 1 is alpha.
    let id = 1_u64.to_be_bytes();
    // SAFETY: the packet is ours; the new block has the length asked for, is written whole before anybody reads it, and overlaps neither
    // slice.
    unsafe {
        let data = ffi::av_packet_new_side_data(packet.as_mut_ptr(), KIND, (id.len() + alpha.len()) as _);
        if data.is_null() {
            return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
        }
        data.copy_from_nonoverlapping(id.as_ptr(), id.len());
        data.add(id.len()).copy_from_nonoverlapping(alpha.as_ptr(), alpha.len());
    }
    Ok(())
}

/// Gives memory that was freed back to the system, that of other threads included. Takes a few milliseconds. Does nothing where the C
/// library is not glibc.
pub fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(keep: usize) -> c_int;
        }
        // SAFETY: the function takes a number by value, its signature is glibc's, and it may be called from any thread.
        unsafe { malloc_trim(0) };
    }
}

/// From now on, blocks of a megabyte and more go back to the system when they are freed.
///
/// Encoders and decoders take and free pictures by the hundred megabytes, each chunk's on another thread. The allocator's usual way is
/// to keep large blocks for the thread that freed them as soon as it has seen one, and so a process holds a multiple of what it
/// uses. Does nothing where the C library is not glibc.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        const MMAP_THRESHOLD: c_int = -3;
        const MEGABYTE: c_int = 1 << 20;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // SAFETY: the function takes two numbers by value, and its signature is glibc's; an unknown parameter is refused.
        unsafe { mallopt(MMAP_THRESHOLD, MEGABYTE) };
    }
}

/// A device whose memory pictures are copied into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceMemory {
    /// What encoders of VA-API take.
    Vaapi,
    /// A Vulkan device: the same calls, for tests where there is no VA-API.
    #[cfg(test)]
    Vulkan,
}

/// Pictures of one size in a device's memory, in NV12.
pub(crate) struct DeviceFrames(*mut ffi::AVBufferRef);

// SAFETY: the reference is owned, FFmpeg's buffers count references atomically, and nothing of it is bound to a thread.
unsafe impl Send for DeviceFrames {}

impl Drop for DeviceFrames {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and not used again.
        unsafe { ffi::av_buffer_unref(&raw mut self.0) };
    }
}

impl DeviceFrames {
    /// Pictures on the first device of this kind: as many as an encoder without B-frames holds at once, and some.
    pub(crate) fn open(memory: DeviceMemory, width: u32, height: u32) -> Result<Self, ffmpeg::Error> {
        const PICTURES: c_int = 16;
        let (kind, format) = match memory {
            DeviceMemory::Vaapi => (ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_VAAPI, ffi::AVPixelFormat::AV_PIX_FMT_VAAPI),
            #[cfg(test)]
            DeviceMemory::Vulkan => {
                (ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_VULKAN, ffi::AVPixelFormat::AV_PIX_FMT_VULKAN)
            }
        };
        let mut device = std::ptr::null_mut();
        // SAFETY: the library writes a new reference or leaves null; no name and no options are given.
        let answer =
            unsafe { ffi::av_hwdevice_ctx_create(&raw mut device, kind, std::ptr::null(), std::ptr::null_mut(), 0) };
        if answer < 0 {
            return Err(answer.into());
        }
        // SAFETY: the device was just made; the frames take a reference of their own, so ours is given up. Their description is ours
        // until `init`, which reads it; whatever fails, the drop gives the frames up.
        unsafe {
            let frames = Self(ffi::av_hwframe_ctx_alloc(device));
            ffi::av_buffer_unref(&raw mut device);
            if frames.0.is_null() {
                return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
            }
            let description = (*frames.0).data.cast::<ffi::AVHWFramesContext>();
            (*description).format = format;
            (*description).sw_format = ffi::AVPixelFormat::AV_PIX_FMT_NV12;
            (*description).width = width as c_int;
            (*description).height = height as c_int;
            if memory == DeviceMemory::Vaapi {
                (*description).initial_pool_size = PICTURES;
            }
            match ffi::av_hwframe_ctx_init(frames.0) {
                0.. => Ok(frames),
                error => Err(error.into()),
            }
        }
    }

    /// Tells an encoder that is not open yet that its pictures come from here.
    pub(crate) fn feed(&self, encoder: &mut ffmpeg::codec::encoder::video::Video) -> Result<(), ffmpeg::Error> {
        // SAFETY: the context is ours and not open; it owns the new reference and gives it up when it is freed.
        unsafe {
            let reference = ffi::av_buffer_ref(self.0);
            if reference.is_null() {
                return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
            }
            (*encoder.as_mut_ptr()).hw_frames_ctx = reference;
        }
        Ok(())
    }

    /// A copy of `picture`, which has NV12 planes of this size, in the device's memory.
    pub(crate) fn upload(&self, picture: &frame::Video) -> Result<frame::Video, ffmpeg::Error> {
        let mut there = frame::Video::empty();
        // SAFETY: both frames are live; the new one gets its buffer from the pool and owns it.
        unsafe {
            match ffi::av_hwframe_get_buffer(self.0, there.as_mut_ptr(), 0) {
                0 => {}
                error => return Err(error.into()),
            }
            match ffi::av_hwframe_transfer_data(there.as_mut_ptr(), picture.as_ptr(), 0) {
                0 => Ok(there),
                error => Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
pub(crate) fn download(there: &frame::Video) -> Result<frame::Video, ffmpeg::Error> {
    let mut here = frame::Video::empty();
    // SAFETY: both frames are live; the library allocates the empty one in the pool's own format.
    match unsafe { ffi::av_hwframe_transfer_data(here.as_mut_ptr(), there.as_ptr(), 0) } {
        0 => Ok(here),
        error => Err(error.into()),
    }
}
