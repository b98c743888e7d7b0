/** What is to come out: the usual settings first, then every other one that the contract has. */

import type { ComponentChildren } from "preact";
import { farm } from "../store";
import { Message, Problem } from "../ui/basics";
import { FIELDS, type RequestField } from "./fields";
import type { Project } from "./project";

/** The fields as typed; empty is the farm's default. */
export type Settings = Record<string, string>;

/** Names of settings for people; others are read from the field's own name. */
const LABELS: Record<string, string> = {
  fps: "Frames a second", from: "From", to: "To", now: "Clock of the page", crf: "Constant rate factor (CRF)", gif_loop: "Repeats of a GIF",
  audio_url: "Sound file", loudness: "Loudness in LUFS", true_peak: "True peak in dBTP", chunk_frames: "Frames a chunk", max_parallel_chunks: "Chunks at once", keep_for: "Kept after its end",
  strict_variables: "Strict variables", verify: "Check for determinism", callback_id: "Callback id", callback_url: "Callback URL", vp9_cpu_used: "VP9 speed",
  video_bitrate: "Bit rate", bit_depth: "Bits a sample", hdr: "High dynamic range", audio_codec: "Codec of the sound",
  motion_blur: "Motion blur, pictures a frame", shutter_angle: "Shutter angle in degrees", shutter_phase: "Shutter phase in degrees",
  wav: "WAV of the sound", renditions: "Renditions of an HLS package, short sides",
  storyboard: "Storyboard, seconds a picture", captions: "Captions as SRT and WebVTT", caption_track: "Captions in the video",
};

const CHOICES: Record<string, string> = {
  draft: "Draft", standard: "Standard", high: "High", mp4: "MP4", webm: "WebM", mov: "MOV (ProRes)", gif: "GIF", "png-sequence": "PNG sequence", hls: "HLS package", "4k": "4K",
  h264: "H.264", h265: "H.265", vp8: "VP8", vp9: "VP9", av1: "AV1", prores: "ProRes", dnxhr: "DNxHR",
  auto: "By the videos", hdr10: "HDR10", hlg: "HLG",
  aac: "AAC", opus: "Opus", pcm: "PCM, 24 bits",
};

/** The settings of the first part of the form. */
const USUAL = ["format", "quality", "resolution", "fps"];
/** What the form asks for in other ways. */
const ELSEWHERE = ["title", "composition", "html", "project", "variables"];

const GROUPS: [string, string[]][] = [
  ["Part of the composition", ["from", "to", "duration", "now"]],
  ["Picture", ["width", "height", "aspect_ratio", "device_scale_factor", "transparent", "gif_loop", "renditions", "motion_blur", "shutter_angle", "shutter_phase"]],
  ["Encoder", ["codec", "profile", "bit_depth", "hdr", "crf", "video_bitrate", "vp9_cpu_used", "timecode"]],
  ["Files beside the video", ["wav", "poster", "storyboard", "captions", "caption_track"]],
  ["Sound", ["audio_url", "audio_codec", "loudness", "true_peak"]],
  ["Farm", ["pool", "priority", "chunk_frames", "max_parallel_chunks", "keep_for"]],
  ["Checks", ["strict_variables", "verify"]],
  ["Notice of the end", ["callback_id", "callback_url"]],
];

/** The groups of the second part; a setting that no group names comes last. */
export function groups(): [string, RequestField[]][] {
  const named = new Set([...USUAL, ...ELSEWHERE, ...GROUPS.flatMap(([, names]) => names)]);
  const others = FIELDS.filter(({ name }) => !named.has(name));
  const of = (names: string[]) => names.flatMap((name) => FIELDS.filter((field) => field.name === name));
  const made = GROUPS.map(([title, names]): [string, RequestField[]] => [title, of(names)]);
  return [...made, ["Other", others] as [string, RequestField[]]].filter(([, fields]) => fields.length > 0);
}

export function labelOf(field: RequestField): string {
  const words = field.name.replaceAll("_", " ");
  return LABELS[field.name] ?? words.slice(0, 1).toUpperCase() + words.slice(1);
}

/** What a field means, and its range where that is not said. */
export function noteOf({ description, min, max }: RequestField): string {
  if (min === null || max === null || description.includes(` to ${max}`)) return description;
  return `${description} From ${min} to ${max.toLocaleString("en")}.`;
}

/** A typed value as the request has it; `null` where nothing was typed. */
export function valueOf(field: RequestField, typed: string | undefined): unknown {
  const text = typed?.trim() ?? "";
  if (text === "") return null;
  if (field.input === "boolean") return text === "true";
  if (field.input === "numbers") return text.split(",").map(Number);
  if (field.isNumber && /^-?\d+(\.\d+)?$/.test(text)) return Number(text);
  return text;
}

/** The settings of the request. */
export function request(settings: Settings, project: Project): Record<string, unknown> & { title: string } {
  const values = FIELDS.filter(({ name }) => !ELSEWHERE.includes(name)).map((field) => [field.name, valueOf(field, settings[field.name])]);
  return { ...Object.fromEntries(values.filter(([, value]) => value !== null)), title: settings["title"]?.trim() || project.name };
}

interface OutputProps {
  project: Project;
  entry: string;
  setEntry: (path: string) => void;
  settings: Settings;
  set: (name: string, value: string) => void;
}

export function Output({ project, entry, setEntry, settings, set }: OutputProps) {
  const composition = project.compositions.find(({ path }) => path === entry);
  const first: Record<string, string> = {
    format: "MP4", quality: "Standard", resolution: composition?.width && composition.height ? `As it is (${composition.width}×${composition.height})` : "As it is",
    fps: "the composition's own, else 30",
  };
  const usual = FIELDS.filter(({ name }) => USUAL.includes(name)).sort((a, b) => USUAL.indexOf(a.name) - USUAL.indexOf(b.name));
  return (
    <>
      <div class="fields">
        <label class="field">
          <span>Title</span>
          <input name="title" type="text" maxLength={500} placeholder={project.name} value={settings["title"] ?? ""} onInput={(event) => set("title", event.currentTarget.value)} />
        </label>
        {project.compositions.length > 1 && (
          <label class="field">
            <span>Composition</span>
            <select name="composition" value={entry} onChange={(event) => setEntry(event.currentTarget.value)}>
              {project.compositions.map(({ path }) => <option key={path} value={path}>{path}</option>)}
            </select>
          </label>
        )}
        {usual.map((field) => <Field key={field.name} field={field} usual={first[field.name]} settings={settings} set={set} />)}
      </div>
      <datalist id="list-fps">{["24", "25", "30", "50", "60", "30000/1001"].map((fps) => <option key={fps} value={fps} />)}</datalist>
    </>
  );
}

/** Every other setting of the contract, with what it means. */
export function MoreSettings({ settings, set }: Pick<OutputProps, "settings" | "set">) {
  const changed = (fields: RequestField[]) => fields.filter(({ name }) => settings[name]).length;
  const all = groups();
  const total = changed(all.flatMap(([, fields]) => fields));
  return (
    <details class="panel more">
      <summary>More settings{total > 0 && <span class="count">{total} set</span>}</summary>
      <datalist id="list-pool">{farm.value?.pools.filter(({ pool }) => pool !== "stitch").map(({ pool }) => <option key={pool} value={pool} />)}</datalist>
      {all.map(([title, fields]) => (
        <fieldset key={title} class="field-group">
          <legend>{title}{changed(fields) > 0 && <span class="count">{changed(fields)} set</span>}</legend>
          <div class="fields">
            {fields.map((field) => <Field key={field.name} field={field} settings={settings} set={set} isExplained />)}
          </div>
        </fieldset>
      ))}
    </details>
  );
}

interface FieldProps {
  field: RequestField;
  /** Its name for people, where that is not its own. */
  label?: string;
  /** What the empty field stands for. */
  usual?: string | undefined;
  /** Names of its values, where they differ from those of other fields. */
  choices?: Record<string, string>;
  settings: Settings;
  set: (name: string, value: string) => void;
  isExplained?: boolean;
  /** What is wrong with it. */
  problem?: string | undefined;
}

export function Field({ field, label, usual, choices = CHOICES, settings, set, isExplained = false, problem }: FieldProps) {
  const { name } = field;
  const id = `setting-${name}`;
  const note = isExplained ? `${id}-note` : undefined;
  const described = [note, problem && `${id}-problem`].filter(Boolean).join(" ") || undefined;
  const shared = { id, name, "aria-describedby": described, "aria-invalid": problem ? true : undefined, value: settings[name] ?? "" };
  const change = (event: { currentTarget: HTMLInputElement | HTMLSelectElement }) => set(name, event.currentTarget.value);
  let input: ComponentChildren;
  if (field.input === "choice" || field.input === "boolean") {
    const options: [string, string][] = field.input === "boolean" ? [["true", "Yes"], ["false", "No"]]
      : field.options.map((value) => [value, choices[value] ?? CHOICES[value] ?? value]);
    input = (
      <select {...shared} onChange={change}>
        <option value="">{usual ?? "As usual"}</option>
        {options.filter(([, text]) => text !== usual).map(([value, text]) => <option key={value} value={value}>{text}</option>)}
      </select>
    );
  } else if (field.input === "number") {
    input = <input {...shared} type="number" step={field.isInteger ? 1 : "any"} min={field.min ?? undefined} max={field.max ?? undefined} placeholder={usual ?? "as usual"} onInput={change} />;
  } else {
    const more = field.input === "numbers" ? { pattern: "\\d+(\\s*,\\s*\\d+)*" } : name === "fps" ? { pattern: "\\d+(/\\d+)?", inputMode: "decimal" as const } : field.pattern === null ? {} : { pattern: field.pattern.replace(/^\^|\$$/g, "") };
    const hasList = name === "fps" || name === "pool";
    input = <input {...shared} type="text" maxLength={field.maxLength ?? undefined} placeholder={usual ?? "as usual"} list={hasList ? `list-${name}` : undefined} {...more} onInput={change} />;
  }
  return (
    <div class="field">
      <label for={id}>{label ?? labelOf(field)}</label>
      {input}
      {problem && <Problem id={`${id}-problem`} text={problem} />}
      {isExplained && <span id={note} class="faint note"><Message text={noteOf(field)} /></span>}
    </div>
  );
}
