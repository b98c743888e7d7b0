//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::{AspectRatio, Format, Quality, Resolution};

/// Renders HyperFrames compositions (HTML) to video: on this machine, or on a farm of many.
#[derive(Debug, Parser)]
#[command(name = "hyperfarm", version, propagate_version = true)]
pub struct Args {
    /// Say more about what happens.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Render a composition to a video file.
    Render(Box<RenderArgs>),
    /// Run every role in one process, with the HTTP API.
    Up(UpArgs),
    /// Run the coordinator: HTTP API, intake, scheduling.
    Coordinator(ListenArgs),
    /// Run a worker: plan, capture, encode, mix.
    Worker(WorkerArgs),
    /// Run a stitcher: join, mux, verify.
    Stitcher(StitcherArgs),
    /// Check this machine and its connections; each red line says what to do.
    Doctor,
}

/// `hyperfarm render`.
#[derive(Debug, ClapArgs)]
pub struct RenderArgs {
    /// Project folder, HTML file or zip archive.
    pub path: PathBuf,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Frames a second, such as 30 or 30000/1001 [default: the composition's data-fps, else 30].
    #[arg(long)]
    pub fps: Option<FrameRate>,
    /// How much effort the encoder makes.
    #[arg(long, short, value_enum, default_value_t = QualityArg::Standard)]
    pub quality: QualityArg,
    /// Container and codec [default: by the extension of the output, else mp4].
    #[arg(long, value_enum)]
    pub format: Option<FormatArg>,
    /// Height class [default: the composition's own size].
    #[arg(long, value_enum)]
    pub resolution: Option<ResolutionArg>,
    /// Shape [default: the composition's own].
    #[arg(long, value_enum)]
    pub aspect_ratio: Option<AspectRatioArg>,
    /// Output width in pixels, with --height.
    #[arg(long, requires = "height")]
    pub width: Option<u32>,
    /// Output height in pixels, with --width.
    #[arg(long, requires = "width")]
    pub height: Option<u32>,
    /// Entry page inside the project [default: index.html].
    #[arg(long, value_name = "PATH")]
    pub composition: Option<String>,
    /// Variables as a JSON object, or @FILE that holds one.
    #[arg(long, value_name = "JSON|@FILE")]
    pub variables: Option<String>,
    /// Undeclared or mistyped variables are errors instead of warnings.
    #[arg(long)]
    pub strict_variables: bool,
    /// Chunks to render at once on this machine [default: by cores and memory].
    #[arg(long)]
    pub slots: Option<NonZeroU32>,
    /// Frames a chunk [default: by measured cost].
    #[arg(long, value_name = "N")]
    pub chunk_frames: Option<NonZeroU32>,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Also write the render's manifest: a hash of every captured frame, segments, timings.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Render on the farm at this URL instead of on this machine. The key comes from HYPERFARM_API_KEY.
    #[arg(long, value_name = "URL")]
    pub farm: Option<url::Url>,
}

/// Where an API listens.
#[derive(Debug, ClapArgs)]
pub struct ListenArgs {
    /// Address and port of the HTTP API.
    #[arg(long, env = "HYPERFARM_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// URL under which clients reach the API [default: what each request says].
    #[arg(long, env = "HYPERFARM_PUBLIC_URL")]
    pub public_url: Option<url::Url>,
}

/// `hyperfarm up`.
#[derive(Debug, ClapArgs)]
pub struct UpArgs {
    /// Where the API listens.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Tasks at once [default: by cores and memory].
    #[arg(long)]
    pub slots: Option<NonZeroU32>,
}

/// `hyperfarm worker`.
#[derive(Debug, ClapArgs)]
pub struct WorkerArgs {
    /// Tasks at once [default: HYPERFARM_SLOTS, else by cores and memory].
    #[arg(long)]
    pub slots: Option<NonZeroU32>,
    /// Pool to serve [default: HYPERFARM_POOL, else cpu].
    #[arg(long)]
    pub pool: Option<hyperfarm_proto::id::Pool>,
}

/// `hyperfarm stitcher`.
#[derive(Debug, ClapArgs)]
pub struct StitcherArgs {
    /// Stitches at once.
    #[arg(long, default_value = "1")]
    pub slots: NonZeroU32,
}

macro_rules! value_enum {
    ($(#[$doc:meta])* $name:ident for $target:ident { $($variant:ident = $text:literal => $value:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub enum $name {
            $(#[doc = $text] #[value(name = $text)] $variant,)*
        }

        impl From<$name> for $target {
            fn from(arg: $name) -> Self {
                match arg { $($name::$variant => $target::$value,)* }
            }
        }
    };
}

value_enum! {
    /// Encoder effort.
    QualityArg for Quality { Draft = "draft" => Draft, Standard = "standard" => Standard, High = "high" => High, }
}
value_enum! {
    /// Container and codec.
    FormatArg for Format { Mp4 = "mp4" => Mp4, Webm = "webm" => Webm, Mov = "mov" => Mov, }
}
value_enum! {
    /// Height class.
    ResolutionArg for Resolution { FullHd = "1080p" => FullHd, Uhd = "4k" => Uhd, }
}
value_enum! {
    /// Shape.
    AspectRatioArg for AspectRatio {
        Landscape = "16:9" => Landscape, Portrait = "9:16" => Portrait, Square = "1:1" => Square,
    }
}

impl FormatArg {
    /// The format that a file name asks for by its extension.
    pub fn of_output(path: &std::path::Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        Self::value_variants()
            .iter()
            .copied()
            .find(|format| Format::from(*format).extension().eq_ignore_ascii_case(extension))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn fractions_and_files_are_understood() {
        let args = Args::try_parse_from(["hyperfarm", "render", "p", "-o", "x.webm", "--fps", "30000/1001"]).unwrap();
        let Command::Render(render) = args.command else { panic!("not a render") };
        assert_eq!(render.fps.unwrap().to_string(), "30000/1001");
        assert_eq!(FormatArg::of_output(&render.output), Some(FormatArg::Webm));
        assert!(Args::try_parse_from(["hyperfarm", "render", "p", "-o", "x", "--fps", "0"]).is_err());
        assert!(Args::try_parse_from(["hyperfarm", "render", "p", "-o", "x", "--width", "9"]).is_err());
    }
}
