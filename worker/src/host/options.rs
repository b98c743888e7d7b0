//! What a page is opened with, and what it reports of its media.

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::shutter::Shutter;
use hyperfarm_proto::spec::Size;
use serde::{Deserialize, Serialize};

/// How a page is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Path of the entry page.
    pub entry: String,
    /// Frames a second.
    pub frame_rate: FrameRate,
    /// The shutter of the motion blur; `None` where each frame is one picture.
    pub shutter: Option<Shutter>,
    /// Variables as a JSON object.
    pub variables: String,
    /// Whether the page has a transparent background: white, and the backgrounds of root and body, are removed.
    pub transparent: bool,
    /// The timelines that the page is waited for.
    pub timelines: ExpectedTimelines,
    /// Videos whose pictures the farm decodes. The page unloads their files once it knows their sizes.
    pub videos: Vec<ServedVideo>,
    /// Seed of the page's random numbers; 0 in every render.
    pub seed: u32,
    /// Unix time in milliseconds that the page's clocks show at its start.
    pub epoch_ms: u64,
    /// Steps of the load time that the page needs before it is ready, as the plan's probe has counted them; `None`
    /// while they are not known.
    pub load_steps: Option<u32>,
}

/// The timelines that a page is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTimelines {
    /// Whether any file of the project mentions timelines. Without that, no composition registers one.
    pub any: bool,
    /// Ids of compositions that are known to register none.
    pub except: Vec<String>,
}

/// A video whose pictures the farm decodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServedVideo {
    /// Render id of the element.
    pub id: String,
    /// Width of its pictures in pixels, for the layout of a page that does not set one.
    pub width: u32,
    /// Height of its pictures in pixels.
    pub height: u32,
    /// Second of the composition at which the plan shows it.
    pub start: f64,
    /// Second of the composition at which the plan stops to show it; of a video that scripts play, its length in
    /// seconds.
    pub end: f64,
    /// Second of the source that it shows at `start`.
    pub media_start: f64,
    /// Seconds of the source a second of the composition.
    pub rate: f64,
    /// Whether it starts again at the source's beginning when it runs out.
    pub looped: bool,
    /// Seconds of the source, where they are known.
    pub duration: Option<f64>,
    /// Index among the videos of the site, where scripts play the video; `None` where the plan shows it.
    pub index: Option<usize>,
}

/// The picture that a video shows at a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VideoPicture {
    /// Render id of the element.
    pub id: String,
    /// URL of the picture that the page shows.
    pub src: String,
    /// URL path of the picture that scripts draw, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawn: Option<String>,
}

/// A video of high dynamic range that a frame shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoLayer {
    /// Index among the videos of the site.
    pub video: usize,
    /// Number of its picture.
    pub number: u64,
    /// Render id of the element.
    pub id: String,
    /// Size of its pictures.
    pub size: Size,
}

impl VideoLayer {
    /// The picture of one colour, `black` or `white`, that the page shows in place of the video's.
    pub(crate) fn solid(&self, colour: &str) -> VideoPicture {
        let Size { width, height } = self.size;
        let src = format!(
            "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'>\
             <rect width='100%25' height='100%25' fill='{colour}'/></svg>"
        );
        VideoPicture { id: self.id.clone(), src, drawn: None }
    }
}

/// Where the picture of a video lies, as the page reports it, in pixels of the page.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct PlacedPicture {
    /// Width and height of the content box of its element, before any transform.
    pub(super) extent: [f64; 2],
    /// Left, top, width and height of the picture in it.
    pub(super) rect: [f64; 4],
}

/// A `<video>` or `<audio>` element of the page.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ProbedMedia {
    /// Render id.
    pub id: String,
    /// `video` or `audio`.
    pub kind: String,
    /// Absolute URL of the source; empty without one.
    pub src: String,
    /// Start in seconds of the composition, as the runtime resolves it.
    pub start: Option<f64>,
    /// Whether it has `data-start`.
    pub timed: bool,
    /// Whether it is a video that is not in the document, which scripts play and draw.
    #[serde(default)]
    pub scripted: bool,
    /// `data-duration` in seconds.
    pub duration: Option<f64>,
    /// `data-end` in seconds of the composition.
    pub end: Option<f64>,
    /// Second of the source at the start.
    pub media_start: f64,
    /// Seconds of the source per second of the composition.
    pub rate: f64,
    /// `data-volume`, a linear gain.
    pub volume: Option<f64>,
    /// Length of the fade-in in seconds.
    pub fade_in: f64,
    /// Length of the fade-out in seconds.
    pub fade_out: f64,
    /// `data-automation` as text.
    pub automation: Option<String>,
    /// Whether it is muted.
    pub muted: bool,
    /// `data-has-audio` as text.
    pub has_audio: Option<String>,
    /// Whether it loops.
    pub looped: bool,
    /// Start and end, in seconds of the composition, of the visibility of a video without a start of its own, where the
    /// timeline decides it.
    #[serde(default)]
    pub visible: Option<(f64, f64)>,
}

/// Duration and media of a page, as the page reports them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Probe {
    /// Duration in seconds, from the declaration, the timelines or the media.
    pub duration: f64,
    /// Every media element, in document order.
    pub media: Vec<ProbedMedia>,
}
