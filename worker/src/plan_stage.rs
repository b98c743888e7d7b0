//! The plan stage: compile, probe in a page, measure a few frames, write the draft.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use hyperfarm_backplane::runner::TaskContext;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::plan::{CompiledFile, EncoderSettings, PlanContent, PlanDraft, RemoteAsset, Warning};
use hyperfarm_proto::spec::{Format, RenderRequest, Viewport};

use crate::capture::{Encoding, FrameGrabber};
use crate::chrome::PageEvent;
use crate::compile::bounds::Bounds;
use crate::compile::remote_assets::RemoteAssets;
use crate::compile::{Compiled, compile};
use crate::host::{OpenOptions, PageHost, Wanted};
use crate::media_list::{self, MediaList};
use crate::server::{RequestProblem, Site, SiteFile, decode_path};
use crate::sound_track;
use crate::worker::{WorkerContext, storage};
use crate::{chunk_stage, verify};

/// Longest composition in seconds. A longer one is a mistake more often than a wish.
pub const MAX_DURATION: f64 = 6.0 * 3600.0;
/// Places at which the cost of a frame is measured, each with a frame and the one after it.
const SAMPLED_PLACES: u64 = 2;
/// After that long no further place is measured: what costs much is measured well by few frames, and every one holds up the chunks.
const MEASURED_ENOUGH: Duration = Duration::from_millis(200);
/// Shorter videos are cut as if their chunks started anywhere in the same time.
const LONG_SECONDS: f64 = 20.0;
/// Messages of the page that become warnings.
const KEPT_MESSAGES: usize = 10;
/// Codes of warnings that are messages of the page.
const CONSOLE: &str = "CONSOLE";
const EXCEPTION: &str = "SCRIPT_EXCEPTION";
/// Below it the slot's server has what is remote, by its encoded address.
const REMOTE_PREFIX: &str = "/__hyperfarm/remote/";
/// How often a page is probed, each time with what it asked for the time before.
const PROBES: u32 = 3;
/// Files uploaded at once.
const UPLOADS: usize = 8;

/// Makes the draft of `render`.
pub(crate) async fn run(
    shop: &Arc<WorkerContext>,
    render: &RenderId,
    context: &TaskContext,
) -> Result<Vec<u8>, Failure> {
    let request: RenderRequest = shop.objects().get_json(&keys::request(render)).await.map_err(storage)?;
    let bundle = shop.cache.fetch(shop.objects(), &keys::bundle(&request.bundle), &request.bundle).await?;
    context.set_progress(100, 1000);
    let (compiled, localiser, sound) = {
        let (shop, spec) = (shop.clone(), request.spec.clone());
        let bounds = Bounds::new(context.cancelled().clone());
        let compiling = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let mut localiser = RemoteAssets::new(shop.remote.clone(), shop.cache.clone());
            let sound = spec.audio_url.as_deref().and_then(|url| localiser.sound(url));
            let sized = |size| {
                if let Ok(viewport) = spec.viewport(size) {
                    shop.prepare_slots(viewport, spec.is_transparent());
                }
            };
            let compiled = compile(&bundle, &spec, &shop.cache, &mut localiser, &bounds, &sized)?;
            tracing::debug!(took_ms = started.elapsed().as_millis(), files = compiled.files.len(), "compiled");
            Ok::<_, Failure>((compiled, localiser, sound))
        });
        // What is still at it sees the cancel at its next step.
        let compiled = tokio::select! {
            compiled = compiling => compiled,
            () = context.cancelled().cancelled() => {
                return Err(Failure::new(FailureCode::Drained, "the plan was given up"));
            }
        };
        compiled.map_err(|panic| Failure::new(FailureCode::Internal, format!("the compiler broke: {panic}")))??
    };
    context.set_progress(200, 1000);
    let viewport = request
        .spec
        .viewport(compiled.authored_size)
        .map_err(|error| Failure::new(FailureCode::SizeInvalid, error.to_string()))?;
    let frame_rate = request.spec.fps.or(compiled.authored_fps).unwrap_or(FrameRate::DEFAULT);
    request
        .spec
        .check_rate(frame_rate)
        .map_err(|error| Failure::new(FailureCode::FrameRateInvalid, error.to_string()))?;
    let encoder = EncoderSettings::for_spec(&request.spec, frame_rate);
    let encoder = shop.encoders.choose(encoder, request.spec.quality, viewport.output(), frame_rate).await;
    let sound_track = sound_track::path_of(&request.spec, &compiled.files, &|_| sound.clone())?;
    let uploads = upload(shop, &compiled.files);
    let probing =
        probe_to_the_end(shop, render, context, &request, &compiled, localiser, viewport, frame_rate, &encoder);
    let (_, (mut probed, network)) = futures::future::try_join(uploads, probing).await?;
    upload(shop, &network.files).await?;
    let mut files = compiled.files;
    files.extend(network.files);
    if let Some(path) = sound_track {
        probed.media.audio.push(sound_track::item(path, frame_rate.seconds_of(probed.frames)));
    }
    sound_track::drop_for(&request.spec, &mut probed.media.audio, &mut probed.warnings);
    warn_of_delays(&encoder, frame_rate, &mut probed.warnings);

    let content = PlanContent {
        files,
        remote: network.report,
        entry: compiled.entry,
        viewport,
        frame_rate,
        frames: probed.frames,
        variables: compiled.variables,
        unregistered_timelines: probed.unregistered_timelines,
        videos: probed.media.videos,
        audio: probed.media.audio,
        buses: probed.media.buses,
        encoder,
        class: shop.class.clone(),
    };
    if request.spec.verify {
        probed.warnings.extend(verify_pages(shop, render, context, &content).await?);
    }
    // What the page itself said is in its log already.
    let is_new = |warning: &&Warning| ![CONSOLE, EXCEPTION].contains(&warning.code.as_str());
    for warning in probed.warnings.iter().filter(is_new) {
        context.log().farm(LogLevel::Warning, &format!("[{}] {}", warning.code, warning.message));
    }
    let Cost { frame_ms: frame_cost_ms, earlier_ms: earlier_cost_ms } = probed.cost;
    let draft =
        PlanDraft { render: render.clone(), content, frame_cost_ms, earlier_cost_ms, warnings: probed.warnings };
    shop.objects().put_wire(&keys::draft(render), &draft).await.map_err(storage)?;
    context.set_progress(1000, 1000);
    Ok(Vec::new())
}

/// Opens the planned page a few times over and warns of what differs.
async fn verify_pages(
    shop: &Arc<WorkerContext>,
    render: &RenderId,
    context: &TaskContext,
    content: &PlanContent,
) -> Result<Vec<Warning>, Failure> {
    let files: HashMap<String, SiteFile> = content
        .files
        .iter()
        .map(|file| (file.path.clone(), SiteFile { path: shop.cache.path(&file.hash), bytes: file.bytes }))
        .collect();
    let videos = chunk_stage::open_videos(content, files.clone()).await?;
    let site = Arc::new(Site::new(files, videos).with_remote(&content.remote));
    let options = chunk_stage::options(&site, content);
    let pictures = |frame: u64| chunk_stage::pictures(&site, &content.videos, content.frame_rate, frame);
    let going_on = || !context.cancelled().is_cancelled();
    let mut slot = shop.slot(context.slot(), render).await?;
    let outcome = tokio::select! {
        outcome = verify::run(&mut slot, &site, content, &options, &pictures, &going_on) => outcome,
        () = context.cancelled().cancelled() => Err(Failure::new(FailureCode::Drained, "the plan was given up")),
    };
    slot.settle(outcome).await
}

async fn upload(shop: &Arc<WorkerContext>, files: &[CompiledFile]) -> Result<(), Failure> {
    futures::stream::iter(files.to_vec())
        .map(|file| {
            let shop = shop.clone();
            async move {
                let key = keys::blob(&file.hash);
                // Content-addressed: what is there is the same.
                if !shop.objects().exists(&key).await.map_err(storage)? {
                    shop.objects().put_file(&key, &shop.cache.path(&file.hash)).await.map_err(storage)?;
                }
                Ok(())
            }
        })
        .buffer_unordered(UPLOADS)
        .try_collect::<()>()
        .await
}

/// What scripts asked of the network while the page was probed.
#[derive(Default)]
struct Network {
    /// Files that the compiler did not know.
    files: Vec<CompiledFile>,
    /// Everything, the compiler's part included.
    report: Vec<RemoteAsset>,
    /// For the person.
    warnings: Vec<Warning>,
}

/// Probes, fetches what only the page's scripts name, and probes again with it, until nothing new is asked for.
#[allow(clippy::too_many_arguments)]
async fn probe_to_the_end(
    shop: &Arc<WorkerContext>,
    render: &RenderId,
    context: &TaskContext,
    request: &RenderRequest,
    compiled: &Compiled,
    mut localiser: RemoteAssets,
    viewport: Viewport,
    frame_rate: FrameRate,
    encoder: &EncoderSettings,
) -> Result<(Probed, Network), Failure> {
    let mut network = Network { report: compiled.remote.clone(), ..Network::default() };
    for round in 1.. {
        let mut probed =
            probe(shop, render, context, request, compiled, &network, viewport, frame_rate, encoder).await?;
        let known = |url: &String| network.report.iter().any(|asset| &asset.url == url);
        let asked: Vec<String> = probed.blocked.iter().filter(|url| !known(url)).cloned().collect();
        let mut found = false;
        let mut told = Vec::new();
        if !asked.is_empty() {
            let fetching = tokio::task::spawn_blocking(move || {
                let found = localiser.late(&asked);
                (localiser, found)
            });
            (localiser, found) = fetching
                .await
                .map_err(|panic| Failure::new(FailureCode::Internal, format!("the fetcher broke: {panic}")))?;
            let (files, report, warnings) = localiser.take();
            let compiled_paths: BTreeSet<&str> = compiled.files.iter().map(|file| file.path.as_str()).collect();
            network.files = files.into_iter().filter(|file| !compiled_paths.contains(file.path.as_str())).collect();
            network.report = report;
            told = warnings;
        }
        if !found || round == PROBES {
            probed.warnings.extend(told);
            return Ok((probed, network));
        }
        network.warnings.extend(told);
    }
    Err(Failure::new(FailureCode::Internal, "the page was never probed"))
}

struct Probed {
    /// URLs that the page asked for and the plan does not have.
    blocked: Vec<String>,
    frames: u64,
    media: MediaList,
    unregistered_timelines: Vec<String>,
    cost: Cost,
    warnings: Vec<Warning>,
}

/// As of [`PlanDraft`].
struct Cost {
    frame_ms: f64,
    earlier_ms: f64,
}

#[allow(clippy::too_many_arguments)]
async fn probe(
    shop: &Arc<WorkerContext>,
    render: &RenderId,
    context: &TaskContext,
    request: &RenderRequest,
    compiled: &Compiled,
    network: &Network,
    viewport: Viewport,
    frame_rate: FrameRate,
    encoder: &EncoderSettings,
) -> Result<Probed, Failure> {
    let mut slot = shop.slot(context.slot(), render).await?;
    let files: HashMap<String, SiteFile> = compiled
        .files
        .iter()
        .chain(&network.files)
        .map(|file| (file.path.clone(), SiteFile { path: shop.cache.path(&file.hash), bytes: file.bytes }))
        .collect();
    let site = Arc::new(Site::new(files.clone(), Vec::new()).with_remote(&network.report));
    let options = OpenOptions {
        entry: compiled.entry.clone(),
        frame_rate,
        variables: compiled.variables.clone(),
        transparent: encoder.alpha,
        wanted: Wanted { timelines: compiled.mentions_timelines, without_timeline: Vec::new() },
        videos: Vec::new(),
        seed: 0,
    };
    let probing = async {
        let mut host = slot.open_to_look(site, viewport, &options).await?;
        let probe = host.probe().await?;
        let duration = checked_duration(request.spec.asked_duration().unwrap_or(probe.duration))?;
        let sound = host.sound(duration).await?;
        context.set_progress(600, 1000);
        let frames = frame_rate.frames_in(duration);
        let probed = Instant::now();
        let frame_ms = measure(shop, &mut host, frames, viewport, frame_rate, encoder).await?;
        let earlier_ms = if duration < LONG_SECONDS { 0.0 } else { host.walk_cost(frames).await? };
        tracing::debug!(took_ms = probed.elapsed().as_millis(), frame_ms, earlier_ms, "measured");
        let cost = Cost { frame_ms, earlier_ms };
        let mut warnings = compiled.warnings.clone();
        warnings.extend(network.warnings.iter().cloned());
        let blocked = blocked(&host);
        let unregistered_timelines = host.report().without_timeline.clone();
        warn_of_page(&host, &mut warnings);
        Ok((frames, duration, probe, sound, unregistered_timelines, cost, blocked, warnings))
    };
    let outcome = tokio::select! {
        outcome = probing => outcome,
        () = context.cancelled().cancelled() => Err(Failure::new(FailureCode::Drained, "the plan was given up")),
    };
    let (frames, duration, mut probe, sound, unregistered_timelines, cost, blocked, mut warnings) =
        slot.settle(outcome).await?;
    drop(slot);
    context.set_progress(900, 1000);
    for element in &mut probe.media {
        name_its_file(&mut element.src, &network.report);
    }
    let (media, warnings) = tokio::task::spawn_blocking(move || {
        let locate = |path: &str| files.get(path).map(|file| file.path.clone());
        media_list::resolve(&probe.media, &sound, duration, &locate, &mut warnings).map(|media| (media, warnings))
    })
    .await
    .map_err(|panic| Failure::new(FailureCode::Internal, format!("the media cannot be probed: {panic}")))??;
    Ok(Probed { blocked, frames, media, unregistered_timelines, cost, warnings })
}

fn checked_duration(seconds: f64) -> Result<f64, Failure> {
    let invalid = |message: String| Failure::new(FailureCode::DurationInvalid, message);
    if !seconds.is_finite() || seconds <= 0.0 {
        return Err(invalid(format!("the composition lasts {} s; set data-duration to seconds above 0", seconds)));
    }
    if seconds > MAX_DURATION {
        return Err(invalid(format!(
            "the composition lasts {:.0} s, longer than the {MAX_DURATION:.0} s that this farm renders; an endlessly repeating \
             timeline needs a data-duration on the root",
            seconds
        )));
    }
    Ok(seconds)
}

/// Milliseconds that one slot needs for a frame: captures and encodes a few, spread over the composition.
async fn measure(
    shop: &WorkerContext,
    host: &mut PageHost<'_>,
    frames: u64,
    viewport: Viewport,
    frame_rate: FrameRate,
    encoder: &EncoderSettings,
) -> Result<f64, Failure> {
    let folder = shop.scratch("sample")?;
    let path = folder.path().join(format!("sample.{}", encoder.format.segment_extension()));
    // The first frame of a page is slower than all that follow. It has a grabber of its own, for what is encoded must not begin
    // with "as before".
    host.seek(0, &[]).await?;
    FrameGrabber::new(host, encoder.alpha).grab(host, None).await?;
    let mut grabber = FrameGrabber::new(host, encoder.alpha);
    let mut encoding = Encoding::start(path, encoder.clone(), viewport.output(), frame_rate, None);
    let (mut captured, mut pushed) = (Duration::ZERO, 0_u32);
    let measuring = Instant::now();
    for place in 0..SAMPLED_PLACES {
        if place > 0 && measuring.elapsed() > MEASURED_ENOUGH {
            break;
        }
        let frame = frames * (2 * place + 1) / (2 * SAMPLED_PLACES);
        // A jump makes a page of many new pixels. What comes after it is the usual frame.
        for frame in [frame, (frame + 1).min(frames.saturating_sub(1))] {
            let started = Instant::now();
            host.seek(frame, &[]).await?;
            let grabbed = grabber.grab(host, None).await?;
            if pushed % 2 == 1 {
                captured += 2 * started.elapsed();
            }
            if let Err(ended) = encoding.push(grabbed).await {
                // The encoder's own reason, where it has one.
                return Err(encoding.finish().await.err().unwrap_or(ended));
            }
            pushed += 1;
        }
    }
    let chunk = encoding.finish().await?;
    let encoded = chunk.read + chunk.convert + chunk.encode;
    // With as many slots as cores the two do not overlap for free, so they add up.
    let total = captured.max(encoded) + chunk.read.min(captured) / 2 + (chunk.convert + chunk.encode) / 2;
    Ok(total.as_secs_f64() * 1000.0 / f64::from(pushed))
}

/// Most viewers take a GIF's delay below two hundredths of a second for ten.
fn warn_of_delays(encoder: &EncoderSettings, rate: FrameRate, warnings: &mut Vec<Warning>) {
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

/// A source that a script set to a remote address, as the file that stands for it.
fn name_its_file(source: &mut String, report: &[RemoteAsset]) {
    let Some((origin, encoded)) = source.split_once(REMOTE_PREFIX) else { return };
    let Some(url) = decode_path(encoded) else { return };
    let path = report.iter().find(|asset| asset.url == url).and_then(|asset| asset.path.as_ref());
    if let Some(path) = path {
        *source = format!("{origin}/{path}");
    }
}

/// Whether more than the host of a refused URL is known.
fn has_path(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
}

/// Refused URLs that can be fetched.
fn blocked(host: &PageHost<'_>) -> Vec<String> {
    let refused = host.problems().into_iter().filter_map(|problem| match problem {
        RequestProblem::Blocked(url) if has_path(&url) => Some(url),
        _ => None,
    });
    refused.collect()
}

fn warn_of_page(host: &PageHost<'_>, warnings: &mut Vec<Warning>) {
    let mut warn = |code: &str, message: String| warnings.push(Warning { code: code.to_owned(), message });
    for problem in host.problems() {
        match problem {
            RequestProblem::NotFound(path) => {
                warn("ASSET_NOT_FOUND", format!("the page asks for {path}, and the project has no such file"))
            }
            // Those with a path have been tried and are told of; of others only the host is known.
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
        let shown: String = source.chars().take(120).collect();
        warn("IMAGE_FAILED", format!("the image {shown} did not load"));
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
    for event in host.events().into_iter().take(KEPT_MESSAGES) {
        match event {
            PageEvent::Exception(text) => warn(EXCEPTION, format!("a script threw: {text}")),
            PageEvent::Console(text) => warn(CONSOLE, text.chars().take(300).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_scripts_set_lead_to_the_plans_files() {
        let report = [RemoteAsset {
            url: "https://a.test/v.mp4?x=1".to_owned(),
            path: Some("__remote/1.mp4".to_owned()),
            reason: None,
        }];
        let of = |source: &str| {
            let mut source = source.to_owned();
            name_its_file(&mut source, &report);
            source
        };
        let asked = "http://127.0.0.1:1/__hyperfarm/remote/https%3A%2F%2Fa.test%2Fv.mp4%3Fx%3D1";
        assert_eq!(of(asked), "http://127.0.0.1:1/__remote/1.mp4");
        assert_eq!(of("http://127.0.0.1:1/v.mp4"), "http://127.0.0.1:1/v.mp4");
    }

    #[test]
    fn of_a_refused_tunnel_only_the_host_is_known() {
        assert!(has_path("https://a.test/") && has_path("http://a.test/x"));
        assert!(!has_path("https://a.test:443"));
    }
}
