//! Videos whose frames show their number, in any codec and with any times.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling;
use ffmpeg_next::{Dictionary, Packet, Rational, color, frame};
use hyperfarm_media::Picture;

/// Cells across a frame: a number has eight bits, black for 0.
const BITS: usize = 8;

/// How a video is encoded.
#[derive(Debug, Clone)]
pub struct Footage {
    /// FFmpeg's name of the encoder.
    pub encoder: &'static str,
    /// Pixel format of the encoder.
    pub pixel: Pixel,
    /// Width and height, 128 or more by 32 or more.
    pub size: (u32, u32),
    /// Ticks a second, as (numerator, denominator) of a tick.
    pub time_base: (i32, i32),
    /// Start of each frame in ticks.
    pub times: Vec<i64>,
    /// Options of the encoder.
    pub options: &'static [(&'static str, &'static str)],
    /// Matrix, transfer characteristic and range where they are tagged.
    pub color: Option<(color::Space, color::TransferCharacteristic, color::Range)>,
}

impl Footage {
    /// `count` pictures at `num / den` a second in H.264 with B-pictures and a key frame every 12.
    pub fn h264(num: i32, den: i32, count: i64) -> Self {
        Self {
            encoder: "libx264",
            pixel: Pixel::YUV420P,
            size: (128, 64),
            time_base: (den, num),
            times: (0..count).collect(),
            options: &[("preset", "fast"), ("crf", "16"), ("g", "12"), ("bf", "2")],
            color: None,
        }
    }

    /// The same with these frame times, in ticks of a 600th of a second.
    pub fn with_times(times: Vec<i64>) -> Self {
        Self { time_base: (1, 600), times, ..Self::h264(30, 1, 0) }
    }

    /// Start of frame `number` in seconds.
    pub fn start_of(&self, number: usize) -> f64 {
        self.times[number] as f64 * f64::from(self.time_base.0) / f64::from(self.time_base.1)
    }

    /// Writes the video to `path`, whose extension is the container.
    ///
    /// # Panics
    /// Panics if FFmpeg fails.
    pub fn write(&self, path: &Path) {
        ffmpeg::init().expect("FFmpeg starts");
        ffmpeg::log::set_level(ffmpeg::log::Level::Error);
        let mut output = ffmpeg::format::output(path).expect("the container is known");
        let codec = ffmpeg::encoder::find_by_name(self.encoder).expect("the encoder is there");
        let mut context = ffmpeg::codec::Context::new_with_codec(codec);
        context.set_flags(ffmpeg::codec::Flags::GLOBAL_HEADER);
        let mut encoder = context.encoder().video().expect("it encodes pictures");
        encoder.set_width(self.size.0);
        encoder.set_height(self.size.1);
        encoder.set_format(self.pixel);
        let time_base = Rational::new(self.time_base.0, self.time_base.1);
        encoder.set_time_base(time_base);
        encoder.set_frame_rate(Some(time_base.invert()));
        if let Some((space, transfer, range)) = self.color {
            encoder.set_colorspace(space);
            encoder.set_color_transfer_characteristic(transfer);
            encoder.set_color_range(range);
        }
        let options = Dictionary::from_iter(self.options.iter().copied());
        let mut encoder = encoder.open_with(options).expect("the encoder opens");
        let mut stream = output.add_stream(codec).expect("a stream is added");
        stream.set_parameters(ffmpeg::codec::Parameters::from(&encoder));
        stream.set_time_base(time_base);
        if self.pixel == Pixel::YUVA420P {
            stream.set_metadata(Dictionary::from_iter([("alpha_mode", "1")]));
        }
        output.write_header().expect("the header is written");
        let to = output.stream(0).expect("the stream is there").time_base();
        let mut scaler = scaling::Context::get(
            Pixel::RGBA,
            self.size.0,
            self.size.1,
            self.pixel,
            self.size.0,
            self.size.1,
            scaling::Flags::BICUBIC | scaling::Flags::ACCURATE_RND,
        )
        .expect("the pixels can be converted");
        let mut drain = |encoder: &mut ffmpeg::codec::encoder::video::Encoder| {
            let mut packet = Packet::empty();
            while encoder.receive_packet(&mut packet).is_ok() {
                packet.set_stream(0);
                packet.set_duration(self.duration_at(packet.pts().unwrap_or(0)));
                packet.rescale_ts(time_base, to);
                packet.write_interleaved(&mut output).expect("a packet is written");
            }
        };
        for (number, time) in self.times.iter().enumerate() {
            let drawn = self.draw(number);
            let mut planes = frame::Video::new(self.pixel, self.size.0, self.size.1);
            scaler.run(&drawn, &mut planes).expect("the picture is converted");
            planes.set_pts(Some(*time));
            encoder.send_frame(&planes).expect("the picture is taken");
            drain(&mut encoder);
        }
        encoder.send_eof().expect("the encoder ends");
        drain(&mut encoder);
        output.write_trailer().expect("the trailer is written");
    }

    /// Duration of the frame at `time` in ticks; the last frame lasts as long as the one before it.
    fn duration_at(&self, time: i64) -> i64 {
        let next = self.times.iter().position(|other| *other > time).unwrap_or(self.times.len() - 1).max(1);
        self.times.get(next).zip(self.times.get(next - 1)).map_or(1, |(next, this)| next - this)
    }

    /// Frame `number`: its bits above and their inverse below, so that a wrong reading is noticed. The right half is
    /// half transparent where the pixel format has alpha.
    fn draw(&self, number: usize) -> frame::Video {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let mut picture = frame::Video::new(Pixel::RGBA, self.size.0, self.size.1);
        let stride = picture.stride(0);
        for (y, row) in picture.data_mut(0).chunks_mut(stride).take(height).enumerate() {
            for (x, pixel) in row.as_chunks_mut::<4>().0.iter_mut().take(width).enumerate() {
                let bit = number >> (x * BITS / width) & 1 == 1;
                let level = if bit == (y * 2 < height) { 255 } else { 0 };
                *pixel = [level, level, level, if x * 2 < width { 255 } else { 128 }];
            }
        }
        picture
    }
}

/// The number that a frame of [`Footage`] shows in the box at `(left, top)` of `picture`; `None` where there is no
/// number.
pub fn number_in(picture: &Picture, (left, top): (u32, u32), (width, height): (u32, u32)) -> Option<u64> {
    let light = |bit: usize, quarter: u32| {
        let x = left + (width * (2 * bit as u32 + 1)) / (2 * BITS as u32);
        picture.pixel(x, top + height * quarter / 4).map(|pixel| pixel[1])
    };
    let mut number = 0;
    for bit in 0..BITS {
        let (above, below) = (light(bit, 1)?, light(bit, 3)?);
        if above.abs_diff(below) < 60 {
            return None;
        }
        number |= u64::from(above > below) << bit;
    }
    Some(number)
}
