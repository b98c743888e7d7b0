/** What was asked for, what came out of it, and what it cost. */

import { decimal, duration, integer, money, NONE, work } from "../format";
import type { RenderDetail } from "../types";
import { isOver, Panel } from "../ui/basics";

export function Facts({ render }: { render: RenderDetail }) {
  const { usage } = render;
  const took = render.completed_at ? render.completed_at - render.created_at : null;
  const facts: [string, preact.ComponentChildren][] = [
    ["Format", render.format],
    ["Size", render.width ? `${render.width} × ${render.height}` : NONE],
    ["Frames a second", render.fps],
    ["Frames", integer(render.frame_count)],
    ["Length", duration(render.duration)],
    ["Quality", render.quality],
    ["Composition", <code>{render.composition}</code>],
  ];
  if (render.runtime) facts.push(["HyperFrames", render.runtime]);
  facts.push(["Pool", render.pool], ["Priority", render.priority ?? 0]);
  if (render.owner) facts.push(["Owner", render.owner]);
  if (render.callback_id) facts.push(["Callback id", <code>{render.callback_id}</code>]);
  if (render.batch_id) facts.push(["Batch", <code>{render.batch_id}</code>]);
  return (
    <div class="side">
      <Panel title="Settings" id="settings"><List of={facts} /></Panel>
      <Panel title="Usage" id="usage">
        <List of={[
          ["Cost", usage ? money(usage.usd) : isOver(render) ? NONE : <span class="faint">known at the end</span>],
          ["Work", usage ? work(usage.worker_seconds) : NONE],
          ["Video", usage ? `${decimal(usage.output_minutes)} min` : NONE],
          ["Took", duration(took)],
        ]} />
      </Panel>
    </div>
  );
}

function List({ of }: { of: [string, preact.ComponentChildren][] }) {
  return <dl class="facts">{of.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}
