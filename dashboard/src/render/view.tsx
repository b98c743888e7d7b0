/** One render: the picture of what happened to it. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { useShortcuts } from "../keyboard";
import { go, links } from "../route";
import { missed } from "../store";
import { Empty, Failure, isOver, Loading, Panel } from "../ui/basics";
import { usePageTitle } from "../ui/hooks";
import { Facts } from "./facts";
import { Failed } from "./failed";
import { Filmstrip } from "./filmstrip";
import { ChunkGrid } from "./grid";
import { Head } from "./head";
import { Log } from "./log";
import { Preview, type Player } from "./preview";
import { rate, RenderStore } from "./store";
import { TimelineChart } from "./timeline";

export function RenderView({ id }: { id: string }) {
  const store = useMemo(() => new RenderStore(id), [id]);
  const [chunk, setChunk] = useState(0);
  const [player] = useState<{ current: Player | null }>({ current: null });
  useEffect(() => store.start(), [store]);
  const epoch = missed.value;
  useEffect(() => {
    if (epoch > 0) void store.load();
  }, [epoch]);
  const render = store.render.value;
  usePageTitle(render?.title || "Render");
  const chunks = store.chunks.value;
  const count = chunks.length;

  const show = (index: number) => {
    setChunk(index);
    const at = chunks[index];
    if (render && at?.status === "completed") player.current?.seek(at.first_frame / rate(render));
  };
  useShortcuts({
    p: () => player.current?.toggle(),
    s: () => show(chunk),
    u: () => go(links.renders),
    d: () => render?.video_url && document.querySelector<HTMLAnchorElement>("a[data-download]")?.click(),
    ArrowLeft: () => setChunk(Math.max(0, chunk - 1)),
    ArrowRight: () => setChunk(Math.min(count - 1, chunk + 1)),
  });

  if (store.deleted.value) return <Empty title="This render was deleted"><p><a href={links.renders}>Back to the list</a></p></Empty>;
  if (!render) {
    if (store.error.value?.status === 404) return <Empty title="There is no such render"><p>It may have been deleted, or be of another space than the key's. <a href={links.renders}>Back to the list</a></p></Empty>;
    if (store.error.value) return <Failure what="The render could not be read" error={store.error.value} again={() => void store.load()} />;
    return <Loading rows={6} />;
  }
  const timeline = store.timeline.value;
  return (
    <>
      <Head render={render} onChange={(changed) => store.take(changed)} />
      {render.failure_message && <Failed render={render} timeline={store.timeline.value} chunks={chunks} log={store.log.value} />}
      <div class="columns render-top">
        <Panel title={isOver(render) ? "Output" : "Preview"} id="preview">
          <Preview render={render} chunks={chunks} player={player} />
          {count > 0 && <Filmstrip render={render} chunks={chunks} chosen={chunk} onChoose={show} />}
        </Panel>
        <Facts render={render} />
      </div>
      {store.detailError.value && <Failure what="What happened could not be read" error={store.detailError.value} />}
      <Panel title="Timeline" id="timeline">
        {timeline && timeline.spans.length > 0
          ? <TimelineChart timeline={timeline} skew={store.skew.value} over={isOver(render)} onChunk={setChunk} />
          : <Empty title={isOver(render) ? "No task of it was ever started" : "No worker has started on it yet"} />}
      </Panel>
      <Panel title="Chunks" id="chunks">
        {count > 0
          ? <ChunkGrid render={render} chunks={chunks} chosen={Math.min(chunk, count - 1)} onChoose={setChunk} onShow={show} />
          : isOver(render) ? <Empty title="It ended before it was divided into chunks" />
          : <Empty title="The render is not divided yet"><p>Its chunks are known once the composition was read.</p></Empty>}
      </Panel>
      <Log store={store} render={render} />
    </>
  );
}
