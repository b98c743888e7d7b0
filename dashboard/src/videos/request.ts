/** The form of a presenter video as data: what it shows, the request it makes, and where an error of the farm belongs. */

import { type Settings, valueOf } from "../submit/output";
import type { FileInput, VideoRequest } from "../types";
import { VIDEO_FIELDS } from "./fields";

export interface Form {
  type: "avatar" | "image";
  speech: "script" | "sound";
  background: "none" | "color" | "image" | "video";
  /** The fields as typed, by the names that errors have for them. */
  typed: Settings;
}

/** The files of a form; `null` where there is none. */
export interface Files {
  image: FileInput | null;
  sound: FileInput | null;
  background: FileInput | null;
}

/** Fields of the API that the form has not: the farm refuses the first, and has one value for the second. */
export const LEFT_OUT = ["motion_prompt", "engine.type"];

/** What the form asks for by other means than a plain field, and what of the API is made of it. */
const CONTROLS: Record<string, string[]> = {
  type: ["type"],
  look: ["avatar_id"],
  image: ["image"],
  sound: ["audio_url", "audio_asset_id"],
  background: ["background", "background.type"],
  "background.file": ["background.url", "background.asset_id"],
};

/** The controls and fields that are shown. `hasLocales` says whether the voice speaks several languages. */
export function shown(form: Form, hasLocales: boolean): string[] {
  return [
    "type", "background", "title", "resolution", "aspect_ratio", "output_format", "remove_background", "callback_url", "callback_id",
    ...(form.type === "avatar" ? ["look", "expressiveness"] : ["image"]),
    ...(form.speech === "sound" ? ["sound"] : ["script", "voice_id", "captions", "voice_settings.speed", "voice_settings.pitch"]),
    ...(form.speech === "script" && hasLocales ? ["voice_settings.locale"] : []),
    ...(form.background === "color" ? ["background.value"] : form.background !== "none" ? ["background.file"] : []),
  ];
}

/** The fields of the API that the form may send. */
export function sent(): string[] {
  const all = (["avatar", "image"] as const).flatMap((type) => (["script", "sound"] as const).flatMap((speech) => (["color", "image"] as const)
    .flatMap((background) => shown({ type, speech, background, typed: {} }, true))));
  return [...new Set(all.flatMap((name) => CONTROLS[name] ?? [name]))];
}

/** The control or field that an error about `param` belongs to; `null` where the form shows none. */
export function placeOf(param: string | null, form: Form, hasLocales: boolean): string | null {
  if (param === null) return null;
  const is = (name: string) => (CONTROLS[name] ?? [name]).some((one) => param === one || (one !== "background" && param.startsWith(`${one}.`)));
  const places = shown(form, hasLocales);
  // A sound that is missing is told as a missing script.
  return places.find(is) ?? (param === "script" && form.speech === "sound" ? "sound" : null);
}

/** The request, with what is shown and typed only. */
export function videoRequest(form: Form, hasLocales: boolean, files: Files): VideoRequest {
  const places = shown(form, hasLocales);
  const made: Record<string, unknown> = {};
  for (const field of VIDEO_FIELDS) {
    const isTyped = field.name === "avatar_id" ? places.includes("look") : places.includes(field.name) && !(field.name in CONTROLS);
    const value = isTyped ? valueOf(field, form.typed[field.name]) : null;
    if (value === null) continue;
    const [outer = "", inner] = field.name.split(".");
    if (inner === undefined) made[outer] = value;
    else made[outer] = { ...(made[outer] as object | undefined), [inner]: value };
  }
  const { sound, background } = files;
  if (form.type === "image" && files.image) made["image"] = files.image;
  if (form.speech === "sound" && sound) Object.assign(made, prefixed("audio_", sound));
  if (form.background !== "none") made["background"] = { ...(made["background"] as object | undefined), type: form.background };
  if (places.includes("background.file") && background) Object.assign(made["background"] as object, prefixed("", background));
  return { ...made, type: form.type };
}

/** A file as a field of its own for each way to name it. */
function prefixed(prefix: string, file: FileInput): Record<string, string> {
  if (file.type === "url") return { [`${prefix}url`]: file.url };
  return file.type === "asset_id" ? { [`${prefix}asset_id`]: file.asset_id } : {};
}
