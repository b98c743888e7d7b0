/** The name of the render, how far it is, and what can be done with it. */

import { useState } from "preact/hooks";
import { call, onceKey, post } from "../api";
import { capitalised, count, duration, fullTime, integer, moment } from "../format";
import { go, links } from "../route";
import { canRender, tell } from "../store";
import type { RenderDetail } from "../types";
import { Badge, Button, isOver, Message, ProgressBar, stateOf, waitingFor } from "../ui/basics";
import { ask } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { complain, say } from "../ui/toast";

export function Head({ render, onChange }: { render: RenderDetail; onChange: (render: RenderDetail) => void }) {
  const state = stateOf(render);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(render.render_id);
      say("The id is in the clipboard");
    } catch (error) {
      complain("The id was not copied", error);
    }
  };
  return (
    <div class="view-head render-head">
      <div class="render-name">
        <a class="back" href={links.renders}><Icon name="left" /> Renders</a>
        <h1>{render.title || render.composition}</h1>
        <p class="render-id">
          <Badge state={state} />
          <code>{render.render_id}</code>
          <Button icon="copy" kind="quiet" label="Copy the id" onClick={() => void copy()} />
          <span class="faint">submitted <time dateTime={new Date(render.created_at * 1000).toISOString()} title={fullTime(render.created_at)}>{moment(render.created_at)}</time></span>
          {render.retry_of && <span class="faint">retry of <a href={links.render(render.retry_of)}>{render.retry_of}</a></span>}
        </p>
      </div>
      <Actions render={render} onChange={onChange} />
      {!isOver(render) && <Progress render={render} />}
    </div>
  );
}

export function Progress({ render }: { render: RenderDetail }) {
  const { progress } = render;
  const state = stateOf(render);
  const stage = { queued: "Waiting for a worker", plan: "Reading the composition", capture: "Capturing frames", stitch: "Joining the chunks", done: "Done" }[progress.stage];
  return (
    <div class="progress">
      <ProgressBar percent={progress.percent} label="Progress of the render" moving={state === "rendering"} />
      <p>
        <strong class="tab">{progress.percent.toFixed(progress.percent < 10 ? 1 : 0)} %</strong>
        <span>{state === "paused" ? "Paused; what is at work finishes" : stage}</span>
        {progress.frames_total > 0 && <span class="tab">{integer(progress.frames_done)} of {count(progress.frames_total, "frame")}</span>}
        {progress.chunks_total > 0 && <span class="tab">{integer(progress.chunks_done)} of {count(progress.chunks_total, "chunk")}</span>}
        {progress.eta_seconds !== null && state === "rendering" && <span class="tab eta">about {duration(progress.eta_seconds)} left</span>}
      </p>
      {render.waiting && state !== "paused" && (
        <p class="waiting-for"><Icon name="warning" /> <span><strong>{capitalised(waitingFor(render.waiting))}.</strong> <Message text={capitalised(render.waiting.message)} />.</span></p>
      )}
    </div>
  );
}

function Actions({ render, onChange }: { render: RenderDetail; onChange: (render: RenderDetail) => void }) {
  const [busy, setBusy] = useState(false);
  const path = `v3/hyperframes/renders/${render.render_id}`;
  const over = isOver(render);
  const act = async (what: string, action: () => Promise<void>) => {
    setBusy(true);
    try {
      await action();
    } catch (error) {
      complain(what, error);
    }
    setBusy(false);
  };
  const change = (verb: string, what: string, body?: unknown) => act(what, async () => {
    const changed = await post<RenderDetail>(`${path}/${verb}`, { body });
    onChange(changed);
    tell({ kind: "render", render: changed });
  });
  const cancel = async () => {
    const yes = await ask({ title: "Cancel this render?", text: "What is rendered of it is thrown away. It can be retried from the start.", action: "Cancel the render", danger: true });
    if (yes !== null) await change("cancel", "It was not cancelled");
  };
  const prioritise = async () => {
    const typed = await ask({
      title: "Change the priority", text: "Renders of a higher priority go first within their space. 0 is usual. Tasks that workers have already stay there.",
      action: "Change it", danger: false, field: "Priority, from -100 to 100", value: String(render.priority ?? 0), input: { type: "number", min: -100, max: 100, step: 1, required: "" },
    });
    if (typed !== null && typed !== "") await change("priority", "The priority was not changed", { priority: Number(typed) });
  };
  const retry = () => act("It was not submitted again", async () => {
    const made = await post<{ render_id: string }>(`${path}/retry`, { idempotencyKey: onceKey() });
    say("Submitted again, as a new render");
    go(links.render(made.render_id));
  });
  const remove = async () => {
    const yes = await ask({ title: "Delete this render?", text: "Its output goes with it. This cannot be undone.", action: "Delete", danger: true });
    if (yes === null) return;
    await act("It was not deleted", async () => {
      await call("DELETE", path);
      tell({ kind: "deleted", id: render.render_id });
      say("The render is deleted");
      go(links.renders);
    });
  };
  return (
    <div class="actions">
      {render.retry_of && <a class="button" href={links.compare(render.retry_of, render.render_id)}>Compare</a>}
      {render.video_url && <a class="button primary" data-download href={render.video_url} download=""><Icon name="download" /><span>Download</span></a>}
      {(render.sidecars ?? []).map((file) => (
        <a key={file.name} class="button" href={file.url} download={file.name}><Icon name="download" /><span>{file.name}</span></a>
      ))}
      {canRender() && (
        <>
          {!over && (render.paused
            ? <Button icon="play" busy={busy} onClick={() => void change("resume", "It was not resumed")}>Resume</Button>
            : <Button icon="pause" busy={busy} onClick={() => void change("pause", "It was not paused")}>Pause</Button>)}
          {!over && <Button busy={busy} onClick={() => void prioritise()}>Priority</Button>}
          {!over && <Button icon="stop" kind="danger" busy={busy} onClick={() => void cancel()}>Cancel</Button>}
          {over && <Button icon="retry" busy={busy} onClick={() => void retry()}>Retry</Button>}
          <Button icon="trash" kind="quiet" busy={busy} label="Delete this render" onClick={() => void remove()} />
        </>
      )}
    </div>
  );
}
