/**
 * The video while it is made: the finished leading segments as HLS, growing to the end. Once the render is completed, and was
 * not being watched, its output itself.
 */

import type HlsPlayer from "hls.js";
import { useEffect, useRef, useState } from "preact/hooks";
import { url } from "../api";
import { timecode } from "../format";
import type { Chunk, RenderDetail } from "../types";
import { Icon } from "../ui/icons";
import { leading, rate } from "./store";

export interface Player {
  seek(seconds: number): void;
  toggle(): void;
}

interface PreviewProps {
  render: RenderDetail;
  chunks: Chunk[];
  player: { current: Player | null };
}

export function Preview({ render, chunks, player }: PreviewProps) {
  // What plays goes on playing: the address is chosen once, and kept when its signature or the status changes. Only once the
  // sound is there does the playlist have another name, and is loaded anew.
  const [source, setSource] = useState<Source | null>(null);
  const found = sourceOf(render);
  useEffect(() => {
    if (found && (!source || (source.kind === "hls" && found.kind === "hls" && nameOf(source.url) !== nameOf(found.url)))) setSource(found);
  }, [found?.url]);
  useEffect(() => () => void (player.current = null), []);

  const shape = { aspectRatio: render.width && render.height ? `${render.width} / ${render.height}` : "16 / 9" };
  if (source?.kind === "image") return <div class="stage" style={shape}><img src={source.url} alt="The rendered picture" /></div>;
  if (source) {
    return (
      <>
        <Video source={source} shape={shape} poster={poster(render, chunks)} player={player} />
        {source.kind === "hls" && <Ready render={render} chunks={chunks} />}
      </>
    );
  }
  const latest = poster(render, chunks);
  return (
    <div class="stage waiting" style={shape}>
      {latest && <img src={latest} alt="" />}
      <p><Icon name="film" /><span>{reason(render)}</span></p>
    </div>
  );
}

interface Source {
  kind: "hls" | "file" | "image";
  url: string;
}

function sourceOf(render: RenderDetail): Source | null {
  if (render.status === "completed" && render.video_url) {
    if (render.format === "gif") return { kind: "image", url: render.video_url };
    if (render.format === "mp4" || render.format === "webm") return { kind: "file", url: render.video_url };
  }
  return render.preview_url ? { kind: "hls", url: here(render.preview_url) } : null;
}

/** The playlist is always the coordinator's own, whatever name of it the address has. */
function here(address: string): string {
  const { pathname, search } = new URL(address, document.baseURI);
  return url(pathname.slice(Math.max(0, pathname.lastIndexOf("/preview/")) + 1) + search);
}

function nameOf(address: string): string | undefined {
  return new URL(address).pathname.split("/").pop();
}

function reason(render: RenderDetail): string {
  if (render.status === "failed") return "There is nothing to watch.";
  if (render.status === "completed" || !["mp4", "webm"].includes(render.format)) {
    return `A browser cannot play ${render.format}. ${render.status === "completed" ? "Download it to watch it." : "It can be downloaded at the end."}`;
  }
  return "The preview starts with the first finished chunk.";
}

function poster(render: RenderDetail, chunks: Chunk[]): string | null {
  return chunks[0]?.thumbnail_url ?? render.thumbnail_url ?? null;
}

function Ready({ render, chunks }: { render: RenderDetail; chunks: Chunk[] }) {
  const { frames } = leading(chunks);
  const total = render.frame_count ?? render.progress.frames_total;
  const fps = rate(render);
  if (total === 0) return null;
  return (
    <p class="ready faint tab">
      {frames >= total ? `All of it can be played, ${timecode(total / fps)}.` : `${timecode(frames / fps)} of ${timecode(total / fps)} can be played; it grows while it renders.`}
    </p>
  );
}

interface VideoProps {
  source: Source;
  shape: { aspectRatio: string };
  poster: string | null;
  player: { current: Player | null };
}

function Video({ source, shape, poster: picture, player }: VideoProps) {
  const element = useRef<HTMLVideoElement>(null);
  /** Where the playlist before this one was. */
  const before = useRef({ at: 0, playing: false });
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    const video = element.current;
    if (!video) return;
    let hls: HlsPlayer | null = null;
    let gone = false;
    player.current = {
      seek: (seconds) => {
        // Half a frame in: the start of a frame rounds to the one before it.
        video.currentTime = seconds + 0.005;
        video.scrollIntoView({ block: "nearest" });
      },
      toggle: () => (video.paused ? void video.play().catch(() => {}) : video.pause()),
    };
    if (source.kind === "file") video.src = source.url;
    else {
      void import("hls.js").then(({ default: Hls }) => {
        if (gone) return;
        if (!Hls.isSupported()) {
          if (video.canPlayType("application/vnd.apple.mpegurl")) video.src = source.url;
          else setProblem("This browser can play the video only once it is finished.");
          return;
        }
        // A worker would need a looser content policy, and fragmented MP4 is hardly worth one. From the start rather than the
        // live edge: this is a video that grows, not a broadcast.
        hls = new Hls({ enableWorker: false, startPosition: before.current.at, backBufferLength: 60, maxBufferLength: 60, liveDurationInfinity: false });
        let recovered = 0;
        hls.on(Hls.Events.ERROR, (_, data) => {
          if (!data.fatal) return;
          if (data.type === Hls.ErrorTypes.MEDIA_ERROR && recovered < 2) {
            recovered += 1;
            hls?.recoverMediaError();
          } else if (data.type === Hls.ErrorTypes.NETWORK_ERROR && recovered < 20) {
            recovered += 1;
            window.setTimeout(() => hls?.startLoad(), 2000);
          } else setProblem(`The preview cannot be played here (${data.details}).`);
        });
        hls.loadSource(source.url);
        hls.attachMedia(video);
        if (before.current.playing) video.addEventListener("canplay", () => void video.play().catch(() => {}), { once: true });
      });
    }
    return () => {
      gone = true;
      before.current = { at: video.currentTime, playing: !video.paused && !video.ended };
      hls?.destroy();
      player.current = null;
    };
  }, [source.url]);
  return (
    <div class="stage" style={shape}>
      <video ref={element} controls playsInline preload="metadata" poster={picture ?? undefined} aria-label="Preview of the render" onError={() => source.kind === "file" && setProblem("This browser cannot play the file.")} />
      {problem && <p class="stage-problem">{problem}</p>}
    </div>
  );
}
