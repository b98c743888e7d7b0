/** Every chunk as one cell of a canvas, by state or by milliseconds a frame. Two thousand cost as much as twenty. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { decimal, duration, integer, short, timecode } from "../format";
import { colours, isDark } from "../theme";
import type { Chunk, RenderDetail } from "../types";
import { Button } from "../ui/basics";
import { prepare, useWidth } from "../ui/hooks";
import { rate } from "./store";

interface GridProps {
  render: RenderDetail;
  chunks: Chunk[];
  chosen: number;
  onChoose: (index: number) => void;
  onShow: (index: number) => void;
}

const GAP = 3;

export function ChunkGrid({ render, chunks, chosen, onChoose, onShow }: GridProps) {
  const [element, width] = useWidth<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [by, setBy] = useState<"state" | "speed">("speed");
  const dark = isDark();
  const cell = chunks.length <= 60 ? 34 : chunks.length <= 150 ? 26 : chunks.length <= 700 ? 17 : 11;
  const across = Math.max(1, Math.floor((width + GAP) / (cell + GAP)));
  const range = useMemo(() => speeds(chunks), [chunks]);

  useEffect(() => {
    if (!canvas.current || width === 0) return;
    const down = Math.ceil(chunks.length / across);
    const context = prepare(canvas.current, width, down * (cell + GAP));
    if (!context) return;
    const paint = colours("cell-queued", "cell-rendering", "ok", "fast", "slow", "text");
    for (const chunk of chunks) {
      const x = (chunk.index % across) * (cell + GAP);
      const y = Math.floor(chunk.index / across) * (cell + GAP);
      context.fillStyle = paint["cell-queued"];
      context.fillRect(x, y, cell, cell);
      if (chunk.status === "rendering") {
        const done = chunk.frame_count > 0 ? chunk.frames_done / chunk.frame_count : 0;
        context.fillStyle = paint["cell-rendering"];
        context.fillRect(x, y + cell * (1 - Math.max(0.15, done)), cell, cell * Math.max(0.15, done));
      } else if (chunk.status === "completed") {
        const ms = chunk.ms_per_frame ?? null;
        context.fillStyle = by === "state" || ms === null ? paint.ok : paint.fast;
        context.fillRect(x, y, cell, cell);
        if (by === "speed" && ms !== null) {
          context.globalAlpha = range.slow > range.fast ? Math.min(1, Math.max(0, (ms - range.fast) / (range.slow - range.fast))) : 0;
          context.fillStyle = paint.slow;
          context.fillRect(x, y, cell, cell);
          context.globalAlpha = 1;
        }
      }
      if ((chunk.attempts ?? 1) > 1) {
        // A corner for chunks that needed more than one attempt.
        context.fillStyle = paint.text;
        context.beginPath();
        context.moveTo(x + cell, y);
        context.lineTo(x + cell, y + cell / 2.4);
        context.lineTo(x + cell - cell / 2.4, y);
        context.fill();
      }
      if (chunk.index === chosen) {
        context.strokeStyle = paint.text;
        context.lineWidth = 2;
        context.strokeRect(x + 1, y + 1, cell - 2, cell - 2);
      }
    }
  }, [chunks, width, cell, by, chosen, dark]);

  const pick = (event: MouseEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const index = Math.floor((event.clientY - box.top) / (cell + GAP)) * across + Math.min(across - 1, Math.floor((event.clientX - box.left) / (cell + GAP)));
    if (index >= 0 && index < chunks.length) onChoose(index);
  };
  const counts = useMemo(() => {
    const all = { queued: 0, rendering: 0, completed: 0 };
    for (const { status } of chunks) all[status] += 1;
    return all;
  }, [chunks]);
  const said = `${integer(chunks.length)} chunks: ${counts.completed} completed, ${counts.rendering} rendering, ${counts.queued} queued`;
  return (
    <div class="chunks">
      <div class="chunk-map">
        <div class="legend">
          <div class="segments small" role="group" aria-label="Colour by">
            <button type="button" aria-pressed={by === "speed"} onClick={() => setBy("speed")}>ms a frame</button>
            <button type="button" aria-pressed={by === "state"} onClick={() => setBy("state")}>State</button>
          </div>
          <span><i class="key queued" /> queued {counts.queued}</span>
          <span><i class="key rendering" /> rendering {counts.rendering}</span>
          {by === "state" ? <span><i class="key ok" /> completed {counts.completed}</span>
            : <span class="scale tab">{decimal(range.fast)} <i class="key gradient" /> {decimal(range.slow)} ms</span>}
        </div>
        <div ref={element}>
          <canvas ref={canvas} role="img" aria-label={said} onClick={pick} onDblClick={() => onShow(chosen)} />
        </div>
      </div>
      <Detail render={render} chunks={chunks} chosen={chosen} onChoose={onChoose} onShow={onShow} />
    </div>
  );
}

/** The fast and the slow end of the scale, without the odd ones out. */
function speeds(chunks: Chunk[]): { fast: number | null; slow: number } & { fast: number } {
  const sorted = chunks.map((chunk) => chunk.ms_per_frame).filter((ms) => typeof ms === "number").sort((a, b) => a - b);
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { fast: at(0.02), slow: at(0.98) };
}

function Detail({ render, chunks, chosen, onChoose, onShow }: GridProps) {
  const chunk = chunks[chosen];
  if (!chunk) return null;
  const fps = rate(render);
  const facts: [string, string][] = [
    ["State", chunk.status],
    ["Frames", `${integer(chunk.first_frame)} to ${integer(chunk.first_frame + chunk.frame_count - 1)}`],
    ["From", timecode(chunk.first_frame / fps)],
    ["Worker", short(chunk.worker ?? "–", 24)],
    ["Attempts", integer(chunk.attempts ?? chunk.attempt)],
    ["Time", duration(chunk.seconds)],
    ["A frame", chunk.ms_per_frame ? `${decimal(chunk.ms_per_frame)} ms` : "–"],
    ["Captured by", chunk.capture_path ?? "–"],
  ];
  return (
    <div class="chunk-detail">
      <div class="stepper">
        <Button icon="left" kind="quiet" label="Chunk before" disabled={chosen === 0} onClick={() => onChoose(chosen - 1)} />
        <label><span>Chunk</span> <input type="number" min={0} max={chunks.length - 1} value={chosen} onInput={(event) => {
          const value = event.currentTarget.valueAsNumber;
          if (value >= 0 && value < chunks.length) onChoose(Math.floor(value));
        }} /></label>
        <span class="faint tab">of {chunks.length - 1}</span>
        <Button icon="right" kind="quiet" label="Chunk after" disabled={chosen >= chunks.length - 1} onClick={() => onChoose(chosen + 1)} />
      </div>
      <dl class="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
      <Button icon="play" disabled={chunk.status !== "completed"} onClick={() => onShow(chosen)}>Show in the preview</Button>
    </div>
  );
}
