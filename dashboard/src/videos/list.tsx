/** The presenter videos: search, open, delete. */

import { useEffect, useRef, useState } from "preact/hooks";
import { call, get } from "../api";
import { duration, fullTime, moment, sentence, short } from "../format";
import { useShortcuts } from "../keyboard";
import { SearchField } from "../renders/view";
import { go, links, replaceQuery, route } from "../route";
import { canRender, missed, onChanges } from "../store";
import type { Deleted, RenderDetail, Video } from "../types";
import { Badge, Button, Empty, Failure, isOver, Loading, Panel, ProgressBar } from "../ui/basics";
import { ask } from "../ui/dialog";
import { usePageTitle } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { useList } from "../ui/list";
import { complain, say } from "../ui/toast";

/** The states of a video, by what they are of a render. */
export const STATES = { pending: "queued", processing: "rendering", completed: "completed", failed: "failed" } as const;

export function nameOf(video: Video): string {
  return video.title || short(video.id, 18);
}

/** Asks, and deletes the video; whether it was. */
export async function deleteVideo(video: Video): Promise<boolean> {
  if ((await ask({ title: `Delete ${nameOf(video)}?`, text: "Its file and its render go with it. This cannot be undone.", action: "Delete", danger: true })) === null) return false;
  try {
    await call<Deleted>("DELETE", `v3/videos/${video.id}`);
    say("The video is deleted");
    return true;
  } catch (error) {
    complain("The video was not deleted", error);
    return false;
  }
}

export function VideosView() {
  usePageTitle("Videos");
  const title = route.value.query.get("title") ?? "";
  const { rows: videos, setRows, next, error, read } = useList<Video>("v3/videos", { title });
  /** What the farm tells of the renders of videos that are not over. */
  const [renders, setRenders] = useState<Record<string, RenderDetail>>({});
  const search = useRef<HTMLInputElement>(null);
  const known = useRef<Video[]>([]);
  known.current = videos ?? [];
  useShortcuts({ "/": () => search.current?.focus(), m: () => canRender() && go(links.makeVideo()) });

  const drop = (gone: string) => setRows((all) => all?.filter(({ id }) => id !== gone) ?? null);
  useEffect(() => onChanges((changes) => {
    for (const change of changes) {
      if (change.kind === "deleted") drop(change.id);
      else if (known.current.some(({ id }) => id === change.render.render_id)) void take(change.render);
    }
  }), []);
  const take = async (render: RenderDetail) => {
    setRenders((all) => ({ ...all, [render.render_id]: render }));
    const old = known.current.find(({ id }) => id === render.render_id);
    const isNew = !old || STATES[old.status] !== render.status;
    if (!isNew || !["completed", "failed", "rendering"].includes(render.status)) return;
    try {
      const video = await get<Video>(`v3/videos/${render.render_id}`);
      setRows((all) => all?.map((row) => (row.id === video.id ? video : row)) ?? null);
    } catch {
      // It was deleted meanwhile, which is told too.
    }
  };
  const epoch = missed.value;
  useEffect(() => {
    if (epoch > 0) void read(null);
  }, [epoch]);

  const searched = (text: string) => replaceQuery(new URLSearchParams(text ? { title: text } : {}));
  return (
    <>
      <div class="view-head">
        <h1>Videos</h1>
        <div class="search">
          <Icon name="search" />
          <SearchField field={search} of="Title" label="Search videos" value={title} onChange={searched} />
        </div>
        {canRender() && <a class="button" href={links.makeVideo()} title="New video (m)"><Icon name="plus" /><span>New video</span></a>}
      </div>
      {error && !videos ? <Failure what="The videos could not be read" error={error} again={() => void read(null)} />
        : !videos ? <Loading rows={6} />
        : videos.length === 0 && title ? <Empty title="No video matches"><Button onClick={() => searched("")}>Show all</Button></Empty>
        : videos.length === 0 ? (
          <Empty title="No videos yet">
            <p>A photo of a person speaks a script or a sound.</p>
            {canRender() && <a class="button primary" href={links.makeVideo()}><Icon name="plus" /><span>New video</span></a>}
          </Empty>
        )
        : (
          <Panel title="Presenter videos, newest first" id="videos" flush>
            <table class="stack listed videos">
              <thead><tr><th scope="col">Video</th><th scope="col">State</th><th scope="col">Length</th><th scope="col">Asked for</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
              <tbody>
                {videos.map((video) => (
                  <tr key={video.id}>
                    <th scope="row">
                      <span class="cell-name">
                        <span class="thumb" aria-hidden="true">{video.thumbnail_url ? <img src={video.thumbnail_url} alt="" loading="lazy" decoding="async" /> : <Icon name="film" />}</span>
                        <span class="video-name"><a href={links.video(video.id)}>{nameOf(video)}</a><span class="sub">{video.title ? short(video.id, 18) : video.output_format}{video.callback_id && ` · ${video.callback_id}`}</span></span>
                      </span>
                    </th>
                    <td data-name="State"><State video={video} render={renders[video.id]} /></td>
                    <td data-name="Length" class="tab">{duration(video.duration)}</td>
                    <td data-name="Asked for">
                      <time dateTime={new Date(video.created_at * 1000).toISOString()} title={fullTime(video.created_at)}>{moment(video.created_at)}</time>
                      {video.completed_at !== null && <span class="sub">took {duration(video.completed_at - video.created_at)}</span>}
                    </td>
                    <td class="row-actions">
                      <a class="button" href={links.render(video.id)} aria-label={`Render of ${nameOf(video)}`}>Render</a>
                      {canRender() && <Button icon="trash" kind="quiet" label={`Delete ${nameOf(video)}`} onClick={() => void deleteVideo(video).then((gone) => gone && drop(video.id))} />}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
            {error && <Failure what="The rest could not be read" error={error} again={() => void read(next)} />}
            {next !== null && !error && <p class="list-end"><Button onClick={() => void read(next)}>Show more</Button></p>}
          </Panel>
        )}
    </>
  );
}

function State({ video, render }: { video: Video; render: RenderDetail | undefined }) {
  const message = video.failure_message ?? video.failure_code;
  return (
    <span class="video-state">
      <Badge state={STATES[video.status]} />
      {message && <span class="why" title={message}>{sentence(message)}</span>}
      {render && !isOver(render) && video.status !== "completed" && video.status !== "failed" && (
        <span class="with-meter"><ProgressBar percent={render.progress.percent} label={`Progress of ${nameOf(video)}`} moving={render.status === "rendering"} /><span class="tab">{Math.floor(render.progress.percent)} %</span></span>
      )}
    </span>
  );
}
