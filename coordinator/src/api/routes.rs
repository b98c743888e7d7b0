//! The table of all routes, and their router.

use std::future::{Ready, ready};

use axum::body::to_bytes;
use axum::extract::{self, DefaultBodyLimit, Extension, RawPathParams, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderMap};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};
use hyperfarm_api::Data;
use hyperfarm_api::account::{AccountAnswer, Nothing, Status};
use hyperfarm_api::agents::{
    AgentMessageRequest, AgentMessageSent, AgentRequest, AgentResource, AgentSession, AgentSessionCreated,
    AgentStopped, AgentStyle, StylesQuery,
};
use hyperfarm_api::assets::{
    Asset, AssetDeleted, AssetUploaded, CompleteRequest, UploadBegun, UploadForm, UploadReceived, UploadRequest,
};
use hyperfarm_api::avatars::{
    AvatarChange, AvatarCreated, AvatarGroup, AvatarLook, AvatarRequest, ConsentBegun, ConsentRequest, Deleted,
    GroupsQuery, LooksQuery,
};
use hyperfarm_api::error::DOCS_PATH;
use hyperfarm_api::farm::{AuditEntry, Farm, QuarantineRequest, Worker};
use hyperfarm_api::lipsyncs::{Lipsync, LipsyncChange, LipsyncCreated, LipsyncDeleted, LipsyncRequest};
use hyperfarm_api::render::{
    BatchCreated, Chunk, LogLine, PriorityRequest, RenderCreated, RenderDeleted, RenderDetail, Timeline,
};
use hyperfarm_api::request::{BatchRequest, EventsQuery, ListQuery, RenderRequest, RendersQuery, SignedQuery};
use hyperfarm_api::runtimes::{Runtime, RuntimePackage};
use hyperfarm_api::schema::Schemas;
use hyperfarm_api::tasks::{File, FilesRequest, Task, TaskCreated, TaskRequest};
use hyperfarm_api::translations::{
    CaptionQuery, GenerateRequest, Proofread, ProofreadGenerated, ProofreadRequest, ProofreadSrt, ProofreadSrtRequest,
    ProofreadsCreated, Translation, TranslationCaption, TranslationChange, TranslationDeleted, TranslationLanguages,
    TranslationRequest, TranslationsCreated,
};
use hyperfarm_api::videos::{Video, VideoCreated, VideoRequest, VideosQuery};
use hyperfarm_api::voices::{DesignRequest, SpeechCreated, SpeechRequest, Voice, VoicesDesigned, VoicesQuery};
use hyperfarm_api::webhooks::{Endpoint, EndpointChange, EndpointRequest, Event, EventType, Secret};
use serde_json::{Map, Value};

use super::error::{ApiError, Code};
use super::idempotency::{IDEMPOTENCY_KEY, Repeated};
use super::middleware::{Answered, REQUEST_ID};
use super::page::PAGE_MAX;
use super::route::Answers::Raw;
use super::route::{Answers, Route, Takes, one, page};
use super::server::PeerAddress;
use super::{
    Api, FIELDS_MAX, account, agents, assets, avatars, batch, farm, files, inference, lipsyncs, log, openapi, operate,
    preview, read_body, render_events, renders, runtimes, translations, videos, voices, webhooks, workers,
};
use crate::api_keys::{Caller, Scope};
use crate::audit::{self, Act};

const READ: Option<Scope> = Some(Scope::Read);
const RENDER: Option<Scope> = Some(Scope::Render);
const ADMIN: Option<Scope> = Some(Scope::Admin);

/// What taking a project in can be refused for.
const SUBMIT: &[Code] = &[
    Code::InvalidParameter,
    Code::InsufficientCredit,
    Code::AccessDenied,
    Code::DownloadFailed,
    Code::ProjectInvalid,
    Code::ProjectTooLarge,
    Code::AssetNotFound,
    Code::NotReady,
    Code::RateLimited,
    Code::QuotaExceeded,
];

/// The same for tasks, whose app may not be the farm's.
const RUN: &[Code] = &joined::<{ SUBMIT.len() + 1 }>(SUBMIT, &[Code::ResourceNotFound]);

/// The codes of both lists, which have `N` together.
const fn joined<const N: usize>(first: &[Code], more: &[Code]) -> [Code; N] {
    let mut codes = [Code::Internal; N];
    let mut index = 0;
    while index < N {
        codes[index] = if index < first.len() { first[index] } else { more[index - first.len()] };
        index += 1;
    }
    codes
}

/// What making a look can be refused for.
const AVATAR: &[Code] = &[
    Code::InvalidParameter,
    Code::InsufficientCredit,
    Code::AccessDenied,
    Code::DownloadFailed,
    Code::TooLarge,
    Code::AssetNotFound,
    Code::AvatarNotFound,
    Code::EngineNotConfigured,
    Code::NotReady,
    Code::RateLimited,
    Code::QuotaExceeded,
];

/// What making a presenter video can be refused for.
const VIDEO: &[Code] = &joined::<{ AVATAR.len() + 2 }>(AVATAR, &[Code::VoiceNotFound, Code::EngineFailed]);

/// What giving a video a new sound can be refused for.
const LIPSYNC: &[Code] = &[
    Code::InvalidParameter,
    Code::InsufficientCredit,
    Code::AccessDenied,
    Code::DownloadFailed,
    Code::TooLarge,
    Code::AssetNotFound,
    Code::EngineNotConfigured,
    Code::NotReady,
    Code::RateLimited,
    Code::QuotaExceeded,
];

/// What translating a video can be refused for.
const TRANSLATION: &[Code] = &joined::<{ LIPSYNC.len() + 2 }>(LIPSYNC, &[Code::VoiceNotFound, Code::EngineFailed]);

/// What making the video of a proofread session can be refused for.
const GENERATE: &[Code] = &[
    Code::ResourceNotFound,
    Code::InvalidParameter,
    Code::InsufficientCredit,
    Code::EngineNotConfigured,
    Code::NotReady,
    Code::RateLimited,
];

/// What changing the translation of a proofread session can be refused for.
const PROOFREAD_SRT: &[Code] = &[
    Code::ResourceNotFound,
    Code::InvalidParameter,
    Code::DownloadFailed,
    Code::TooLarge,
    Code::AssetNotFound,
    Code::NotReady,
];

/// What beginning a session with the video agent can be refused for.
const AGENT: &[Code] = &[
    Code::InvalidParameter,
    Code::InsufficientCredit,
    Code::DownloadFailed,
    Code::TooLarge,
    Code::AssetNotFound,
    Code::EngineNotConfigured,
    Code::EngineFailed,
    Code::VoiceNotFound,
    Code::NotReady,
    Code::RateLimited,
];

/// The same for a message to it.
const AGENT_MESSAGE: &[Code] = &joined::<{ AGENT.len() + 2 }>(AGENT, &[Code::ResourceNotFound, Code::Conflict]);

/// Every route there is.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    Route::new("post", "/v3/hyperframes/renders", RENDER, "Submit a render.", one::<RenderCreated>(), || post(renders::create)).json::<RenderRequest>().status(202).ids_from_idempotency_key().errors(SUBMIT),
    Route::new("get", "/v3/hyperframes/renders", READ, "List renders, newest first.", page::<RenderDetail>(), || get(renders::list)).query::<RendersQuery>().errors(&[Code::InvalidParameter]),
    Route::new("post", "/v3/hyperframes/renders/batch", RENDER, "Submit many renders of one project.", one::<BatchCreated>(), || post(batch::create)).json::<BatchRequest>().status(202).ids_from_idempotency_key().errors(SUBMIT),
    Route::new("get", "/v3/hyperframes/renders/{render_id}", READ, "Read a render.", one::<RenderDetail>(), || get(renders::read)).errors(&[Code::RenderNotFound]),
    Route::new("delete", "/v3/hyperframes/renders/{render_id}", RENDER, "Delete a render; one under way is cancelled.", one::<RenderDeleted>(), || delete(renders::delete)).audited("render.delete").errors(&[Code::RenderNotFound]),
    Route::new("post", "/v3/hyperframes/renders/{render_id}/cancel", RENDER, "Cancel a render.", one::<RenderDetail>(), || post(renders::cancel)).audited("render.cancel").errors(&[Code::RenderNotFound, Code::Conflict]),
    Route::new("post", "/v3/hyperframes/renders/{render_id}/pause", RENDER, "Send out no more of a render; what is at work finishes.", one::<RenderDetail>(), || post(renders::pause)).audited("render.pause").errors(&[Code::RenderNotFound, Code::Conflict]),
    Route::new("post", "/v3/hyperframes/renders/{render_id}/resume", RENDER, "Go on with a paused render.", one::<RenderDetail>(), || post(renders::resume)).audited("render.resume").errors(&[Code::RenderNotFound, Code::Conflict]),
    Route::new("post", "/v3/hyperframes/renders/{render_id}/priority", RENDER, "Change the priority of an open render.", one::<RenderDetail>(), || post(renders::set_priority)).audited("render.priority").json::<PriorityRequest>().errors(&[Code::RenderNotFound, Code::Conflict, Code::InvalidParameter]),
    Route::new("post", "/v3/hyperframes/renders/{render_id}/retry", RENDER, "Submit an ended render again, as a new render. One that has failed gives its segments to the new one, if the farm still has them and makes the same plan.", one::<RenderCreated>(), || post(renders::retry)).status(202).ids_from_idempotency_key().errors(&[Code::RenderNotFound, Code::Conflict, Code::InvalidParameter, Code::InsufficientCredit, Code::AccessDenied, Code::RateLimited, Code::QuotaExceeded]),
    Route::new("get", "/v3/hyperframes/renders/{render_id}/events", READ, "Follow a render by server-sent events.", Raw("text/event-stream"), || get(render_events::events)).errors(&[Code::RenderNotFound]),
    Route::new("get", "/v3/hyperframes/renders/{render_id}/chunks", READ, "List the chunks of a render.", page::<Chunk>(), || get(render_events::chunks)).query::<ListQuery<{ render_events::CHUNKS }>>().errors(&[Code::RenderNotFound, Code::InvalidParameter]),
    Route::new("get", "/v3/hyperframes/renders/{render_id}/timeline", READ, "Read every attempt at every task of a render.", one::<Timeline>(), || get(render_events::timeline)).errors(&[Code::RenderNotFound]),
    Route::new("get", "/v3/hyperframes/farm", READ, "Read how the farm does.", one::<Farm>(), || get(farm::read)),
    Route::new("get", "/v3/hyperframes/farm/events", READ, "Follow the farm and one's renders by server-sent events.", Raw("text/event-stream"), || get(farm::events)),
    Route::new("get", "/v3/hyperframes/workers", ADMIN, "List the workers and stitchers that are alive.", page::<Worker>(), || get(workers::list)).query::<ListQuery<{ workers::WORKERS }>>().errors(&[Code::InvalidParameter]),
    Route::new("post", "/v3/hyperframes/workers/{worker_id}/drain", ADMIN, "Have a worker finish what it has and end.", one::<Worker>(), || post(workers::drain)).audited("worker.drain").errors(&[Code::WorkerNotFound]),
    Route::new("post", "/v3/hyperframes/workers/{worker_id}/quarantine", ADMIN, "Have a worker finish what it has and rest until it is resumed.", one::<Worker>(), || post(workers::quarantine)).audited("worker.quarantine").json::<QuarantineRequest>().errors(&[Code::WorkerNotFound, Code::Conflict, Code::InvalidParameter]),
    Route::new("post", "/v3/hyperframes/workers/{worker_id}/resume", ADMIN, "Have a quarantined worker take tasks again.", one::<Worker>(), || post(workers::resume)).audited("worker.resume").errors(&[Code::WorkerNotFound, Code::Conflict]),
    Route::new("get", "/v3/hyperframes/runtimes", READ, "List the versions of the HyperFrames runtime, the built-in one first.", page::<Runtime>(), || get(runtimes::list)),
    Route::new("post", "/v3/hyperframes/runtimes", ADMIN, "Add a version of the HyperFrames runtime.", one::<Runtime>(), || post(runtimes::add)).audited("runtime.add").json::<RuntimePackage>().errors(&[Code::InvalidParameter, Code::Conflict]),
    Route::new("post", "/v3/hyperframes/runtimes/{version}/default", ADMIN, "Make a version the one of renders for which none is asked.", one::<Runtime>(), || post(runtimes::set_default)).audited("runtime.default").errors(&[Code::ResourceNotFound]),
    Route::new("delete", "/v3/hyperframes/runtimes/{version}", ADMIN, "Remove a version; renders that are planned with it keep it.", one::<Runtime>(), || delete(runtimes::remove)).audited("runtime.remove").errors(&[Code::ResourceNotFound, Code::Conflict]),
    Route::new("get", "/v3/hyperframes/audit", ADMIN, "List administrative acts, newest first: who did what to what, when and from where.", page::<AuditEntry>(), || get(farm::audit)).query::<ListQuery<PAGE_MAX>>().errors(&[Code::InvalidParameter]),
    Route::new("get", "/v3/hyperframes/renders/{render_id}/log", READ, "Read what a render's pages printed or threw and what the farm had to say, by step and attempt.", page::<LogLine>(), || get(log::read)).query::<ListQuery<PAGE_MAX>>().errors(&[Code::RenderNotFound, Code::InvalidParameter]),
    Route::new("post", "/v3/assets", RENDER, "Upload a file of up to 32 MB.", one::<AssetUploaded>(), || post(assets::upload)).takes(Takes::Form(Schemas::request::<UploadForm>)).ids_from_idempotency_key().errors(&[Code::InvalidParameter, Code::ProjectTooLarge]),
    Route::new("get", "/v3/assets", READ, "List assets, newest first.", page::<Asset>(), || get(assets::list)).query::<ListQuery<PAGE_MAX>>().errors(&[Code::InvalidParameter]),
    Route::new("post", "/v3/assets/direct-uploads", RENDER, "Begin an upload straight to storage.", one::<UploadBegun>(), || post(assets::begin)).json::<UploadRequest>().ids_from_idempotency_key().errors(&[Code::InvalidParameter, Code::ProjectTooLarge]),
    Route::new("post", "/v3/assets/{asset_id}/complete", RENDER, "Complete an upload once its bytes are there.", one::<AssetUploaded>(), || post(assets::complete)).json::<CompleteRequest>().errors(&[Code::InvalidParameter, Code::AssetNotFound, Code::NotReady]),
    Route::new("get", "/v3/assets/{asset_id}", READ, "Read an asset.", one::<Asset>(), || get(assets::read)).errors(&[Code::AssetNotFound]),
    Route::new("delete", "/v3/assets/{asset_id}", RENDER, "Delete an asset.", one::<AssetDeleted>(), || delete(assets::delete)).errors(&[Code::AssetNotFound]),
    Route::new("post", "/v3/webhooks/endpoints", RENDER, "Register a webhook endpoint.", one::<Endpoint>(), || post(webhooks::create)).audited("webhook.create").json::<EndpointRequest>().ids_from_idempotency_key().errors(&[Code::InvalidParameter, Code::Conflict]),
    Route::new("get", "/v3/webhooks/endpoints", READ, "List webhook endpoints, newest first.", page::<Endpoint>(), || get(webhooks::list)).query::<ListQuery<PAGE_MAX>>().errors(&[Code::InvalidParameter]),
    Route::new("patch", "/v3/webhooks/endpoints/{endpoint_id}", RENDER, "Change a webhook endpoint.", one::<Endpoint>(), || patch(webhooks::change)).audited("webhook.change").json::<EndpointChange>().errors(&[Code::InvalidParameter, Code::WebhookNotFound, Code::Conflict]),
    Route::new("delete", "/v3/webhooks/endpoints/{endpoint_id}", RENDER, "Delete a webhook endpoint.", one::<Nothing>(), || delete(webhooks::delete)).audited("webhook.delete").errors(&[Code::WebhookNotFound]),
    Route::new("post", "/v3/webhooks/endpoints/{endpoint_id}/rotate-secret", RENDER, "Give a webhook endpoint a new secret; the old one stops at once.", one::<Secret>(), || post(webhooks::rotate)).audited("webhook.rotate-secret").errors(&[Code::WebhookNotFound]),
    Route::new("get", "/v3/webhooks/event-types", READ, "List what there is to hear of.", page::<EventType>(), || get(webhooks::event_types)),
    Route::new("get", "/v3/webhooks/events", READ, "List what has happened, newest first.", page::<Event>(), || get(webhooks::happened)).query::<EventsQuery>().errors(&[Code::InvalidParameter]),
    Route::new("get", "/v3/voices", READ, "List voices.", page::<Voice>(), || get(voices::list)).query::<VoicesQuery>().errors(&[Code::InvalidParameter, Code::EngineNotConfigured, Code::EngineFailed]),
    Route::new("post", "/v3/voices", RENDER, "Find the three voices that suit a description best.", one::<VoicesDesigned>(), || post(voices::design)).json::<DesignRequest>().errors(&[Code::InvalidParameter, Code::EngineNotConfigured, Code::EngineFailed]),
    Route::new("post", "/v3/voices/speech", RENDER, "Speak a text.", one::<SpeechCreated>(), || post(voices::speak)).json::<SpeechRequest>().ids_from_idempotency_key().errors(&[Code::InvalidParameter, Code::InsufficientCredit, Code::VoiceNotFound, Code::EngineNotConfigured, Code::RateLimited, Code::EngineFailed]),
    Route::new("get", "/v3/voices/{voice_id}", READ, "Read a voice.", one::<Voice>(), || get(voices::read)).errors(&[Code::VoiceNotFound, Code::EngineNotConfigured, Code::EngineFailed]),
    Route::new("post", "/v3/avatars", RENDER, "Make a look of a photo.", one::<AvatarCreated>(), || post(avatars::create)).json::<AvatarRequest>().ids_from_idempotency_key().errors(AVATAR),
    Route::new("get", "/v3/avatars", READ, "List avatar groups, newest first.", page::<AvatarGroup>(), || get(avatars::groups)).query::<GroupsQuery>().errors(&[Code::InvalidParameter]),
    Route::new("get", "/v3/avatars/looks", READ, "List looks, newest first.", page::<AvatarLook>(), || get(avatars::looks)).query::<LooksQuery>().errors(&[Code::InvalidParameter]),
    Route::new("get", "/v3/avatars/looks/{look_id}", READ, "Read a look.", one::<AvatarLook>(), || get(avatars::read_look)).errors(&[Code::AvatarNotFound]),
    Route::new("patch", "/v3/avatars/looks/{look_id}", RENDER, "Change the name, the gender or the tags of a look.", one::<AvatarLook>(), || patch(avatars::change_look)).json::<AvatarChange>().errors(&[Code::AvatarNotFound, Code::InvalidParameter]),
    Route::new("delete", "/v3/avatars/looks/{look_id}", RENDER, "Delete a look with its photo.", one::<Deleted>(), || delete(avatars::delete_look)).errors(&[Code::AvatarNotFound]),
    Route::new("get", "/v3/avatars/{group_id}", READ, "Read an avatar group.", one::<AvatarGroup>(), || get(avatars::read_group)).errors(&[Code::AvatarNotFound]),
    Route::new("patch", "/v3/avatars/{group_id}", RENDER, "Change the name or the gender of an avatar group.", one::<AvatarGroup>(), || patch(avatars::change_group)).json::<AvatarChange>().errors(&[Code::AvatarNotFound, Code::InvalidParameter]),
    Route::new("delete", "/v3/avatars/{group_id}", RENDER, "Delete an avatar group with its looks.", one::<Deleted>(), || delete(avatars::delete_group)).errors(&[Code::AvatarNotFound]),
    Route::new("post", "/v3/avatars/{group_id}/consent", RENDER, "Ask the person of a group for consent, by a page that needs no key.", one::<ConsentBegun>(), || post(avatars::ask_consent)).json::<ConsentRequest>().errors(&[Code::AvatarNotFound, Code::InvalidParameter]),
    Route::new("get", "/v3/video-agents/styles", READ, "List the styles of the video agent.", page::<AgentStyle>(), || get(agents::list_styles)).query::<StylesQuery>().errors(&[Code::InvalidParameter]),
    Route::new("post", "/v3/video-agents", RENDER, "Begin a session with the video agent.", one::<AgentSessionCreated>(), || post(agents::create)).json::<AgentRequest>().ids_from_idempotency_key().errors(AGENT),
    Route::new("get", "/v3/video-agents", READ, "List sessions with the video agent, newest first.", page::<AgentSession>(), || get(agents::list)).query::<ListQuery<PAGE_MAX>>().errors(&[Code::InvalidParameter]),
    Route::new("get", "/v3/video-agents/{session_id}", READ, "Read a session with its messages.", one::<AgentSession>(), || get(agents::read)).errors(&[Code::ResourceNotFound]),
    Route::new("post", "/v3/video-agents/{session_id}", RENDER, "Answer the agent, or have its storyboard changed or filmed.", one::<AgentMessageSent>(), || post(agents::send)).json::<AgentMessageRequest>().errors(AGENT_MESSAGE),
    Route::new("post", "/v3/video-agents/{session_id}/stop", RENDER, "Stop the agent at its next step; a video that is rendered is cancelled.", one::<AgentStopped>(), || post(agents::stop)).errors(&[Code::ResourceNotFound, Code::Conflict]),
    Route::new("get", "/v3/video-agents/{session_id}/videos", READ, "List the videos of a session, newest first.", page::<Video>(), || get(agents::list_videos)).query::<ListQuery<PAGE_MAX>>().errors(&[Code::ResourceNotFound, Code::InvalidParameter]),
    Route::new("get", "/v3/video-agents/{session_id}/resources/{resource_id}", READ, "Read a file or a storyboard of a session.", one::<AgentResource>(), || get(agents::resource)).errors(&[Code::ResourceNotFound]),
    Route::new("post", "/v3/videos", RENDER, "Make a video of a photo that speaks.", one::<VideoCreated>(), || post(videos::create)).json::<VideoRequest>().ids_from_idempotency_key().errors(VIDEO),
    Route::new("get", "/v3/videos", READ, "List presenter videos, newest first.", page::<Video>(), || get(videos::list)).query::<VideosQuery>().errors(&[Code::InvalidParameter]),
    Route::new("get", "/v3/videos/{video_id}", READ, "Read a presenter video.", one::<Video>(), || get(videos::read)).errors(&[Code::VideoNotFound]),
    Route::new("delete", "/v3/videos/{video_id}", RENDER, "Delete a presenter video; one under way is cancelled.", one::<Deleted>(), || delete(videos::delete)).errors(&[Code::VideoNotFound]),
    Route::new("post", "/v3/lipsyncs", RENDER, "Give an existing video a new sound.", one::<LipsyncCreated>(), || post(lipsyncs::create)).json::<LipsyncRequest>().ids_from_idempotency_key().errors(LIPSYNC),
    Route::new("get", "/v3/lipsyncs", READ, "List videos with a new sound, newest first.", page::<Lipsync>(), || get(lipsyncs::list)).query::<ListQuery<PAGE_MAX>>().errors(&[Code::InvalidParameter]),
    Route::new("get", "/v3/lipsyncs/{lipsync_id}", READ, "Read a video with a new sound.", one::<Lipsync>(), || get(lipsyncs::read)).errors(&[Code::ResourceNotFound]),
    Route::new("patch", "/v3/lipsyncs/{lipsync_id}", RENDER, "Change the title of a video with a new sound.", one::<Lipsync>(), || patch(lipsyncs::change)).json::<LipsyncChange>().errors(&[Code::ResourceNotFound, Code::InvalidParameter]),
    Route::new("delete", "/v3/lipsyncs/{lipsync_id}", RENDER, "Delete a video with a new sound; one under way is cancelled.", one::<LipsyncDeleted>(), || delete(lipsyncs::delete)).errors(&[Code::ResourceNotFound]),
    Route::new("get", "/v3/video-translations/languages", READ, "List the languages that videos can be translated into.", one::<TranslationLanguages>(), || get(translations::list_languages)).errors(&[Code::EngineNotConfigured, Code::EngineFailed]),
    Route::new("post", "/v3/video-translations", RENDER, "Translate an existing video into other languages.", one::<TranslationsCreated>(), || post(translations::create)).json::<TranslationRequest>().ids_from_idempotency_key().errors(TRANSLATION),
    Route::new("get", "/v3/video-translations", READ, "List videos in other languages, newest first.", page::<Translation>(), || get(translations::list)).query::<ListQuery<PAGE_MAX>>().errors(&[Code::InvalidParameter]),
    Route::new("get", "/v3/video-translations/{video_translation_id}", READ, "Read a video in another language.", one::<Translation>(), || get(translations::read)).errors(&[Code::ResourceNotFound]),
    Route::new("patch", "/v3/video-translations/{video_translation_id}", RENDER, "Change the title of a video in another language.", one::<Translation>(), || patch(translations::change)).json::<TranslationChange>().errors(&[Code::ResourceNotFound, Code::InvalidParameter]),
    Route::new("delete", "/v3/video-translations/{video_translation_id}", RENDER, "Delete a video in another language; one under way is cancelled.", one::<TranslationDeleted>(), || delete(translations::delete)).errors(&[Code::ResourceNotFound]),
    Route::new("get", "/v3/video-translations/{video_translation_id}/caption", READ, "Read where the captions of a video in another language are.", one::<TranslationCaption>(), || get(translations::caption)).query::<CaptionQuery>().errors(&[Code::ResourceNotFound, Code::InvalidParameter, Code::NotReady]),
    Route::new("post", "/v3/video-translations/proofreads", RENDER, "Translate an existing video to be read before it is spoken.", one::<ProofreadsCreated>(), || post(translations::proofreads::create)).json::<ProofreadRequest>().ids_from_idempotency_key().errors(TRANSLATION),
    Route::new("get", "/v3/video-translations/proofreads/{proofread_id}", READ, "Read a proofread session.", one::<Proofread>(), || get(translations::proofreads::read)).errors(&[Code::ResourceNotFound]),
    Route::new("get", "/v3/video-translations/proofreads/{proofread_id}/srt", READ, "Read where the words of a proofread session are.", one::<ProofreadSrt>(), || get(translations::proofreads::read_srt)).errors(&[Code::ResourceNotFound, Code::NotReady]),
    Route::new("put", "/v3/video-translations/proofreads/{proofread_id}/srt", RENDER, "Change the translation of a proofread session.", one::<Proofread>(), || put(translations::proofreads::change_srt)).json::<ProofreadSrtRequest>().errors(PROOFREAD_SRT),
    Route::new("post", "/v3/video-translations/proofreads/{proofread_id}/generate", RENDER, "Make the video of a proofread session.", one::<ProofreadGenerated>(), || post(translations::proofreads::generate)).json::<GenerateRequest>().ids_from_idempotency_key().errors(GENERATE),
    Route::new("get", "/v3/users/me", READ, "Read the key's own account.", Answers::Whole(Schemas::answer::<AccountAnswer>), || get(account::me)),
    Route::new("get", "/v1/user/me", READ, "Read the key's own account, by the path of the published quick start.", Answers::Whole(Schemas::answer::<AccountAnswer>), || get(account::me)),
    Route::new("post", "/apps/run", RENDER, "Submit a render as a task of the one app.", Answers::One(Schemas::answer::<TaskCreated>), || post(inference::run)).inference().json::<TaskRequest>().ids_from_idempotency_key().errors(RUN),
    Route::new("get", "/tasks/{task_id}", READ, "Read a task.", one::<Task>(), || get(inference::read)).inference().errors(&[Code::RenderNotFound]),
    Route::new("get", "/tasks/{task_id}/status", READ, "Read a task, for clients that poll.", one::<Task>(), || get(inference::read)).inference().errors(&[Code::RenderNotFound]),
    Route::new("get", "/tasks/{task_id}/stream", READ, "Follow a task by lines of JSON: the task itself whenever it has changed, and heartbeats.", Raw("application/x-ndjson"), || get(inference::stream)).inference().errors(&[Code::RenderNotFound]),
    Route::new("post", "/tasks/{task_id}/cancel", RENDER, "Cancel a task.", one::<Task>(), || post(inference::cancel)).inference().audited("render.cancel").errors(&[Code::RenderNotFound, Code::Conflict]),
    Route::new("delete", "/tasks/{task_id}", RENDER, "Delete a task; one under way is cancelled.", one::<Nothing>(), || delete(inference::delete)).inference().audited("render.delete").errors(&[Code::RenderNotFound]),
    Route::new("post", "/files", RENDER, "Begin uploads whose files the inputs of tasks name by their `uri`.", one::<Vec<File>>(), || post(inference::upload)).inference().json::<FilesRequest>().ids_from_idempotency_key().errors(&[Code::InvalidParameter]),
    Route::new("get", "/files/{*key}", None, "Download through a signed URL.", Raw("*/*"), || get(files::download)).query::<SignedQuery>().errors(&[Code::InvalidParameter, Code::Forbidden, Code::ResourceNotFound, Code::RangeInvalid]),
    Route::new("get", "/preview/{expires}/{signature}/{render_id}/{file}", None, "Watch what is finished of a render: a playlist or a piece of it, by a signed URL.", Raw("application/vnd.apple.mpegurl"), || get(preview::read)).errors(&[Code::Forbidden, Code::ResourceNotFound]),
    Route::new("get", "/previews/{*key}", None, "Listen to a voice: leads to a short sound, by a signed URL.", Raw("audio/wav"), || get(voices::preview)).status(307).query::<SignedQuery>().errors(&[Code::InvalidParameter, Code::Forbidden, Code::VoiceNotFound, Code::EngineNotConfigured, Code::RateLimited, Code::EngineFailed]),
    Route::new("put", "/uploads/{*key}", None, "Upload through a signed URL.", one::<UploadReceived>(), || put(assets::receive)).takes(Takes::Bytes).query::<SignedQuery>().errors(&[Code::Forbidden, Code::InvalidParameter, Code::AssetNotFound, Code::ProjectTooLarge]),
    Route::new("get", "/healthz", None, "Whether the process answers.", one::<Status>(), || get(operate::health)),
    Route::new("get", "/readyz", None, "Whether broker, ledger and storage answer too.", one::<Status>(), || get(operate::ready)).errors(&[Code::Unavailable]),
    Route::new("get", DOCS_PATH, None, "What each error code means, as a page.", Raw("text/html"), || get(operate::errors)),
    Route::new("get", "/metrics", Some(Scope::Admin), "Metrics in Prometheus's text format.", Raw("text/plain"), || get(operate::metrics)),
    Route::new("get", "/openapi.json", READ, "This document.", Raw("application/json"), || get(document)),
];

/// `GET /openapi.json`.
fn document() -> Ready<Json<openapi::Document>> {
    ready(Json(openapi::document(ROUTES)))
}

/// The router of the table.
pub fn router(api: &Api) -> Router<Api> {
    let mut router = Router::new();
    for route in ROUTES {
        let mut handler = (route.handler)();
        if let Some(action) = route.action {
            handler = handler.route_layer(from_fn_with_state((api.clone(), action), audited));
        }
        if route.is_change() && !route.ids_from_idempotency_key {
            handler = handler.route_layer(from_fn_with_state(api.clone(), answered_once));
        }
        if let Some(needs) = route.needs {
            handler = handler.route_layer(from_fn_with_state((api.clone(), route, needs), guard));
        }
        let answered = Answered { method: route.method, template: route.path, dialect: route.dialect };
        let handler = handler.layer(map_response(move |mut response: Response| {
            response.extensions_mut().insert(answered);
            ready(response)
        }));
        router = router.route(route.path, handler);
    }
    // Every body has a bound of its own, and a refusal in the one shape.
    router.layer(DefaultBodyLimit::disable())
}

/// The caller of a request, by its key.
pub(super) async fn caller_of(api: &Api, extensions: &Extensions, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let address = extensions.get::<PeerAddress>().map(|peer| peer.0);
    api.config.access.caller(&api.keys, &api.oauth, &api.wrong_keys, address, headers).await
}

/// Lets a request pass whose key may make it, not too often, with a body that the route takes. Ends the wait for its
/// answer.
async fn guard(
    State((api, route, needs)): State<(Api, &'static Route, Scope)>,
    request: extract::Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = caller_of(&api, &parts.extensions, &parts.headers).await?;
    let mut request = extract::Request::from_parts(parts, body);
    caller.check(needs)?;
    if route.is_change() && !caller.is_local {
        api.changes.check(&caller.id).map_err(|wait| {
            let most = api.config.changes_per_minute;
            let message = format!("the key `{}` may make {most} changes a minute", caller.name);
            ApiError::new(Code::RateLimited, message).retry_after(wait.as_secs())
        })?;
    }
    if matches!(route.body, Some(Takes::Json { .. })) {
        check_json(request.headers())?;
    }
    request.extensions_mut().insert(caller);
    let answered = tokio::time::timeout(api.config.answer_within, next.run(request)).await;
    answered.map_err(|_| {
        let message = "the farm did not answer in time; try again";
        ApiError::new(Code::Timeout, message).retry_after(10)
    })
}

/// Checks that a body is announced as JSON, or as nothing.
fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let message = format!("a body of the type `{}` is not taken; send application/json", essence.escape_debug());
    Err(ApiError::new(Code::MediaTypeInvalid, message).of("Content-Type"))
}

/// Answers a change that is repeated with the same `Idempotency-Key` as the first time.
async fn answered_once(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: extract::Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let body = read_body(body).await?;
    let (headers, route) = (parts.headers.clone(), format!("{} {}", parts.method, parts.uri.path()));
    let request = extract::Request::from_parts(parts, body.clone().into());
    Ok(api.idempotency.answer_of(&caller, &route, &headers, &body, next.run(request)).await)
}

/// Records an administrative act that was done.
async fn audited(
    State((api, action)): State<(Api, &'static str)>,
    Extension(caller): Extension<Caller>,
    parameters: RawPathParams,
    request: extract::Request,
    next: Next,
) -> Response {
    let address = request.extensions().get::<PeerAddress>().map(|peer| peer.0.to_string());
    let request_id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let target = parameters.iter().next().map(|(_, value)| value.to_owned());
    let response = next.run(request).await;
    let is_repeated = response.extensions().get::<Repeated>().is_some();
    if !response.status().is_success() || is_repeated {
        return response;
    }
    let (target, response) = match target {
        Some(target) => (Some(target), response),
        None => created_id(response).await,
    };
    let act = Act {
        action,
        target,
        key_id: Some(caller.id),
        key_name: Some(caller.name),
        space: Some(caller.rights.space.into()),
        address,
        request_id,
    };
    audit::record_done(&api.coordinator.backplane().objects, act).await;
    response
}

/// The id or version of what a request has made, from its answer.
async fn created_id(response: Response) -> (Option<String>, Response) {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, FIELDS_MAX).await.unwrap_or_default();
    let answer: Option<Data<Map<String, Value>>> = serde_json::from_slice(&body).ok();
    let id =
        answer.and_then(|answer| answer.data.into_iter().find(|(name, _)| name.ends_with("_id") || name == "version"));
    let id = id.and_then(|(_, id)| id.as_str().map(str::to_owned));
    (id, Response::from_parts(parts, body.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_but_health_and_signed_ones_needs_a_key() {
        let open: Vec<&str> = ROUTES.iter().filter(|route| route.needs.is_none()).map(|route| route.path).collect();
        assert_eq!(
            open,
            [
                "/files/{*key}",
                "/preview/{expires}/{signature}/{render_id}/{file}",
                "/previews/{*key}",
                "/uploads/{*key}",
                "/healthz",
                "/readyz",
                "/docs/errors"
            ]
        );
        for route in ROUTES.iter().filter(|route| route.needs == READ) {
            assert_eq!(route.method, "get", "{}", route.path);
        }
    }
}
