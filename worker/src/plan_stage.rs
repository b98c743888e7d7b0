//! The plan stage: the project is compiled, probed in a page and measured by a few frames, and the draft of the plan is
//! stored.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::objects::grants::Want;
use hyperfarm_backplane::runner::TaskContext;
use hyperfarm_proto::frame::{FrameRange, FrameRate};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::plan::{
    Caption, CompiledFile, EncoderSettings, PREPARED_FILE, PlanContent, PlanDraft, RemoteAsset, VideoItem, Warning,
};
use hyperfarm_proto::shutter::Shutter;
use hyperfarm_proto::spec::{Format, RenderRequest, RenderSpec, Timestamp, Viewport};
use parking_lot::Mutex;

use crate::blocking::blocking;
use crate::capture::{Encoding, FrameGrabber, Next};
use crate::chrome::{PageEvent, shortened};
use crate::compile::fonts::missing_font;
use crate::compile::services::LocalServices;
use crate::compile::{CompileOutput, Compiled, FetchedFiles};
use crate::compiler::Compiler;
use crate::context::WorkerContext;
use crate::error::{PageError, ProjectError, WorkerError};
use crate::expected_page::{ExpectedPage, MAX_DURATION};
use crate::host::{ExpectedTimelines, OpenOptions, PageHost};
use crate::media_list::{self, MediaList};
use crate::remote::library::FontLibrary;
use crate::runtimes::RuntimeScripts;
use crate::server::{RequestProblem, Site, SiteFile};
use crate::sound_track;
use crate::urls::{decode_path, without_origin};
use crate::{chunk_stage, verify};

/// Positions at which the cost of a frame is measured, each with a frame and the next one.
const SAMPLED_POSITIONS: u64 = 2;
/// Seconds of output up to which the cost is measured in the middle only: a short page is cut by its length and the number
/// of slots, hardly by its cost.
const SHORT_SECONDS: f64 = 10.0;
/// Time after which no further position is measured: expensive frames are measured well by few, and each delays the
/// chunks.
const MEASURE_LIMIT: Duration = Duration::from_millis(200);
/// Most warnings of a render.
const MAX_WARNINGS: usize = 200;
/// Most characters of a warning's code.
const MAX_CODE: usize = 40;
/// Most exceptions, and most messages, of the page that become warnings.
const MAX_MESSAGES: usize = 10;
/// Why a composition has no length where its root says 0.
const ZERO_DURATION: &str = "data-duration of the composition's root is 0, which takes the length of its timelines and clips, and it has none of any \
     length: set data-duration to seconds above 0, or register a timeline in window.__timelines";
/// Code of warnings that are console messages of the page.
pub(crate) const CONSOLE: &str = "CONSOLE";
/// Code of warnings that are exceptions of the page.
const EXCEPTION: &str = "SCRIPT_EXCEPTION";
/// Path of the slot's server below which it serves remote files, by their encoded URL.
const REMOTE_PREFIX: &str = "/__hyperfarm/remote/";
/// Most probes of a page; each has the files that the one before requested.
const MAX_PROBES: u32 = 3;
/// Most bytes of what a page prepares for the later pages of its render.
const MAX_PREPARED: usize = 4 * 1024 * 1024;
/// What a page has prepared, as JSON; `null` where it has prepared nothing.
const PREPARED: &str = "window.__hyperfarmPrepared === undefined ? null : JSON.stringify(window.__hyperfarmPrepared)";
/// Files that are uploaded at once.
const UPLOADS: usize = 8;

/// Makes the draft of the plan of `render` and stores it. Where that fails, what was found before is stored.
pub(crate) async fn run(
    worker: &Arc<WorkerContext>,
    render: &RenderId,
    context: &TaskContext,
) -> Result<Vec<u8>, WorkerError> {
    let found = Mutex::new(Vec::new());
    let outcome = draft(worker, render, context, &found).await;
    let found = bounded(found.into_inner());
    if outcome.is_err() && !found.is_empty() {
        for warning in &found {
            context.log().farm(LogLevel::Warning, &format!("[{}] {}", warning.code, warning.message));
        }
        // The error says more than one of storage.
        if let Err(error) = context.objects().put_json(&keys::found_warnings(render), &found).await {
            tracing::warn!(%error, "the warnings of a failed plan are not stored");
        }
    }
    outcome
}

async fn draft(
    worker: &Arc<WorkerContext>,
    render: &RenderId,
    context: &TaskContext,
    found: &Mutex<Vec<Warning>>,
) -> Result<Vec<u8>, WorkerError> {
    let objects = context.objects();
    let request: RenderRequest = objects.get_json(&keys::request(render)).await?;
    let bundle = worker.cache.fetch(objects, &keys::bundle(&request.bundle), &request.bundle).await?;
    context.set_progress(100, 1000);
    let mut compiler = worker.compilers.open(&bundle, services(worker, context, &request))?;
    // However this function ends, the compiler's process ends with it, and the thread that waits for it.
    let _end = compiler.end_on_drop()?;
    let (compiler, CompileOutput { compiled, sound }) = {
        let (spec, archive, cancelled) = (request.spec.clone(), worker.archive, context.cancelled().clone());
        let compiling = blocking("the compiler", move || {
            let started = Instant::now();
            let output = compiler.compile(&spec, archive, &cancelled)?;
            tracing::debug!(took_ms = started.elapsed().as_millis(), files = output.compiled.files.len(), "compiled");
            Ok::<_, WorkerError>((compiler, output))
        });
        tokio::select! {
            compiled = compiling => compiled??,
            () = context.cancelled().cancelled() => return Err(WorkerError::Cancelled("plan")),
        }
    };
    found.lock().clone_from(&compiled.warnings);
    context.set_progress(200, 1000);
    let viewport =
        request.spec.viewport(compiled.authored_size).map_err(|error| ProjectError::Size(error.to_string()))?;
    let frame_rate = request.spec.fps.or(compiled.authored_fps).unwrap_or(FrameRate::DEFAULT);
    let shutter = request.spec.shutter(compiled.authored_shutter);
    request.spec.check_rate(frame_rate).map_err(|error| ProjectError::FrameRate(error.to_string()))?;
    let renditions =
        request.spec.renditions(viewport.output()).map_err(|error| ProjectError::Size(error.to_string()))?;
    let encoder = EncoderSettings { renditions, ..EncoderSettings::for_spec(&request.spec, frame_rate) };
    let encoder = worker.encoders.choose(encoder, request.spec.quality, viewport.output(), frame_rate).await;
    let sound_track = sound_track::path_of(&request.spec, &compiled.files, &|_| sound.clone())?;
    let uploads = upload(worker, objects, &compiled.files);
    let prober = Prober {
        worker,
        render,
        context,
        request: &request,
        compiled: &compiled,
        found,
        viewport,
        frame_rate,
        shutter,
        encoder: &encoder,
        runtime: worker.runtime(objects, &compiled.runtime).await?,
    };
    let probing = prober.probe_until_complete(compiler);
    let (_, (mut probed, network)) = futures::future::try_join(uploads, probing).await?;
    let prepared = probed.prepared.take().map(|text| store_prepared(worker, &text)).transpose()?;
    let added: Vec<CompiledFile> = network.files.into_iter().chain(prepared).collect();
    upload(worker, objects, &added).await?;
    let encoder = with_sources(encoder, &request.spec, shutter, &probed.media.videos)?;
    let mut files = compiled.files;
    files.extend(added);
    if let Some(path) = sound_track {
        probed.media.audio.push(sound_track::item(path, frame_rate.seconds_of(probed.composition_frames)));
    }
    sound_track::drop_if_silent(&request.spec, &mut probed.media.audio, &mut probed.warnings);
    warn_of_short_delays(&encoder, frame_rate, &mut probed.warnings);

    let content = PlanContent {
        files,
        remote: network.report,
        entry: compiled.entry,
        viewport,
        frame_rate,
        shutter,
        first_frame: probed.range.start(),
        frames: probed.range.count(),
        composition_frames: probed.composition_frames,
        variables: compiled.variables,
        epoch_ms: epoch_ms(&request),
        load_steps: probed.load_steps,
        unregistered_timelines: probed.unregistered_timelines,
        videos: probed.media.videos,
        audio: probed.media.audio,
        buses: probed.media.buses,
        captions: probed.captions,
        encoder,
        runtime: compiled.runtime,
        class: worker.class.clone(),
    };
    if request.spec.verify {
        probed.warnings.extend(verify_pages(worker, render, context, &content).await?);
    }
    let warnings = bounded(probed.warnings);
    // Messages of the page are in the log already.
    let is_new = |warning: &&Warning| ![CONSOLE, EXCEPTION].contains(&warning.code.as_str());
    for warning in warnings.iter().filter(is_new) {
        context.log().farm(LogLevel::Warning, &format!("[{}] {}", warning.code, warning.message));
    }
    let Cost { frame_ms: frame_cost_ms, earlier_ms: earlier_cost_ms } = probed.cost;
    let draft = PlanDraft { render: render.clone(), content, frame_cost_ms, earlier_cost_ms, warnings };
    objects.put_wire(&keys::draft(render), &draft).await?;
    context.set_progress(1000, 1000);
    Ok(Vec::new())
}

/// The first [`MAX_WARNINGS`] of what a page and its files may give any number of, each shortened.
pub(crate) fn bounded(mut warnings: Vec<Warning>) -> Vec<Warning> {
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    warnings.truncate(MAX_WARNINGS);
    for warning in &mut warnings {
        warning.message = shortened(&warning.message);
        warning.code.retain(|c| c.is_ascii_uppercase() || c == '_');
        warning.code.truncate(MAX_CODE);
    }
    if more > 0 {
        warnings.push(Warning {
            code: "WARNINGS_LEFT_OUT".to_owned(),
            message: format!("the render has {more} more warnings, which are left out"),
        });
    }
    warnings
}

/// What the compiler of a render, which is planned in the context `context`, has from this worker.
fn services(worker: &Arc<WorkerContext>, context: &TaskContext, request: &RenderRequest) -> LocalServices {
    let (slot, objects) = (context.slot(), context.objects().clone());
    let (sized, spec) = (worker.clone(), request.spec.clone());
    let on_page = move |authored| {
        if let Some(page) = ExpectedPage::of(&spec, authored) {
            sized.slots.prepare(Some(slot), page);
        }
    };
    let (chooser, asked, handle) = (worker.clone(), request.spec.runtime.clone(), tokio::runtime::Handle::current());
    LocalServices::new(worker.remote.clone(), worker.cache.clone())
        .with_decoders(worker.decoders.clone())
        .with_on_page(on_page)
        .with_runtimes(move |named| {
            handle.block_on(chooser.runtimes.choose(&objects, asked.as_deref(), named.as_ref()))
        })
}

/// Keeps what a page has prepared in the worker's cache.
fn store_prepared(worker: &WorkerContext, text: &str) -> Result<CompiledFile, WorkerError> {
    let stored = worker.cache.insert_from(&mut text.as_bytes(), MAX_PREPARED as u64);
    let stored = stored.map_err(|error| WorkerError::Inconsistent(error.to_string()))?;
    let (hash, bytes) =
        stored.ok_or_else(|| WorkerError::Inconsistent("what a page has prepared is too long".to_owned()))?;
    Ok(CompiledFile { path: PREPARED_FILE.to_owned(), hash, bytes })
}

/// Opens the planned page several times and returns a warning for each difference.
async fn verify_pages(
    worker: &Arc<WorkerContext>,
    render: &RenderId,
    context: &TaskContext,
    content: &PlanContent,
) -> Result<Vec<Warning>, WorkerError> {
    let files: HashMap<String, SiteFile> = content
        .files
        .iter()
        .map(|file| (file.path.clone(), SiteFile { path: worker.cache.path(&file.hash), bytes: file.bytes }))
        .collect();
    let runtime = worker.runtime(context.objects(), &content.runtime).await?;
    let hash = content.hash().map_err(|error| WorkerError::Inconsistent(error.to_string()))?;
    let site = Arc::new(chunk_stage::site(worker, content, &hash, files, runtime)?);
    let options = chunk_stage::open_options(&site, content);
    let pictures = |frame: u64| chunk_stage::pictures_at(&site, &content.videos, content.frame_rate, frame);
    let is_active = || !context.cancelled().is_cancelled();
    let mut slot = worker.slots.assign(context.slot(), render).await?;
    let outcome = tokio::select! {
        outcome = verify::run(&mut slot, &site, content, &options, &pictures, &is_active) => outcome,
        () = context.cancelled().cancelled() => Err(WorkerError::Cancelled("plan")),
    };
    slot.settle(outcome.map_err(|error| site.cause_of(error))).await
}

/// Stores `files` in `objects`, unless they are there.
async fn upload(worker: &Arc<WorkerContext>, objects: &Objects, files: &[CompiledFile]) -> Result<(), WorkerError> {
    let wants = files.iter().flat_map(|file| {
        let key = keys::blob(&file.hash);
        [Want::Head { key: key.clone() }, Want::Put { key, bytes: Some(file.bytes) }]
    });
    objects.expect(wants.collect()).await?;
    futures::stream::iter(files.to_vec())
        .map(|file| {
            let worker = worker.clone();
            async move {
                let key = keys::blob(&file.hash);
                // The key is the hash of the content: an object that exists is equal.
                if !objects.exists(&key).await? {
                    objects.put_file(&key, &worker.cache.path(&file.hash)).await?;
                }
                Ok::<_, WorkerError>(())
            }
        })
        .buffer_unordered(UPLOADS)
        .try_collect::<()>()
        .await
}

/// Remote files that scripts requested while the page was probed.
#[derive(Default)]
struct Network {
    /// Downloaded files that are not among those of the compiler.
    files: Vec<CompiledFile>,
    /// All remote files, those of the compiler included.
    report: Vec<RemoteAsset>,
    /// Warnings for the author.
    warnings: Vec<Warning>,
}

/// What the probe of a page found.
struct Probed {
    /// URLs that the page requested and the plan does not have.
    blocked: Vec<String>,
    /// Frames of the composition.
    composition_frames: u64,
    /// Those that the output shows.
    range: FrameRange,
    media: MediaList,
    /// As in [`PlanContent::captions`].
    captions: Vec<Caption>,
    unregistered_timelines: Vec<String>,
    cost: Cost,
    warnings: Vec<Warning>,
    /// As in [`PlanContent::load_steps`].
    load_steps: u32,
    /// JSON that the page has prepared for the later pages of its render.
    prepared: Option<String>,
}

/// The cost of frames, in milliseconds.
struct Cost {
    /// As in [`PlanDraft::frame_cost_ms`].
    frame_ms: f64,
    /// As in [`PlanDraft::earlier_cost_ms`].
    earlier_ms: f64,
}

/// Probes the page of a plan.
struct Prober<'a> {
    worker: &'a Arc<WorkerContext>,
    render: &'a RenderId,
    context: &'a TaskContext,
    request: &'a RenderRequest,
    compiled: &'a Compiled,
    /// The warnings so far.
    found: &'a Mutex<Vec<Warning>>,
    viewport: Viewport,
    frame_rate: FrameRate,
    shutter: Option<Shutter>,
    encoder: &'a EncoderSettings,
    runtime: Arc<RuntimeScripts>,
}

impl Prober<'_> {
    /// Probes the page, downloads the remote files that only its scripts name, and probes again with them, until
    /// nothing new is requested.
    async fn probe_until_complete(&self, mut compiler: Compiler) -> Result<(Probed, Network), WorkerError> {
        let mut network = Network { report: self.compiled.remote.clone(), ..Network::default() };
        for round in 1.. {
            let mut probed = self.probe(&network).await?;
            let known = |url: &String| network.report.iter().any(|asset| &asset.url == url);
            let requested: Vec<String> = probed.blocked.iter().filter(|url| !known(url)).cloned().collect();
            let mut has_new_files = false;
            let mut new_warnings = Vec::new();
            if !requested.is_empty() {
                let fetching = blocking("the fetcher", move || {
                    let fetched = compiler.fetch_requested(requested)?;
                    Ok::<_, WorkerError>((compiler, fetched))
                });
                let fetched;
                (compiler, fetched) = fetching.await??;
                let FetchedFiles { any_new, files, report, warnings } = fetched;
                let compiled_paths: BTreeSet<&str> =
                    self.compiled.files.iter().map(|file| file.path.as_str()).collect();
                network.files = files.into_iter().filter(|file| !compiled_paths.contains(file.path.as_str())).collect();
                network.report = report;
                (has_new_files, new_warnings) = (any_new, warnings);
            }
            if !has_new_files || round == MAX_PROBES {
                probed.warnings.extend(new_warnings);
                return Ok((probed, network));
            }
            network.warnings.extend(new_warnings);
        }
        Err(WorkerError::Inconsistent("the page was never probed".to_owned()))
    }

    /// Opens the page once, reads its media and sound, and measures its frames.
    async fn probe(&self, network: &Network) -> Result<Probed, WorkerError> {
        let &Self { worker, render, context, request, compiled, found, .. } = self;
        let &Self { viewport, frame_rate, shutter, encoder, ref runtime, .. } = self;
        let mut slot = worker.slots.assign(context.slot(), render).await?;
        let files: HashMap<String, SiteFile> = compiled
            .files
            .iter()
            .chain(&network.files)
            .map(|file| (file.path.clone(), SiteFile { path: worker.cache.path(&file.hash), bytes: file.bytes }))
            .collect();
        let site = Site::new(files.clone(), Vec::new()).with_remote(&network.report);
        let site = Arc::new(site.with_runtime(runtime.clone()));
        let options = OpenOptions {
            entry: compiled.entry.clone(),
            frame_rate,
            shutter,
            variables: compiled.variables.clone(),
            transparent: encoder.alpha,
            timelines: ExpectedTimelines { any: compiled.mentions_timelines, except: Vec::new() },
            videos: Vec::new(),
            seed: 0,
            epoch_ms: epoch_ms(request),
            load_steps: None,
        };
        let probing = async {
            let mut host = slot.open_unchecked(site, viewport, &options).await.map_err(|error| match error {
                WorkerError::Page(PageError::DurationMissing(_)) if compiled.has_zero_duration => {
                    PageError::DurationMissing(ZERO_DURATION.to_owned()).into()
                }
                error => error,
            })?;
            host.let_leave();
            {
                let mut so_far = [&*compiled.warnings, &*network.warnings].concat();
                warn_of_page(&host, &network.report, &mut so_far);
                *found.lock() = so_far;
            }
            let probe = host.probe().await?;
            let prepared: Option<String> = host.ask(PREPARED).await?;
            if let Some(length) = prepared.as_ref().map(String::len).filter(|length| *length > MAX_PREPARED) {
                let text =
                    format!("the page has prepared {length} bytes for later pages, and may prepare {MAX_PREPARED}");
                return Err(PageError::Script(text).into());
            }
            let duration = checked_duration(request.spec.asked_duration().unwrap_or(probe.duration))?;
            let sound = host.sound(duration).await?;
            context.set_progress(600, 1000);
            let frames = frame_rate.frames_in(duration);
            let range =
                request.spec.range(frames, frame_rate).map_err(|error| ProjectError::Duration(error.to_string()))?;
            let measuring = Instant::now();
            let frame_ms = measure(worker, &mut host, range, viewport, frame_rate, encoder).await?;
            let earlier_ms = host.walk_cost(range.end()).await?;
            tracing::debug!(took_ms = measuring.elapsed().as_millis(), frame_ms, earlier_ms, "measured");
            let mut warnings = compiled.warnings.clone();
            warnings.extend(network.warnings.iter().cloned());
            let blocked = blocked_urls(&host);
            warn_of_page(&host, &network.report, &mut warnings);
            if request.spec.transparent.is_none() && host.had_background() {
                warnings.push(Warning {
                    code: "BACKGROUND_DROPPED".to_owned(),
                    message: format!(
                        "{} is transparent, so the background of the page's html and body is left out; ask for \
                         transparent=false to keep it, or put it on an element of the composition",
                        request.spec.format
                    ),
                });
            }
            warnings.extend(host.notes().await?);
            warn_of_fonts(&host.families_without_face().await?, &worker.remote.fonts, &mut warnings);
            let captions = if encoder.captions || encoder.caption_track {
                let [from, to] = [range.start(), range.end()].map(|frame| frame_rate.seconds_of(frame));
                host.captions(duration).await?.of_output(from, to, &mut warnings)
            } else {
                Vec::new()
            };
            let probed = Probed {
                blocked,
                composition_frames: frames,
                range,
                media: MediaList::default(),
                captions,
                unregistered_timelines: host.report().without_timeline.clone(),
                cost: Cost { frame_ms, earlier_ms },
                warnings,
                load_steps: host.report().load_steps,
                prepared,
            };
            Ok::<_, WorkerError>((probed, probe, sound, duration))
        };
        let outcome = tokio::select! {
            outcome = probing => outcome,
            () = context.cancelled().cancelled() => Err(WorkerError::Cancelled("plan")),
        };
        let (mut probed, mut probe, sound, duration) = slot.settle(outcome).await?;
        drop(slot);
        context.set_progress(900, 1000);
        for element in &mut probe.media {
            replace_by_local_file(&mut element.src, &network.report);
        }
        let (decoders, cancelled) = (worker.decoders.clone(), context.cancelled().clone());
        blocking("the probe of the media", move || {
            let locate = |path: &str| files.get(path).map(|file| file.path.clone());
            let warnings = &mut probed.warnings;
            let media = media_list::resolve(&probe.media, &sound, duration, &decoders, &locate, &cancelled, warnings)?;
            probed.media = media;
            Ok(probed)
        })
        .await?
    }
}

/// Unix time in milliseconds that the page's clocks show at its start: the moment that the request
/// names, else that at which the render was submitted, in whole seconds.
fn epoch_ms(request: &RenderRequest) -> u64 {
    request.spec.now.map_or(request.created_at_ms / 1000 * 1000, Timestamp::unix_ms)
}

/// `seconds`, if they are positive and not beyond [`MAX_DURATION`].
fn checked_duration(seconds: f64) -> Result<f64, ProjectError> {
    if !seconds.is_finite() || seconds <= 0.0 {
        return Err(ProjectError::Duration(format!(
            "the composition lasts {seconds:e} s; set data-duration to seconds above 0"
        )));
    }
    if seconds > MAX_DURATION {
        return Err(ProjectError::Duration(format!(
            "the composition lasts {} s, longer than the {MAX_DURATION:.0} s that this farm renders; an endlessly repeating \
             timeline needs a data-duration on the root",
            // A number of hundreds of digits says nothing.
            if seconds < 1e9 { format!("{seconds:.0}") } else { format!("{seconds:.1e}") }
        )));
    }
    Ok(seconds)
}

/// `encoder` with the transfer characteristic that a composition with `videos` has in high dynamic range.
fn with_sources(
    encoder: EncoderSettings,
    spec: &RenderSpec,
    shutter: Option<Shutter>,
    videos: &[VideoItem],
) -> Result<EncoderSettings, ProjectError> {
    let Some(asked) = spec.hdr else { return Ok(encoder) };
    let sources = || videos.iter().filter(|video| !video.scripted).filter_map(|video| video.headers.hdr);
    if shutter.is_some() && sources().next().is_some() {
        let text =
            "motion_blur: frames with videos of high dynamic range have none; ask for motion_blur 0, or leave hdr out";
        return Err(ProjectError::MotionBlur(text.to_owned()));
    }
    Ok(EncoderSettings { hdr: Some(asked.transfer(sources())), ..encoder })
}

/// Milliseconds that one slot needs for a frame, measured by capturing and encoding a few, spread over `range`.
async fn measure(
    worker: &WorkerContext,
    host: &mut PageHost<'_>,
    range: FrameRange,
    viewport: Viewport,
    frame_rate: FrameRate,
    encoder: &EncoderSettings,
) -> Result<f64, WorkerError> {
    let folder = worker.task_folder("sample")?;
    let path = folder.path().join(format!("sample.{}", encoder.format.segment_extension()));
    // The first frame of a page is slower than the others, and not measured. It has a grabber of its own, because the
    // first frame that is encoded must not be a repetition.
    host.seek(range.start(), &[]).await?;
    FrameGrabber::new(host, encoder.alpha).grab(host, None).await?;
    let mut grabber = FrameGrabber::new(host, encoder.alpha);
    if host.has_motion_blur() {
        grabber.average(viewport.output());
    }
    let mut encoding = Encoding::start(path, encoder.clone(), viewport.output(), frame_rate, None);
    let (mut captured, mut pushed) = (Duration::ZERO, 0_u32);
    let measuring = Instant::now();
    let is_short = frame_rate.seconds_of(range.count()) <= SHORT_SECONDS;
    let positions = if is_short { 1 } else { SAMPLED_POSITIONS };
    for position in 0..positions {
        if position > 0 && measuring.elapsed() > MEASURE_LIMIT {
            break;
        }
        let frame = range.start() + range.count() * (2 * position + 1) / (2 * positions);
        // After a jump many pixels change. The next frame is a usual one, and measured.
        for frame in [frame, (frame + 1).min(range.end() - 1)] {
            let started = Instant::now();
            grabber.seek(host, &Next { frame, pictures: Vec::new(), layers: Vec::new() }).await?;
            let grabbed = grabber.grab(host, None).await?;
            if pushed % 2 == 1 {
                captured += 2 * started.elapsed();
            }
            if let Err(ended) = encoding.push(grabbed).await {
                // The encoder's own error says more, where there is one.
                return Err(encoding.finish().await.err().unwrap_or(ended));
            }
            pushed += 1;
        }
    }
    let chunk = encoding.finish().await?;
    let encoded = chunk.read + chunk.convert + chunk.encode;
    // With as many slots as cores, capture and encoder compete for the cores, so their times add up in part.
    let total = captured.max(encoded) + chunk.read.min(captured) / 2 + (chunk.convert + chunk.encode) / 2;
    Ok(total.as_secs_f64() * 1000.0 / f64::from(pushed))
}

/// Warns where most viewers slow a GIF down: they show frames of less than 1/50 s for 1/10 s.
fn warn_of_short_delays(encoder: &EncoderSettings, rate: FrameRate, warnings: &mut Vec<Warning>) {
    if encoder.format == Format::Gif && rate.as_f64() > 50.0 {
        warnings.push(Warning {
            code: "GIF_TOO_FAST".to_owned(),
            message: format!(
                "at {rate} frames a second some frames of the gif last 1/100 s, and most viewers show those for 1/10 s; \
                 ask for 50 frames a second or fewer"
            ),
        });
    }
}

/// Replaces a source that a script has set to a remote URL by the file that was downloaded for it.
fn replace_by_local_file(source: &mut String, report: &[RemoteAsset]) {
    let Some((origin, encoded)) = source.split_once(REMOTE_PREFIX) else { return };
    let Some(url) = decode_path(encoded) else { return };
    let path = report.iter().find(|asset| asset.url == url).and_then(|asset| asset.path.as_ref());
    if let Some(path) = path {
        *source = format!("{origin}/{path}");
    }
}

/// A source as its author wrote it: a path of the project, or the URL of a file that was downloaded.
fn authored_source(source: &str, remote: &[RemoteAsset]) -> String {
    let path = without_origin(source);
    let relative = path.trim_start_matches("./").trim_start_matches('/');
    if let Some(url) = relative.strip_prefix(REMOTE_PREFIX.trim_start_matches('/')).and_then(decode_path) {
        return url;
    }
    match remote.iter().find(|asset| asset.path.as_deref() == Some(relative)) {
        Some(asset) => asset.url.clone(),
        None if path != source => decode_path(path).unwrap_or_else(|| path.to_owned()),
        None => source.to_owned(),
    }
}

/// Whether a refused URL has a path. Of a refused tunnel only the host is known.
fn has_path(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
}

/// URLs that were refused and can be downloaded.
fn blocked_urls(host: &PageHost<'_>) -> Vec<String> {
    let refused = host.problems().into_iter().filter_map(|problem| match problem {
        RequestProblem::Blocked(url) if has_path(&url) => Some(url),
        _ => None,
    });
    refused.collect()
}

/// Warns of families without a face, unless there is a warning of them.
fn warn_of_fonts(families: &[String], library: &FontLibrary, warnings: &mut Vec<Warning>) {
    for family in families {
        let name = format!("the font \"{family}\"").to_lowercase();
        if !warnings.iter().any(|warning| warning.message.to_lowercase().starts_with(&name)) {
            warnings.push(missing_font(family, library.is_on_machine(family)));
        }
    }
}

/// Adds warnings for what the page requested in vain, printed and threw.
pub(crate) fn warn_of_page(host: &PageHost<'_>, remote: &[RemoteAsset], warnings: &mut Vec<Warning>) {
    let mut warn = |code: &str, message: String| warnings.push(Warning { code: code.to_owned(), message });
    for problem in host.problems() {
        match problem {
            RequestProblem::NotFound(path) => {
                warn("ASSET_NOT_FOUND", format!("the page asks for {path}, and the project has no such file"))
            }
            // Those with a path were downloaded or have a warning.
            RequestProblem::Blocked(url) if has_path(&url) => {}
            RequestProblem::Blocked(url) => warn(
                "REMOTE_NOT_LOADED",
                format!(
                    "the page asks for something of {url}, and pages load nothing from outside while they are rendered; put a copy \
                     into the project"
                ),
            ),
        }
    }
    let report = host.report();
    for source in &report.images_failed {
        let source: String = authored_source(source, remote).chars().take(120).collect();
        warn("IMAGE_FAILED", format!("the image {source} did not load"));
    }
    for face in &report.fonts_failed {
        warn("FONT_FAILED", format!("the font face {face} did not load"));
    }
    for kind in &report.late {
        warn("LATE", format!("{kind} were not loaded in time"));
    }
    for id in &report.without_timeline {
        warn(
            "TIMELINE_MISSING",
            format!("the composition \"{id}\" registered no timeline; set data-no-timeline if it has none"),
        );
    }
    let mut printed = Vec::new();
    let mut thrown = Vec::new();
    for event in host.events() {
        match event {
            PageEvent::Exception(text) => thrown.push(format!("a script threw: {text}")),
            PageEvent::Console(text) => printed.push(text.chars().take(300).collect()),
        }
    }
    for (code, messages) in [(EXCEPTION, thrown), (CONSOLE, printed)] {
        messages.into_iter().take(MAX_MESSAGES).for_each(|message| warn(code, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_scripts_set_become_files_of_the_plan() {
        let report = [RemoteAsset {
            url: "https://a.test/v.mp4?x=1".to_owned(),
            path: Some("__remote/1.mp4".to_owned()),
            reason: None,
        }];
        let of = |source: &str| {
            let mut source = source.to_owned();
            replace_by_local_file(&mut source, &report);
            source
        };
        let asked = "http://127.0.0.1:1/__hyperfarm/remote/https%3A%2F%2Fa.test%2Fv.mp4%3Fx%3D1";
        assert_eq!(of(asked), "http://127.0.0.1:1/__remote/1.mp4");
        assert_eq!(of("http://127.0.0.1:1/v.mp4"), "http://127.0.0.1:1/v.mp4");
    }

    #[test]
    fn sources_are_named_as_their_author_wrote_them() {
        let remote = [RemoteAsset {
            url: "https://a.test/i.png".to_owned(),
            path: Some("__remote/1.png".to_owned()),
            reason: None,
        }];
        let own = "http://0123.localhost";
        for (source, authored) in [
            ("pictures/lost.png".to_owned(), "pictures/lost.png"),
            (format!("{own}/pictures/lost%20one.png"), "pictures/lost one.png"),
            (format!("{own}{REMOTE_PREFIX}https%3A%2F%2Fa.test%2Fx.png"), "https://a.test/x.png"),
            ("/__remote/1.png".to_owned(), "https://a.test/i.png"),
            ("https://b.test/x.png".to_owned(), "https://b.test/x.png"),
        ] {
            assert_eq!(authored_source(&source, &remote), authored);
        }
    }

    #[test]
    fn warnings_are_bounded() {
        let warning = |code: &str, message: &str| Warning { code: code.to_owned(), message: message.to_owned() };
        let few = vec![warning("CONSOLE", "a"); MAX_WARNINGS];
        assert_eq!(bounded(few.clone()), few);
        let many = [few, vec![warning("CONSOLE", "b"); 3]].concat();
        let kept = bounded(many);
        assert_eq!(kept.len(), MAX_WARNINGS + 1);
        assert!(kept[MAX_WARNINGS].code == "WARNINGS_LEFT_OUT" && kept[MAX_WARNINGS].message.contains(" 3 more"));
        let odd = bounded(vec![warning(&"x\u{1b}CODE".repeat(90), &"m\u{1b}[31m".repeat(100_000))]);
        assert!(odd[0].code.len() == MAX_CODE && odd[0].code.starts_with("CODECODE"), "{odd:?}");
        assert!(odd[0].message.len() < 5000 && !odd[0].message.contains('\u{1b}'), "{odd:?}");
    }

    #[test]
    fn an_absurd_duration_is_refused_with_a_short_message() {
        for seconds in [1e308, f64::INFINITY, f64::NAN, -1e308, 0.0] {
            let message = checked_duration(seconds).unwrap_err().to_string();
            assert!(message.len() < 200, "{message}");
        }
        assert!(checked_duration(30_000.0).unwrap_err().to_string().contains("lasts 30000 s"));
    }

    #[test]
    fn of_a_refused_tunnel_only_the_host_is_known() {
        assert!(has_path("https://a.test/") && has_path("http://a.test/x"));
        assert!(!has_path("https://a.test:443"));
    }
}
