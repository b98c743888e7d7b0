/** The form of a new render: drop the project, set its variables, say what is to come out. */

import { useRef, useState } from "preact/hooks";
import { ApiError, onceKey, post } from "../api";
import { bytes, count } from "../format";
import { go, links } from "../route";
import { account, canRender } from "../store";
import { upload } from "../upload";
import type { BatchCreated, RenderCreated } from "../types";
import { Button, Empty, Failure, Panel, ProgressBar } from "../ui/basics";
import { usePageTitle } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { complain } from "../ui/toast";
import { Batch } from "./batch";
import { FirstFrame } from "./first-frame";
import { MoreSettings, Output, request, type Settings } from "./output";
import { ofDrop, ofPicked, type Project } from "./project";
import type { Row } from "./rows";
import { Variables } from "./variables";

export function SubmitView() {
  usePageTitle("New render");
  const [project, setProject] = useState<Project | null>(null);
  const [entry, setEntry] = useState("");
  const [values, setValues] = useState<Record<string, unknown>>({});
  const [settings, setSettings] = useState<Settings>({});
  const [rows, setRows] = useState<Row[] | null>(null);
  const [sending, setSending] = useState<{ what: string; part: number } | null>(null);
  const [error, setError] = useState<unknown>(null);
  // The same for every try of the same form, so that a broken connection never renders twice.
  const once = useRef(onceKey());
  const uploaded = useRef<{ project: Project; asset_id: string } | null>(null);

  if (account.value && !canRender()) return <Empty title="This key may only read"><p>Submitting needs a key with the scope <code>render</code>.</p></Empty>;

  const take = async (reading: Promise<Project>) => {
    setError(null);
    try {
      const read = await reading;
      setProject(read);
      setEntry(read.compositions[0]?.path ?? "");
      setValues({});
      setRows(null);
      once.current = onceKey();
    } catch (failure) {
      setError(failure);
    }
  };
  const composition = project?.compositions.find(({ path }) => path === entry);
  const set = (name: string, value: string) => {
    once.current = onceKey();
    setSettings({ ...settings, [name]: value });
  };

  /** The project in the farm, uploaded once, with the settings of the render. */
  const prepare = async (project: Project, progress: (what: string, part: number) => void) => {
    if (uploaded.current?.project !== project) {
      progress("Packing", 0);
      const archive = await project.archive((part) => progress("Packing", part));
      progress("Uploading", 0);
      const file = new File([archive], `${project.name || "project"}.zip`, { type: "application/zip" });
      const asset_id = await upload(file, (part) => progress("Uploading", part));
      uploaded.current = { project, asset_id };
    }
    const { asset_id } = uploaded.current;
    return { ...request(settings, project), project: { type: "asset_id", asset_id }, variables: values, composition: entry === "index.html" || !entry ? null : entry };
  };

  const submit = async (event: Event) => {
    event.preventDefault();
    if (!project) return;
    setError(null);
    try {
      const body = await prepare(project, (what, part) => setSending({ what, part }));
      setSending({ what: "Submitting", part: 1 });
      if (rows) {
        const items = rows.map((row, i) => ({ variables: { ...values, ...row }, title: `${body.title} ${i + 1}` }));
        const { variables: _, title: __, ...shared } = body;
        const made = await post<BatchCreated>("v3/hyperframes/renders/batch", { body: { ...shared, items }, idempotencyKey: once.current });
        const refused = made.renders.find(({ error }) => error);
        if (refused?.error) complain(`${count(made.refused, "row")} made no render`, `Row ${refused.index + 1}: ${refused.error.message}`);
        go(links.renders);
      } else {
        const made = await post<RenderCreated>("v3/hyperframes/renders", { body, idempotencyKey: once.current });
        go(links.render(made.render_id));
      }
    } catch (failure) {
      setError(failure);
      setSending(null);
      complain("The render was not submitted", failure);
    }
  };

  return (
    <>
      <div class="view-head"><h1>New render</h1></div>
      <form class="submit" onSubmit={submit}>
        <DropZone project={project} take={(reading) => void take(reading)} />
        {error !== null && !sending && <Failure what={project ? "The farm did not take it" : "This could not be read"} error={hint(error)} />}
        {project && project.compositions.length === 0 && (
          <Failure what="There is no page in it" error={new Error("A project has an index.html, or another HTML file.")} />
        )}
        {composition && composition.missing.length > 0 && (
          <Failure
            what={`${composition.path} names ${composition.missing.length === 1 ? "a file" : "files"} that the project does not have`}
            error={new Error(composition.missing.join(", "))}
          />
        )}
        {project && (
          <>
            <FirstFrame composition={composition} version={JSON.stringify([project.name, project.bytes, entry, values, settings])} prepare={() => prepare(project, () => {})} />
            <div class="columns even">
              <Panel title="Variables" id="variables">
                {composition?.problem ? <Failure what="The variables cannot be shown" error={new Error(composition.problem)} />
                  : composition && composition.variables.length > 0
                    ? <Variables variables={composition.variables} values={values} onChange={(id, value) => { once.current = onceKey(); setValues({ ...values, [id]: value }); }} />
                    : <Empty title="This composition declares none" />}
              </Panel>
              <Panel title="Output" id="output"><Output project={project} entry={entry} setEntry={setEntry} settings={settings} set={set} /></Panel>
            </div>
            <MoreSettings settings={settings} set={set} />
            <Batch composition={composition} rows={rows} setRows={(read) => { once.current = onceKey(); setRows(read); }} />
            <div class="submit-end">
              {sending && <span class="sending" role="status"><ProgressBar percent={sending.part * 100} label={sending.what} /> {sending.what}…</span>}
              <Button type="submit" kind="primary" busy={sending !== null}>{rows ? `Render ${count(rows.length, "row")}` : "Render it"}</Button>
            </div>
          </>
        )}
      </form>
    </>
  );
}

function hint(error: unknown): unknown {
  if (error instanceof ApiError && error.param) return new Error(`${error.message} (${error.param})`);
  return error;
}

function DropZone({ project, take }: { project: Project | null; take: (reading: Promise<Project>) => void }) {
  const [over, setOver] = useState(false);
  const folder = useRef<HTMLInputElement>(null);
  const file = useRef<HTMLInputElement>(null);
  const picked = (event: { currentTarget: HTMLInputElement }) => {
    const { files } = event.currentTarget;
    if (files && files.length > 0) take(ofPicked(files));
  };
  return (
    <section
      class={`drop${over ? " over" : ""}${project ? " filled" : ""}`}
      aria-label="Project"
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        if (event.dataTransfer) take(ofDrop(event.dataTransfer));
      }}
    >
      <Icon name="folder" />
      <div role="status">
        {project ? (
          <><strong>{project.name}</strong><span class="faint">{count(project.files, "file")}, {bytes(project.bytes)}</span></>
        ) : (
          <><strong>Drop a folder, a zip or a page here</strong><span class="faint">It is read in this browser, and uploaded when you ask for its first frame or submit it.</span></>
        )}
      </div>
      <div class="actions">
        <Button onClick={() => folder.current?.click()}>Choose a folder</Button>
        <Button onClick={() => file.current?.click()}>Choose a zip or page</Button>
      </div>
      <input ref={folder} class="hidden" type="file" tabIndex={-1} aria-label="Folder of the project" onChange={picked} {...{ webkitdirectory: true }} />
      <input ref={file} class="hidden" type="file" tabIndex={-1} aria-label="Zip or page of the project" accept=".zip,.html,.htm" onChange={picked} />
    </section>
  );
}
