/** What the page printed or threw, and the farm's warnings. */

import { useState } from "preact/hooks";
import { count, time } from "../format";
import type { LogLine, RenderDetail } from "../types";
import { Button, Empty, Message, Panel } from "../ui/basics";
import { complain } from "../ui/toast";
import type { RenderStore } from "./store";

export function Log({ store, render }: { store: RenderStore; render: RenderDetail }) {
  const [worst, setWorst] = useState(false);
  const lines = store.log.value;
  const shown = worst ? lines.filter((line) => line.level === "warning" || line.level === "error") : lines;
  const { warnings } = render;
  const more = () => store.moreLog().catch((error: unknown) => complain("The log could not be read", error));
  const aside = lines.length > 0 && (
    <div class="segments small" role="group" aria-label="Lines">
      <button type="button" aria-pressed={!worst} onClick={() => setWorst(false)}>All</button>
      <button type="button" aria-pressed={worst} onClick={() => setWorst(true)}>Warnings and errors</button>
    </div>
  );
  return (
    <Panel title="Warnings and console" id="log" aside={aside}>
      {warnings.length > 0 && (
        <ul class="warnings" aria-label={count(warnings.length, "warning")}>
          {warnings.map((warning, i) => <li key={i}><code>{warning.code}</code> <span><Message text={warning.message} /></span></li>)}
        </ul>
      )}
      {shown.length > 0 ? (
        <ol class="log" tabIndex={0} aria-label="Console output">
          {shown.map((line, i) => <Line key={i} line={line} />)}
        </ol>
      ) : warnings.length === 0 && <Empty title={worst ? "No warning, no error" : "The page has printed nothing, and the farm warns of nothing"} />}
      {!store.logEnded.value && <Button onClick={() => void more()}>More lines</Button>}
    </Panel>
  );
}

function Line({ line }: { line: LogLine }) {
  const place = [line.step === "chunk" ? `chunk ${line.chunk}` : line.step, line.frame === null ? null : `frame ${line.frame}`].filter(Boolean).join(", ");
  return (
    <li class={line.level}>
      <time>{time(line.at)}</time>
      <span class="level">{line.level}</span>
      <span class="place">{line.source === "farm" ? "farm" : "page"}{place && ` · ${place}`}</span>
      <span class="said">{line.message}</span>
    </li>
  );
}
