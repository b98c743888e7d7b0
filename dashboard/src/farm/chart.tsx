/** The last quarter of an hour: frames a second as an area, busy slots as a line. */

import { useState } from "preact/hooks";
import { decimal, time } from "../format";
import { history } from "../store";
import type { LoadSample } from "../types";
import { useWidth } from "../ui/hooks";

const HEIGHT = 168;
const PAD = { left: 40, right: 34, top: 10, bottom: 22 };

export function History() {
  const [element, width] = useWidth<HTMLDivElement>();
  const [at, setAt] = useState<number | null>(null);
  const samples = history.value;
  return (
    <div class="chart" ref={element}>
      <div class="legend" aria-hidden="true">
        <span><i class="key fps" /> frames a second</span>
        <span><i class="key busy" /> slots busy</span>
      </div>
      {width > 0 && samples.length > 1
        ? <Plot samples={samples} width={width} at={at} setAt={setAt} />
        : <p class="faint chart-wait">The farm has just started; this fills within a minute.</p>}
    </div>
  );
}

interface PlotProps {
  samples: LoadSample[];
  width: number;
  at: number | null;
  setAt: (at: number | null) => void;
}

function Plot({ samples, width, at, setAt }: PlotProps) {
  const end = samples.at(-1)?.at ?? 0;
  const start = Math.min(samples[0]?.at ?? 0, end - 60);
  const most = niceMax(Math.max(...samples.map((sample) => sample.frames_per_second), 1));
  const slots = Math.max(...samples.map((sample) => Math.max(sample.slots, sample.slots_busy)), 1);
  const x = (time: number) => PAD.left + ((time - start) / (end - start)) * (width - PAD.left - PAD.right);
  const y = (part: number) => HEIGHT - PAD.bottom - part * (HEIGHT - PAD.top - PAD.bottom);
  const points = samples.map((sample) => `${x(sample.at).toFixed(1)},${y(sample.frames_per_second / most).toFixed(1)}`);
  const steps = samples.map((sample, i) => {
    const top = y(sample.slots_busy / slots).toFixed(1);
    return i === 0 ? `M${x(sample.at).toFixed(1)},${top}` : `H${x(sample.at).toFixed(1)}V${top}`;
  });
  const near = at === null ? null : samples.reduce((best, sample) => (Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best));
  const floor = y(0);
  const latest = samples.at(-1);
  const ticks = Array.from({ length: 4 }, (_, i) => start + ((end - start) * i) / 3);
  return (
    <>
      <svg
        width={width}
        height={HEIGHT}
        role="img"
        aria-label={`Frames a second over the last minutes: now ${decimal(latest?.frames_per_second)}, at most ${decimal(Math.max(...samples.map((s) => s.frames_per_second)))}`}
        onPointerMove={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          const part = (event.clientX - box.left - PAD.left) / (width - PAD.left - PAD.right);
          setAt(start + Math.min(1, Math.max(0, part)) * (end - start));
        }}
        onPointerLeave={() => setAt(null)}
      >
        {[0, 0.5, 1].map((part) => (
          <g key={part}>
            <line class="rule" x1={PAD.left} x2={width - PAD.right} y1={y(part)} y2={y(part)} />
            <text x={PAD.left - 8} y={y(part) + 4} text-anchor="end">{decimal(most * part)}</text>
            {part !== 0.5 && <text x={width - PAD.right + 8} y={y(part) + 4}>{slots * part}</text>}
          </g>
        ))}
        {ticks.map((tick, i) => (
          <text key={i} x={x(tick)} y={HEIGHT - 4} text-anchor={i === 0 ? "start" : i === 3 ? "end" : "middle"}>{end - start < 300 ? time(tick) : time(tick).slice(0, 5)}</text>
        ))}
        <path class="area" d={`M${x(samples[0]?.at ?? 0)},${floor}L${points.join("L")}L${x(end)},${floor}Z`} />
        <path class="line" d={`M${points.join("L")}`} />
        <path class="busy-line" d={steps.join("")} />
        {near && <line class="cursor" x1={x(near.at)} x2={x(near.at)} y1={PAD.top} y2={floor} />}
        {near && <circle class="dot" cx={x(near.at)} cy={y(near.frames_per_second / most)} r={3.5} />}
      </svg>
      <p class="chart-said" aria-hidden="true">
        {near ? <>{time(near.at)} · <b>{decimal(near.frames_per_second)}</b> frames/s · <b>{near.slots_busy}</b> of {near.slots} slots · <b>{near.queue_depth}</b> waiting</> : "\u00a0"}
      </p>
    </>
  );
}

/** The next round number at which an axis can end. */
function niceMax(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 4, 5, 10].find((s) => s * power >= value) ?? 10;
  return step * power;
}
