/** The form of a new look: of a new person, or of one that is there. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, onceKey, post } from "../api";
import type { AvatarCreated, AvatarGroup, AvatarLook, AvatarRequest } from "../types";
import { Button, Failure, Panel, Problem, ProgressBar } from "../ui/basics";
import { FileField, inputOf, NO_SOURCE } from "../ui/file";
import { say } from "../ui/toast";

export const PHOTO_NOTE = "A PNG or JPEG file of at most 50 MB, 128 to 8192 pixels a side: one person, from the front, with a face of at least a twelfth of the shorter side.";

interface NewAvatarProps {
  groups: AvatarGroup[];
  /** Id of the group that is chosen at first; empty is a new one. */
  group: string;
  onMade: (group: AvatarGroup, look: AvatarLook) => void;
  onClose: (() => void) | null;
}

export function NewAvatar({ groups, group: first, onMade, onClose }: NewAvatarProps) {
  const [source, setSource] = useState(NO_SOURCE);
  const [name, setName] = useState("");
  const [group, setGroup] = useState(first);
  const [sending, setSending] = useState<number | null>(null);
  const [error, setError] = useState<unknown>(null);
  // The same for every try of the same form, so that a broken connection never makes two looks.
  const once = useRef(onceKey());
  const element = useRef<HTMLFormElement>(null);
  // Who opened it goes on there.
  useEffect(() => {
    if (onClose) element.current?.querySelector("button")?.focus({ preventScroll: true });
  }, []);
  const changed = <T,>(set: (value: T) => void) => (value: T) => {
    once.current = onceKey();
    setError(null);
    set(value);
  };
  const usual = source.file?.name.replace(/\.\w+$/, "") ?? "";

  const submit = async (event: Event) => {
    event.preventDefault();
    setError(null);
    setSending(0);
    try {
      const file = await inputOf(source, "file", setSending);
      setSending(1);
      const body: AvatarRequest = { type: "photo", name: name.trim() || usual, file, ...(group && { avatar_group_id: group }) };
      const made = await post<AvatarCreated>("v3/avatars", { body, idempotencyKey: once.current });
      say(`The face of ${made.avatar_item.name} is looked for`);
      onMade(made.avatar_group, made.avatar_item);
    } catch (failure) {
      if (failure instanceof ApiError && failure.code !== "network") once.current = onceKey();
      setError(failure);
    }
    setSending(null);
  };

  const param = error instanceof ApiError ? error.param : null;
  const place = param === "file" || param?.startsWith("file.") ? "file" : param === "name" ? "name" : param === "avatar_group_id" ? "group" : null;
  const problem = (where: string) => (place === where && error instanceof Error ? error.message : undefined);
  const problems = { name: problem("name"), group: problem("group") };
  return (
    <Panel title="New avatar" id="new-avatar" aside={onClose && <Button icon="close" kind="quiet" label="Close" onClick={onClose} />}>
      <form ref={element} class="new-avatar" onSubmit={submit}>
        <FileField id="photo" label="Photo" kind="photo" note={PHOTO_NOTE} source={source} onChange={changed(setSource)} problem={problem("file")} />
        <div class="fields">
          <div class="field">
            <label for="avatar-name">Name</label>
            <input
              id="avatar-name" type="text" maxLength={200} placeholder={usual || "Name to show to people"} value={name} aria-invalid={problems.name ? true : undefined}
              aria-describedby={problems.name && "avatar-name-problem"} onInput={(event) => changed(setName)(event.currentTarget.value)}
            />
            {problems.name && <Problem id="avatar-name-problem" text={problems.name} />}
          </div>
          {groups.length > 0 && (
            <div class="field">
              <label for="avatar-group">Person</label>
              <select
                id="avatar-group" value={group} aria-invalid={problems.group ? true : undefined} aria-describedby={problems.group && "avatar-group-problem"}
                onChange={(event) => changed(setGroup)(event.currentTarget.value)}
              >
                <option value="">A new person</option>
                {groups.map(({ id, name }) => <option key={id} value={id}>{name}: another look</option>)}
              </select>
              {problems.group && <Problem id="avatar-group-problem" text={problems.group} />}
            </div>
          )}
        </div>
        {error !== null && place === null && <Failure what="The avatar was not made" error={error} />}
        <div class="submit-end">
          {sending !== null && <span class="sending" role="status"><ProgressBar percent={sending * 100} label="Uploading" /> {sending < 1 ? "Uploading…" : "Submitting…"}</span>}
          <Button type="submit" kind="primary" busy={sending !== null}>Make the avatar</Button>
        </div>
      </form>
    </Panel>
  );
}
