/** The list of renders as far as it was read: pages from the farm, kept up to date by its events. */

import { batch, signal } from "@preact/signals";
import { type ApiError, isAbort, page } from "../api";
import { type Change } from "../store";
import type { RenderDetail } from "../types";
import { stateOf } from "../ui/basics";

/** Renders a request; as many as a page may have. */
const PAGE = 100;

export interface Filter {
  status: string;
  search: string;
  pool: string;
  /** `newest` where empty. */
  sort: string;
}

/** How long a list that is not sorted by time waits for more changes before it is read again, in milliseconds. */
const SORT_AGAIN_AFTER = 1500;

export class RenderList {
  readonly rows = signal<RenderDetail[]>([]);
  readonly loading = signal(false);
  readonly ended = signal(false);
  readonly error = signal<ApiError | null>(null);
  private next: string | null = null;
  private running: AbortController | null = null;
  private sortTimer = 0;

  constructor(readonly filter: Filter) {}

  /** Reads the next page, unless one is being read or there is none. */
  async more(): Promise<void> {
    if (this.running || this.ended.peek()) return;
    const request = new AbortController();
    this.running = request;
    this.loading.value = true;
    try {
      const got = await page<RenderDetail>("v3/hyperframes/renders", {
        query: { limit: PAGE, token: this.next, ...this.filter },
        signal: request.signal,
      });
      const known = new Set(this.rows.peek().map((render) => render.render_id));
      batch(() => {
        this.rows.value = [...this.rows.peek(), ...got.data.filter((render) => !known.has(render.render_id))];
        this.next = got.next_token;
        this.ended.value = !got.has_more;
        this.error.value = null;
      });
    } catch (error) {
      if (!isAbort(error)) this.error.value = error as ApiError;
    }
    if (this.running === request) {
      this.running = null;
      this.loading.value = false;
    }
  }

  /** Reads from the start again, keeping what is shown until the answer is here. */
  async again(): Promise<void> {
    this.stop();
    const wanted = Math.max(PAGE, this.rows.peek().length);
    const fresh = new RenderList(this.filter);
    // What was scrolled to long ago is not read again for one lost connection.
    while (!fresh.ended.peek() && !fresh.error.peek() && fresh.rows.peek().length < Math.min(wanted, 5 * PAGE)) await fresh.more();
    batch(() => {
      this.error.value = fresh.error.peek();
      if (fresh.error.peek()) return;
      this.rows.value = fresh.rows.peek();
      this.next = fresh.next;
      this.ended.value = fresh.ended.peek();
    });
  }

  stop(): void {
    clearTimeout(this.sortTimer);
    this.running?.abort();
    this.running = null;
    this.loading.value = false;
  }

  /** Takes what the farm told: changed rows stay where they are, new ones that fit go to the top. */
  take(changes: Change[]): void {
    let rows = this.rows.peek();
    const places = new Map(rows.map((render, i) => [render.render_id, i]));
    let changed = false;
    const fresh: RenderDetail[] = [];
    const gone = new Set<string>();
    for (const change of changes) {
      const id = change.kind === "render" ? change.render.render_id : change.id;
      const place = places.get(id);
      if (change.kind === "deleted") {
        if (place !== undefined) gone.add(id);
      } else if (place !== undefined) {
        if (!changed) rows = rows.slice();
        rows[place] = change.render;
        changed = true;
      } else if (this.fits(change.render)) {
        const known = fresh.findIndex((render) => render.render_id === id);
        if (this.filter.sort !== "") {
          // Its place is the farm's to say.
          clearTimeout(this.sortTimer);
          this.sortTimer = window.setTimeout(() => void this.again(), SORT_AGAIN_AFTER);
        } else if (known >= 0) fresh[known] = change.render;
        // Only what is newer than all of the list is certain to belong to its top.
        else if (change.render.created_at >= (rows[0]?.created_at ?? 0)) fresh.unshift(change.render);
      }
    }
    if (!changed && fresh.length === 0 && gone.size === 0) return;
    const all = fresh.length > 0 ? [...fresh, ...rows] : rows;
    this.rows.value = gone.size > 0 ? all.filter((render) => !gone.has(render.render_id)) : all;
  }

  private fits(render: RenderDetail): boolean {
    const { status, search, pool } = this.filter;
    const state = stateOf(render);
    if (status && !status.split(",").includes(state === "paused" ? render.status : state)) return false;
    if (pool && render.pool !== pool) return false;
    const text = search.toLowerCase();
    return !text || [render.title, render.render_id, render.callback_id, render.owner].some((field) => field?.toLowerCase().includes(text));
  }
}
