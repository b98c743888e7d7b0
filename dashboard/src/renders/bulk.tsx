/** Acts on the chosen renders, a few at a time, and says how it went. */

import { useState } from "preact/hooks";
import { call, messageOf, onceKey, post } from "../api";
import { count } from "../format";
import { links } from "../route";
import { canRender, tell } from "../store";
import type { RenderDetail } from "../types";
import { Button, isOver } from "../ui/basics";
import { ask } from "../ui/dialog";
import { complain, say } from "../ui/toast";

const AT_ONCE = 4;

interface BulkProps {
  rows: RenderDetail[];
  chosen: ReadonlySet<string>;
  onChoose: (chosen: ReadonlySet<string>) => void;
}

export function BulkBar({ rows, chosen, onChoose }: BulkProps) {
  const [done, setDone] = useState<[number, number] | null>(null);
  if (!canRender() || rows.length === 0) return null;
  const picked = chosen.size === 0 ? [] : rows.filter((render) => chosen.has(render.render_id));
  const running = picked.filter((render) => !isOver(render));
  const over = picked.filter(isOver);

  const each = async (renders: RenderDetail[], verb: string, past: string, act: (render: RenderDetail) => Promise<void>) => {
    const left = [...renders];
    let good = 0;
    let first: unknown = null;
    setDone([0, renders.length]);
    const hand = async () => {
      for (let render = left.shift(); render; render = left.shift()) {
        try {
          await act(render);
          good += 1;
        } catch (error) {
          first ??= error;
        }
        setDone([renders.length - left.length, renders.length]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, hand));
    setDone(null);
    onChoose(new Set());
    if (good > 0) say(`${count(good, "render")} ${past}`);
    if (first !== null) complain(`${count(renders.length - good, "render")} could not be ${verb}`, messageOf(first));
  };
  const sure = async (title: string, text: string, action: string) => (await ask({ title, text, action, danger: true })) !== null;

  const cancel = async () => {
    if (!(await sure(`Cancel ${count(running.length, "render")}?`, "What is rendered of them is thrown away.", "Cancel them"))) return;
    await each(running, "cancelled", "cancelled", async ({ render_id }) => {
      tell({ kind: "render", render: await post<RenderDetail>(`v3/hyperframes/renders/${render_id}/cancel`) });
    });
  };
  const retry = () => each(over, "submitted again", "submitted again", async ({ render_id }) => {
    await post(`v3/hyperframes/renders/${render_id}/retry`, { idempotencyKey: onceKey() });
  });
  const remove = async () => {
    if (!(await sure(`Delete ${count(picked.length, "render")}?`, "Their outputs go with them. This cannot be undone.", "Delete them"))) return;
    await each(picked, "deleted", "deleted", async ({ render_id }) => {
      await call("DELETE", `v3/hyperframes/renders/${render_id}`);
      tell({ kind: "deleted", id: render_id });
    });
  };

  const all = picked.length === rows.length;
  return (
    <div class={`bulk${picked.length > 0 ? " on" : ""}`} role="group" aria-label="Chosen renders">
      <label class="check">
        <input
          type="checkbox"
          checked={all}
          ref={(box: HTMLInputElement | null) => { if (box) box.indeterminate = picked.length > 0 && !all; }}
          onChange={() => onChoose(all ? new Set() : new Set(rows.map((render) => render.render_id)))}
        />
        <span>{picked.length > 0 ? `${count(picked.length, "render")} chosen` : `Choose all ${rows.length}`}</span>
      </label>
      {picked.length > 0 && (
        <div class="actions">
          {picked[0] && picked[1] && picked.length === 2 && <a class="button" href={links.compare(picked[0].render_id, picked[1].render_id)}>Compare</a>}
          <Button icon="stop" disabled={running.length === 0 || done !== null} onClick={() => void cancel()}>Cancel</Button>
          <Button icon="retry" disabled={over.length === 0 || done !== null} onClick={() => void retry()}>Retry</Button>
          <Button icon="trash" kind="danger" disabled={done !== null} onClick={() => void remove()}>Delete</Button>
        </div>
      )}
      {done && <span class="faint tab" role="status">{done[0]} of {done[1]}</span>}
    </div>
  );
}
