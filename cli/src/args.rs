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
use hyperfarm_proto::spec::{Format, KeepFor, RenderSpec};

pub(crate) use choices::{Moment, QualityArg, ResolutionArg, WorkersArg, count, extensions, format_of_output};
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
    /// Compile and probe a composition without rendering it: its size, its length and every warning.
    Check(Box<CheckArgs>),
    /// Write single frames of a composition as PNG files, exactly as a render draws them.
    Snapshot(Box<SnapshotArgs>),
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
    /// Repair the farm's ledger from its storage.
    #[command(subcommand)]
    Ledger(crate::ledger::LedgerCommand),
    /// Add, list and remove versions of the HyperFrames runtime, on this machine or on a farm.
    #[command(subcommand)]
    Runtime(crate::runtime::RuntimeCommand),
    /// Look at and steer renders on a farm.
    #[command(subcommand)]
    Renders(crate::client::renders::RendersCommand),
    /// Upload and look at files on a farm.
    #[command(subcommand)]
    Assets(crate::client::assets::AssetsCommand),
    /// Look for voices on a farm, and let them speak.
    #[command(subcommand)]
    Voices(crate::client::voices::VoicesCommand),
    /// Make avatars on a farm, of photos of people.
    #[command(subcommand)]
    Avatars(crate::client::avatars::AvatarsCommand),
    /// Make presenter videos on a farm: a photo of a person who speaks.
    #[command(subcommand)]
    Videos(crate::client::videos::VideosCommand),
    /// Give existing videos a new sound on a farm.
    #[command(subcommand)]
    Lipsyncs(crate::client::lipsyncs::LipsyncsCommand),
    /// Translate existing videos into other languages on a farm.
    #[command(subcommand)]
    Translations(Box<crate::client::translations::TranslationsCommand>),
    /// Register receivers of a farm's events.
    #[command(subcommand)]
    Webhooks(crate::client::webhooks::WebhooksCommand),
    /// Look at the workers of a farm, and take them out of it.
    #[command(subcommand)]
    Workers(crate::client::workers::WorkersCommand),
    /// Check this machine and its connections; each red line says what to do.
    Doctor(DoctorArgs),
    /// Simulate a farm: the real scheduler with synthetic workers, on a clock that no one waits for.
    Simulate(SimulateArgs),
    /// Print the completions of a shell.
    Completions(CompletionsArgs),
    /// Write the manual pages.
    Man(ManArgs),
}

/// A project, and what is asked of its pictures.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ProjectArgs {
    /// Project folder, HTML file or zip archive.
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// What is asked of the render.
    #[command(flatten)]
    pub spec: RenderSpec,
    /// Height class, or one of HyperFrames' presets [default: the composition's own size].
    #[arg(long, value_enum)]
    pub resolution: Option<ResolutionArg>,
    /// Variables as a JSON object, or @FILE that holds one.
    #[arg(long, value_name = "JSON|@FILE")]
    pub variables: Option<String>,
    /// File that holds the variables as a JSON object.
    #[arg(long, value_name = "FILE", conflicts_with = "variables")]
    pub variables_file: Option<PathBuf>,
}

/// `hyperfarm check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CheckArgs {
    /// The project.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Warnings are a failure: exit code 1.
    #[arg(long)]
    pub strict: bool,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `hyperfarm snapshot`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SnapshotArgs {
    /// The project.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Moments, with commas between them: seconds, or per cent of the length.
    #[arg(
        long,
        value_name = "TIMES",
        value_delimiter = ',',
        allow_negative_numbers = true,
        default_value = "0,25%,50%,75%,100%"
    )]
    pub at: Vec<Moment>,
    /// Folder to write the PNG files to; of one moment also a file whose name ends with .png.
    #[arg(short, long, value_name = "FOLDER", default_value = "snapshots")]
    pub output: PathBuf,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `hyperfarm render`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RenderArgs {
    /// The project.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// File to write; for a png-sequence or hls a folder, or a name that ends with .zip [default: renders/NAME]. With --batch
    /// {index} and {NAME} stand for the row's number and variables.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Render once for each row of variables: a JSON list of objects, or a CSV file with a line of names, with commas,
    /// semicolons or tabs between the cells.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["variables", "variables_file", "manifest", "timings", "trace", "no_wait"])]
    pub batch: Option<PathBuf>,
    /// Rows of a batch at once.
    #[arg(long, value_name = "N", default_value = "1", requires = "batch", value_parser = count, allow_negative_numbers = true)]
    pub batch_concurrency: NonZeroU32,
    /// Begin no further row of a batch after one has failed.
    #[arg(long, requires = "batch")]
    pub batch_fail_fast: bool,
    /// How much effort the encoder makes.
    #[arg(long, short, value_enum, default_value_t = QualityArg::Standard)]
    pub quality: QualityArg,
    /// Container [default: by the codec, else by the extension of the output, else mp4].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// A sound to put under everything from the first frame on: a file, or an http(s) URL.
    #[arg(long, value_name = "FILE|URL")]
    pub audio: Option<String>,
    /// Chunks to render at once on this machine [default: by cores and memory].
    #[arg(long, value_parser = count, allow_negative_numbers = true, conflicts_with = "farm")]
    pub slots: Option<NonZeroU32>,
    /// The same by HyperFrames' name: a number, or auto.
    #[arg(long, short, value_name = "N|auto", allow_negative_numbers = true, conflicts_with_all = ["slots", "farm"])]
    pub workers: Option<WorkersArg>,
    /// Say nothing but errors and warnings.
    #[arg(long)]
    pub quiet: bool,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Also write the render's manifest: a hash of every captured frame, segments, timings.
    #[arg(long, value_name = "FILE", conflicts_with = "farm")]
    pub manifest: Option<PathBuf>,
    /// Also say where the time went, stage by stage, as milliseconds a frame.
    #[arg(long, conflicts_with = "farm")]
    pub timings: bool,
    /// Also write where the time went as a trace, for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE", conflicts_with = "farm")]
    pub trace: Option<PathBuf>,
    /// Render on the farm at this URL instead of on this machine. The key comes from HYPERFARM_API_KEY.
    #[arg(long, value_name = "URL", value_parser = crate::client::farm_url)]
    pub farm: Option<url::Url>,
    /// With --farm: a name for people [default: of hyperframes.json or package.json, else the page's title, else the
    /// folder].
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
    /// With --farm: how long the render is kept after its end, such as 12h or 30d [default: as long as the farm keeps
    /// renders].
    #[arg(long, value_name = "TIME", requires = "farm")]
    pub keep_for: Option<KeepFor>,
    /// With --farm: submit, print the render's id and do not wait.
    #[arg(long, requires = "farm", conflicts_with_all = ["output", "timeout"])]
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
    #[arg(long, value_parser = count, allow_negative_numbers = true)]
    pub slots: Option<NonZeroU32>,
}

/// `hyperfarm worker`.
#[derive(Debug, ClapArgs)]
pub(crate) struct WorkerArgs {
    /// Tasks at once [default: HYPERFARM_SLOTS, else by cores and memory].
    #[arg(long, value_parser = count, allow_negative_numbers = true)]
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
    #[arg(long, default_value = "1", value_parser = count, allow_negative_numbers = true)]
    pub slots: NonZeroU32,
    /// Address and port of /metrics, /healthz and /readyz, without a key [default: none].
    #[arg(long, env = "HYPERFARM_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
}

/// `hyperfarm doctor`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DoctorArgs {
    /// Print the checks as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `hyperfarm simulate`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SimulateArgs {
    /// TOML file that says which workers there are and which renders they are given.
    pub scenario: PathBuf,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `hyperfarm completions`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `hyperfarm man`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ManArgs {
    /// Folder to write to, one page a command.
    pub folder: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use hyperfarm_proto::bounded::Bounded;
    use hyperfarm_proto::spec::Profile;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn fractions_and_files_are_understood() {
        let args = Args::try_parse_from(["hyperfarm", "render", "p", "-o", "x.webm", "--fps", "30000/1001"]).unwrap();
        let Command::Render(render) = args.command else { panic!("not a render") };
        assert_eq!(render.project.spec.fps.unwrap().to_string(), "30000/1001");
        assert_eq!(format_of_output(&render.output.unwrap()), Some(Format::Webm));
        assert!(Args::try_parse_from(["hyperfarm", "render", "p", "-o", "x", "--fps", "0"]).is_err());
        assert!(Args::try_parse_from(["hyperfarm", "render", "p", "-o", "x", "--width", "9"]).is_err());
    }

    #[test]
    fn command_lines_of_hyperframes_are_understood() {
        let line = "hyperfarm render ./p -c scenes/a.html -o out.mp4 -f 24000/1001 -q looks -w auto --crf 17 --gpu --quiet \
                    --resolution landscape-4k --format mp4 --variables-file v.json --sdr --browser-timeout 90 --gif-loop 2 \
                    --no-best-effort --low-memory-mode --experimental-fast-capture=false --vp9-cpu-used -4 \
                    --loudness -16 --true-peak -2 --profile 422-hq --bit-depth 10 --timecode 01:00:00;00 --wav --poster 9f";
        let args = Args::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Render(render) = args.command else { panic!("not a render") };
        let spec = &render.project.spec;
        assert_eq!((spec.crf, spec.vp9_cpu_used), (Bounded::new(17), Bounded::new(-4)));
        assert_eq!((spec.loudness, spec.true_peak), (Bounded::new(-16), Bounded::new(-2)));
        assert_eq!((spec.bit_depth, spec.profile), (Some(10), Some(Profile::ProRes422Hq)));
        assert_eq!(spec.timecode.map(|timecode| timecode.to_string()), Some("01:00:00;00".to_owned()));
        assert_eq!(render.workers, Some(WorkersArg(None)));
        assert_eq!(render.foreign.ignored().len(), 5);
        let inference = "hyperfarm render page.html --width 540 --height 960 --duration 0 --codec h265 --device-scale 2 \
                         --transparent --audio https://x.example/a.mp3";
        let args = Args::try_parse_from(inference.split_whitespace()).unwrap();
        let Command::Render(render) = args.command else { panic!("not a render") };
        let spec = &render.project.spec;
        assert_eq!((spec.transparent, spec.device_scale_factor), (Some(true), Bounded::new(2)));
        for bad in [
            "--fps 29.97",
            "--crf 3 --video-bitrate 1M",
            "--video-bitrate fast",
            "--workers 0",
            "--duration -1",
            "--loudness -8",
            "--bit-depth 9",
            "--profile hq",
            "--timecode 1",
            "--true-peak -1",
        ] {
            let line = format!("hyperfarm render p -o x {bad}");
            assert!(Args::try_parse_from(line.split_whitespace()).is_err(), "{bad}");
        }
    }
}
