/** Rows of renders, of which only those in sight are in the document: ten thousand cost as much as twenty. */

import { Component } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { count, duration, fullTime, integer, moment, NONE, short } from "../format";
import { links } from "../route";
import type { RenderDetail } from "../types";
import { Badge, ProgressBar, isOver, stateOf, waitingFor } from "../ui/basics";
import { Icon } from "../ui/icons";

/** Rows drawn beyond each edge of the window. */
const BEYOND = 8;

interface ListProps {
  rows: RenderDetail[];
  chosen: ReadonlySet<string>;
  active: number;
  onChoose: (id: string) => void;
  onRange: (ids: string[]) => void;
  more: () => void;
}

export function List({ rows, chosen, active, onChoose, onRange, more }: ListProps) {
  const body = useRef<HTMLDivElement>(null);
  const anchor = useRef(-1);
  const height = useRowHeight();
  const [range, setRange] = useState<[number, number]>([0, 30]);

  const look = () => {
    const box = body.current?.getBoundingClientRect();
    if (!box) return;
    const first = Math.max(0, Math.floor(-box.top / height) - BEYOND);
    const last = Math.ceil((innerHeight - box.top) / height) + BEYOND;
    setRange((old) => (old[0] === first && old[1] === last ? old : [first, last]));
    if (last + 2 * BEYOND > rows.length) more();
  };
  useLayoutEffect(look, [rows.length, height]);
  useEffect(() => {
    let asked = 0;
    const soon = () => (asked ||= requestAnimationFrame(() => ((asked = 0), look())));
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);
    return () => {
      cancelAnimationFrame(asked);
      removeEventListener("scroll", soon);
      removeEventListener("resize", soon);
    };
  });
  // The row that the keys are at stays in sight, and has the focus.
  useEffect(() => {
    const box = body.current?.getBoundingClientRect();
    if (active < 0 || !box) return;
    const top = box.top + active * height;
    const header = 110;
    if (top < header) scrollBy({ top: top - header });
    else if (top + height > innerHeight - 8) scrollBy({ top: top + height - innerHeight + 8 });
    look();
    requestAnimationFrame(() => body.current?.querySelector<HTMLElement>(`[aria-rowindex="${active + 2}"] a`)?.focus({ preventScroll: true }));
  }, [active]);

  const choose = (index: number, event: MouseEvent) => {
    const row = rows[index];
    if (!row) return;
    if (event.shiftKey && anchor.current >= 0) {
      const [from, to] = [Math.min(anchor.current, index), Math.max(anchor.current, index)];
      onRange(rows.slice(from, to + 1).map((render) => render.render_id));
    } else onChoose(row.render_id);
    anchor.current = index;
  };
  // One function for ever, so that a scroll draws only the rows that come into sight.
  const latest = useRef(choose);
  latest.current = choose;
  const stable = useRef((index: number, event: MouseEvent) => latest.current(index, event)).current;

  const [first, last] = range;
  return (
    <div class="list" role="table" aria-label="Renders" aria-rowcount={rows.length + 1}>
      <div class="list-head" role="row" aria-rowindex={1}>
        <span role="columnheader"><span class="hidden">Chosen</span></span>
        <span role="columnheader">Render</span>
        <span role="columnheader">Status</span>
        <span role="columnheader">Progress</span>
        <span role="columnheader">Output</span>
        <span role="columnheader">Owner, pool</span>
        <span role="columnheader">Submitted</span>
      </div>
      <div ref={body} role="rowgroup" class="list-body" style={{ height: `${rows.length * height}px` }}>
        {rows.slice(first, last).map((render, i) => (
          <Row
            key={render.render_id}
            render={render}
            index={first + i}
            top={(first + i) * height}
            isChosen={chosen.has(render.render_id)}
            isActive={first + i === active}
            onChoose={stable}
          />
        ))}
      </div>
    </div>
  );
}

/** Rows are of one height, which the width decides; the style sheet has the same numbers. */
function useRowHeight(): number {
  const narrow = matchMedia("(max-width: 760px)");
  const [height, setHeight] = useState(narrow.matches ? 104 : 60);
  useEffect(() => {
    const changed = () => setHeight(narrow.matches ? 104 : 60);
    narrow.addEventListener("change", changed);
    return () => narrow.removeEventListener("change", changed);
  }, []);
  return height;
}

interface RowProps {
  render: RenderDetail;
  index: number;
  top: number;
  isChosen: boolean;
  isActive: boolean;
  onChoose: (index: number, event: MouseEvent) => void;
}

class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps) {
    const now = this.props;
    return next.render !== now.render || next.index !== now.index || next.top !== now.top
      || next.isChosen !== now.isChosen || next.isActive !== now.isActive || next.onChoose !== now.onChoose;
  }

  render({ render, index, top, isChosen, isActive, onChoose }: RowProps) {
    const state = stateOf(render);
    const name = render.title || short(render.render_id, 18);
    return (
      <div
        class={`row${isChosen ? " chosen" : ""}${isActive ? " active" : ""}`}
        role="row"
        aria-rowindex={index + 2}
        style={{ transform: `translateY(${top}px)` }}
      >
        <span role="cell" class="cell-check">
          <input type="checkbox" aria-label={`Choose ${name}`} checked={isChosen} onClick={(event) => onChoose(index, event)} />
        </span>
        <span role="cell" class="cell-name">
          <Thumb render={render} />
          <span class="names">
            <a href={links.render(render.render_id)}>{name}</a>
            <span class="sub">{render.title ? short(render.render_id, 18) : render.composition}{render.callback_id ? ` · ${render.callback_id}` : ""}</span>
          </span>
        </span>
        <span role="cell" class="cell-state"><Badge state={state} /></span>
        <span role="cell" class="cell-progress"><Progress render={render} /></span>
        <span role="cell" class="cell-output">
          {render.format}{render.width ? ` · ${render.width}×${render.height}` : ""}
          <span class="sub">{render.fps} fps · {render.quality}</span>
        </span>
        <span role="cell" class="cell-owner">
          {render.owner ?? <span class="faint">{NONE}</span>}
          <span class="sub">{render.pool}{render.priority ? ` · priority ${render.priority}` : ""}</span>
        </span>
        <span role="cell" class="cell-time">
          <time dateTime={new Date(render.created_at * 1000).toISOString()} title={fullTime(render.created_at)}>{moment(render.created_at)}</time>
          {render.completed_at && <span class="sub">took {duration(render.completed_at - render.created_at)}</span>}
        </span>
      </div>
    );
  }
}

function Thumb({ render }: { render: RenderDetail }) {
  return (
    <span class="thumb" aria-hidden="true">
      {render.thumbnail_url ? <img src={render.thumbnail_url} alt="" loading="lazy" decoding="async" /> : <Icon name="film" />}
    </span>
  );
}

function Progress({ render }: { render: RenderDetail }) {
  const { progress } = render;
  const state = stateOf(render);
  if (state === "completed") {
    return <><span>{duration(render.duration)} of video</span><span class="sub">{integer(render.frame_count)} frames</span></>;
  }
  if (state === "cancelled") return <span class="sub">by request</span>;
  if (isOver(render)) {
    return <span class="why" title={render.failure_message ?? ""}>{render.failure_message ?? render.error_code}<span class="sub"><code>{render.error_code}</code></span></span>;
  }
  const eta = progress.eta_seconds === null ? "" : `, ${duration(progress.eta_seconds)} left`;
  if (render.waiting && state !== "paused") {
    return (
      <>
        <ProgressBar percent={progress.percent} label="Progress" />
        <span class="sub warn-text" title={render.waiting.message}>{waitingFor(render.waiting)}</span>
      </>
    );
  }
  const said = state === "queued" ? "waits for a worker" : progress.stage === "plan" ? "reading the composition" : progress.stage === "stitch" ? "joining the chunks"
    : `${Math.floor(progress.percent)} %${state === "paused" ? "" : eta}`;
  return (
    <>
      <ProgressBar percent={progress.percent} label="Progress" moving={state === "rendering"} />
      <span class="sub">{said}{progress.chunks_total > 0 ? ` · ${progress.chunks_done} of ${count(progress.chunks_total, "chunk")}` : ""}</span>
    </>
  );
}
