/** One picture a chunk, in order. Only those in sight are in the document. */

import { useEffect, useRef, useState } from "preact/hooks";
import { timecode } from "../format";
import type { Chunk, RenderDetail } from "../types";
import { rate } from "./store";

const WIDTH = 116;
const GAP = 4;

interface FilmstripProps {
  render: RenderDetail;
  chunks: Chunk[];
  chosen: number;
  onChoose: (index: number) => void;
}

export function Filmstrip({ render, chunks, chosen, onChoose }: FilmstripProps) {
  const element = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState<[number, number]>([0, 16]);
  const step = WIDTH + GAP;
  const look = () => {
    const at = element.current;
    if (!at) return;
    const first = Math.max(0, Math.floor(at.scrollLeft / step) - 3);
    const last = Math.ceil((at.scrollLeft + at.clientWidth) / step) + 3;
    setRange((old) => (old[0] === first && old[1] === last ? old : [first, last]));
  };
  useEffect(look, [chunks.length]);
  useEffect(() => {
    const at = element.current;
    if (!at) return;
    const left = chosen * step;
    if (left < at.scrollLeft || left + WIDTH > at.scrollLeft + at.clientWidth) at.scrollTo({ left: left - at.clientWidth / 2 + WIDTH / 2 });
  }, [chosen]);
  const fps = rate(render);
  const height = Math.round(render.width && render.height ? Math.min(WIDTH, (WIDTH * render.height) / render.width) : (WIDTH * 9) / 16);
  return (
    <div class="strip" ref={element} onScroll={look} tabIndex={0} role="group" aria-label="Filmstrip, one picture a chunk">
      <div style={{ width: `${chunks.length * step - GAP}px`, height: `${height}px` }}>
        {chunks.slice(range[0], range[1]).map((chunk) => (
          <button
            key={chunk.index}
            type="button"
            tabIndex={-1}
            class={`shot ${chunk.status}${chunk.index === chosen ? " chosen" : ""}`}
            style={{ left: `${chunk.index * step}px`, width: `${WIDTH}px`, height: `${height}px` }}
            aria-label={`Chunk ${chunk.index} at ${timecode(chunk.first_frame / fps)}, ${chunk.status}`}
            onClick={() => onChoose(chunk.index)}
          >
            {chunk.thumbnail_url && <img src={chunk.thumbnail_url} alt="" loading="lazy" decoding="async" />}
            {chunk.status === "rendering" && <i style={{ transform: `scaleX(${chunk.frame_count > 0 ? chunk.frames_done / chunk.frame_count : 0})` }} />}
            <span>{timecode(chunk.first_frame / fps)}</span>
          </button>
        ))}
      </div>
    </div>
  );
}
