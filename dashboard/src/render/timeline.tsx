/** Who did what when: every attempt at every task, by worker and slot, on a canvas that can be zoomed. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { decimal, duration, short } from "../format";
import { isDark } from "../theme";
import type { Span, Timeline } from "../types";
import { Button } from "../ui/basics";
import { useTicks, useWidth } from "../ui/hooks";
import { draw, type Shape } from "./gantt";
import { ended, type Lane, lanes, places, ROW, spanAt } from "./lanes";

/** Lanes shown before the chart scrolls. */
const LANES_MAX = 20;

interface TimelineProps {
  timeline: Timeline;
  skew: number;
  over: boolean;
  onChunk: (index: number) => void;
}

export function TimelineChart({ timeline, skew, over, onChunk }: TimelineProps) {
  const [element, width] = useWidth<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [view, setView] = useState<[number, number] | null>(null);
  const [hover, setHover] = useState<{ span: Span; x: number; y: number } | null>(null);
  const drag = useRef<{ x: number; from: number; to: number; moved: boolean } | null>(null);
  useTicks(1, !over);
  const dark = isDark();
  const made = useMemo(() => lanes(ended(timeline.spans, timeline.ended_at ?? timeline.now)), [timeline]);
  const origin = timeline.created_at;
  const now = over ? timeline.now : Date.now() / 1000 + skew;
  const lastEnd = timeline.spans.reduce((most, span) => Math.max(most, span.ended_at ?? now), origin + 0.5);
  const end = over ? Math.max(timeline.ended_at ?? 0, lastEnd) : Math.max(now, lastEnd);
  const whole: [number, number] = [origin, origin + (end - origin) * 1.01];
  const [from, to] = view ?? whole;
  const left = width < 560 ? 0 : 132;
  const { tops, height } = useMemo(() => places(made, left === 0), [made, left]);
  const shape: Shape = { width, height, left, tops, from, to, now };

  useEffect(() => {
    if (canvas.current && width > 0) draw(canvas.current, made, shape, origin, hover?.span ?? null);
  }, [made, width, from, to, dark, hover?.span, height, over ? 0 : now]);

  const zoom = (by: number, at = (from + to) / 2) => {
    const span = Math.max(0.2, Math.min(whole[1] - whole[0], (to - from) * by));
    const start = Math.max(whole[0], Math.min(whole[1] - span, at - ((at - from) / (to - from)) * span));
    setView(span >= whole[1] - whole[0] ? null : [start, start + span]);
  };
  const move = (by: number) => {
    const span = to - from;
    const start = Math.max(whole[0], Math.min(whole[1] - span, from + by));
    if (span < whole[1] - whole[0]) setView([start, start + span]);
  };
  const timeAt = (x: number) => from + ((x - left) / (width - left)) * (to - from);
  const find = (event: MouseEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const lane = made.find((_, i) => y >= (tops[i] ?? 0) && y < (tops[i] ?? 0) + ROW);
    const span = lane && x >= left ? spanAt(lane, timeAt(x), (3 * (to - from)) / width, now) : null;
    return span ? { span, x, y } : null;
  };

  // A wheel listener that may stop the page from zooming has to say so.
  useEffect(() => {
    const at = canvas.current;
    if (!at) return;
    const wheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event.clientX - at.getBoundingClientRect().left));
    };
    at.addEventListener("wheel", wheel, { passive: false });
    return () => at.removeEventListener("wheel", wheel);
  });

  const odd = timeline.spans.filter((span) => span.outcome === "failed" || span.outcome === "lost" || span.outcome === "superseded");
  return (
    <div class="timeline">
      <div class="legend">
        <span><i class="key plan" /> plan</span><span><i class="key chunk" /> chunk</span><span><i class="key audio" /> audio</span><span><i class="key stitch" /> stitch</span>
        <span><i class="key running" /> at work</span><span><i class="key failed" /> failed, lost</span><span><i class="key superseded" /> superseded</span>
        <span class="zoom">
          <Button icon="minus" kind="quiet" label="Zoom out" disabled={view === null} onClick={() => zoom(1.6)} />
          <Button icon="plus" kind="quiet" label="Zoom in" onClick={() => zoom(0.625)} />
          <Button kind="quiet" disabled={view === null} onClick={() => setView(null)}>All</Button>
        </span>
      </div>
      <div class={`timeline-scroll${made.length > LANES_MAX ? " long" : ""}`}>
        <div
          ref={element}
          class="timeline-body"
          tabIndex={0}
          role="group"
          aria-label="Timeline; plus and minus zoom, arrows move, 0 shows all"
          onKeyDown={(event) => {
            const actions: Record<string, () => void> = {
              "+": () => zoom(0.625), "=": () => zoom(0.625), "-": () => zoom(1.6), "0": () => setView(null),
              ArrowLeft: () => move(-(to - from) / 5), ArrowRight: () => move((to - from) / 5),
            };
            const action = event.ctrlKey || event.metaKey ? undefined : actions[event.key];
            if (!action) return;
            event.preventDefault();
            event.stopPropagation();
            action();
          }}
        >
          <canvas
            ref={canvas}
            class={view ? "movable" : ""}
            role="img"
            aria-label={summary(timeline, made)}
            onPointerDown={(event) => {
              if (event.pointerType === "mouse") drag.current = { x: event.clientX, from, to, moved: false };
            }}
            onPointerMove={(event) => {
              const held = drag.current;
              if (held && view) {
                const by = ((held.x - event.clientX) / (width - left)) * (held.to - held.from);
                if (Math.abs(held.x - event.clientX) > 3) held.moved = true;
                const start = Math.max(whole[0], Math.min(whole[1] - (held.to - held.from), held.from + by));
                if (held.moved) setView([start, start + held.to - held.from]);
              }
              setHover(held?.moved ? null : find(event));
            }}
            onPointerLeave={() => {
              drag.current = null;
              setHover(null);
            }}
            onPointerUp={(event) => {
              const moved = drag.current?.moved;
              drag.current = null;
              const hit = moved ? null : find(event);
              if (hit) setHover(hit);
              if (hit && hit.span.chunk !== null) onChunk(hit.span.chunk);
            }}
            onDblClick={(event) => zoom(0.4, timeAt(event.offsetX))}
          />
          {hover && <Tip {...hover} width={width} origin={origin} now={now} />}
        </div>
      </div>
      {odd.length > 0 && <Odd spans={odd} origin={origin} />}
    </div>
  );
}

const NAMES: Record<Span["outcome"], string> = { running: "at work", committed: "done", failed: "failed", superseded: "superseded", lost: "lost" };

function nameOf(span: Span): string {
  return `${span.kind === "chunk" ? `chunk ${span.chunk}` : span.kind}${span.attempt > 1 ? `, attempt ${span.attempt}` : ""}`;
}

function summary(timeline: Timeline, made: Lane[]): string {
  const of = (outcome: Span["outcome"]) => timeline.spans.filter((span) => span.outcome === outcome).length;
  const workers = new Set(made.map((lane) => lane.worker)).size;
  return `${timeline.spans.length} attempts by ${workers} workers: ${of("committed")} done, ${of("running")} at work, ${of("failed") + of("lost")} failed or lost, ${of("superseded")} superseded`;
}

function Tip({ span, x, y, width, origin, now }: { span: Span; x: number; y: number; width: number; origin: number; now: number }) {
  const took = (span.ended_at ?? now) - span.started_at;
  return (
    <div class="tip" style={{ transform: `translate(${Math.max(0, Math.min(x + 14, width - 250))}px, ${y + 16}px)` }}>
      <strong>{nameOf(span)}</strong> <span class={`outcome ${span.outcome}`}>{NAMES[span.outcome]}</span>
      <div class="tab">{duration(took)}, from {duration(Math.max(0, span.started_at - origin))}</div>
      {span.frames ? <div class="tab">{span.frames} frames{span.ms_per_frame ? `, ${decimal(span.ms_per_frame)} ms each` : ""}</div> : null}
      <div class="faint">{short(span.worker_id || "unknown", 24)}{span.slot === null ? "" : `, slot ${span.slot}`}</div>
      {span.error_code && <div><code>{span.error_code}</code></div>}
      {span.message && <div>{span.message}</div>}
    </div>
  );
}

/** The attempts that did not count, in words: what the picture shows by colour. */
function Odd({ spans, origin }: { spans: Span[]; origin: number }) {
  return (
    <details class="more odd">
      <summary>{spans.length} {spans.length === 1 ? "attempt" : "attempts"} that did not count</summary>
      <ul>
        {spans.slice(0, 200).map((span, i) => (
          <li key={i}>
            <span class={`outcome ${span.outcome}`}>{NAMES[span.outcome]}</span> {nameOf(span)} after {duration(Math.max(0, span.started_at - origin))} on {short(span.worker_id || "unknown", 16)}
            {span.error_code && <> · <code>{span.error_code}</code></>}
            {span.message && <p class="faint">{span.message}</p>}
          </li>
        ))}
      </ul>
    </details>
  );
}
