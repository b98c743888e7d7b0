/** Draws lanes of attempts over time. */

import { duration, short } from "../format";
import { colours } from "../theme";
import type { Span } from "../types";
import { prepare } from "../ui/hooks";
import { AXIS, type Lane, NAME, ROW, ticks } from "./lanes";

/** Height of a bar in its lane. */
const BAR = 16;

export interface Shape {
  width: number;
  height: number;
  /** Where the time begins; the names of workers stand before it, or above their lanes where it is 0. */
  left: number;
  /** Where each lane begins. */
  tops: number[];
  from: number;
  to: number;
  now: number;
}

export function draw(canvas: HTMLCanvasElement, made: Lane[], shape: Shape, origin: number, marked: Span | null): void {
  const { width, height, left, tops, from, to, now } = shape;
  const context = prepare(canvas, width, height);
  if (!context) return;
  const paint = colours("text", "text-2", "rule", "surface", "kind-plan", "kind-chunk", "kind-audio", "kind-stitch", "cell-rendering", "bad", "superseded");
  const kinds = { plan: paint["kind-plan"], chunk: paint["kind-chunk"], audio: paint["kind-audio"], stitch: paint["kind-stitch"] };
  const x = (time: number) => left + ((time - from) / (to - from)) * (width - left);
  context.font = "11px 'Inter Variable', system-ui, sans-serif";
  context.textBaseline = "middle";

  context.fillStyle = paint["text-2"];
  context.strokeStyle = paint.rule;
  context.lineWidth = 1;
  for (const tick of ticks(from - origin, to - origin, (width - left) / 96)) {
    const at = Math.round(x(origin + tick)) + 0.5;
    context.beginPath();
    context.moveTo(at, AXIS - 4);
    context.lineTo(at, height);
    context.stroke();
    context.textAlign = at > width - 30 ? "right" : at < left + 16 ? "left" : "center";
    context.fillText(tick === 0 ? "0 s" : duration(tick), at, AXIS / 2 - 2);
  }
  context.textAlign = "left";
  made.forEach((lane, i) => {
    const top = tops[i] ?? 0;
    if (lane.isFirst && i > 0) {
      const above = left > 0 ? top : top - NAME;
      context.strokeStyle = paint.rule;
      context.beginPath();
      context.moveTo(0, above + 0.5);
      context.lineTo(width, above + 0.5);
      context.stroke();
    }
    context.save();
    context.beginPath();
    context.rect(left, top, width - left, ROW);
    context.clip();
    for (const span of lane.spans) {
      const start = x(span.started_at);
      const stop = x(span.ended_at ?? now);
      if (stop < left || start > width) continue;
      const wide = Math.max(1.5, stop - start - (stop - start > 4 ? 1 : 0));
      const bar = top + (ROW - BAR) / 2;
      context.globalAlpha = 1;
      if (span.outcome === "failed" || span.outcome === "lost") context.fillStyle = paint.bad;
      else if (span.outcome === "superseded") context.fillStyle = paint.superseded;
      else if (span.outcome === "running") context.fillStyle = paint["cell-rendering"];
      else context.fillStyle = kinds[span.kind];
      context.beginPath();
      context.roundRect(start, bar, wide, BAR, Math.min(3, wide / 2));
      context.fill();
      // Failures differ by more than their colour.
      if (span.outcome === "failed" || span.outcome === "lost") {
        context.strokeStyle = paint.surface;
        context.lineWidth = 1.5;
        context.beginPath();
        for (let at = start + 4; at < start + wide; at += 7) {
          context.moveTo(at, bar + BAR);
          context.lineTo(Math.min(start + wide, at + 5), bar);
        }
        context.stroke();
      }
      if (span === marked) {
        context.strokeStyle = paint.text;
        context.lineWidth = 1.5;
        context.stroke();
      }
      const name = span.kind === "chunk" ? String(span.chunk) : span.kind;
      if (wide > context.measureText(name).width + 8) {
        context.fillStyle = paint.surface;
        context.fillText(name, Math.max(start, left) + 4, top + ROW / 2 + 0.5);
      }
    }
    context.restore();
    if (lane.isFirst) {
      context.fillStyle = paint.text;
      if (left > 0) context.fillText(short(lane.worker, 16), 0, top + ROW / 2);
      else {
        // The lines of the axis go around the name.
        const name = short(lane.worker, 40);
        const wide = context.measureText(name).width + 6;
        context.fillStyle = paint.surface;
        context.fillRect(0, top - NAME + 1, wide, NAME - 1);
        context.fillStyle = paint.text;
        context.fillText(name, 0, top - NAME / 2 + 1);
      }
    }
  });
}
