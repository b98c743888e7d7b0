/** One presenter video: how far it is, and the video itself. */

import { useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, get, isAbort, onceKey, post } from "../api";
import { duration, fullTime, moment, sentence } from "../format";
import { useShortcuts } from "../keyboard";
import { Progress } from "../render/head";
import { go, links } from "../route";
import { canRender, missed, onChanges, tell } from "../store";
import type { RenderCreated, RenderDetail, Video } from "../types";
import { Badge, Button, Empty, Failure, isOver, Loading, Message, Panel, stateOf } from "../ui/basics";
import { usePageTitle } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { complain, say } from "../ui/toast";
import { deleteVideo, nameOf, STATES } from "./list";

export function VideoView({ id }: { id: string }) {
  const [video, setVideo] = useState<Video | null>(null);
  const [render, setRender] = useState<RenderDetail | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [isDeleted, setDeleted] = useState(false);
  const [tries, setTries] = useState(0);
  const player = useRef<HTMLVideoElement>(null);
  const ended = render !== null && isOver(render);
  const epoch = missed.value;
  usePageTitle(video?.title || "Video");

  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      setVideo(await get<Video>(`v3/videos/${id}`, { signal: stop.signal }));
      setRender(await get<RenderDetail>(`v3/hyperframes/renders/${id}`, { signal: stop.signal }));
      setError(null);
    };
    read().catch((failure: unknown) => isAbort(failure) || setError(failure as ApiError));
    return () => stop.abort();
  }, [id, tries, epoch, ended]);
  useEffect(() => onChanges((changes) => {
    for (const change of changes) {
      if (change.kind === "deleted" && change.id === id) setDeleted(true);
      else if (change.kind === "render" && change.render.render_id === id) setRender(change.render);
    }
  }), [id]);

  useShortcuts({
    p: () => {
      const element = player.current;
      if (element) element.paused ? void element.play().catch(() => {}) : element.pause();
    },
    d: () => video?.video_url && document.querySelector<HTMLAnchorElement>("a[data-download]")?.click(),
    u: () => go(links.videos),
  });

  const back = <a href={links.videos}>Back to the videos</a>;
  if (isDeleted) return <Empty title="This video was deleted"><p>{back}</p></Empty>;
  if (error && !video) {
    if (error.status === 404) return <Empty title="There is no such video"><p>It may have been deleted, or be of another space than the key's. {back}</p></Empty>;
    return <Failure what="The video could not be read" error={error} again={() => setTries(tries + 1)} />;
  }
  if (!video) return <Loading rows={6} />;
  const retry = async () => {
    try {
      const made = await post<RenderCreated>(`v3/hyperframes/renders/${id}/retry`, { idempotencyKey: onceKey() });
      say("Submitted again, as a new video");
      go(links.video(made.render_id));
    } catch (failure) {
      complain("It was not submitted again", failure);
    }
  };
  const remove = async () => {
    if (!(await deleteVideo(video))) return;
    tell({ kind: "deleted", id });
    go(links.videos);
  };
  const state = render && video.status !== "completed" ? stateOf(render) : STATES[video.status];
  const shape = { aspectRatio: render?.width && render.height ? `${render.width} / ${render.height}` : "16 / 9" };
  return (
    <>
      <div class="view-head render-head">
        <div class="render-name">
          <a class="back" href={links.videos}><Icon name="left" /> Videos</a>
          <h1>{nameOf(video)}</h1>
          <p class="render-id">
            <Badge state={state} />
            <code>{video.id}</code>
            <span class="faint">asked for <time dateTime={new Date(video.created_at * 1000).toISOString()} title={fullTime(video.created_at)}>{moment(video.created_at)}</time></span>
            {video.callback_id && <span class="faint">callback id <code>{video.callback_id}</code></span>}
          </p>
        </div>
        <div class="actions">
          {video.video_url && <a class="button primary" data-download href={video.video_url} download=""><Icon name="download" /><span>Download</span></a>}
          {video.subtitle_url && <a class="button" href={video.subtitle_url} download=""><Icon name="download" /><span>Subtitles</span></a>}
          <a class="button" href={links.render(id)}>Render</a>
          {canRender() && video.status === "failed" && <Button icon="retry" onClick={() => void retry()}>Retry</Button>}
          {canRender() && <Button icon="trash" kind="quiet" label="Delete this video" onClick={() => void remove()} />}
        </div>
        {render && !isOver(render) && <Progress render={render} />}
      </div>
      {video.status === "failed" && (
        <div class="banner bad" role="alert">
          <Icon name="warning" />
          <div><p><Message text={sentence(video.failure_message ?? "the farm says no reason")} /></p>{video.failure_code && <p><code>{video.failure_code}</code></p>}</div>
        </div>
      )}
      {video.status !== "failed" && (
        <Panel title={video.duration === null ? "Video" : `Video, ${duration(video.duration)}`} id="video">
          {video.video_url ? <Player key={video.id} url={video.video_url} poster={video.thumbnail_url} shape={shape} player={player} />
            : (
              <div class="stage waiting" style={shape}>
                <p>
                  <Icon name="film" />
                  <span>It plays here once it is done.</span>
                  <a class="on-stage" href={links.render(id)}>The finished part plays on the render's page</a>
                </p>
              </div>
            )}
        </Panel>
      )}
    </>
  );
}

function Player({ url: first, poster, shape, player }: { url: string; poster: string | null; shape: { aspectRatio: string }; player: { current: HTMLVideoElement | null } }) {
  // The address is kept when its signature changes, so that what plays goes on playing.
  const [url] = useState(first);
  const [problem, setProblem] = useState<string | null>(null);
  return (
    <div class="stage" style={shape}>
      <video ref={player} src={url} controls playsInline preload="metadata" poster={poster ?? undefined} aria-label="The video" onError={() => setProblem("This browser cannot play the file.")} />
      {problem && <p class="stage-problem">{problem}</p>}
    </div>
  );
}
