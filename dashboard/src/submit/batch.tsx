/** Many renders of one project: a file of rows, each with its own variables. */

import { useRef, useState } from "preact/hooks";
import { messageOf } from "../api";
import { count } from "../format";
import { Button, Panel } from "../ui/basics";
import type { Composition } from "./project";
import { MAX_ROWS, rowsOf, type Row, unknownColumns } from "./rows";

interface BatchProps {
  composition: Composition | undefined;
  rows: Row[] | null;
  setRows: (rows: Row[] | null) => void;
}

export function Batch({ composition, rows, setRows }: BatchProps) {
  const file = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const variables = composition?.variables ?? [];
  const unknown = rows ? unknownColumns(rows, variables) : [];
  const picked = async (event: { currentTarget: HTMLInputElement }) => {
    const [chosen] = event.currentTarget.files ?? [];
    event.currentTarget.value = "";
    if (!chosen) return;
    try {
      setRows(rowsOf(chosen.name, await chosen.text(), variables));
      setProblem(null);
    } catch (error) {
      setRows(null);
      setProblem(`${chosen.name} cannot be used. ${messageOf(error)}`);
    }
  };
  const actions = (
    <>
      {rows && <Button icon="close" kind="quiet" label="Forget the rows" onClick={() => setRows(null)} />}
      <Button onClick={() => file.current?.click()}>{rows ? "Choose another file" : "Choose a file of rows"}</Button>
    </>
  );
  return (
    <Panel title="Many renders at once" id="batch" aside={actions}>
      <div role="status">
        {problem && <p class="problem">{problem}</p>}
        {rows ? <p>{count(rows.length, "render")}, one for each row. A row's values take the place of those above.</p>
          : <p class="faint">A CSV or JSON file of up to {MAX_ROWS} rows makes a render of each: its columns are named like the variables{variables.length > 0 ? `, such as ${variables[0]?.id}` : ""}.</p>}
        {unknown.length > 0 && <p class="warn-text">The composition declares no {unknown.length === 1 ? "variable" : "variables"} {unknown.join(", ")}.</p>}
      </div>
      <input ref={file} class="hidden" type="file" tabIndex={-1} aria-label="Rows of variables" accept=".csv,.json" onChange={(event) => void picked(event)} />
    </Panel>
  );
}
