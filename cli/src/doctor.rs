//! `hyperfarm doctor`: checks what this machine needs for the farm, and says what to do about what does not work.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Arc;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::config::Config;
use hyperfarm_coordinator::{HttpLipsync, HttpTranslator, LipsyncConfig};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::record::CapturePath;
use hyperfarm_proto::spec::{Size, Viewport};
use hyperfarm_speech::espeak::Espeak;
use hyperfarm_speech::piper::Piper;
use hyperfarm_speech::{SpeechConfig, SpeechEngine};
use hyperfarm_worker::capture::FrameGrabber;
use hyperfarm_worker::chrome::{ChromeConfig, ChromeSettings, Confinement, GpuConfig, GpuMode, Layer, ProcessKind};
use hyperfarm_worker::encoders::EncoderMode;
use hyperfarm_worker::error::DiskError;
use hyperfarm_worker::host::{ExpectedTimelines, OpenOptions};
use hyperfarm_worker::server::{Site, SiteFile};
use hyperfarm_worker::{GSAP_VERSION, RUNTIME_VERSION, Slot, WorkerError, class};
use serde::Serialize;
use serde_json::json;

use crate::exit::CliError;
use crate::stdout::print_line;
use crate::{machine, roles, settings};

/// Bytes of memory below which a heavy page may be killed.
const MIN_MEMORY: u64 = 2 * 1024 * 1024 * 1024;

/// The checks so far. Without `--json` each is printed as it ends.
struct Report {
    checks: Vec<Check>,
    colour: bool,
    json: bool,
}

/// A check, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Check {
    check: String,
    status: Status,
    message: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// It works.
    Ok,
    /// It works in part, or is not used.
    Warning,
    /// It does not work; the message says what to do.
    Failed,
}

impl Report {
    fn green(&mut self, what: &str, found: &str) {
        self.add(Status::Ok, what, found);
    }

    fn yellow(&mut self, what: &str, found: &str) {
        self.add(Status::Warning, what, found);
    }

    fn red(&mut self, what: &str, advice: &str) {
        self.add(Status::Failed, what, advice);
    }

    fn check(&mut self, what: &str, result: Result<String, String>) {
        match result {
            Ok(found) => self.green(what, &found),
            Err(advice) => self.red(what, &advice),
        }
    }

    fn add(&mut self, status: Status, what: &str, text: &str) {
        self.checks.push(Check { check: what.to_owned(), status, message: text.to_owned() });
        let (mark, colour) = match status {
            Status::Ok => ("ok", "32"),
            Status::Warning => ("--", "33"),
            Status::Failed => ("NO", "31"),
        };
        if !self.json {
            let mark = if self.colour { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
            print_line(&format!("{mark}  {what:<12} {text}"));
        }
    }
}

/// Checks everything and prints a line for each check.
///
/// # Errors
///
/// Some checks are red; the message says how many.
pub(crate) async fn run(json: bool) -> Result<(), CliError> {
    let mut report = Report { checks: Vec::new(), colour: std::io::stdout().is_terminal(), json };
    let (settings, errors) = settings::with_errors();
    for error in &errors {
        report.red("environment", &error.to_string());
    }
    chrome(&mut report, &settings.worker.chrome).await;
    let confined = "a child process without environment, files, network and new privileges";
    let compiler = roles::compilers(settings.worker.compile).check_confinement().map_err(|error| error.to_string());
    report.check("compiler", compiler.map(|()| confined.to_owned()));
    let decoder = roles::decoders(settings.worker.media).check_confinement().map_err(|error| error.to_string());
    report.check("decoder", decoder.map(|()| confined.to_owned()));
    for (encoder, present) in hyperfarm_media::encoders() {
        let advice = "missing from FFmpeg's libraries: install Debian's libavcodec59 (or -extra), not a reduced build";
        report.check(encoder, if present { Ok("encoder present".to_owned()) } else { Err(advice.to_owned()) });
    }
    device_encoders(&mut report, settings.worker.encoder);
    report.green("ffmpeg", &hyperfarm_media::versions());
    report.green("runtime", &format!("HyperFrames {RUNTIME_VERSION}, GSAP {GSAP_VERSION}, embedded"));
    machine_lines(&mut report);
    speech(&mut report, &settings.speech).await;
    lipsync(&mut report, settings.lipsync.as_ref()).await;
    translation(&mut report, &settings).await;
    if errors.is_empty() {
        backplane(&mut report, &settings.farm).await;
    }
    let red = report.checks.iter().filter(|check| check.status == Status::Failed).count();
    if json {
        print_line(&json!({ "ok": red == 0, "checks": report.checks }).to_string());
    }
    match red {
        0 => Ok(()),
        red => Err(CliError::system(format!("{red} of the checks are red"))),
    }
}

async fn chrome(report: &mut Report, settings: &ChromeSettings) {
    let config = match roles::chrome(settings) {
        Ok(config) => config,
        Err(error) => return report.red("chrome", &error.to_string()),
    };
    match class::detect(&config, String::new(), String::new()).await {
        Ok(class) => {
            report.green("chrome", &format!("{} at {}", class.chrome, config.executable.display()));
            report.green("fonts", &format!("18 families embedded; the machine's own: {}", class.fonts.short()));
        }
        Err(error) => return report.red("chrome", &error.to_string()),
    }
    if !config.sandbox {
        report.yellow("sandbox", "off by HYPERFARM_CHROME_SANDBOX; render only compositions that you trust");
    }
    let is_on = config.sandbox;
    let config = gpu(report, config).await;
    match draw(config).await {
        Ok((drawn, measured)) => {
            report.green("begin-frame", &drawn);
            confinement(report, is_on, &measured);
        }
        Err(error) => {
            let hint = match settings.executable.as_ref().filter(|_| !matches!(error, WorkerError::Disk(_))) {
                Some(path) if !error.to_string().contains("TMPDIR") => format!(
                    "; HYPERFARM_CHROME names {}: unset it, or name a headless shell (Debian's chromium-headless-shell)",
                    path.display()
                ),
                _ => String::new(),
            };
            report.red("begin-frame", &format!("{}{hint}", error.to_string().trim_end_matches([':', ' '])));
        }
    }
}

/// Reports how Chrome's processes were confined while a frame was drawn. Renderers run the scripts of pages and must
/// have a filter of system calls, unless the sandbox is off.
fn confinement(report: &mut Report, is_on: bool, measured: &Confinement) {
    let holds = |kind, layers: &[Layer]| layers.iter().all(|layer| measured.holds(kind, *layer) == Some(true));
    let renderer = measured.summary(ProcessKind::Renderer);
    if holds(ProcessKind::Renderer, &[Layer::Seccomp, Layer::NoNewPrivileges, Layer::PidNamespace]) {
        report.green("renderer", &renderer);
    } else if is_on {
        report.red("renderer", &format!("{renderer}; the kernel must allow user namespaces and seccomp filters"));
    } else {
        report.yellow("renderer", &renderer);
    }
    let layers =
        [Layer::Seccomp, Layer::NoNewPrivileges, Layer::UnprivilegedUser, Layer::PidNamespace, Layer::NetNamespace];
    for (name, kind) in [("gpu process", ProcessKind::Gpu), ("browser", ProcessKind::Browser)] {
        let text = measured.summary(kind);
        if holds(kind, &layers) {
            report.green(name, &text);
        } else {
            report.yellow(name, &text);
        }
    }
}

/// Checks the GPU that `HYPERFARM_GPU` asks for; where it is off, reports the one that could be used.
async fn gpu(report: &mut Report, config: ChromeConfig) -> ChromeConfig {
    let off = config.gpu_config.mode == GpuMode::Off;
    let processor = ChromeConfig { gpu: None, ..config.clone() };
    let asked = if off {
        ChromeConfig { gpu_config: GpuConfig { mode: GpuMode::Auto, ..config.gpu_config }, ..config }
    } else {
        config
    };
    match asked.with_gpu().await {
        Ok(found) => {
            match &found.gpu {
                Some(gpu) if off => {
                    report.yellow("gpu", &format!("not used; HYPERFARM_GPU=webgl or page would draw {gpu}"));
                    return processor;
                }
                Some(gpu) if gpu.is_software() => report.yellow("gpu", &format!("{gpu}: the processor, for tests")),
                Some(gpu) => report.green("gpu", &gpu.to_string()),
                None => report.yellow("gpu", "none: the processor draws"),
            }
            found
        }
        Err(error) => {
            report.red("gpu", &error.to_string());
            processor
        }
    }
}

/// Checks which encoders of a GPU open.
fn device_encoders(report: &mut Report, mode: EncoderMode) {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        // The check of the temporary folder reports it.
        Err(_) => return,
    };
    let (mut open, mut shut) = (Vec::new(), Vec::new());
    for (encoder, outcome) in hyperfarm_media::device_encoders(folder.path()) {
        match outcome {
            Ok(()) => open.push(encoder.name()),
            Err(error) => shut.push(format!("{}: {error}", encoder.name())),
        }
    }
    match (open.is_empty(), mode) {
        (true, EncoderMode::Hardware) => {
            report.red("encoder", &format!("HYPERFARM_ENCODER=hardware, and none of a GPU opens: {}", shut.join("; ")))
        }
        (true, _) => report.yellow("encoder", "none of a GPU opens: the processor encodes"),
        (false, EncoderMode::Software) => {
            report.yellow("encoder", &format!("{} not used; see HYPERFARM_ENCODER", open.join(", ")))
        }
        (false, _) => report.green("encoder", &format!("{} of the GPU", open.join(", "))),
    }
}

/// Draws a frame of a small page and reads it, and measures how Chrome is confined meanwhile.
async fn draw(config: ChromeConfig) -> Result<(String, Confinement), WorkerError> {
    let temp_dir = std::env::temp_dir();
    let unwritable = |source| DiskError { action: "cannot be written", path: temp_dir.clone(), source };
    let folder = tempfile::tempdir().map_err(unwritable)?;
    let page = "<!doctype html><body style='background:#246'><script>window.__hf={duration:1,seek(){}}</script>";
    let path = folder.path().join("index.html");
    std::fs::write(&path, page).map_err(unwritable)?;
    let files = HashMap::from([("index.html".to_owned(), SiteFile { path, bytes: page.len() as u64 })]);
    let options = OpenOptions {
        entry: "index.html".to_owned(),
        frame_rate: FrameRate::DEFAULT,
        variables: "{}".to_owned(),
        transparent: false,
        timelines: ExpectedTimelines { any: false, except: Vec::new() },
        videos: Vec::new(),
        shutter: None,
        seed: 0,
        epoch_ms: 0,
        load_steps: Some(0),
    };
    let viewport = Viewport { page: Size { width: 320, height: 180 }, scale: 1 };
    let mut slot = Slot::new(config).await?;
    let drawn = async {
        let mut host = slot.open(Arc::new(Site::new(files, Vec::new())), viewport, &options).await?;
        host.seek(0, &[]).await?;
        let started = std::time::Instant::now();
        let mut grabber = FrameGrabber::new(&host, false);
        grabber.grab(&mut host, None).await?;
        let path = match grabber.path() {
            CapturePath::Framebuffer => "from the compositor's memory",
            CapturePath::Png => "as a screenshot",
        };
        Ok(format!("a frame drawn and read {path} in {:.0} ms", started.elapsed().as_secs_f64() * 1000.0))
    };
    let outcome = drawn.await;
    let outcome = slot.settle(outcome).await;
    slot.close().await;
    Ok((outcome?, slot.confinement().get().cloned().unwrap_or_default()))
}

/// Checks the speech engines. A farm needs none.
async fn speech(report: &mut Report, config: &SpeechConfig) {
    if config.espeak.is_none() && config.openai.is_none() && config.piper.is_none() {
        let advice = "no engine; for speech install espeak-ng, or set HYPERFARM_SPEECH_URL or HYPERFARM_PIPER_URL";
        return report.yellow("speech", advice);
    }
    if let Some(program) = &config.espeak {
        let version = Espeak::new(program).version().await;
        report.check("espeak-ng", version.map_err(|error| format!("{error}; see HYPERFARM_ESPEAK")));
    }
    if let Some(service) = &config.openai {
        report.yellow("speech", &format!("{} is not asked, for its answers may cost money", service.url));
    }
    if let Some(url) = &config.piper {
        let voices = async { Piper::new(url.clone())?.voices().await };
        let found = voices.await.map(|voices| format!("{} voices at {url}", voices.len()));
        report.check("piper", found.map_err(|error| format!("{error}; see HYPERFARM_PIPER_URL")));
    }
}

/// Checks the engine that moves mouths. A farm needs none.
async fn lipsync(report: &mut Report, config: Option<&LipsyncConfig>) {
    let Some(config) = config else {
        return report
            .yellow("lipsync", "no engine; lipsyncs of the mode `precision` need one, by HYPERFARM_LIPSYNC_URL");
    };
    let name = async { HttpLipsync::new(config.clone())?.name().await };
    let found = name.await.map(|name| format!("{name} at {}", config.url));
    report.check("lipsync", found.map_err(|error| format!("{error}; see HYPERFARM_LIPSYNC_URL")));
}

/// Checks the engines that hear and translate. A farm needs none.
async fn translation(report: &mut Report, settings: &settings::Settings) {
    match &settings.recognition {
        None => report.yellow(
            "recognition",
            "no engine; translations of videos whose words are not given need one, by HYPERFARM_RECOGNITION_URL",
        ),
        // It has no request that costs nothing.
        Some(service) => {
            report.yellow("recognition", &format!("{} is not asked, for its answers may cost money", service.url))
        }
    }
    match &settings.translation {
        None if settings.language_model.is_some() => report.yellow("translation", "the language model translates"),
        None => report.yellow(
            "translation",
            "no engine; translations of videos need one, by HYPERFARM_TRANSLATION_URL or HYPERFARM_LANGUAGE_MODEL_URL",
        ),
        Some(service) => {
            let languages = async { HttpTranslator::new(service.clone())?.languages().await };
            let found = languages.await.map(|found| format!("{} languages at {}", found.len(), service.url));
            report.check("translation", found.map_err(|error| format!("{error}; see HYPERFARM_TRANSLATION_URL")));
        }
    }
}

fn machine_lines(report: &mut Report) {
    let slots = machine::default_slots();
    match machine::available_memory() {
        Some(bytes) if bytes < MIN_MEMORY => report.red(
            "memory",
            &format!(
                "{} MiB available: too little for a heavy page; give the machine or the container 2 GiB or more",
                bytes >> 20
            ),
        ),
        Some(bytes) => report.green("memory", &format!("{} MiB available: {slots} slots by default", bytes >> 20)),
        None => report.yellow("memory", &format!("unknown; {slots} slots by default")),
    }
    let folder = std::env::temp_dir();
    let writable = tempfile::tempfile_in(&folder).map(|_| format!("{} can be written", folder.display()));
    report.check(
        "temp folder",
        writable.map_err(|error| {
            format!("{} cannot be written: {error}; set TMPDIR to a folder that is yours", folder.display())
        }),
    );
}

async fn backplane(report: &mut Report, config: &Config) {
    if config.cluster.is_none() {
        report.yellow("cluster", "none configured: broker and ledger run in process");
    }
    let backplane = match Backplane::connect(config).await {
        Ok(backplane) => backplane,
        Err(error) => return report.red("backplane", &error.to_string()),
    };
    let ok = |()| "answers".to_owned();
    report.check("broker", backplane.broker.check().await.map(ok).map_err(|error| error.to_string()));
    report.check("ledger", backplane.ledger.check().await.map(ok).map_err(|error| error.to_string()));
    if config.storage_url.is_some() && backplane.objects.has_credential() {
        report.green("credential", "this machine holds the credential of the object storage, as a coordinator must");
    } else if !backplane.objects.has_credential() {
        report.green("credential", "none of the object storage: coordinators grant each task what it may touch");
    }
    report.check("storage", backplane.objects.check().await.map(ok).map_err(|error| error.to_string()));
}
