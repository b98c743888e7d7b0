//! Storyboards: small pictures of a video in sheets, and a WebVTT file that says which one is shown when.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::MediaTiming;
use hyperfarm_proto::spec::Size;

use crate::bitmap::Picture;
use crate::captions::clock;
use crate::convert::to_bgra::Scaler;
use crate::error::MediaError;
use crate::join::SegmentFile;
use crate::source::VideoSource;
use crate::thumbnail;

/// Width of a picture in pixels at most.
const WIDTH: u32 = 160;

/// Pictures of a sheet across, and down at most.
const SIDE: u64 = 10;

/// Name of the WebVTT file.
const INDEX: &str = "storyboard.vtt";

/// Writes a picture of every `interval` frames of `segments` into `folder`, in JPEG sheets, and a WebVTT file whose cues
/// name sheet and rectangle. Returns the files, the WebVTT file last. Pictures are at most 160 pixels wide and never
/// enlarged; transparent ones are put over black.
///
/// # Errors
/// A segment cannot be decoded, a file cannot be written, or `going_on` answered false.
pub fn storyboard(
    segments: &[SegmentFile],
    rate: FrameRate,
    interval: u64,
    folder: &Path,
    going_on: &dyn Fn() -> bool,
) -> Result<Vec<PathBuf>, MediaError> {
    let (interval, frames) = (interval.max(1), segments.iter().map(|segment| segment.frames).sum::<u64>());
    let count = frames.div_ceil(interval);
    let timing = MediaTiming { start: 0.0, end: f64::MAX, media_start: 0.0, rate: 1.0, looped: false };
    let (mut files, mut index) = (Vec::new(), "WEBVTT\n".to_owned());
    let mut sheet: Option<Sheet> = None;
    let (mut before, mut number) = (0, 0);
    for segment in segments {
        let end = before + segment.frames;
        if number * interval >= end {
            before = end;
            continue;
        }
        let mut source = VideoSource::open(&segment.path, &timing, rate).map_err(MediaError::part)?;
        while number * interval < end {
            if !going_on() {
                return Err(MediaError::Stopped);
            }
            let frame = number * interval;
            let picture = source.picture(frame - before).map_err(MediaError::part)?;
            let cell = number % (SIDE * SIDE);
            let name = format!("storyboard-{:03}.jpg", number / (SIDE * SIDE) + 1);
            let on = sheet.get_or_insert_with(|| Sheet::new(picture.size, (count - number).min(SIDE * SIDE)));
            let (x, y) = on.add(&picture, cell, folder)?;
            let time = |frame| clock((rate.seconds_of(frame) * 1000.0).round() as u64, '.');
            let (start, end) = (time(frame), time((frame + interval).min(frames)));
            let Size { width, height } = on.cell;
            let _ = write!(index, "\n{start} --> {end}\n{name}#xywh={x},{y},{width},{height}\n");
            number += 1;
            if number == count || cell + 1 == SIDE * SIDE {
                let path = folder.join(name);
                if let Some(sheet) = sheet.take() {
                    write_file(&path, &thumbnail::encode(&sheet.picture, sheet.picture.size.width, &path)?)?;
                }
                files.push(path);
            }
        }
        before = end;
    }
    let path = folder.join(INDEX);
    write_file(&path, index.as_bytes())?;
    files.push(path);
    Ok(files)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), MediaError> {
    fs::write(path, bytes).map_err(|source| MediaError::Write { path: path.to_owned(), source })
}

/// Pictures beside and below one another.
struct Sheet {
    cell: Size,
    picture: Picture,
    scaler: Scaler,
}

impl Sheet {
    /// A black sheet for `count` pictures of a video of `size`.
    fn new(size: Size, count: u64) -> Self {
        let cell = thumbnail::fitted(size, WIDTH);
        let size = Size {
            width: cell.width * count.clamp(1, SIDE) as u32,
            height: cell.height * count.div_ceil(SIDE).max(1) as u32,
        };
        let bgra = [0, 0, 0, 255].repeat(size.width as usize * size.height as usize);
        Self { cell, picture: Picture { size, bgra }, scaler: Scaler::new() }
    }

    /// Puts `picture` into place `number` and returns its left and upper edge.
    fn add(&mut self, picture: &Picture, number: u64, folder: &Path) -> Result<(u32, u32), MediaError> {
        let mut small = frame::Video::new(Pixel::BGRA, self.cell.width, self.cell.height);
        self.scaler
            .fill(&thumbnail::over_black(picture), &mut small)
            .map_err(MediaError::make(folder, "scaling a picture of a storyboard"))?;
        let (x, y) = ((number % SIDE) as u32 * self.cell.width, (number / SIDE) as u32 * self.cell.height);
        let (row, stride) = (self.cell.width as usize * 4, self.picture.size.width as usize * 4);
        let rows = small.data(0).chunks(small.stride(0)).take(self.cell.height as usize);
        for (at, from) in rows.enumerate() {
            let start = (y as usize + at) * stride + x as usize * 4;
            self.picture.bgra[start..start + row].copy_from_slice(&from[..row]);
        }
        Ok((x, y))
    }
}
