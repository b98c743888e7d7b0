/** Two renders side by side: players that go together, and what differs in settings and figures. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { decimal, duration, fullTime, integer, money, NONE, timecode, work } from "../format";
import { links } from "../route";
import { RenderStore, rate } from "../render/store";
import type { RenderDetail } from "../types";
import { Badge, Button, Empty, Failure, Loading, Panel, stateOf } from "../ui/basics";
import { usePageTitle } from "../ui/hooks";
import { Icon } from "../ui/icons";

/** Seconds by which the players may differ before the second one follows the first. */
const DRIFT = 0.08;

export function CompareView({ ids }: { ids: [string, string] }) {
  usePageTitle("Compare");
  const stores = useMemo(() => ids.map((id) => new RenderStore(id)), ids);
  useEffect(() => {
    const stops = stores.map((store) => store.start());
    return () => stops.forEach((stop) => stop());
  }, [stores]);
  const failed = stores.find((store) => store.error.value && !store.render.value);
  const [first, second] = stores.map((store) => store.render.value);
  if (failed?.error.value?.status === 404) {
    return <Empty title="There is no such render"><p>It may have been deleted, or belong to another space. <a href={links.renders}>Back to the list</a></p></Empty>;
  }
  if (failed) return <Failure what="A render could not be read" error={failed.error.value} again={() => void failed.load()} />;
  if (!first || !second) return <Loading rows={6} />;
  return (
    <>
      <div class="view-head">
        <div class="render-name">
          <a class="back" href={links.renders}><Icon name="left" /> Renders</a>
          <h1>Compare two renders</h1>
        </div>
      </div>
      <Players renders={[first, second]} />
      <Panel title="Settings and figures" id="figures" flush><Table renders={[first, second]} /></Panel>
    </>
  );
}

type Pair = [RenderDetail, RenderDetail];

function isPlayable(render: RenderDetail): boolean {
  return render.video_url !== null && (render.format === "mp4" || render.format === "webm");
}

function Players({ renders }: { renders: Pair }) {
  const videos = useRef<(HTMLVideoElement | null)[]>([null, null]);
  const [at, setAt] = useState(0);
  const [isPlaying, setPlaying] = useState(false);
  const [sound, setSound] = useState(0);
  // The address is chosen once: a new signature of the same output would start it again.
  const sources = useRef<(string | null)[]>([null, null]);
  renders.forEach((render, i) => { if (isPlayable(render)) sources.current[i] ??= render.video_url; });
  const both = renders.every(isPlayable);
  const length = Math.max(...renders.map((render) => render.duration ?? 0));
  const frame = 1 / Math.max(...renders.map(rate));

  const each = (act: (video: HTMLVideoElement) => void) => videos.current.forEach((video) => video && act(video));
  const seek = (seconds: number) => {
    const to = Math.min(Math.max(0, seconds), length);
    setAt(to);
    each((video) => { video.currentTime = Math.min(to + 0.005, Number.isFinite(video.duration) ? video.duration : to); });
  };
  const play = (on: boolean) => {
    setPlaying(on);
    if (on && at >= length - frame) seek(0);
    each((video) => (on ? void video.play().catch(() => setPlaying(false)) : video.pause()));
  };
  useEffect(() => {
    if (!isPlaying) return;
    const timer = setInterval(() => {
      const [leader, follower] = videos.current;
      const guide = leader && !leader.ended ? leader : follower;
      if (!guide) return;
      setAt(guide.currentTime);
      if (leader && follower && !leader.ended && !follower.ended && Math.abs(leader.currentTime - follower.currentTime) > DRIFT) follower.currentTime = leader.currentTime;
      if (videos.current.every((video) => !video || video.ended)) setPlaying(false);
    }, 100);
    return () => clearInterval(timer);
  }, [isPlaying]);

  return (
    <>
      <div class="columns even compare">
        {renders.map((render, i) => (
          <section key={render.render_id} class="panel" aria-label={i === 0 ? "First render" : "Second render"}>
            <h2><a href={links.render(render.render_id)}>{render.title || render.composition}</a> <Badge state={stateOf(render)} /></h2>
            <p class="faint"><code>{render.render_id}</code></p>
            <Screen render={render} source={sources.current[i] ?? null} isMuted={sound !== i} keep={(video) => (videos.current[i] = video)} />
          </section>
        ))}
      </div>
      {sources.current.some(Boolean) && (
        <div class="panel transport" role="group" aria-label="Both players">
          <Button icon={isPlaying ? "pause" : "play"} kind="primary" onClick={() => play(!isPlaying)}>{isPlaying ? "Pause" : "Play"}</Button>
          <Button icon="left" label="One frame back" onClick={() => { play(false); seek(at - frame); }} />
          <Button icon="right" label="One frame on" onClick={() => { play(false); seek(at + frame); }} />
          <input type="range" aria-label="Position" min={0} max={length} step={frame} value={at} aria-valuetext={timecode(at)} onInput={(event) => seek(event.currentTarget.valueAsNumber)} />
          <span class="tab">{timecode(at)} / {timecode(length)} · frame {integer(Math.floor(at / frame + 0.01))}</span>
          {both && (
            <div class="segments small" role="group" aria-label="Sound of">
              <button type="button" aria-pressed={sound === 0} onClick={() => setSound(0)}>First's sound</button>
              <button type="button" aria-pressed={sound === 1} onClick={() => setSound(1)}>Second's sound</button>
            </div>
          )}
        </div>
      )}
    </>
  );
}

interface ScreenProps {
  render: RenderDetail;
  source: string | null;
  isMuted: boolean;
  keep: (video: HTMLVideoElement | null) => void;
}

function Screen({ render, source, isMuted, keep }: ScreenProps) {
  const [isBroken, setBroken] = useState(false);
  const shape = { aspectRatio: render.width && render.height ? `${render.width} / ${render.height}` : "16 / 9" };
  if (source) {
    return (
      <div class="stage" style={shape}>
        <video ref={keep} src={source} muted={isMuted} playsInline preload="auto" aria-label={`Video of ${render.title || render.render_id}`} onError={() => setBroken(true)} />
        {isBroken && <p class="stage-problem">The video could not be loaded.</p>}
      </div>
    );
  }
  const picture = render.format === "gif" ? render.video_url : render.thumbnail_url;
  if (picture) return <div class="stage" style={shape}><img src={picture} alt="The rendered picture" /></div>;
  const why = render.status === "completed" ? `A browser cannot play ${render.format}.` : render.failure_message ?? "It has no video yet.";
  return <div class="stage waiting" style={shape}><p><Icon name="film" /><span>{why}</span></p></div>;
}

/** The rows of the table: what a person compares. */
export function rows(render: RenderDetail): [string, string][] {
  const { usage, progress } = render;
  const took = render.completed_at ? render.completed_at - render.created_at : null;
  return [
    ["Submitted", fullTime(render.created_at)],
    ["Composition", render.composition],
    ["HyperFrames", render.runtime ?? NONE],
    ["Format", render.format],
    ["Size", render.width ? `${render.width} × ${render.height}` : NONE],
    ["Frames a second", String(render.fps)],
    ["Frames", integer(render.frame_count)],
    ["Length", duration(render.duration)],
    ["Quality", render.quality],
    ["Pool", render.pool],
    ["Owner", render.owner ?? NONE],
    ["Priority", String(render.priority ?? 0)],
    ["Chunks", progress.chunks_total > 0 ? integer(progress.chunks_total) : NONE],
    ["Took", duration(took)],
    ["Work", usage ? work(usage.worker_seconds) : NONE],
    ["Work for a frame", usage && render.frame_count ? `${decimal((Object.values(usage.worker_seconds).reduce((sum, seconds) => sum + seconds, 0) / render.frame_count) * 1000)} ms` : NONE],
    ["Cost", usage ? money(usage.usd) : NONE],
    ["Warnings", render.warnings.length > 0 ? [...new Set(render.warnings.map(({ code }) => code))].join(", ") : "none"],
    ["Error", render.error_code ?? NONE],
  ];
}

function Table({ renders }: { renders: Pair }) {
  const [first, second] = renders.map(rows);
  return (
    <table class="figures">
      <thead><tr><th scope="col"><span class="hidden">Figure</span></th><th scope="col">First</th><th scope="col">Second</th></tr></thead>
      <tbody>
        {first?.map(([name, value], i) => {
          const other = second?.[i]?.[1] ?? NONE;
          return (
            <tr key={name} class={value === other ? "" : "differs"}>
              <th scope="row">{name}{value !== other && <span class="hidden"> (differs)</span>}</th><td>{value}</td><td>{other}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
