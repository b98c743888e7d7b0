/** A file of a form: chosen or dropped here, or behind a URL. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError } from "../api";
import { bytes } from "../format";
import type { FileInput } from "../types";
import { upload } from "../upload";
import { Button, Problem } from "./basics";
import { Icon } from "./icons";

export interface Source {
  file: File | null;
  url: string;
}

export const NO_SOURCE: Source = { file: null, url: "" };

interface FileFieldProps {
  id: string;
  label: string;
  kind: "photo" | "sound" | "video";
  /** Which files the farm takes. */
  note: string;
  source: Source;
  onChange: (source: Source) => void;
  problem?: string | undefined;
}

const KINDS = {
  photo: { icon: "person", accept: ".png,.jpg,.jpeg,image/png,image/jpeg", drop: "Drop a photo here", choose: "Choose a photo" },
  video: { icon: "film", accept: ".mp4,.webm,video/mp4,video/webm", drop: "Drop a video here", choose: "Choose a video" },
  sound: { icon: "sound", accept: ".wav,.mp3,audio/wav,audio/mpeg", drop: "Drop a sound file here", choose: "Choose a sound file" },
} as const;

export function FileField({ id, label, kind, note, source, onChange, problem }: FileFieldProps) {
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const { icon, accept, drop, choose } = KINDS[kind];
  const { file, url } = source;
  const shown = useMemo(() => (file ? URL.createObjectURL(file) : null), [file]);
  useEffect(() => () => { if (shown) URL.revokeObjectURL(shown); }, [shown]);
  const described = problem ? `${id}-note ${id}-problem` : `${id}-note`;
  return (
    <div class="field file-field" role="group" aria-label={label} data-invalid={problem ? "" : undefined}>
      <div
        class={`file-drop${over ? " over" : ""}`}
        onDragOver={(event) => { event.preventDefault(); setOver(true); }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          const [dropped] = event.dataTransfer?.files ?? [];
          if (dropped) onChange({ file: dropped, url: "" });
        }}
      >
        {shown && kind === "photo" ? <img src={shown} alt="" /> : <Icon name={icon} />}
        <div role="status">
          {file ? <><strong>{file.name}</strong><span class="faint">{bytes(file.size)}</span></> : <strong>{drop}</strong>}
        </div>
        <span class="actions">
          <Button onClick={() => input.current?.click()}>{file ? "Choose another" : choose}</Button>
          {file && <Button icon="close" kind="quiet" label={`Leave ${file.name} out`} onClick={() => onChange(NO_SOURCE)} />}
        </span>
        {shown && kind === "sound" && <audio controls src={shown} aria-label={file?.name} />}
        <input
          ref={input} class="hidden" type="file" tabIndex={-1} aria-label={`File: ${label}`} accept={accept}
          onChange={(event) => {
            const [picked] = event.currentTarget.files ?? [];
            if (picked) onChange({ file: picked, url: "" });
            event.currentTarget.value = "";
          }}
        />
      </div>
      {!file && (
        <input
          id={id} type="text" inputMode="url" maxLength={2048} placeholder="or its URL, https://…" aria-label={`URL: ${label}`} aria-describedby={described}
          aria-invalid={problem ? true : undefined} value={url} onInput={(event) => onChange({ file: null, url: event.currentTarget.value })}
        />
      )}
      {problem && <Problem id={`${id}-problem`} text={problem} />}
      <span id={`${id}-note`} class="faint note">{note}</span>
    </div>
  );
}

const uploaded = new WeakMap<File, string>();

/**
 * The source as a request names it, once its bytes are in the farm; `null` where there is none. A file is uploaded once. A
 * refusal of the upload is one of `param`.
 */
export async function inputOf({ file, url }: Source, param: string, progress: (part: number) => void): Promise<FileInput | null> {
  if (!file) return url.trim() ? { type: "url", url: url.trim() } : null;
  try {
    const asset_id = uploaded.get(file) ?? await upload(file, progress);
    uploaded.set(file, asset_id);
    return { type: "asset_id", asset_id };
  } catch (error) {
    throw error instanceof ApiError ? new ApiError(error.message, error.status, error.code, param, error.requestId) : error;
  }
}
