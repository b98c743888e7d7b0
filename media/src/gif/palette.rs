//! FFmpeg's palette filters: `palettegen` and `paletteuse`.

use ffmpeg_next as ffmpeg;
use ffmpeg_next::filter::Graph;
use ffmpeg_next::frame;
use hyperfarm_proto::spec::Size;

/// Colours in a palette.
const COLOURS: usize = 256;

/// A filter graph from BGRA pictures to a palette or to indexed pictures.
pub(super) struct PaletteFilter {
    graph: Graph,
    pushed: i64,
}

impl PaletteFilter {
    /// A filter that computes a palette of all its pictures.
    pub(super) fn generating(size: Size, options: &str) -> Result<Self, ffmpeg::Error> {
        let mut graph = Graph::new();
        source(&mut graph, "in", size.width, size.height)?;
        graph.add(&find("buffersink")?, "out", "")?;
        graph.output("in", 0)?.input("out", 0)?.parse(&format!("palettegen={options}"))?;
        graph.validate()?;
        Ok(Self { graph, pushed: 0 })
    }

    /// A filter that turns pictures into indices of `palette`.
    pub(super) fn applying(size: Size, palette: &frame::Video, options: &str) -> Result<Self, ffmpeg::Error> {
        let mut graph = Graph::new();
        source(&mut graph, "in", size.width, size.height)?;
        source(&mut graph, "palette", palette.width(), palette.height())?;
        graph.add(&find("buffersink")?, "out", "")?;
        let filters = format!("[in][palette]paletteuse={options}[out]");
        graph.output("in", 0)?.output("palette", 0)?.input("out", 0)?.parse(&filters)?;
        graph.validate()?;
        let mut filter = Self { graph, pushed: 0 };
        let mut palette = palette.clone();
        palette.set_pts(Some(0));
        filter.add("palette", &palette)?;
        filter.graph.get("palette").ok_or(ffmpeg::Error::Bug)?.source().flush()?;
        Ok(filter)
    }

    /// Gives the filter a picture.
    pub(super) fn push(&mut self, picture: &frame::Video) -> Result<(), ffmpeg::Error> {
        let mut picture = picture.clone();
        picture.set_pts(Some(self.pushed));
        self.pushed += 1;
        self.add("in", &picture)
    }

    fn add(&mut self, name: &str, picture: &frame::Video) -> Result<(), ffmpeg::Error> {
        self.graph.get(name).ok_or(ffmpeg::Error::Bug)?.source().add(picture)
    }

    /// Tells the filter that no picture follows.
    pub(super) fn end(&mut self) -> Result<(), ffmpeg::Error> {
        self.graph.get("in").ok_or(ffmpeg::Error::Bug)?.source().flush()
    }

    /// The next output picture, if one is ready.
    pub(super) fn pull(&mut self) -> Result<Option<frame::Video>, ffmpeg::Error> {
        let mut output = frame::Video::empty();
        match self.graph.get("out").ok_or(ffmpeg::Error::Bug)?.sink().frame(&mut output) {
            Ok(()) => Ok(Some(output)),
            Err(ffmpeg::Error::Eof) | Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The palette, after the last picture was pushed.
    pub(super) fn palette(mut self) -> Result<frame::Video, ffmpeg::Error> {
        self.end()?;
        self.pull()?.ok_or(ffmpeg::Error::InvalidData)
    }
}

fn find(name: &str) -> Result<ffmpeg::Filter, ffmpeg::Error> {
    ffmpeg::filter::find(name).ok_or(ffmpeg::Error::FilterNotFound)
}

fn source(graph: &mut Graph, name: &str, width: u32, height: u32) -> Result<(), ffmpeg::Error> {
    let options = format!("video_size={width}x{height}:pix_fmt=bgra:time_base=1/100:pixel_aspect=1/1");
    graph.add(&find("buffer")?, name, &options).map(drop)
}

/// The colours of a palette picture, in order, as (red, green, blue, alpha).
pub(super) fn colours(palette: &frame::Video) -> Vec<[u8; 4]> {
    let (width, height, stride) = (palette.width() as usize, palette.height() as usize, palette.stride(0));
    let rows = (0..height).flat_map(|y| palette.data(0)[y * stride..][..width * 4].as_chunks::<4>().0);
    rows.take(COLOURS).map(|[blue, green, red, alpha]| [*red, *green, *blue, *alpha]).collect()
}
