// Made from docs/openapi.json by dashboard/types.mjs; change the types of the crate hyperfarm-api, not this file.

/** What the key may do and has spent. */
export interface Account {
  /** Renders are always paid for by usage. */
  billing_type: "usage_based";
  /** Always `null`: keys have no e-mail address. */
  email: string | null;
  /** Always `null`: keys have no first name. */
  first_name: string | null;
  /** The key. An extension. */
  key_id: string;
  /** Always `null`: keys have no last name. */
  last_name: string | null;
  /** What the key may be used for. An extension. */
  scopes: ("read" | "render" | "admin")[];
  /** The tenant. An extension. */
  space: string;
  /** Always `null`: the farm has no subscriptions. */
  subscription: Record<string, unknown> | null;
  /** What was spent, and what is left. */
  usage_based: Spending;
  /** The key's name. */
  username: string;
  /** Always `null`: the farm has no prepaid balances. */
  wallet: Record<string, unknown> | null;
}

/** A message of a session. */
export interface AgentMessage {
  /** What was said. */
  content: string;
  /** Unix seconds. */
  created_at: number | null;
  /** Resources that it speaks of. */
  resource_ids: string[] | null;
  /** Who said it. */
  role: "user" | "model";
  /** What it is. */
  type: "text" | "resource" | "error";
}

/** Says something to the agent of a session. */
export interface AgentMessageRequest {
  /** The storyboard that follows from this message becomes the video without approval. */
  auto_proceed?: boolean | null;
  /** As in the request of the session. This farm refuses it. */
  avatar_id?: string | null;
  /** More files. */
  files?: FileInput[] | null;
  /** A wish, an answer, or an approval. */
  message: string;
  /** The voice of the narration from now on. */
  voice_id?: string | null;
}

/** The answer to a message. */
export interface AgentMessageSent {
  /** The run of the agent that the message has begun. */
  run_id: string;
  /** The session. */
  session_id: string;
  /** The title of the session so far. */
  title: string | null;
}

/** Begins a session. */
export interface AgentRequest {
  /** With the mode `chat`: the first storyboard becomes the video without approval. */
  auto_proceed?: boolean | null;
  /** The hosted service puts an avatar into the video. This farm refuses it. */
  avatar_id?: string | null;
  /** Echoed in events. */
  callback_id?: string | null;
  /** An https URL to tell of the end of the video. */
  callback_url?: string | null;
  /** Pictures and videos that scenes may show: PNG, JPEG, MP4 or WebM files. */
  files?: FileInput[] | null;
  /** Whether the client approves the storyboard before the video is made; `generate`, without approval, by default. */
  mode?: "generate" | "chat" | null;
  /** Shape of the video; `landscape` by default. */
  orientation?: "landscape" | "portrait" | null;
  /** The subject of the video, its length, and whatever else the agent should know. */
  prompt: string;
  /** One of GET /v3/video-agents/styles. Without one the farm takes the first of them. */
  style_id?: string | null;
  /** The voice of the narration. Without one the farm chooses the English voice that suits explanations best. */
  voice_id?: string | null;
}

/** Something that a message speaks of. */
export interface AgentResource {
  /** Unix seconds. */
  created_at: number | null;
  /** Of a storyboard its scenes. */
  metadata: unknown;
  /** Always `null`. */
  preview_url: string | null;
  /** The resource. */
  resource_id: string;
  /** `image` or `video` for a file of the client's, `draft` for a storyboard. */
  resource_type: string;
  /** `user_uploaded` or `generated`. */
  source_type: string | null;
  /** Always `null`. */
  thumbnail_url: string | null;
  /** Signed, expiring URL of the file. */
  url: string | null;
}

/** A session. */
export interface AgentSession {
  /** Unix seconds. */
  created_at: number;
  /** The newest 40 messages, newest first; none in lists. */
  messages: AgentMessage[];
  /** Per cent of the way to the video. */
  progress: number;
  /** The session. */
  session_id: string;
  /** What its agent does. */
  status: "thinking" | "waiting_for_input" | "reviewing" | "generating" | "completed" | "failed";
  /** The title that the agent has given. */
  title: string | null;
  /** The newest video, once it is rendered. */
  video_id: string | null;
}

/** A session that has begun. */
export interface AgentSessionCreated {
  /** Unix seconds. */
  created_at: number;
  /** The session. */
  session_id: string;
  /** Always `thinking`. */
  status: "thinking" | "waiting_for_input" | "reviewing" | "generating" | "completed" | "failed";
  /** `null`: the video is there once the session says so. */
  video_id: string | null;
}

/** A session whose agent was told to stop. */
export interface AgentStopped {
  /** The session. */
  session_id: string;
}

/** A template that the agent composes videos by. */
export interface AgentStyle {
  /** `null`: styles suit every shape. */
  aspect_ratio: string | null;
  /** Name to show to people. */
  name: string;
  /** Always `null`. */
  preview_video_url: string | null;
  /** The style. */
  style_id: string;
  /** Words to find it by. */
  tags: string[] | null;
  /** Always `null`. */
  thumbnail_url: string | null;
}

/** A file that was uploaded, or is to be. */
export interface Asset {
  /** The asset. */
  id: string;
  /** Media type. */
  mime_type: string;
  /** The file's name. */
  name: string;
  /** Name of the key that made it. */
  owner: string;
  /** Length in bytes. */
  size_bytes: number;
  /** Whether the bytes have arrived. */
  status: "pending_upload" | "completed";
  /** What it is. */
  type: "image" | "video" | "audio" | "document";
  /** Unix seconds. */
  uploaded_at: number;
  /** Signed, expiring; once complete. */
  url: string | null;
}

/** An asset that is gone. */
export interface AssetDeleted {
  /** The asset. */
  id: string;
}

/** An asset that was uploaded. */
export interface AssetUploaded {
  /** The asset. */
  asset_id: string;
  /** By the file's bytes. */
  mime_type: string;
  /** Length in bytes. */
  size_bytes: number;
  /** After a direct upload. */
  status?: "processing";
  /** Signed, expiring; `null` where the farm does not know how it is reached. */
  url: string | null;
}

/** An administrative act. */
export interface AuditEntry {
  /** Name of the act, such as `worker.drain`. */
  action: string;
  /** Address of the client, or of the proxy before the farm. */
  address: string | null;
  /** Unix seconds. */
  at: number;
  /** The entry. */
  id: string;
  /** The API key that asked for it; `null` for an operator at the farm's storage. */
  key_id: string | null;
  /** The key's name. */
  key_name: string | null;
  /** The request, as its answer's `X-Request-Id` names it. */
  request_id: string | null;
  /** The key's tenant. */
  space: string | null;
  /** Id of the worker, render, endpoint or key that the act changed. */
  target: string | null;
}

/** Changes a look or a group. What is absent stays. */
export interface AvatarChange {
  /** Male or female. */
  gender?: "male" | "female" | null;
  /** Name to show to people. */
  name?: string | null;
  /** Words to find it by, at most 20; of looks only. */
  tags?: string[] | null;
}

/** The look that a request has made, and the group that it belongs to. */
export interface AvatarCreated {
  /** The group of the look. */
  avatar_group: AvatarGroup;
  /** The new look. */
  avatar_item: AvatarLook;
}

/** A group: a person, with one or more looks. */
export interface AvatarGroup {
  /** `pending` or `approved` once consent was asked for; `null` where it is not required. */
  consent_status: "pending" | "approved" | null;
  /** Unix seconds of its creation. */
  created_at: number;
  /** Always `null`. */
  default_voice_id: string | null;
  /** Male or female; `null` where nobody has said. */
  gender: "male" | "female" | null;
  /** Id of the group. */
  id: string;
  /** Number of looks in the group. */
  looks_count: number;
  /** Name to show to people. */
  name: string;
  /** Signed, expiring URL of the picture of the group's first look. */
  preview_image_url: string | null;
  /** Always `null`. */
  preview_video_url: string | null;
  /** Status of the group's newest look. */
  status: "processing" | "pending_consent" | "completed" | "failed" | null;
}

/** A look: one picture of a person. */
export interface AvatarLook {
  /** The kind of the look. */
  avatar_type: "studio_avatar" | "digital_twin" | "photo_avatar";
  /** Always `null`. */
  default_voice_id: string | null;
  /** Why the look cannot present; only if its status is `failed`. An extension. */
  failure_message: string | null;
  /** Male or female; `null` where nobody has said. */
  gender: "male" | "female" | null;
  /** Id of the group that the look belongs to. */
  group_id: string | null;
  /** Id of the look: the `avatar_id` of a video. */
  id: string;
  /** Name to show to people. */
  name: string;
  /** Signed, expiring URL of the picture; `null` where the farm does not know how it is reached. */
  preview_image_url: string | null;
  /** Always `null`. */
  preview_video_url: string | null;
  /** Whether the look can present videos. */
  status: "processing" | "pending_consent" | "completed" | "failed" | null;
  /** Values of `engine` of a video. */
  supported_api_engines: string[];
  /** Words to find it by. */
  tags: string[];
}

/** Asks for a new look of a person. */
export interface AvatarRequest {
  /** The group to add the look to; a new one where there is none. */
  avatar_group_id?: string | null;
  /** The photo: a PNG or a JPEG file. */
  file?: FileInput | null;
  /** Name to show to people. */
  name: string;
  /** The material of the look. This farm makes looks of photos only. */
  type: "photo" | "digital_twin" | "prompt";
}

/** What is behind a person. */
export interface BackgroundSetting {
  /** The same as an asset. */
  asset_id?: string | null;
  /** What it is. */
  type: "color" | "image" | "video";
  /** URL of a file of at most 50 MB: PNG or JPEG with the type `image`, MP4 or WebM with the type `video`. With these types this or `asset_id` is required. */
  url?: string | null;
  /** The colour, such as `#1a2b3c`. Required with the type `color`. */
  value?: string | null;
}

/** What became of a batch. */
export interface BatchCreated {
  /** Renders taken in. */
  accepted: number;
  /** The batch. */
  batch_id: string;
  /** Renders refused. */
  refused: number;
  /** One for each entry of the list. */
  renders: BatchRender[];
  /** Fields that the farm does not know. */
  warnings?: Warning[];
}

/** What became of one entry of a batch. */
export interface BatchRender {
  /** Why it was refused. */
  error?: ErrorDetail;
  /** Place in the list. */
  index: number;
  /** The render, if it was taken in. */
  render_id?: string;
  /** What became of it. */
  status: "queued" | "refused";
}

/** The fields of a RenderRequest, with a list for each render. */
export interface BatchRequest {
  /** Instead: objects with `variables`, `title`, `callback_id`, `callback_url`, `priority`, `composition`. */
  items?: Record<string, unknown>[] | null;
  /** As in RenderRequest. */
  project?: Record<string, unknown> | null;
  /** One object a render, 1 to 100; an entry that is none is refused by itself. */
  variables?: unknown[] | null;
}

/** A chunk of a render. */
export interface Chunk {
  /** The attempt that counts. */
  attempt: number | null;
  /** Attempts so far. */
  attempts: number;
  /** How its frames were read out of Chrome. */
  capture_path: "png" | "framebuffer" | null;
  /** From 0. */
  first_frame: number;
  /** Frames. */
  frame_count: number;
  /** Captured frames. */
  frames_done: number;
  /** Its place. */
  index: number;
  /** Milliseconds a frame took, once completed. */
  ms_per_frame: number | null;
  /** Seconds that the attempt that counts took in all. */
  seconds: number | null;
  /** How far it is. */
  status: "queued" | "rendering" | "completed";
  /** Signed, expiring: its first frame as a JPEG of at most 320 pixels across. */
  thumbnail_url: string | null;
  /** The slot that is at it, or that completed it. */
  worker: string | null;
}

/** Says that the bytes of an upload are there. */
export interface CompleteRequest {
  /** SHA-256 of the file. */
  checksum_sha256?: string | null;
}

/** A request for consent. */
export interface ConsentBegun {
  /** The group of the person who is asked. */
  avatar_group: AvatarGroup;
  /** The page for the person; it needs no key. */
  url: string;
}

/** Asks a person for consent. */
export interface ConsentRequest {
  /** Where the person is sent afterwards: an https URL. */
  reroute_url?: string | null;
}

/** The answer to a deletion. */
export interface Deleted {
  /** Always true. */
  deleted: boolean;
  /** Id of what was deleted. */
  id: string;
}

/** Describes a voice. */
export interface DesignRequest {
  /** Only male or female voices. */
  gender?: "male" | "female" | null;
  /** Only voices of this language, as a BCP-47 tag. */
  locale?: string | null;
  /** How it should sound: gender, age, accent, tone, pace, use. */
  prompt: string;
  /** Which batch: 0, the default, has the best matches, 1 the next. */
  seed?: number | null;
}

/** A receiver of events. */
export interface Endpoint {
  /** ISO 8601. */
  created_at: string;
  /** The endpoint. */
  endpoint_id: string;
  /** The one render it hears of. */
  entity_id: string | null;
  /** Types to hear of: hyperframes_video.success, hyperframes_video.fail, hyperframes_video.cancelled, avatar_video.success, avatar_video.fail, video_agent.success, video_agent.fail, lipsync.success, lipsync.fail, video_translate.success, video_translate.fail, proofread_creation.success, proofread_creation.fail. All where `null`. */
  events: string[] | null;
  /** Shown once. */
  secret: string | null;
  /** Disabled once the receiver answered 410. */
  status: "enabled" | "disabled";
  /** An https URL that can be reached from the internet. */
  url: string;
}

/** Changes a receiver of events. */
export interface EndpointChange {
  /** Types to hear of: hyperframes_video.success, hyperframes_video.fail, hyperframes_video.cancelled, avatar_video.success, avatar_video.fail, video_agent.success, video_agent.fail, lipsync.success, lipsync.fail, video_translate.success, video_translate.fail, proofread_creation.success, proofread_creation.fail. All where `null`. */
  events?: string[] | null;
  /** An https URL that can be reached from the internet. */
  url?: string | null;
}

/** Registers a receiver of events. */
export interface EndpointRequest {
  /** The one render to hear of. */
  entity_id?: string | null;
  /** Types to hear of: hyperframes_video.success, hyperframes_video.fail, hyperframes_video.cancelled, avatar_video.success, avatar_video.fail, video_agent.success, video_agent.fail, lipsync.success, lipsync.fail, video_translate.success, video_translate.fail, proofread_creation.success, proofread_creation.fail. All where `null`. */
  events?: string[] | null;
  /** An https URL that can be reached from the internet. */
  url: string;
}

/** The body of every response that is not a success. */
export interface Error {
  /** What went wrong. */
  error: ErrorDetail;
}

/** What went wrong with a request. */
export interface ErrorDetail {
  /** One of the codes below. */
  code: string;
  /** URL of the page that explains the code. Errors inside a successful answer have only its path on the farm. */
  doc_url: string;
  /** What is wrong and what to do. */
  message: string;
  /** The field at fault, with its path. */
  param?: string;
}

/** Something that happened. */
export interface Event {
  /** ISO 8601. */
  created_at: string;
  /** What was delivered. */
  event_data: Record<string, unknown>;
  /** The same over all deliveries. */
  event_id: string;
  /** The type. */
  event_type: "hyperframes_video.success" | "hyperframes_video.fail" | "hyperframes_video.cancelled" | "avatar_video.success" | "avatar_video.fail" | "video_agent.success" | "video_agent.fail" | "lipsync.success" | "lipsync.fail" | "video_translate.success" | "video_translate.fail" | "proofread_creation.success" | "proofread_creation.fail";
}

/** A type of event. */
export interface EventType {
  /** When it happens. */
  description: string;
  /** The type. */
  event_type: string;
}

/** The farm at a glance. Pools, slots and frames are the whole farm's; renders, cost and failures are those of the key's space. */
export interface Farm {
  /** Id of the coordinator that schedules; none before the first was elected. */
  active_coordinator: string | null;
  /** Frames captured a second, of late. */
  frames_per_second: number;
  /** The last quarter of an hour, one entry every 10 seconds; not in events. */
  history?: LoadSample[];
  /** Unix seconds, by the farm's clock. */
  now: number;
  /** Slots and queues by pool. */
  pools: PoolLoad[];
  /** Tasks that wait for a slot. */
  queue_depth: number;
  /** The last ones of the key's space. */
  recent_failures: RecentFailure[];
  /** Renders by state. */
  renders: RenderCounts;
  /** Slots of workers that take tasks. */
  slots: number;
  /** Slots at work. */
  slots_busy: number;
  /** Unix seconds of the coordinator's start. */
  started_at: number;
  /** What was done since midnight UTC. */
  today: Today;
  /** The farm's version. */
  version: string;
}

/** A file that can be uploaded. */
export interface File {
  /** Its media type, as announced. */
  content_type: string;
  /** The file's name. */
  filename: string;
  /** The asset. */
  id: string;
  /** Its length in bytes; 0 where it is not known. */
  size: number;
  /** PUT the bytes here, without a key. */
  upload_url: string;
  /** What the input of a task names it by. */
  uri: string;
}

/** A file of a request: behind a URL, uploaded as an asset, or in the request itself. */
export type FileInput = {
  type: "url";
  /** An https URL of at most 50 MB. */
  url: string;
} | {
  /** Id of the asset. */
  asset_id: string;
  type: "asset_id";
} | {
  /** Bytes of the file in base64. */
  data: string;
  /** Media type of the file. The farm reads the type from the bytes. */
  media_type?: string | null;
  type: "base64";
};

/** Announces a file. */
export interface FileRequest {
  /** Its media type. */
  content_type?: string | null;
  /** The file's name. */
  filename?: string | null;
  /** Its exact length in bytes, if it is known. */
  size?: number | null;
}

/** Announces files that are to be uploaded. */
export interface FilesRequest {
  /** The files, 20 at most. */
  files: FileRequest[];
}

/** Asks for the video of a session. */
export interface GenerateRequest {
  /** Echoed in events. */
  callback_id?: string | null;
  /** An https URL to tell of the end. */
  callback_url?: string | null;
  /** Writes the translation beside the video, as SubRip and WebVTT files. */
  captions?: boolean | null;
  /** Keeps the pictures of the video as they are, mouth and length. */
  translate_audio_only?: boolean | null;
}

/** A video with a new sound. */
export interface Lipsync {
  /** As asked. */
  callback_id: string | null;
  /** Signed, expiring URL of the words as a SubRip file, where captions were asked for. */
  caption_url: string | null;
  /** Unix seconds of the request. */
  created_at: number | null;
  /** Seconds, once it is completed. */
  duration: number | null;
  /** What went wrong and what to do, where it failed. */
  failure_message: string | null;
  /** The lipsync. */
  id: string;
  /** Its state. */
  status: "pending" | "running" | "completed" | "failed";
  /** As asked, or as it was changed. */
  title: string | null;
  /** Signed, expiring URL of the video, once it is completed. */
  video_url: string | null;
}

/** Changes a video with a new sound. */
export interface LipsyncChange {
  /** Name to show to people. */
  title: string;
}

/** A video with a new sound that is taken in. */
export interface LipsyncCreated {
  /** The lipsync. Its video is a render, by this id. */
  lipsync_id: string;
}

/** A lipsync that is deleted. */
export interface LipsyncDeleted {
  /** The lipsync. */
  id: string;
}

/** Asks for a video with a new sound. */
export interface LipsyncRequest {
  /** The new sound, a WAV or an MP3 file. */
  audio: FileInput;
  /** Echoed in events. */
  callback_id?: string | null;
  /** An https URL to tell of the end. */
  callback_url?: string | null;
  /** Leaves the music of the video out. The new sound replaces the old one as a whole, so its music is left out in any case. */
  disable_music_track?: boolean | null;
  /** Writes the words of the new sound beside the video. The farm knows them of sounds of `POST /v3/voices/speech` whose voice tells when its words are spoken. */
  enable_caption?: boolean | null;
  /** Whether the output is as long as the new sound, which is the default; else as long as the video. */
  enable_dynamic_duration?: boolean | null;
  /** Cuts rumble below 80 Hz from the new sound, and brings the output to -16 LUFS. */
  enable_speech_enhancement?: boolean | null;
  /** Writes `hyperfarm` into a corner of the picture. */
  enable_watermark?: boolean | null;
  /** Second of the video at which the part with the new sound ends; the video's end by default. What is after it keeps its own sound. */
  end_time?: number | null;
  /** The farm has no folders: it changes nothing. */
  folder_id?: string | null;
  /** How the frames follow each other. Outputs have a constant rate, that of the video on average. */
  fps_mode?: "vfr" | "cfr" | "passthrough" | null;
  /** Aims at the video's bit rate. Its size in pixels is kept in any case. */
  keep_the_same_format?: boolean | null;
  /** What becomes of the mouth; `speed` by default. */
  mode?: "speed" | "precision" | null;
  /** Second of the video at which the new sound begins; 0 by default. What is before it keeps its own sound. */
  start_time?: number | null;
  /** Name to show to people. */
  title?: string | null;
  /** The video, an MP4 or a WebM file. */
  video: FileInput;
}

/** The farm's load at a moment. */
export interface LoadSample {
  /** Unix seconds. */
  at: number;
  /** Frames captured a second. */
  frames_per_second: number;
  /** Tasks that wait for a slot. */
  queue_depth: number;
  /** Slots that take tasks. */
  slots: number;
  /** Slots at work. */
  slots_busy: number;
}

/** One line. */
export interface LogLine {
  /** Unix seconds. */
  at: number;
  /** The attempt that said it. */
  attempt: number;
  /** Number of the chunk, of a chunk. */
  chunk: number | null;
  /** The frame that was sought last. */
  frame: number | null;
  /** How much it matters. */
  level: "debug" | "info" | "warning" | "error";
  /** The text, cut at 2,000 characters. */
  message: string;
  /** A script of the composition, or the farm. */
  source: "page" | "farm";
  /** What was being done. */
  step: "plan" | "audio" | "chunk" | "stitch";
}

/** An answer that says only that it was done. */
export interface Nothing {
}

/** Slots and queue of a pool. */
export interface PoolLoad {
  /** Its name; `stitch` is that of the stitchers. */
  pool: string;
  /** Tasks that wait for a slot. */
  queue_depth: number;
  /** Seconds that the oldest of them has waited. */
  queue_oldest_seconds: number | null;
  /** Slots that take tasks. */
  slots: number;
  /** Slots at work. */
  slots_busy: number;
  /** Nodes that are alive. */
  workers: number;
}

/** A new priority for a render. */
export interface PriorityRequest {
  /** Renders of a higher priority go first within their space; 0 is usual. */
  priority: number;
}

/** An error as RFC 9457 has it, with the farm's own form inside. */
export interface Problem {
  /** What is wrong and what to do. */
  detail: string;
  /** The same as every other route says it. */
  error: ErrorDetail;
  /** The HTTP status. */
  status: number;
  /** The HTTP status in words. */
  title: string;
  /** URL of the page that explains the code. */
  type: string;
}

/** How far a render is. */
export interface Progress {
  /** Chunks that are done. */
  chunks_done: number;
  /** Chunks in all. */
  chunks_total: number;
  /** Seconds until the last frame. */
  eta_seconds: number | null;
  /** Captured frames. */
  frames_done: number;
  /** Frames in all. */
  frames_total: number;
  /** Captured frames of a hundred. */
  percent: number;
  /** Where it is. */
  stage: "queued" | "plan" | "capture" | "stitch" | "done";
}

/** A session in which a translation is read. */
export interface Proofread {
  /** Unix seconds of the request. */
  created_at: number | null;
  /** What went wrong and what to do, where it failed. */
  failure_message: string | null;
  /** The session. */
  id: string;
  /** Language of the video, as heard, once it is known. */
  input_language: string | null;
  /** Language that it is translated into, as asked. */
  output_language: string | null;
  /** Its state. */
  status: "processing" | "completed" | "failed";
  /** Always `false`: the farm has nobody to review it. */
  submitted_for_review: boolean | null;
  /** As asked. */
  title: string | null;
}

/** A video of a session that is taken in. */
export interface ProofreadGenerated {
  /** Its state. */
  status: "processing" | "completed" | "failed";
  /** The translation. Its video is a render, by this id. */
  video_translation_id: string;
}

/** Asks for translations to be read before they are spoken. */
export interface ProofreadRequest {
  /** Voice of `GET /v3/voices` that speaks; the first one of the language by default. */
  brand_voice_id?: string | null;
  /** As of a translation. */
  disable_music_track?: boolean | null;
  /** As of a translation. */
  enable_speech_enhancement?: boolean | null;
  /** Whether pictures may be played more slowly where the translation takes longer; `false` by default. */
  enable_video_stretching?: boolean | null;
  /** The farm has no folders: it changes nothing. */
  folder_id?: string | null;
  /** As of a translation. */
  keep_the_same_format?: boolean | null;
  /** What becomes of the mouth in the video; `speed` by default. */
  mode?: "speed" | "precision" | null;
  /** Languages to translate into, as of a translation. Each becomes a session of its own. */
  output_languages: string[];
  /** How many people speak in the video, for engines that tell them apart. One voice speaks for all. */
  speaker_num?: number | null;
  /** What is said in the video, as a SubRip file; heard by the speech recognition by default. */
  srt?: FileInput | null;
  /** Name to show to people. */
  title: string;
  /** The video, an MP4 or a WebM file. */
  video: FileInput;
}

/** Where the words of a session are. */
export interface ProofreadSrt {
  /** Signed, expiring URL of the words of the video as a SubRip file. */
  original_srt_url: string | null;
  /** Signed, expiring URL of the translation as a SubRip file, as it was changed last. */
  srt_url: string;
}

/** Changes the translation of a session. */
export interface ProofreadSrtRequest {
  /** The translation, as a SubRip file. */
  srt: FileInput;
}

/** Sessions that are taken in. */
export interface ProofreadsCreated {
  /** One for each language, in the order of the request. */
  proofread_ids: string[];
  /** Their state. */
  status: "processing" | "completed" | "failed";
}

/** Takes a worker out of service. */
export interface QuarantineRequest {
  /** Why, for people who look at the worker. */
  reason?: string | null;
}

/** A render that failed. */
export interface RecentFailure {
  /** Unix seconds. */
  at: number;
  /** What went wrong, for programs. */
  error_code: string;
  /** What went wrong and what to do. */
  failure_message: string;
  /** The render. */
  render_id: string;
  /** As asked. */
  title: string | null;
}

/** Renders of the space by state. */
export interface RenderCounts {
  /** Cancelled and not deleted. */
  cancelled: number;
  /** Completed and not deleted. */
  completed: number;
  /** Since midnight UTC. */
  completed_today: number;
  /** Failed and not deleted, cancelled ones excluded. */
  failed: number;
  /** Since midnight UTC. */
  failed_today: number;
  /** Not begun. */
  queued: number;
  /** Under way. */
  rendering: number;
}

/** A render that was taken in. */
export interface RenderCreated {
  /** The render. */
  render_id: string;
  /** The render it repeats. An extension. */
  retry_of?: string;
  /** Taken in. */
  status: "queued";
  /** Fields that the farm does not know. An extension. */
  warnings?: Warning[];
}

/** A render that is gone. */
export interface RenderDeleted {
  /** The render. */
  render_id: string;
}

/** A render. Fields that have no value are `null`, except the extensions that only exist at an end. */
export interface RenderDetail {
  /** Shape, where the output is one; the documented default until the composition is planned. */
  aspect_ratio: "16:9" | "9:16" | "1:1" | null;
  /** The batch it is of. An extension. */
  batch_id?: string;
  /** As asked. */
  callback_id: string | null;
  /** Unix seconds of the end, whatever it was. */
  completed_at: number | null;
  /** Entry page. */
  composition: string;
  /** Unix seconds. */
  created_at: number;
  /** Seconds, once completed. */
  duration: number | null;
  /** What went wrong, for programs; once failed. An extension. */
  error_code?: string;
  /** What went wrong and what to do; once failed. */
  failure_message: string | null;
  /** Container. */
  format: "mp4" | "webm" | "mov" | "gif" | "png-sequence" | "hls";
  /** Frames a second; a fraction is text. */
  fps: number | string;
  /** Frames of the output. An extension. */
  frame_count: number | null;
  /** Pixels down. An extension. */
  height: number | null;
  /** Name of the API key that submitted it, where the farm knows it. An extension. */
  owner: string | null;
  /** Whether it is paused. An extension. */
  paused?: boolean;
  /** The pool whose workers render it. An extension. */
  pool: string;
  /** Signed, expiring: an HLS playlist of what is finished from the start on. `silent.m3u8` becomes `index.m3u8` once there is sound. An extension. */
  preview_url: string | null;
  /** Renders of a higher priority go first within their space; where not 0. An extension. */
  priority?: number;
  /** How far it is, in frames and chunks. */
  progress: Progress;
  /** Effort of the encoder. */
  quality: "draft" | "standard" | "high";
  /** The render. */
  render_id: string;
  /** Height class, where the output is one; the documented default until the composition is planned. */
  resolution: "1080p" | "4k" | null;
  /** The render it repeats. An extension. */
  retry_of?: string;
  /** Version of the HyperFrames runtime, once the composition is planned. An extension. */
  runtime: string | null;
  /** Files beside the video that were asked for; once completed. An extension. */
  sidecars?: Sidecar[];
  /** How far it is; a cancelled one has failed. */
  status: "queued" | "rendering" | "completed" | "failed";
  /** Signed, expiring; once completed. */
  thumbnail_url: string | null;
  /** As asked. */
  title: string | null;
  /** What it used; once completed. */
  usage?: Usage;
  /** Signed, expiring; once completed. */
  video_url: string | null;
  /** What it waits for, while no worker works on it and it is not paused. An extension. */
  waiting?: Waiting;
  /** What did not stop the render. An extension. */
  warnings: Warning[];
  /** Pixels across. An extension. */
  width: number | null;
}

/** Asks for a render. */
export interface RenderRequest {
  /** Shape; else the composition's own. */
  aspect_ratio?: "16:9" | "9:16" | "1:1" | null;
  /** Codec of the sound; else PCM of 24 bits in masters (every profile but `4444`), Opus in webm, and AAC. An extension. */
  audio_codec?: "aac" | "opus" | "pcm" | null;
  /** A sound to put under everything, from the first frame on: a URL, or a file of the project. An extension. */
  audio_url?: string | null;
  /** Bits a sample of H.265 and AV1, 8 or 10; 8 by default. An extension. */
  bit_depth?: 8 | 10 | null;
  /** An id of your own, given back in webhooks. */
  callback_id?: string | null;
  /** An https URL that is told of the end. */
  callback_url?: string | null;
  /** Put the captions of the composition into the mp4 or mov as a text track that players can turn on. An extension. */
  caption_track?: boolean | null;
  /** Write the captions of the composition beside the video, as a SubRip and a WebVTT file. An extension. */
  captions?: boolean | null;
  /** Frames a chunk. An extension. */
  chunk_frames?: number | null;
  /** Codec, else the format's usual one. An extension. */
  codec?: "h264" | "h265" | "vp8" | "vp9" | "av1" | "prores" | "dnxhr" | "gif" | "png-sequence" | null;
  /** Entry page in the project; `index.html` by default. */
  composition?: string | null;
  /** Constant rate factor, instead of the quality's. An extension. */
  crf?: number | null;
  /** Device pixels a pixel of the page, 1 to 4. An extension. */
  device_scale_factor?: number | null;
  /** Seconds; 0 is the composition's own length. An extension. */
  duration?: number | null;
  /** Container; `mp4` by default. `gif`, `png-sequence` and `hls` are extensions. */
  format?: "mp4" | "webm" | "mov" | "gif" | "png-sequence" | "hls" | null;
  /** Frames a second, 1 to 240, or a fraction such as `30000/1001`; else the composition's, else 30. */
  fps?: number | string | null;
  /** First moment of the output: seconds, or a frame such as `75f`; else the composition's start. An extension. */
  from?: number | string | null;
  /** Times a GIF repeats; 0 for ever. An extension. */
  gif_loop?: number | null;
  /** High dynamic range, in H.265 of 10 bits (mp4): `hdr10`, `hlg`, or `auto`, which is HDR10 where a video of the composition is PQ, else HLG. SDR white is 203 cd/m². An extension. */
  hdr?: "auto" | "hdr10" | "hlg" | null;
  /** Pixels down, with `width`. An extension. */
  height?: number | null;
  /** One page, instead of `project`. An extension. */
  html?: string | null;
  /** How long the render is kept after its end, such as `12h` or `30d`, if the farm keeps it that long; by default as long as the farm keeps renders. An extension. */
  keep_for?: string | null;
  /** Loudness of the whole composition's sound in LUFS (EBU R 128), -31 to -9, such as -16; else as it is mixed. An extension. */
  loudness?: number | null;
  /** Chunks at work at once. An extension. */
  max_parallel_chunks?: number | null;
  /** Motion blur: pictures that are averaged into each frame, 2 to 64; 0 for none. Else as the composition's root says. An extension. */
  motion_blur?: number | null;
  /** What the page's clocks show in its first frame, in UTC, such as `2026-11-28T20:00:00Z`; else the moment of the submission. Renders of one composition have equal bytes where they have the same one. An extension. */
  now?: string | null;
  /** Which workers take it. An extension. */
  pool?: string | null;
  /** Write the frame of this moment beside the video as a JPEG file: seconds, or a frame such as `75f`. An extension. */
  poster?: number | string | null;
  /** Higher goes first; 0 is usual. An extension. */
  priority?: number | null;
  /** Profile of ProRes (`4444` by default) or DNxHR (`dnxhr-hqx`). An extension. */
  profile?: "422-lt" | "422" | "422-hq" | "4444" | "4444-xq" | "dnxhr-hq" | "dnxhr-hqx" | null;
  /** The project: a zip, or one page. Required, unless `html` is given. */
  project?: {
  type: "url";
  /** An https URL of a zip of at most 32 MB. */
  url: string;
} | {
  /** An uploaded zip of at most 200 MB. */
  asset_id: string;
  type: "asset_id";
} | {
  /** A zip of at most 25 MB. */
  data: string;
  /** `application/zip` */
  media_type?: string | null;
  type: "base64";
} | {
  /** One page. An extension. */
  html: string;
  type: "html";
} | null;
  /** Effort of the encoder; `standard` by default. */
  quality?: "draft" | "standard" | "high" | null;
  /** Short sides, in pixels, of an hls package's renditions beside the output's own size; else those of 1080, 720 and 480 that are smaller than it. An extension. */
  renditions?: number[] | null;
  /** Height class; else the composition's own size. */
  resolution?: "1080p" | "4k" | null;
  /** Version of the HyperFrames runtime, or a range such as `^0.8.100`; else the one that the project names, else the default one. An extension. */
  runtime?: string | null;
  /** Degrees for which the shutter of the motion blur is open, 1 to 360, which is the time of a frame; 180 by default. An extension. */
  shutter_angle?: number | null;
  /** Degrees from the moment of a frame to the opening of the shutter, -360 to 0; -90 by default. With 0 no frame shows what was before it, so that cuts stay sharp. An extension. */
  shutter_phase?: number | null;
  /** Seconds between the pictures of a storyboard beside the video: JPEG sheets and a WebVTT file. An extension. */
  storyboard?: number | null;
  /** Unknown or mistyped variables are errors. An extension. */
  strict_variables?: boolean | null;
  /** Timecode of the composition's first frame in a mov's timecode track, such as `01:00:00:00`. Without it, masters (every profile but `4444`) begin with `00:00:00:00`. An extension. */
  timecode?: string | null;
  /** A name for people. */
  title?: string | null;
  /** End of the output, which is not part of it: seconds, or a frame such as `150f`; else the composition's end. An extension. */
  to?: number | string | null;
  /** Keep the transparency; else as the format does. An extension. */
  transparent?: boolean | null;
  /** Highest true peak in dBTP, -9 to 0, with `loudness`; -1 by default. An extension. */
  true_peak?: number | null;
  /** Values for the composition's variables. */
  variables?: Record<string, unknown> | null;
  /** Open the page a few times first, and warn of what does not look the same each time. An extension. */
  verify?: boolean | null;
  /** Bits a second, or text such as `10M`. An extension. */
  video_bitrate?: number | string | null;
  /** Speed of the VP9 encoder, -8 (slow) to 8. An extension. */
  vp9_cpu_used?: number | null;
  /** Write the sound beside the video as well, as a WAV file of 24 bits. An extension. */
  wav?: boolean | null;
  /** Pixels across, with `height`. An extension. */
  width?: number | null;
}

/** A version of the HyperFrames runtime that renders can have. */
export interface Runtime {
  /** Unix seconds. */
  added_at: number | null;
  /** Whether the farm has this version built in. `name` and all further fields are `null` then. */
  is_built_in: boolean;
  /** Whether a render has this version when neither its request nor its project names one. */
  is_default: boolean;
  /** Licence of the package, as its `package.json` names it. */
  license: string | null;
  /** Name of the published package. */
  name: string | null;
  /** SHA-256 of the stored package. */
  sha256: string | null;
  /** Bytes of the stored package. */
  size_bytes: number | null;
  /** The version, such as `0.8.170`. */
  version: string;
}

/** What the farm keeps of a published package of HyperFrames. */
export interface RuntimePackage {
  /** The script of sound effects. Without it, sounds have the effects of the built-in version. */
  effects?: string | null;
  /** Licence in the package's own `package.json`. */
  license: string;
  /** Text of the package's licence files; empty where it has none. */
  license_text?: string | null;
  /** Name in the package's own `package.json`. */
  name: string;
  /** The runtime, a classic script. */
  script: string;
  /** Version in the package's own `package.json`. */
  version: string;
}

/** Role of a coordinator in scheduling. Of several coordinators one schedules. */
export type SchedulerRole = "active" | "standby";

/** The new secret of an endpoint. */
export interface Secret {
  /** The endpoint. */
  endpoint_id: string;
  /** Shown once. */
  secret: string;
}

/** A file beside the video of a render. */
export interface Sidecar {
  /** Length in bytes. */
  bytes: number;
  /** Its file name, for example `sound.wav` or `poster.jpg`. */
  name: string;
  /** Signed, expiring. */
  url: string;
}

/** One attempt at a task. */
export interface Span {
  /** From 1. */
  attempt: number;
  /** Number of the chunk. */
  chunk: number | null;
  /** Unix seconds. */
  ended_at: number | null;
  /** Why it failed, for programs. */
  error_code: string | null;
  /** Captured frames. */
  frames: number;
  /** The task. */
  kind: "plan" | "chunk" | "audio" | "stitch";
  /** Why it failed. */
  message: string | null;
  /** Milliseconds a frame took. */
  ms_per_frame: number | null;
  /** How it ended: another attempt counts (superseded), or the worker vanished or handed it back (lost). */
  outcome: "running" | "committed" | "failed" | "superseded" | "lost";
  /** The worker's slot. */
  slot: number | null;
  /** Unix seconds. */
  started_at: number;
  /** Who tried it; empty where nobody knows any more. */
  worker_id: string;
}

/** A text that was spoken. */
export interface SpeechCreated {
  /** The asset that is the sound. An extension. */
  asset_id: string;
  /** Signed, expiring URL of the sound, a WAV file. */
  audio_url: string;
  /** Length of the sound in seconds. */
  duration: number;
  /** The request, as usage names it. */
  request_id: string | null;
  /** When each word is spoken; `null` where the engine does not tell. */
  word_timestamps: WordTimestamp[] | null;
}

/** Asks for speech. */
export interface SpeechRequest {
  /** Whether the text is plain, which is the default, or SSML. */
  input_type?: "text" | "ssml" | null;
  /** The language, such as `en`; the voice's own is the default. Voices without `support_locale` ignore it. */
  language?: string | null;
  /** The language as a BCP-47 tag, such as `en-US`, instead of `language`. */
  locale?: string | null;
  /** Multiple of the voice's own speed; 1 is the default. */
  speed?: number | null;
  /** What to speak. */
  text: string;
  /** Who speaks. */
  voice_id: string;
}

/** Spending, in US dollars. */
export interface Spending {
  /** Always 0: the farm gives no credits. */
  included_credits: number;
  /** US dollars left of the cap, where the key has one. */
  remaining_credits?: number;
  /** The key's cap, where it has one. */
  spending_cap_usd?: number;
  /** Spent so far. */
  spending_current_usd: number;
}

/** Health or readiness of the process. */
export interface Status {
  /** Role of this coordinator in scheduling. Only `/readyz` has it. */
  scheduler?: SchedulerRole;
  /** `ok` or `ready`. */
  status: string;
  /** The farm's version. */
  version: string;
}

/** A task: a render. `GET /tasks/{task_id}/stream` sends one as a line of JSON whenever it has changed. */
export interface Task {
  /** The app. */
  app: string;
  /** ISO 8601. */
  created_at: string;
  /** What went wrong and what to do; empty unless it failed. */
  error: string;
  /** The task: the id of the render. */
  id: string;
  /** How far it is, as one line of text: the Python SDK passes on no `progress`. */
  logs: TaskLog[];
  /** Once completed. */
  output: TaskOutput | null;
  /** Captured frames of a hundred. */
  progress: number;
  /** Always `null`: the farm keeps no state between tasks. */
  session_id: string | null;
  /** 2 queued, 4 preparing, 7 running, 10 completed, 11 failed, 12 cancelled. */
  status: number;
  /** The state as a word. */
  status_text: string;
  /** ISO 8601: the end, or now. */
  updated_at: string;
}

/** A line of a task's log. */
export interface TaskLog {
  /** The text, in base64. */
  content: string;
  /** 4: of the task. */
  log_type: number;
  /** The task. */
  task_id: string;
}

/** A remark about a request that succeeded. */
export interface TaskMessage {
  /** Which kind. */
  code: string;
  /** `warning`. */
  level: string;
  /** What is not as it should be and what to do. */
  message: string;
}

/** What a task made. */
export interface TaskOutput {
  /** Seconds. */
  duration: number;
  /** A picture of it, likewise. */
  thumbnail: string | null;
  /** The video: a signed URL that expires; `null` where the farm does not know how it is reached. */
  video: string | null;
}

/** Runs the app that renders. */
export interface TaskRequest {
  /** `infsh/hyperframes-render`. A version behind `@` changes nothing. */
  app: string;
  /** The app's function: `run`. */
  function?: string | null;
  /** The fields of a [RenderRequest](#renderrequest). Uploaded files stand for `html`, `project` and `audio_url` by their `uri`; `project` may also be the URL of a zip. */
  input?: Record<string, unknown> | null;
  /** Refused: tasks start as soon as there is a worker. */
  run_at?: string | null;
  /** Refused: the farm keeps no state between tasks. */
  session?: string | null;
  /** Receives the [Task](#task) once it has ended, without `app`, `progress` and `logs`: an https URL that can be reached from the internet. */
  webhook?: string | null;
}

/** Every attempt at every task of a render. */
export interface Timeline {
  /** Unix seconds. */
  created_at: number;
  /** Unix seconds. */
  ended_at: number | null;
  /** Unix seconds, by the farm's clock. */
  now: number;
  /** Version of the HyperFrames runtime, once the composition is planned. */
  runtime: string | null;
  /** Every attempt, in the order in which they began. */
  spans: Span[];
  /** What the farm noticed about the attempts when the render ended, such as two attempts at the same chunk with different bytes (`NON_DETERMINISTIC`). */
  warnings: Warning[];
}

/** What was done since midnight UTC. */
export interface Today {
  /** US dollars, by the operator's table. */
  cost_usd: number;
  /** Minutes of video. */
  output_minutes: number;
  /** Seconds of slots. */
  worker_seconds: number;
}

/** A video in another language. */
export interface Translation {
  /** Signed, expiring URL of its sound as a WAV file, once it is completed. */
  audio_url: string | null;
  /** As asked. */
  callback_id: string | null;
  /** Unix seconds of the request. */
  created_at: number | null;
  /** Seconds, once it is completed. */
  duration: number | null;
  /** What went wrong and what to do, where it failed. */
  failure_message: string | null;
  /** The translation. */
  id: string;
  /** Language of the video, as asked or as heard, once it is known. */
  input_language: string | null;
  /** Language that it is translated into, as asked. */
  output_language: string | null;
  /** Its state. */
  status: "pending" | "running" | "completed" | "failed";
  /** As asked, or as it was changed. */
  title: string | null;
  /** As asked. */
  translate_audio_only: boolean | null;
  /** Signed, expiring URL of the video, once it is completed. */
  video_url: string | null;
}

/** Where the captions of a translation are. */
export interface TranslationCaption {
  /** Signed, expiring URL of the file. */
  caption_url: string;
}

/** Changes a translation. */
export interface TranslationChange {
  /** Name to show to people. */
  title: string;
}

/** A translation that is deleted. */
export interface TranslationDeleted {
  /** The translation. */
  id: string;
}

/** Languages that videos can be translated into. */
export interface TranslationLanguages {
  /** English names of languages, then tags of those that voices speak. Either can be asked for. */
  languages: string[];
}

/** Asks for a video in other languages. */
export interface TranslationRequest {
  /** The speech in the other language, a WAV or an MP3 file. Nothing is heard, translated or spoken then, and there is one language. */
  audio?: FileInput | null;
  /** Voice of `GET /v3/voices` that speaks; the first one of the language by default. */
  brand_voice_id?: string | null;
  /** Echoed in events. */
  callback_id?: string | null;
  /** An https URL to tell of the end. */
  callback_url?: string | null;
  /** Leaves the sound of the video out where nobody speaks. It is left out where somebody speaks in any case. */
  disable_music_track?: boolean | null;
  /** Writes the translation beside the video, as SubRip and WebVTT files. */
  enable_caption?: boolean | null;
  /** Whether pictures may be played more slowly where the translation takes longer, which is the default; else the voice speaks faster. */
  enable_dynamic_duration?: boolean | null;
  /** Cuts rumble below 80 Hz from the new sound, and brings the output to -16 LUFS. */
  enable_speech_enhancement?: boolean | null;
  /** Writes `hyperfarm` into a corner of the picture. */
  enable_watermark?: boolean | null;
  /** Second of the video after which nothing is translated; the video's end by default. */
  end_time?: number | null;
  /** The farm has no folders: it changes nothing. */
  folder_id?: string | null;
  /** How the frames follow each other. Outputs have a constant rate, that of the video on average. */
  fps_mode?: "vfr" | "cfr" | "passthrough" | null;
  /** Language that is spoken in the video; heard by the speech recognition by default. */
  input_language?: string | null;
  /** Aims at the video's bit rate. Its size in pixels is kept in any case. */
  keep_the_same_format?: boolean | null;
  /** What becomes of the mouth; `speed` by default. */
  mode?: "speed" | "precision" | null;
  /** Languages to translate into: names or tags of `GET /v3/video-translations/languages`. Each becomes a video of its own. */
  output_languages: string[];
  /** How many people speak in the video, for engines that tell them apart. One voice speaks for all. */
  speaker_num?: number | null;
  /** What is said in the video, as a SubRip file. `srt_role` says in which language. */
  srt?: FileInput | null;
  /** Whether `srt` has the words of the video, which is the default, or their translation. */
  srt_role?: "input" | "output" | null;
  /** Second of the video before which nothing is translated; 0 by default. */
  start_time?: number | null;
  /** Name to show to people. */
  title?: string | null;
  /** Keeps the pictures of the video as they are, mouth and length. */
  translate_audio_only?: boolean | null;
  /** The video, an MP4 or a WebM file. */
  video: FileInput;
}

/** Translations that are taken in. */
export interface TranslationsCreated {
  /** One for each language, in the order of the request. The video of each is a render, by this id. */
  video_translation_ids: string[];
}

/** A URL to upload a file to. */
export interface UploadBegun {
  /** The asset to be. */
  asset_id: string;
  /** How long the URL is good for, in seconds. */
  expires_in_seconds: number;
  /** Bytes that an upload may have, whatever `size_bytes` says. */
  max_bytes: number;
  /** The upload waits for its bytes. */
  status: "pending_upload";
  /** Send these as they are. */
  upload_headers: Record<string, string>;
  /** PUT the bytes here, without a key. */
  upload_url: string;
}

/** Bytes that came to a signed URL. */
export interface UploadReceived {
  /** The asset to be. */
  asset_id: string;
}

/** Asks for a URL to upload a file to. */
export interface UploadRequest {
  /** SHA-256 of the file. */
  checksum_sha256?: string | null;
  /** Its media type. */
  content_type: string;
  /** The file's name. */
  filename: string;
  /** Its exact length. */
  size_bytes: number;
}

/** What a render used. */
export interface Usage {
  /** Minutes of video. */
  output_minutes: number;
  /** US dollars, by the operator's table. */
  usd: number;
  /** Seconds of slots, by pool. */
  worker_seconds: Record<string, number>;
}

/** A presenter video. */
export interface Video {
  /** As asked. */
  callback_id: string | null;
  /** The same as `video_url`, where captions in the picture were asked for. */
  captioned_video_url: string | null;
  /** Unix seconds of its end. */
  completed_at: number | null;
  /** Unix seconds of the request. */
  created_at: number;
  /** Seconds, once it is completed. */
  duration: number | null;
  /** What went wrong, for programs. */
  failure_code: string | null;
  /** What went wrong and what to do. */
  failure_message: string | null;
  /** Always `null`: the farm has no folders. */
  folder_id: string | null;
  /** Always `null`. */
  gif_url: string | null;
  /** The video. */
  id: string;
  /** Container. */
  output_format: "mp4" | "webm";
  /** Its state. */
  status: "pending" | "processing" | "completed" | "failed";
  /** Signed, expiring URL of the words as a SubRip file, where the script's engine tells when they are spoken. */
  subtitle_url: string | null;
  /** Signed, expiring URL of a still. */
  thumbnail_url: string | null;
  /** As asked. */
  title: string | null;
  /** Always `null`. */
  video_page_url: string | null;
  /** Signed, expiring URL of the video, once it is completed. */
  video_url: string | null;
}

/** A presenter video that is taken in. */
export interface VideoCreated {
  /** Container. */
  output_format: "mp4" | "webm";
  /** Always `pending`. */
  status: "pending" | "processing" | "completed" | "failed";
  /** The video. It is a render too, by this id. */
  video_id: string;
}

/** Asks for a video of a person who speaks. */
export interface VideoRequest {
  /** Shape; `auto`, the default, is that of the photo. */
  aspect_ratio?: "auto" | "16:9" | "9:16" | "4:5" | "5:4" | "1:1" | null;
  /** The same as an asset. */
  audio_asset_id?: string | null;
  /** URL of a WAV or MP3 file of at most 50 MB and 600 s that the person says. */
  audio_url?: string | null;
  /** The look. Required with the type `avatar`. */
  avatar_id?: string | null;
  /** What is behind the person. Without one the photo fills the picture. */
  background?: BackgroundSetting | null;
  /** Echoed in events. */
  callback_id?: string | null;
  /** An https URL to tell of the end. */
  callback_url?: string | null;
  /** Shows the words of the script in the picture. An extension. */
  captions?: boolean | null;
  /** Which engine animates; this farm has `avatar_iv`. */
  engine?: {
  /** One of a look's `supported_api_engines`. */
  type: string;
} | null;
  /** How much head and brows move; `low` by default. Only with the type `avatar`. */
  expressiveness?: "low" | "medium" | "high" | null;
  /** The photo, a PNG or a JPEG file. Required with the type `image`. */
  image?: FileInput | null;
  /** The hosted service moves the body by a description. This farm refuses it. */
  motion_prompt?: string | null;
  /** Container; `mp4` by default. `webm` keeps transparency. */
  output_format?: "mp4" | "webm" | null;
  /** Leaves out what is behind the person. A PNG file with transparency keeps its own; of other photos the farm cuts the person out. */
  remove_background?: boolean | null;
  /** Height class; `1080p` by default. */
  resolution?: "720p" | "1080p" | "4k" | null;
  /** What the person says. Excludes `audio_url` and `audio_asset_id`. */
  script?: string | null;
  /** Name to show to people. */
  title?: string | null;
  /** Who presents: a look, or a photo that is used once. */
  type: "avatar" | "image" | "cinematic";
  /** Who speaks the script. Required with it. */
  voice_id?: string | null;
  /** How the script is spoken. */
  voice_settings?: {
  /** The language as a BCP-47 tag, for voices that speak several. */
  locale?: string | null;
  /** Higher or lower than the voice's own pitch; 0 is the default. */
  pitch?: number | null;
  /** Multiple of the voice's own speed; 1 is the default. */
  speed?: number | null;
} | null;
}

/** A voice. */
export interface Voice {
  /** The speech engine: `espeak`, `openai` or `piper`. An extension. */
  engine: string;
  /** Male or female. */
  gender: "male" | "female";
  /** English name of its language. */
  language: string;
  /** BCP-47 tag of its language, in lower case. An extension. */
  locale: string;
  /** Name to show to people. */
  name: string;
  /** Signed, expiring URL of a short sound, which is made when it is first asked for; `null` where the farm does not know how it is reached. */
  preview_audio_url: string | null;
  /** Whether the voice speaks other languages as well, chosen by `language` or `locale`. */
  support_locale: boolean;
  /** Whether the voice speaks SSML, which includes pauses. */
  support_pause: boolean;
  /** Who has it. */
  type: "public" | "private";
  /** The voice. */
  voice_id: string;
}

/** The voices that suit a description. */
export interface VoicesDesigned {
  /** The batch. */
  seed: number;
  /** At most three, the best first. */
  voices: Voice[];
}

/** What a render waits for. */
export interface Waiting {
  /** Which kind: `WAITING_FOR_STORAGE`, `WAITING_FOR_SERVERS`, `WAITING_FOR_WORKERS`, `WAITING_FOR_CLASS`, `WAITING_FOR_SLOTS` or `WAITING_FOR_STITCHERS`. */
  code: string;
  /** What is missing and when the render goes on. */
  message: string;
}

/** Something that did not stop the render. */
export interface Warning {
  /** Which kind. */
  code: string;
  /** What is not as it should be and what to do. */
  message: string;
  /** The field it is about. */
  param?: string;
}

/** When a word is spoken. */
export interface WordTimestamp {
  /** Its end in seconds. */
  end: number;
  /** Its start in seconds. */
  start: number;
  /** The word as it is written, punctuation included. */
  word: string;
}

/** A worker or stitcher. */
export interface Worker {
  /** The versions that its pictures depend on. */
  class: string;
  /** Failures of the last ten minutes that are the farm's own. */
  failures_recent: number;
  /** Frames captured a second, of late. */
  frames_per_second: number;
  /** Its machine. */
  host: string;
  /** Unix seconds of its last heartbeat, by its own clock. */
  last_seen_at: number;
  /** Memory of the process and its browsers. */
  memory_bytes: number;
  /** What its control group allows. */
  memory_limit_bytes: number | null;
  /** The pool it serves. */
  pool: string;
  /** What it does. */
  role: "worker" | "stitcher";
  /** Tasks it can do at once. */
  slots: number;
  /** Slots at work. */
  slots_busy: number;
  /** Unix seconds, by its own clock. */
  started_at: number;
  /** Whether it takes tasks. */
  state: "active" | "draining" | "quarantined";
  /** Why it takes none. */
  state_reason: string | null;
  /** The tasks it is doing. */
  tasks: WorkerTask[];
  /** The farm's version. */
  version: string;
  /** The process. */
  worker_id: string;
}

/** A task that a process is doing. */
export interface WorkerTask {
  /** From 1. */
  attempt: number;
  /** Number of the chunk. */
  chunk: number | null;
  /** Captured frames of a chunk; thousandths of another task. */
  frames_done: number;
  /** Frames of the chunk; 1000 for another task. */
  frames_total: number;
  /** The render. */
  render_id: string;
  /** Unix seconds of the claim. */
  since: number;
  /** The task. */
  step: "plan" | "chunk" | "audio" | "stitch";
}
