/** What the API answers, as far as the pages read it. Times are Unix seconds. See docs/api.md. */

export interface Progress {
  stage: "queued" | "plan" | "capture" | "stitch" | "done";
  frames_done: number;
  frames_total: number;
  percent: number;
  eta_seconds: number | null;
  chunks_done: number;
  chunks_total: number;
}

export interface Usage {
  worker_seconds: number;
  output_minutes: number;
  usd: number;
}

export interface Warning {
  code: string;
  message: string;
}

export interface Render {
  render_id: string;
  status: "queued" | "rendering" | "completed" | "failed";
  format: string;
  title: string | null;
  callback_id: string | null;
  fps: number | string;
  quality: string;
  resolution: string | null;
  aspect_ratio: string | null;
  composition: string;
  created_at: number;
  completed_at: number | null;
  video_url?: string | null;
  thumbnail_url?: string | null;
  preview_url?: string | null;
  duration: number | null;
  failure_message?: string | null;
  error_code?: string | null;
  progress: Progress;
  width: number | null;
  height: number | null;
  frame_count: number | null;
  warnings: Warning[];
  paused?: boolean;
  priority?: number;
  batch_id?: string | null;
  retry_of?: string | null;
  usage?: Usage | null;
}

export interface Pool {
  pool: string;
  workers: number;
  slots: number;
  slots_busy: number;
  queue_depth: number;
  queue_oldest_seconds: number | null;
}

export interface Sample {
  at: number;
  frames_per_second: number;
  slots_busy: number;
  slots: number;
  queue_depth: number;
}

export interface RecentFailure {
  render_id: string;
  title: string | null;
  error_code: string | null;
  failure_message: string | null;
  at: number;
}

export interface Farm {
  version: string;
  started_at: number;
  now: number;
  pools: Pool[];
  frames_per_second: number;
  slots: number;
  slots_busy: number;
  queue_depth: number;
  renders: { queued: number; rendering: number; completed_today: number; failed_today: number };
  today: { output_minutes: number; worker_seconds: number; cost_usd: number };
  history?: Sample[];
  recent_failures: RecentFailure[];
}

export interface WorkerTask {
  render_id: string;
  step: Kind;
  chunk: number | null;
  attempt: number;
  frames_done: number;
  frames_total: number;
  since: number;
}

export interface Worker {
  worker_id: string;
  role: "worker" | "stitcher";
  pool: string | null;
  class: string | null;
  version: string;
  host: string | null;
  slots: number;
  slots_busy: number;
  memory_bytes: number | null;
  memory_limit_bytes: number | null;
  state: "active" | "draining" | "quarantined";
  state_reason: string | null;
  tasks: WorkerTask[];
  frames_per_second: number | null;
  started_at: number;
  last_seen_at: number;
  failures_recent: number;
}

export type Kind = "plan" | "chunk" | "audio" | "stitch";

export interface Span {
  kind: Kind;
  chunk: number | null;
  attempt: number;
  worker_id: string | null;
  slot: number | null;
  started_at: number;
  ended_at: number | null;
  outcome: "running" | "committed" | "failed" | "superseded" | "lost";
  error_code: string | null;
  message: string | null;
  frames: number | null;
  ms_per_frame: number | null;
}

export interface Timeline {
  created_at: number;
  ended_at: number | null;
  now: number;
  spans: Span[];
}

export interface Chunk {
  index: number;
  first_frame: number;
  frame_count: number;
  frames_done: number;
  status: "queued" | "rendering" | "completed";
  attempt: number | null;
  worker: string | null;
  attempts?: number | null;
  ms_per_frame?: number | null;
  seconds?: number | null;
  capture_path?: string | null;
  thumbnail_url?: string | null;
}

export interface LogLine {
  at: number;
  level: "debug" | "info" | "warning" | "error";
  source: "page" | "farm";
  step: Kind | null;
  chunk: number | null;
  frame: number | null;
  message: string;
}

export interface Page<T> {
  data: T[];
  has_more: boolean;
  next_token: string | null;
}

export interface Account {
  username: string;
  space: string;
  key_id: string;
  scopes: string[];
}
