//! The command line.

mod choices;
mod compat;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use hyperfarm_api::request::Priority;
use hyperfarm_proto::bounded::Text;
use hyperfarm_proto::id::Pool;
use hyperfarm_proto::spec::{Format, RenderSpec};

pub(crate) use choices::{QualityArg, ResolutionArg, WorkersArg, extensions, format_of_output};
pub(crate) use compat::CompatArgs;

/// Renders HyperFrames compositions (HTML) to video: on this machine, or on a farm of many.
#[derive(Debug, Parser)]
#[command(name = "hyperfarm", version, propagate_version = true)]
pub(crate) struct Args {
    /// Say more about what happens.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
    /// Make, list and revoke the farm's API keys, straight in its storage.
    #[command(subcommand)]
    Keys(crate::keys::KeysCommand),
    /// Look at and steer renders on a farm.
    #[command(subcommand)]
    Renders(crate::client::renders::RendersCommand),
    /// Upload and look at files on a farm.
    #[command(subcommand)]
    Assets(crate::client::assets::AssetsCommand),
    /// Register receivers of a farm's events.
    #[command(subcommand)]
    Webhooks(crate::client::webhooks::WebhooksCommand),
    /// Check this machine and its connections; each red line says what to do.
    Doctor,
}

/// `hyperfarm render`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RenderArgs {
    /// Project folder, HTML file or zip archive.
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// File to write; for a png-sequence a folder, or a name that ends with .zip [default: renders/NAME].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What is asked of the render.
    #[command(flatten)]
    pub spec: RenderSpec,
    /// How much effort the encoder makes.
    #[arg(long, short, value_enum, default_value_t = QualityArg::Standard)]
    pub quality: QualityArg,
    /// Container [default: by the codec, else by the extension of the output, else mp4].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Height class, or one of HyperFrames' presets [default: the composition's own size].
    #[arg(long, value_enum)]
    pub resolution: Option<ResolutionArg>,
    /// A sound to put under everything from the first frame on: a file, or an http(s) URL.
    #[arg(long, value_name = "FILE|URL")]
    pub audio: Option<String>,
    /// Variables as a JSON object, or @FILE that holds one.
    #[arg(long, value_name = "JSON|@FILE")]
    pub variables: Option<String>,
    /// File that holds the variables as a JSON object.
    #[arg(long, value_name = "FILE", conflicts_with = "variables")]
    pub variables_file: Option<PathBuf>,
    /// Chunks to render at once on this machine [default: by cores and memory].
    #[arg(long)]
    pub slots: Option<NonZeroU32>,
    /// The same by HyperFrames' name: a number, or auto.
    #[arg(long, short, value_name = "N|auto", conflicts_with = "slots")]
    pub workers: Option<WorkersArg>,
    /// Say nothing but errors and warnings.
    #[arg(long)]
    pub quiet: bool,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Also write the render's manifest: a hash of every captured frame, segments, timings.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Also say where the time went, stage by stage, as milliseconds a frame.
    #[arg(long)]
    pub timings: bool,
    /// Also write where the time went as a trace, for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Render on the farm at this URL instead of on this machine. The key comes from HYPERFARM_API_KEY.
    #[arg(long, value_name = "URL")]
    pub farm: Option<url::Url>,
    /// With --farm: a name for people [default: of hyperframes.json or package.json, else the page's title, else the folder].
    #[arg(long, requires = "farm")]
    pub title: Option<Text<500>>,
    /// With --farm: which workers take it [default: cpu].
    #[arg(long, requires = "farm")]
    pub pool: Option<Pool>,
    /// With --farm: higher goes first, -100 to 100; 0 is usual.
    #[arg(long, value_name = "N", requires = "farm", allow_hyphen_values = true)]
    pub priority: Option<Priority>,
    /// With --farm: an https URL that is told of the end.
    #[arg(long, value_name = "URL", requires = "farm")]
    pub callback_url: Option<Text<2048>>,
    /// With --farm: an id of your own, given back in webhooks.
    #[arg(long, value_name = "ID", requires = "farm")]
    pub callback_id: Option<Text<256>>,
    /// With --farm: submit, print the render's id and do not wait.
    #[arg(long, requires = "farm")]
    pub no_wait: bool,
    /// With --farm: give up waiting after this long, such as 90s or 1h; the render goes on and the exit code is 4.
    #[arg(long, value_name = "TIME", requires = "farm")]
    pub timeout: Option<String>,
    /// Flags of HyperFrames' own renderer.
    #[command(flatten)]
    pub foreign: CompatArgs,
}

/// Where an API listens.
#[derive(Debug, ClapArgs)]
pub(crate) struct ListenArgs {
    /// Address and port of the HTTP API.
    #[arg(long, env = "HYPERFARM_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// URL under which clients reach the API [default: what each request says].
    #[arg(long, env = "HYPERFARM_PUBLIC_URL")]
    pub public_url: Option<url::Url>,
    /// Address and port of /metrics, /healthz and /readyz, without a key [default: none].
    #[arg(long, env = "HYPERFARM_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
}

/// `hyperfarm up`.
#[derive(Debug, ClapArgs)]
pub(crate) struct UpArgs {
    /// Where the API listens.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Tasks at once [default: by cores and memory].
    #[arg(long)]
    pub slots: Option<NonZeroU32>,
}

/// `hyperfarm worker`.
#[derive(Debug, ClapArgs)]
pub(crate) struct WorkerArgs {
    /// Tasks at once [default: HYPERFARM_SLOTS, else by cores and memory].
    #[arg(long)]
    pub slots: Option<NonZeroU32>,
    /// Pool to serve [default: HYPERFARM_POOL, else cpu].
    #[arg(long)]
    pub pool: Option<Pool>,
    /// Address and port of /metrics, /healthz and /readyz, without a key [default: none].
    #[arg(long, env = "HYPERFARM_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
}

/// `hyperfarm stitcher`.
#[derive(Debug, ClapArgs)]
pub(crate) struct StitcherArgs {
    /// Stitches at once.
    #[arg(long, default_value = "1")]
    pub slots: NonZeroU32,
    /// Address and port of /metrics, /healthz and /readyz, without a key [default: none].
    #[arg(long, env = "HYPERFARM_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use hyperfarm_proto::bounded::Bounded;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn fractions_and_files_are_understood() {
        let args = Args::try_parse_from(["hyperfarm", "render", "p", "-o", "x.webm", "--fps", "30000/1001"]).unwrap();
        let Command::Render(render) = args.command else { panic!("not a render") };
        assert_eq!(render.spec.fps.unwrap().to_string(), "30000/1001");
        assert_eq!(format_of_output(&render.output.unwrap()), Some(Format::Webm));
        assert!(Args::try_parse_from(["hyperfarm", "render", "p", "-o", "x", "--fps", "0"]).is_err());
        assert!(Args::try_parse_from(["hyperfarm", "render", "p", "-o", "x", "--width", "9"]).is_err());
    }

    #[test]
    fn command_lines_of_hyperframes_are_understood() {
        let line = "hyperfarm render ./p -c scenes/a.html -o out.mp4 -f 24000/1001 -q looks -w auto --crf 17 --gpu --quiet \
                    --resolution landscape-4k --format mp4 --variables-file v.json --sdr --browser-timeout 90 --gif-loop 2 \
                    --no-best-effort --low-memory-mode --experimental-fast-capture=false --vp9-cpu-used -4";
        let args = Args::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Render(render) = args.command else { panic!("not a render") };
        let spec = &render.spec;
        assert_eq!((spec.crf, spec.vp9_cpu_used), (Bounded::new(17), Bounded::new(-4)));
        assert_eq!(render.workers, Some(WorkersArg(None)));
        assert_eq!(render.foreign.ignored().len(), 5);
        let inference = "hyperfarm render page.html --width 540 --height 960 --duration 0 --codec h265 --device-scale 2 \
                         --transparent --audio https://x.example/a.mp3";
        let args = Args::try_parse_from(inference.split_whitespace()).unwrap();
        let Command::Render(render) = args.command else { panic!("not a render") };
        assert_eq!((render.spec.transparent, render.spec.device_scale_factor), (Some(true), Bounded::new(2)));
        for bad in ["--fps 29.97", "--crf 3 --video-bitrate 1M", "--video-bitrate fast", "--workers 0", "--duration -1"]
        {
            let line = format!("hyperfarm render p -o x {bad}");
            assert!(Args::try_parse_from(line.split_whitespace()).is_err(), "{bad}");
        }
    }
}
