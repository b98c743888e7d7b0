/** Why a render failed, and where: the task, the last picture before it, and what the page said. */

import { count, integer, short, time, timecode } from "../format";
import type { Chunk, LogLine, RenderDetail, Span, Timeline } from "../types";
import { Message } from "../ui/basics";
import { rate } from "./store";

/** Lines of the console that are shown. */
const LINES = 6;

interface FailedProps {
  render: RenderDetail;
  timeline: Timeline | null;
  chunks: Chunk[];
  log: LogLine[];
}

export function Failed({ render, timeline, chunks, log }: FailedProps) {
  if (render.error_code === "cancelled") {
    return <div class="banner plain" role="status"><div><strong>Cancelled</strong><p>{render.failure_message}</p></div></div>;
  }
  const last = lastFailure(timeline?.spans ?? []);
  const before = last ? pictureBefore(chunks, last.chunk ?? chunks.length) : null;
  const lines = linesOf(log, last);
  return (
    <section class="banner bad failed-at" aria-label="Failure">
      <div>
        <p role="status"><strong>It failed</strong> <code>{render.error_code}</code></p>
        <p><Message text={render.failure_message ?? ""} /></p>
        {last && <Where render={render} last={last} chunks={chunks} attempts={attemptsAt(timeline?.spans ?? [], last)} />}
        {lines.length > 0 && (
          <>
            <h3>Last lines of the page and the farm</h3>
            <ol class="log" tabIndex={0} aria-label="Last lines of the console">
              {lines.map((line, i) => <li key={i} class={line.level}><time>{time(line.at)}</time><span class="level">{line.level}</span><span class="place">{line.frame === null ? "" : `frame ${line.frame}`}</span><span class="said">{line.message}</span></li>)}
            </ol>
          </>
        )}
      </div>
      {before && (
        <figure>
          <img src={before.thumbnail_url ?? undefined} alt={`Frame ${before.first_frame}`} />
          <figcaption>Last picture before it: frame {integer(before.first_frame)}, {timecode(before.first_frame / rate(render))}</figcaption>
        </figure>
      )}
    </section>
  );
}

const STEPS = { plan: "while the composition was read", chunk: "while frames were captured", audio: "while the sound was mixed", stitch: "while the chunks were joined" };

function Where({ render, last, chunks, attempts }: { render: RenderDetail; last: Span; chunks: Chunk[]; attempts: number }) {
  const chunk = last.chunk === null ? undefined : chunks[last.chunk];
  const fps = rate(render);
  const parts = [
    `This happened ${STEPS[last.kind]}`,
    chunk && `in chunk ${chunk.index} (frames ${integer(chunk.first_frame)} to ${integer(chunk.first_frame + chunk.frame_count - 1)}, from ${timecode(chunk.first_frame / fps)})`,
    last.worker_id && `on ${short(last.worker_id, 24)}`,
    attempts > 1 && `after ${count(attempts, "attempt")}`,
  ].filter(Boolean);
  return <p class="faint">{parts.join(", ")}.</p>;
}

/** The failed attempt that ended last. */
export function lastFailure(spans: Span[]): Span | null {
  const failed = spans.filter(({ outcome }) => outcome === "failed" || outcome === "lost");
  return failed.reduce<Span | null>((last, span) => ((span.ended_at ?? span.started_at) >= (last?.ended_at ?? last?.started_at ?? 0) ? span : last), null);
}

function attemptsAt(spans: Span[], last: Span): number {
  return spans.filter(({ kind, chunk }) => kind === last.kind && chunk === last.chunk).length;
}

/** The chunk with a picture that is the last one up to chunk `end`. */
export function pictureBefore(chunks: Chunk[], end: number): Chunk | null {
  return chunks.slice(0, end + 1).reverse().find((chunk) => chunk.thumbnail_url !== null) ?? null;
}

/** The last warnings and errors of the failed step, else of all, else whatever was said last. */
export function linesOf(log: LogLine[], last: Span | null): LogLine[] {
  const bad = log.filter(({ level }) => level === "warning" || level === "error");
  const there = bad.filter((line) => line.step === last?.kind && line.chunk === last?.chunk);
  const chosen = there.length > 0 ? there : bad.length > 0 ? bad : log;
  return chosen.slice(-LINES);
}
