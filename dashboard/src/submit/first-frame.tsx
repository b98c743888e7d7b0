/**
 * The first frame of the composition before it is submitted. Pages run on workers only, so the farm renders this one
 * frame like any other render; it is deleted as soon as its picture is here.
 */

import { useEffect, useRef, useState } from "preact/hooks";
import { call, get, isAbort, messageOf, onceKey, post } from "../api";
import { capitalised, duration } from "../format";
import type { RenderCreated, RenderDetail, Warning } from "../types";
import { Button, isOver, Message, Panel, waitingFor } from "../ui/basics";
import type { Composition } from "./project";

const POLL = 500;
/** The settings that the picture of a frame depends on, and the pool that draws it. */
const DRAWN = [
  "project", "composition", "variables", "strict_variables", "from", "now", "fps", "width", "height", "resolution", "aspect_ratio", "device_scale_factor",
  "transparent", "pool",
];

interface Result {
  /** A URL of the page's own; `null` where the render failed. */
  picture: string | null;
  width: number | null;
  height: number | null;
  fps: number | string;
  warnings: Warning[];
  failure: string | null;
}

interface FirstFrameProps {
  composition: Composition | undefined;
  /** The project in the farm, and the settings of the render. */
  prepare: () => Promise<Record<string, unknown>>;
  /** Changes with everything that the frame depends on. */
  version: string;
}

export function FirstFrame({ composition, prepare, version }: FirstFrameProps) {
  const [result, setResult] = useState<{ version: string; result: Result } | null>(null);
  const [state, setState] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  useEffect(() => () => { if (result?.result.picture) URL.revokeObjectURL(result.result.picture); }, [result]);

  const show = async () => {
    const stop = new AbortController();
    running.current = stop;
    setProblem(null);
    setState("Uploading");
    try {
      const found = await firstFrame(await prepare(), stop.signal, setState);
      setResult({ version, result: found });
    } catch (error) {
      if (isAbort(error)) return;
      setProblem(messageOf(error));
    }
    setState(null);
  };
  const shown = result?.result;
  const isOld = result !== null && result.version !== version;
  const length = composition?.duration && Number(composition.duration) > 0 ? `${duration(Number(composition.duration))}, as the page declares` : "known once the farm has planned it";
  return (
    <Panel title="First frame" id="first-frame" aside={<Button icon={shown ? "retry" : "film"} busy={state !== null} onClick={() => void show()}>{shown ? "Render it again" : "Show the first frame"}</Button>}>
      <div class="first-frame" role="status">
        {shown?.picture && <img src={shown.picture} alt={isOld ? "First frame, with earlier settings" : "First frame"} class={isOld ? "old" : ""} />}
        <div>
          {problem && <p class="problem">{problem}</p>}
          {shown?.failure && <p class="problem"><Message text={shown.failure} /></p>}
          {state && <p>{state}…</p>}
          {isOld && !state && <p class="warn-text">The form has changed since.</p>}
          <dl class="facts">
            <div><dt>Length</dt><dd>{length}</dd></div>
            {shown?.width && <div><dt>Size</dt><dd>{shown.width} × {shown.height}</dd></div>}
            {shown && !shown.failure && <div><dt>Frames a second</dt><dd>{shown.fps}</dd></div>}
          </dl>
          {shown && shown.warnings.length > 0 && (
            <ul class="warnings">{shown.warnings.map((warning, i) => <li key={i}><code>{warning.code}</code> <span><Message text={warning.message} /></span></li>)}</ul>
          )}
          {!shown && !state && !problem && <p class="faint">A worker renders one frame with the settings below. The frame counts as work of this key; its render is deleted afterwards.</p>}
        </div>
      </div>
    </Panel>
  );
}

/** Renders the first frame, and deletes its render. */
async function firstFrame(settings: Record<string, unknown>, signal: AbortSignal, say: (state: string) => void): Promise<Result> {
  const kept = Object.fromEntries(DRAWN.filter((name) => name in settings).map((name) => [name, settings[name]]));
  const body = { from: "0f", ...kept, title: `First frame of ${String(settings["title"])}`, format: "png-sequence", quality: "draft", duration: 0.001, priority: 100 };
  const { render_id } = await post<RenderCreated>("v3/hyperframes/renders", { body, idempotencyKey: onceKey(), signal });
  const path = `v3/hyperframes/renders/${render_id}`;
  try {
    for (;;) {
      const render = await get<RenderDetail>(path, { signal });
      if (isOver(render)) return await resultOf(render, signal);
      say(render.waiting ? capitalised(waitingFor(render.waiting)) : render.status === "queued" ? "Waiting for a worker" : "Rendering");
      await new Promise((again) => setTimeout(again, POLL));
      signal.throwIfAborted();
    }
  } finally {
    await call("DELETE", path).catch(() => {});
  }
}

async function resultOf(render: RenderDetail, signal: AbortSignal): Promise<Result> {
  const { width, height, fps, warnings, failure_message: failure, thumbnail_url } = render;
  // Kept in the page: the address ends with the render.
  const picture = thumbnail_url ? URL.createObjectURL(await (await fetch(thumbnail_url, { signal })).blob()) : null;
  return { picture, width, height, fps, warnings, failure };
}
