//! The parts of FFmpeg for which ffmpeg-next has no safe call.
//!
//! | what | where |
//! | --- | --- |
//! | ids of pixel formats, sample formats and codecs | `ids` |
//! | pictures in a device's memory | `device_frames` |
//! | containers read from an open file | `file_input` |
//! | parameters of streams, timelines, planes of frames, side data | here |
//!
//! Every block of `unsafe` that touches a field of FFmpeg's structures is in this module, in `convert::to_bgra` or in
//! `ffmpeg_log`; the rest of the crate is safe code. Only fields that exist from FFmpeg 5.1 to today are used
//! (`ch_layout` and not `channel_layout`, for one).
#![allow(unsafe_code)] // ffmpeg-next has no call for what is done here; each block says why it is sound

mod device_frames;
mod file_input;
mod ids;

use std::ffi::{CStr, c_char, c_int};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Parameters;
use ffmpeg_next::ffi;
use ffmpeg_next::format::Sample;
use ffmpeg_next::format::context::{Input, Output};
use ffmpeg_next::{Packet, frame};
use hyperfarm_proto::spec::Size;

use self::ids::number;
use crate::tags::Tags;
use crate::timescale::SAMPLE_RATE;

#[cfg(test)]
pub(crate) use self::device_frames::download;
pub(crate) use self::device_frames::{DeviceFrames, DeviceMemory};
pub(crate) use self::file_input::{FileInput, open_input};
pub(crate) use self::ids::{CodecId, PixelFormat, SampleFormat, is_side_data, known_decoders};

/// Parameters of a video stream by its container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VideoParameters {
    pub width: u32,
    pub height: u32,
    pub pixel: PixelFormat,
    pub aspect: (i32, i32),
    pub tags: Tags,
    /// Frames that a decoder holds back to put them in order of presentation.
    pub delay: u32,
    pub extradata: Vec<u8>,
}

/// Parameters of an audio stream by its container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AudioParameters {
    pub sample_rate: u32,
    pub channels: u32,
    pub codec: CodecId,
    /// Samples of priming, before the first one that is heard.
    pub initial_padding: u64,
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

/// Whether the frame's rows are stored from top to bottom, as ffmpeg-next's slices of planes assume.
pub(crate) fn rows_go_down(frame: &frame::Video) -> bool {
    // SAFETY: numbers of a live frame are read.
    unsafe { (*frame.as_ptr()).linesize.iter().all(|bytes| *bytes >= 0) }
}

pub(crate) fn video_parameters(parameters: &Parameters) -> VideoParameters {
    // SAFETY: the wrapper keeps the structure alive. Extradata is read within the length given beside it. No reference
    // to the whole is made, as that would claim its tags to be valid.
    unsafe {
        let raw = parameters.as_ptr();
        let extradata = match ((*raw).extradata.is_null(), usize::try_from((*raw).extradata_size)) {
            (false, Ok(length)) => std::slice::from_raw_parts((*raw).extradata, length).to_vec(),
            _ => Vec::new(),
        };
        VideoParameters {
            width: u32::try_from((*raw).width).unwrap_or(0),
            height: u32::try_from((*raw).height).unwrap_or(0),
            pixel: PixelFormat::of_number((*raw).format),
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
            codec: CodecId::of(parameters),
            initial_padding: u64::try_from((*raw).initial_padding).unwrap_or(0),
        }
    }
}

/// Start of the file's timeline in microseconds; 0 where the file has none, and where only priming lies before zero.
pub(crate) fn start_time(input: &Input) -> i64 {
    // SAFETY: the wrapper keeps the context alive, and a number is read.
    let start = unsafe { (*input.as_ptr()).start_time };
    if start == ffi::AV_NOPTS_VALUE { 0 } else { start.max(0) }
}

/// Duration of the file in microseconds, where it has one.
pub(crate) fn duration(input: &Input) -> Option<i64> {
    Some(input.duration()).filter(|duration| *duration != ffi::AV_NOPTS_VALUE && *duration > 0)
}

/// Moves the reader to a key frame of stream `index` at or before `timestamp` (stream ticks).
pub(crate) fn seek(input: &mut Input, index: usize, timestamp: i64) -> Result<(), ffmpeg::Error> {
    // SAFETY: the context is open, and the library checks the stream's index.
    let answer = unsafe {
        ffi::av_seek_frame(input.as_mut_ptr(), index as c_int, timestamp, ffi::AVSEEK_FLAG_BACKWARD as c_int)
    };
    if answer < 0 { Err(answer.into()) } else { Ok(()) }
}

/// The index's last key frame of stream `index` at or before `timestamp`, in stream ticks, if the file has an index.
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

/// The first byte position behind everything that the file's index points at.
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

/// A writable plane of a frame.
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

/// All four planes of an allocated frame at once; empty ones where it has fewer.
pub(crate) fn planes_mut(frame: &mut frame::Video) -> [PlaneMut<'_>; 4] {
    std::array::from_fn(|plane| {
        if plane >= frame.planes() {
            return PlaneMut { data: &mut [], stride: 0 };
        }
        let stride = frame.stride(plane);
        let data = frame.data_mut(plane);
        // SAFETY: planes of a frame do not overlap, the frame stays borrowed as long as they do, and each is given
        // once.
        let data = unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr(), data.len()) };
        PlaneMut { data, stride }
    })
}

/// Gives `frame` a buffer that nobody else reads. Its content is undefined.
pub(crate) fn make_fresh(frame: &mut frame::Video) -> Result<(), ffmpeg::Error> {
    // SAFETY: the frame is ours. If an encoder still reads the buffer, our reference is released and a new buffer
    // allocated, so that nothing is copied only to be overwritten.
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

/// A stereo frame of `samples` samples at 48 kHz. Its content is undefined.
pub(crate) fn stereo_frame(format: Sample, samples: usize) -> Result<frame::Audio, ffmpeg::Error> {
    let mut frame = frame::Audio::empty();
    frame.set_format(format);
    frame.set_samples(samples);
    frame.set_rate(SAMPLE_RATE);
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

/// The floats of plane `plane` of an audio frame in a float format: `samples` of them if planar, twice as many if
/// packed.
pub(crate) fn floats_mut(frame: &mut frame::Audio, plane: usize) -> &mut [f32] {
    let planar = SampleFormat::of(frame) == SampleFormat::PLANAR_FLOATS;
    let packed = SampleFormat::of(frame) == SampleFormat::PACKED_FLOATS;
    let length = if planar { frame.samples() } else { frame.samples() * 2 };
    if !(planar && plane < 2 || packed && plane == 0) {
        return &mut [];
    }
    // SAFETY: `stereo_frame` allocated this many floats in the plane, aligned for them, and the frame is borrowed.
    unsafe { std::slice::from_raw_parts_mut((*frame.as_mut_ptr()).data[plane].cast::<f32>(), length) }
}

/// The samples of a packed stereo float frame, as our filter chains return them; none for any other frame.
pub(crate) fn stereo_floats(frame: &frame::Audio) -> &[[f32; 2]] {
    // SAFETY: format and channel count are checked first; such a frame has two floats a sample in its first plane.
    unsafe {
        let raw = frame.as_ptr();
        if SampleFormat::of(frame) != SampleFormat::PACKED_FLOATS
            || (*raw).ch_layout.nb_channels != 2
            || (*raw).data[0].is_null()
        {
            return &[];
        }
        std::slice::from_raw_parts((*raw).data[0].cast::<[f32; 2]>(), frame.samples())
    }
}

/// The channel layout of an audio frame as text for filters. A layout without order is the default layout of its
/// channel count.
pub(crate) fn layout_text(frame: &mut frame::Audio) -> Result<String, ffmpeg::Error> {
    // SAFETY: the frame is ours; the buffer's length is given with it and the library ends the text inside it.
    unsafe {
        let layout = &raw mut (*frame.as_mut_ptr()).ch_layout;
        if number(&raw const (*layout).order) == ffi::AVChannelOrder::AV_CHANNEL_ORDER_UNSPEC as i32 {
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

/// Sets the channel layout of an audio encoder to stereo.
pub(crate) fn set_stereo(encoder: &mut ffmpeg::codec::encoder::audio::Audio) {
    // SAFETY: the context is ours and not open yet.
    unsafe { ffi::av_channel_layout_default(&raw mut (*encoder.as_mut_ptr()).ch_layout, 2) };
}

/// Parameters of a text track (`mov_text`) over pictures of `size`.
pub(crate) fn caption_parameters(size: Size) -> Result<Parameters, ffmpeg::Error> {
    let mut parameters = Parameters::new();
    let padding = ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
    // SAFETY: the structure is ours. The block has the length of the description and FFmpeg's padding, is filled
    // before anybody reads it, and belongs to the structure from then on, which frees it.
    unsafe {
        let raw = parameters.as_mut_ptr();
        let block = ffi::av_mallocz(CAPTION_STYLE.len() + padding).cast::<u8>();
        if block.is_null() {
            return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
        }
        block.copy_from_nonoverlapping(CAPTION_STYLE.as_ptr(), CAPTION_STYLE.len());
        (*raw).codec_type = ffi::AVMediaType::AVMEDIA_TYPE_SUBTITLE;
        (*raw).codec_id = ffi::AVCodecID::AV_CODEC_ID_MOV_TEXT;
        (*raw).codec_tag = u32::from_le_bytes(*b"tx3g");
        (*raw).extradata = block;
        (*raw).extradata_size = CAPTION_STYLE.len() as c_int;
        (*raw).width = size.width as c_int;
        (*raw).height = size.height as c_int;
    }
    Ok(parameters)
}

/// The sample description of a text track (3GPP TS 26.245, 5.16): centred at the bottom, white on nothing, 18 points.
const CAPTION_STYLE: &[u8] = b"\0\0\0\0\x01\xff\0\0\0\0\
    \0\0\0\0\0\0\0\0\
    \0\0\0\0\0\x01\0\x12\xff\xff\xff\xff\
    \0\0\0\x12ftab\0\x01\0\x01\x05Arial";

/// Sets the four characters by which a container names the codec of a stream.
pub(crate) fn set_codec_tag(parameters: &mut Parameters, tag: [u8; 4]) {
    // SAFETY: the wrapper keeps the structure alive, and a number is written.
    unsafe { (*parameters.as_mut_ptr()).codec_tag = u32::from_le_bytes(tag) };
}

/// Whether FFmpeg has the muxer `name`.
pub(crate) fn has_muxer(name: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(name) else { return false };
    // SAFETY: the name ends with a zero byte; the answer is only compared with null.
    unsafe { !ffi::av_guess_format(name.as_ptr(), std::ptr::null(), std::ptr::null()).is_null() }
}

/// Makes a muxer write no versions and no dates.
pub(crate) fn set_bit_exact(output: &mut Output) {
    // SAFETY: the context is ours and its header is not written yet.
    unsafe { (*output.as_mut_ptr()).flags |= ffi::AVFMT_FLAG_BITEXACT as c_int };
}

/// Samples to drop at the start and the end of what `packet` decodes to.
pub(crate) fn skipped_samples(packet: &Packet) -> (u64, u64) {
    const KIND: ffi::AVPacketSideDataType = ffi::AVPacketSideDataType::AV_PKT_DATA_SKIP_SAMPLES;
    let Some(data) = packet.side_data().find(|data| is_side_data(data, KIND)) else { return (0, 0) };
    let number = |at: usize| {
        data.data().get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes).into()
    };
    (number(0), number(4))
}

/// Gives stream `index` of an output, whose header is not written yet, the structures of a mastering display and of
/// light levels.
pub(crate) fn add_light(output: &mut Output, index: usize, display: &[u8], light: &[u8]) -> Result<(), ffmpeg::Error> {
    use ffi::AVPacketSideDataType::{AV_PKT_DATA_CONTENT_LIGHT_LEVEL, AV_PKT_DATA_MASTERING_DISPLAY_METADATA};
    if index >= output.nb_streams() as usize {
        return Err(ffmpeg::Error::StreamNotFound);
    }
    for (kind, bytes) in [(AV_PKT_DATA_MASTERING_DISPLAY_METADATA, display), (AV_PKT_DATA_CONTENT_LIGHT_LEVEL, light)] {
        // SAFETY: the stream's index was checked; the new block has the length asked for, is written whole before anybody
        // reads it, and belongs to the stream.
        unsafe {
            let stream = *(*output.as_mut_ptr()).streams.add(index);
            let data = ffi::av_stream_new_side_data(stream, kind, bytes.len());
            if data.is_null() {
                return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
            }
            data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }
    Ok(())
}

/// `packet` with `before` before its data. Its times are not kept.
pub(crate) fn prefixed(packet: &Packet, before: &[u8]) -> Packet {
    let mut longer = Packet::copy(&[before, packet.data().unwrap_or_default()].concat());
    longer.set_flags(packet.flags());
    longer
}

/// Adds the packet of a frame's alpha plane to that of its colours, as WebM stores it (BlockAdditions).
pub(crate) fn add_alpha(packet: &mut Packet, alpha: &[u8]) -> Result<(), ffmpeg::Error> {
    use ffmpeg_next::packet::Mut;
    const KIND: ffi::AVPacketSideDataType = ffi::AVPacketSideDataType::AV_PKT_DATA_MATROSKA_BLOCKADDITIONAL;
    // BlockAddID 1 is alpha.
    let id = 1_u64.to_be_bytes();
    // SAFETY: the packet is ours; the new block has the length asked for, is written whole before anybody reads it, and
    // overlaps neither slice.
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
