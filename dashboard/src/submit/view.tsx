/** The form of a new render: drop the project, set its variables, say what is to come out. */

import { useRef, useState } from "preact/hooks";
import { ApiError, onceKey, post } from "../api";
import { bytes, count } from "../format";
import { go, links } from "../route";
import { account, canRender, farm } from "../store";
import { Button, Empty, Failure, Panel, ProgressBar } from "../ui/basics";
import { usePageTitle } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { complain } from "../ui/toast";
import { ofDrop, ofPicked, type Project } from "./project";
import { upload } from "./upload";
import { Variables } from "./variables";

/** Profiles of ProRes and DNxHR. */
const PROFILES = ["422-lt", "422", "422-hq", "4444", "4444-xq", "dnxhr-hq", "dnxhr-hqx"];

/** The fields as typed; empty is the farm's default. */
type Settings = Record<string, string>;

export function SubmitView() {
  usePageTitle("New render");
  const [project, setProject] = useState<Project | null>(null);
  const [entry, setEntry] = useState("");
  const [values, setValues] = useState<Record<string, unknown>>({});
  const [settings, setSettings] = useState<Settings>({});
  const [sending, setSending] = useState<{ what: string; part: number } | null>(null);
  const [error, setError] = useState<unknown>(null);
  // The same for every try of the same form, so that a broken connection never renders twice.
  const once = useRef(onceKey());

  if (account.value && !canRender()) return <Empty title="This key may only read"><p>Submitting needs a key with the scope <code>render</code>.</p></Empty>;

  const take = async (reading: Promise<Project>) => {
    setError(null);
    try {
      const read = await reading;
      setProject(read);
      setEntry(read.compositions[0]?.path ?? "");
      setValues({});
      once.current = onceKey();
    } catch (failure) {
      setError(failure);
    }
  };
  const composition = project?.compositions.find(({ path }) => path === entry);
  const set = (name: string) => (event: { currentTarget: HTMLInputElement | HTMLSelectElement }) => {
    once.current = onceKey();
    setSettings({ ...settings, [name]: event.currentTarget.value });
  };

  const submit = async (event: Event) => {
    event.preventDefault();
    if (!project) return;
    setError(null);
    try {
      setSending({ what: "Packing", part: 0 });
      const archive = await project.archive((part) => setSending({ what: "Packing", part }));
      setSending({ what: "Uploading", part: 0 });
      const asset_id = await upload(archive, project.name, (part) => setSending({ what: "Uploading", part }));
      setSending({ what: "Submitting", part: 1 });
      const body = { ...request(settings, project), project: { type: "asset_id", asset_id }, variables: values, composition: entry === "index.html" || !entry ? null : entry };
      const made = await post<{ render_id: string }>("v3/hyperframes/renders", { body, idempotencyKey: once.current });
      go(links.render(made.render_id));
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
            <div class="columns even">
              <Panel title="Variables" id="variables">
                {composition?.problem ? <Failure what="The variables cannot be shown" error={new Error(composition.problem)} />
                  : composition && composition.variables.length > 0
                    ? <Variables variables={composition.variables} values={values} onChange={(id, value) => { once.current = onceKey(); setValues({ ...values, [id]: value }); }} />
                    : <Empty title="This composition declares none" />}
              </Panel>
              <Panel title="Output" id="output"><Output project={project} entry={entry} setEntry={setEntry} settings={settings} set={set} /></Panel>
            </div>
            <div class="submit-end">
              {sending && <span class="sending" role="status"><ProgressBar percent={sending.part * 100} label={sending.what} /> {sending.what}…</span>}
              <Button type="submit" kind="primary" busy={sending !== null}>Render it</Button>
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

function request(settings: Settings, project: Project): Record<string, unknown> {
  const number = (name: string) => (settings[name] ? Number(settings[name]) : null);
  const text = (name: string) => settings[name]?.trim() || null;
  const fps = text("fps");
  return {
    title: text("title") ?? project.name,
    format: text("format"),
    quality: text("quality"),
    resolution: text("resolution"),
    fps: fps && /^\d+$/.test(fps) ? Number(fps) : fps,
    codec: text("codec"),
    profile: text("profile"),
    bit_depth: number("bit_depth"),
    timecode: text("timecode"),
    poster: text("poster"),
    storyboard: number("storyboard"),
    wav: settings["wav"] ? true : null,
    pool: text("pool"),
    priority: number("priority"),
    chunk_frames: number("chunk_frames"),
    callback_id: text("callback_id"),
  };
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
          <><strong>Drop a folder, a zip or a page here</strong><span class="faint">It is read in this browser and uploaded only when you submit.</span></>
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

interface OutputProps {
  project: Project;
  entry: string;
  setEntry: (path: string) => void;
  settings: Settings;
  set: (name: string) => (event: { currentTarget: HTMLInputElement | HTMLSelectElement }) => void;
}

function Output({ project, entry, setEntry, settings, set }: OutputProps) {
  const composition = project.compositions.find(({ path }) => path === entry);
  const own = composition?.width ? ` (${composition.width}×${composition.height})` : "";
  const choice = (name: string, label: string, options: [string, string][]) => (
    <label class="field">
      <span>{label}</span>
      <select name={name} value={settings[name] ?? ""} onChange={set(name)}>
        {options.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
      </select>
    </label>
  );
  const field = (name: string, label: string, more: Record<string, unknown> = {}) => (
    <label class="field">
      <span>{label}</span>
      <input name={name} type="text" value={settings[name] ?? ""} onInput={set(name)} {...more} />
    </label>
  );
  const pools = farm.value?.pools.map(({ pool }) => pool).filter((pool) => pool !== "stitch") ?? [];
  return (
    <>
      <div class="fields">
        {field("title", "Title", { placeholder: project.name, maxLength: 500 })}
        {project.compositions.length > 1 && (
          <label class="field">
            <span>Composition</span>
            <select name="composition" value={entry} onChange={(event) => setEntry(event.currentTarget.value)}>
              {project.compositions.map(({ path }) => <option key={path} value={path}>{path}</option>)}
            </select>
          </label>
        )}
        {choice("format", "Format", [["", "MP4"], ["webm", "WebM"], ["mov", "MOV (ProRes, DNxHR)"], ["gif", "GIF"], ["png-sequence", "PNG sequence"]])}
        {choice("quality", "Quality", [["draft", "Draft"], ["", "Standard"], ["high", "High"]])}
        {choice("resolution", "Resolution", [["", `As it is${own}`], ["1080p", "1080p"], ["4k", "4K"]])}
        {field("fps", "Frames a second", { placeholder: "the composition's own, else 30", list: "fps-usual", inputMode: "decimal", pattern: "\\d+(/\\d+)?" })}
        <datalist id="fps-usual">{["24", "25", "30", "50", "60", "30000/1001"].map((fps) => <option key={fps} value={fps} />)}</datalist>
      </div>
      <details class="more">
        <summary>More settings</summary>
        <div class="fields">
          {pools.length > 1 && choice("pool", "Pool", [["", "The usual one"], ...pools.map((pool): [string, string] => [pool, pool])])}
          {choice("codec", "Codec", [["", "The format's usual one"], ["h265", "H.265 (MP4)"], ["av1", "AV1 (MP4, WebM)"], ["vp8", "VP8 (WebM)"], ["prores", "ProRes (MOV)"], ["dnxhr", "DNxHR (MOV)"]])}
          {choice("profile", "Profile of ProRes or DNxHR", [["", "The codec's usual one"], ...PROFILES.map((profile): [string, string] => [profile, profile])])}
          {choice("bit_depth", "Bits a sample of H.265 or AV1", [["", "8"], ["10", "10"]])}
          {field("timecode", "Timecode of the first frame (MOV)", { placeholder: "00:00:00:00", pattern: "\\d{1,2}:\\d{1,2}:\\d{1,2}[:;]\\d{1,3}" })}
          {field("poster", "Poster, seconds or a frame such as 75f", { pattern: "\\d+(\\.\\d+)?[fs]?" })}
          {field("storyboard", "Seconds between storyboard pictures", { inputMode: "decimal" })}
          {choice("wav", "WAV beside the video", [["", "No"], ["yes", "Yes"]])}
          {field("priority", "Priority", { type: "number", min: -100, max: 100, placeholder: "0" })}
          {field("chunk_frames", "Frames a chunk", { type: "number", min: 1, placeholder: "the farm decides" })}
          {field("callback_id", "Callback id", { maxLength: 256 })}
        </div>
      </details>
    </>
  );
}
