/** One render with what happened to it: read once, kept up to date while it works. */

import { batch, signal } from "@preact/signals";
import { type ApiError, get, isAbort, page } from "../api";
import { onChanges } from "../store";
import type { Chunk, LogLine, RenderDetail, Timeline } from "../types";
import { isOver } from "../ui/basics";

/** Pause between two readings of what is large, at least; longer where one takes long. */
const PAUSE = 2000;
const CHUNKS_A_PAGE = 2000;
const LINES_A_PAGE = 100;

export class RenderStore {
  readonly render = signal<RenderDetail | null>(null);
  readonly timeline = signal<Timeline | null>(null);
  /** Seconds that the farm's clock is ahead of this machine's. */
  readonly skew = signal(0);
  readonly chunks = signal<Chunk[]>([]);
  readonly log = signal<LogLine[]>([]);
  readonly logEnded = signal(true);
  readonly error = signal<ApiError | null>(null);
  readonly detailError = signal<ApiError | null>(null);
  readonly deleted = signal(false);
  private readonly stopping = new AbortController();
  private readonly path: string;
  private timer = 0;
  private reading = false;
  private logToken: string | null = null;

  constructor(readonly id: string) {
    this.path = `v3/hyperframes/renders/${encodeURIComponent(id)}`;
  }

  /** Reads it and follows it; returns what ends that. */
  start(): () => void {
    void this.load();
    const stop = onChanges((changes) => {
      for (const change of changes) {
        if (change.kind === "deleted" && change.id === this.id) this.deleted.value = true;
        if (change.kind === "render" && change.render.render_id === this.id) this.take(change.render);
      }
    });
    return () => {
      stop();
      clearTimeout(this.timer);
      this.stopping.abort();
    };
  }

  async load(): Promise<void> {
    try {
      this.take(await get<RenderDetail>(this.path, { signal: this.stopping.signal }));
    } catch (error) {
      if (!isAbort(error)) this.error.value = error as ApiError;
    }
  }

  take(render: RenderDetail): void {
    const before = this.render.peek();
    // Events may lack what only the single answer has.
    const usage = render.usage ?? before?.usage;
    const merged = { ...render, ...(usage && { usage }), preview_url: render.preview_url ?? before?.preview_url ?? null };
    batch(() => {
      this.render.value = merged;
      this.error.value = null;
    });
    const ended = before && !isOver(before) && isOver(render);
    // Usage and the last attempts are written at the end.
    if (ended) {
      window.setTimeout(() => void this.load(), 1500);
      this.schedule(300);
    } else this.schedule(before ? PAUSE : 0);
  }

  private schedule(pause: number): void {
    if (this.reading || this.stopping.signal.aborted) return;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.details(), pause);
  }

  private async details(): Promise<void> {
    this.reading = true;
    const started = performance.now();
    const wasOver = isOver(this.render.peek() ?? ({} as RenderDetail));
    try {
      const { signal } = this.stopping;
      const [timeline, chunks] = await Promise.all([
        get<Timeline>(`${this.path}/timeline`, { signal }),
        this.readChunks(signal),
      ]);
      batch(() => {
        this.timeline.value = timeline;
        this.skew.value = timeline.now - Date.now() / 1000;
        this.chunks.value = chunks;
        this.detailError.value = null;
      });
      await this.readLog(signal);
    } catch (error) {
      if (isAbort(error)) return;
      this.detailError.value = error as ApiError;
    }
    this.reading = false;
    const now = this.render.peek();
    // A large render takes longer to read than a small one, and is read less often.
    if (now && (!isOver(now) || !wasOver)) this.schedule(Math.max(PAUSE, 10 * (performance.now() - started)));
  }

  private async readChunks(signal: AbortSignal): Promise<Chunk[]> {
    const all: Chunk[] = [];
    let token: string | null = null;
    do {
      const got: { data: Chunk[]; next_token: string | null } = await page<Chunk>(`${this.path}/chunks`, { query: { limit: CHUNKS_A_PAGE, token }, signal });
      all.push(...got.data);
      token = got.next_token;
    } while (token);
    return all;
  }

  /** Reads the log from the start until what is shown is there again; `moreLog` goes beyond. */
  private async readLog(signal: AbortSignal): Promise<void> {
    const wanted = Math.max(LINES_A_PAGE, this.log.peek().length);
    const lines: LogLine[] = [];
    let token: string | null = null;
    try {
      do {
        const got: { data: LogLine[]; next_token: string | null } = await page<LogLine>(`${this.path}/log`, { query: { limit: LINES_A_PAGE, token }, signal });
        lines.push(...got.data);
        token = got.next_token;
      } while (token && lines.length < wanted);
    } catch (error) {
      if (isAbort(error)) throw error;
      // An older coordinator has no such route; the rest of the page does without.
      if ((error as ApiError).status !== 404) throw error;
    }
    batch(() => {
      this.log.value = lines;
      this.logToken = token;
      this.logEnded.value = token === null;
    });
  }

  async moreLog(): Promise<void> {
    if (!this.logToken) return;
    const got = await page<LogLine>(`${this.path}/log`, { query: { limit: LINES_A_PAGE, token: this.logToken } });
    batch(() => {
      this.log.value = [...this.log.peek(), ...got.data];
      this.logToken = got.next_token;
      this.logEnded.value = got.next_token === null;
    });
  }
}

/** Frames a second of a render, of a fraction too. */
export function rate(render: RenderDetail): number {
  if (typeof render.fps === "number") return render.fps;
  const [above, below] = render.fps.split("/").map(Number);
  return (above ?? 30) / (below || 1);
}

/** Chunks at the start of the render that are all done, and the frames in them. */
export function leading(chunks: Chunk[]): { chunks: number; frames: number } {
  let frames = 0;
  let i = 0;
  for (; i < chunks.length; i += 1) {
    const chunk = chunks[i];
    if (chunk?.status !== "completed") break;
    frames += chunk.frame_count;
  }
  return { chunks: i, frames };
}
