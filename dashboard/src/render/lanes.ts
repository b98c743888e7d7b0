/** Puts the attempts of a render into lanes: one for every slot of every worker. */

import type { Span } from "../types";

export interface Lane {
  worker: string;
  /** Whether it is the first of its worker, and carries the name. */
  isFirst: boolean;
  /** By their start. */
  spans: Span[];
}

/** Heights in CSS pixels: of a lane, of the axis above all, of a worker's name where it stands above its lanes. */
export const ROW = 22;
export const AXIS = 24;
export const NAME = 16;

/** Where each lane begins from the top of the chart, and how high the chart is. */
export function places(made: Lane[], hasNamesAbove: boolean): { tops: number[]; height: number } {
  const tops: number[] = [];
  let height = AXIS;
  for (const lane of made) {
    if (hasNamesAbove && lane.isFirst) height += NAME;
    tops.push(height);
    height += ROW;
  }
  return { tops, height };
}

/** The attempts with an end where it can be known: one that was lost lasts until the next attempt at the same task. */
export function ended(spans: Span[], now: number): Span[] {
  if (!spans.some((span) => span.ended_at === null && span.outcome !== "running")) return spans;
  const starts = new Map<string, number[]>();
  const name = ({ kind, chunk }: Span) => `${kind} ${chunk}`;
  for (const span of spans) starts.set(name(span), [...(starts.get(name(span)) ?? []), span.started_at].sort((a, b) => a - b));
  return spans.map((span) => {
    if (span.ended_at !== null || span.outcome === "running") return span;
    return { ...span, ended_at: starts.get(name(span))?.find((start) => start > span.started_at) ?? now };
  });
}

/** Lanes in the order in which their workers began. Where the slot is not known, spans that overlap get lanes of their own. */
export function lanes(spans: Span[]): Lane[] {
  const workers = new Map<string, Span[]>();
  for (const span of [...spans].sort((a, b) => a.started_at - b.started_at)) {
    const worker = span.worker_id || "unknown";
    const own = workers.get(worker);
    if (own) own.push(span);
    else workers.set(worker, [span]);
  }
  const made: Lane[] = [];
  for (const [worker, own] of workers) {
    const slots = new Map<string, Lane>();
    const ends = new Map<Lane, number>();
    for (const span of own) {
      const start = span.started_at;
      let lane = span.slot === null ? undefined : slots.get(`slot ${span.slot}`);
      if (span.slot === null) lane = [...slots.values()].find((one) => (ends.get(one) ?? 0) <= start + 0.0005);
      if (!lane) {
        lane = { worker, isFirst: slots.size === 0, spans: [] };
        slots.set(span.slot === null ? `own ${slots.size}` : `slot ${span.slot}`, lane);
      }
      lane.spans.push(span);
      ends.set(lane, Math.max(ends.get(lane) ?? 0, span.ended_at ?? Infinity));
    }
    made.push(...slots.values());
  }
  return made;
}

/** The span of `lane` at this moment, or the nearest within `slack` seconds. */
export function spanAt(lane: Lane, at: number, slack: number, now: number): Span | null {
  let best: Span | null = null;
  let distance = slack;
  for (const span of lane.spans) {
    const end = span.ended_at ?? now;
    const away = at < span.started_at ? span.started_at - at : at > end ? at - end : 0;
    if (away < distance || (away === 0 && distance === 0)) {
      best = span;
      distance = away;
    }
  }
  return best;
}

/** Round times for an axis of `seconds` with about `wanted` marks. */
export function ticks(from: number, to: number, wanted: number): number[] {
  const rough = (to - from) / Math.max(1, wanted);
  const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];
  const step = steps.find((one) => one >= rough) ?? 86_400;
  const found: number[] = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}
