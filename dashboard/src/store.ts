/** What the pages share: the farm as it is, its workers, and what changes in renders. One stream of events feeds all of it. */

import { effect, signal } from "@preact/signals";
import { type ApiError, get, keyEpoch, keyWanted, page } from "./api";
import { follow, type LiveState } from "./live";
import type { Account, Farm, RenderDetail, LoadSample, Worker } from "./types";

export const farm = signal<Farm | null>(null);
export const farmError = signal<ApiError | null>(null);
export const history = signal<LoadSample[]>([]);
export const workers = signal<Worker[] | null>(null);
export const workersError = signal<ApiError | null>(null);
export const account = signal<Account | null>(null);

export const live = signal<{ state: LiveState; retryAt: number | null }>({ state: "connecting", retryAt: null });
/** Changes whenever events may have been missed: what was read is to be read again. */
export const missed = signal(0);

/** Seconds between two points of the history, and how far back it goes. */
const STEP = 10;
const BACK = 15 * 60;

export type Change = { kind: "render"; render: RenderDetail } | { kind: "deleted"; id: string };
type Listener = (changes: Change[]) => void;

const listeners = new Set<Listener>();
let pending: Change[] = [];
let flushing = 0;

/** Hears what changes in renders, some of it together. */
export function onChanges(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Tells everybody of a change, be it from the stream or from an answer. */
export function tell(change: Change): void {
  pending.push(change);
  // Hundreds of renders may move in one second; the page is drawn for all of them at once.
  flushing ||= window.setTimeout(() => {
    flushing = 0;
    const told = pending;
    pending = [];
    for (const listener of listeners) listener(told);
  }, 100);
}

export function canAdminister(): boolean {
  return account.value?.scopes.includes("admin") ?? false;
}

export function canRender(): boolean {
  const scopes = account.value?.scopes ?? [];
  return scopes.includes("render") || scopes.includes("admin");
}

function takeFarm(next: Farm): void {
  farm.value = next;
  farmError.value = null;
  const last = history.value.at(-1);
  if (next.history) history.value = next.history;
  else if (!last || next.now - last.at >= STEP) {
    const { now: at, frames_per_second, slots_busy, slots, queue_depth } = next;
    history.value = [...history.value, { at, frames_per_second, slots_busy, slots, queue_depth }]
      .filter((sample) => sample.at > at - BACK);
  }
}

export async function loadFarm(): Promise<void> {
  try {
    takeFarm(await get<Farm>("v3/hyperframes/farm"));
  } catch (error) {
    farmError.value = error as ApiError;
  }
}

export async function loadWorkers(): Promise<void> {
  try {
    const all: Worker[] = [];
    let token: string | null = null;
    do {
      const got: { data: Worker[]; next_token: string | null } = await page<Worker>("v3/hyperframes/workers", { query: { limit: 100, token } });
      all.push(...got.data);
      token = got.next_token;
    } while (token);
    workers.value = all;
    workersError.value = null;
  } catch (error) {
    workersError.value = error as ApiError;
  }
}

/** Puts one worker, as an action answered it, in its place. */
export function takeWorker(worker: Worker): void {
  workers.value = (workers.value ?? []).map((old) => (old.worker_id === worker.worker_id ? worker : old));
}

async function loadAccount(): Promise<void> {
  try {
    account.value = await get<Account>("v3/users/me");
  } catch {
    account.value = null;
  }
}

/** Starts to follow the farm, and starts over with every new key. */
export function start(): void {
  let stop: (() => void) | null = null;
  effect(() => {
    keyEpoch.value;
    stop?.();
    void begin().then((end) => (stop = end));
  });
}

async function begin(): Promise<() => void> {
  const epoch = keyEpoch.peek();
  // What another key could see is nobody else's business.
  farm.value = null;
  workers.value = null;
  history.value = [];
  await loadAccount();
  if (keyWanted.peek() !== null || epoch !== keyEpoch.peek()) return () => {};
  void loadFarm();
  void loadWorkers();
  let wasLive = false;
  return follow("v3/hyperframes/farm/events", {
    event(name, data) {
      if (name === "farm") takeFarm(data as Farm);
      else if (name === "workers") {
        workers.value = Array.isArray(data) ? (data as Worker[]) : (data as { data: Worker[] }).data;
        workersError.value = null;
      } else if (name === "render") tell({ kind: "render", render: data as RenderDetail });
      else if (name === "deleted") tell({ kind: "deleted", id: (data as { render_id: string }).render_id });
    },
    state(state, retryAt) {
      live.value = { state, retryAt };
      if (state !== "live") return;
      if (wasLive) {
        missed.value += 1;
        void loadFarm();
        void loadWorkers();
      }
      wasLive = true;
    },
  });
}
