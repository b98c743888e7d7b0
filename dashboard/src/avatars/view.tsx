/** Avatars: people who present videos, each with looks. */

import { useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, call, get, isAbort, type Page, page } from "../api";
import { count, fullTime, moment, sentence } from "../format";
import { useShortcuts } from "../keyboard";
import { links } from "../route";
import { canRender } from "../store";
import type { AvatarChange, AvatarGroup, AvatarLook, Deleted } from "../types";
import { Badge, Button, Empty, Failure, Loading, Message } from "../ui/basics";
import { ask } from "../ui/dialog";
import { usePageTitle } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { useList } from "../ui/list";
import { complain, say } from "../ui/toast";
import { Consent } from "./consent";
import { NewAvatar } from "./new";

/** Milliseconds between two questions for a look whose face is looked for. */
const ASK_AGAIN_AFTER = 1500;

export function AvatarsView() {
  usePageTitle("Avatars");
  const list = useList<AvatarGroup>("v3/avatars");
  const { rows: groups, setRows, next, error, read } = list;
  const { looks, setLooks, error: looksError, again } = useLooks(groups);
  /** The group that a look is added to; empty is a new one, `null` hides the form. */
  const [adding, setAdding] = useState<string | null>(null);
  useShortcuts({ m: () => canRender() && setAdding("") });

  const take = (look: AvatarLook) => setLooks((all) => (all ?? []).map((old) => (old.id === look.id ? look : old)));
  const takeGroup = (group: AvatarGroup) => setRows((all) => (all ?? []).map((old) => (old.id === group.id ? group : old)));
  const add = (group: AvatarGroup, look: AvatarLook) => {
    setLooks((all) => [look, ...(all ?? [])]);
    setRows((all) => (all?.some(({ id }) => id === group.id) ? all.map((old) => (old.id === group.id ? group : old)) : [group, ...(all ?? [])]));
    setAdding(null);
  };
  const open = (group: string) => {
    setAdding(group);
    scrollTo(0, 0);
  };

  return (
    <>
      <div class="view-head">
        <h1>Avatars</h1>
        {canRender() && groups && groups.length > 0 && adding === null && <Button icon="plus" title="New avatar (m)" onClick={() => open("")}>New avatar</Button>}
      </div>
      {groups && canRender() && (adding !== null || groups.length === 0) && (
        <NewAvatar key={adding ?? ""} groups={groups} group={adding ?? ""} onMade={add} onClose={groups.length > 0 ? () => setAdding(null) : null} />
      )}
      {error && !groups ? <Failure what="The avatars could not be read" error={error} again={() => void read(null)} />
        : !groups ? <Loading rows={4} />
        : groups.length === 0 ? (
          <Empty title="No avatars yet">
            <p>An avatar is a person who presents videos: a photo in which the farm finds the face. {canRender() ? "The form above makes one." : "Making one needs a key with the scope render."}</p>
          </Empty>
        )
        : groups.map((group) => (
          <Group
            key={group.id} group={group} looks={looks?.filter(({ group_id }) => group_id === group.id) ?? null} onAdd={() => open(group.id)} onChange={takeGroup} onLook={take}
            onGone={() => {
              setLooks((all) => all?.filter(({ group_id }) => group_id !== group.id) ?? null);
              setRows((all) => all?.filter(({ id }) => id !== group.id) ?? null);
            }}
            onLookGone={(look) => {
              setLooks((all) => all?.filter(({ id }) => id !== look.id) ?? null);
              takeGroup({ ...group, looks_count: group.looks_count - 1 });
            }}
          />
        ))}
      {looksError && <Failure what="The looks could not be read" error={looksError} again={again} />}
      {error && groups && <Failure what="The rest could not be read" error={error} again={() => void read(next)} />}
      {next !== null && !error && <p class="list-end"><Button onClick={() => void read(next)}>Show more</Button></p>}
    </>
  );
}

/** The looks of these groups. Both are listed newest first, so pages are read until all looks of the groups are here. */
function useLooks(groups: AvatarGroup[] | null) {
  const [looks, setLooks] = useState<AvatarLook[] | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [tries, setTries] = useState(0);
  const wanted = (groups ?? []).reduce((sum, { looks_count }) => sum + looks_count, 0);
  const ids = groups?.map(({ id }) => id).join() ?? null;
  useEffect(() => {
    if (ids === null || (looks && looks.length >= wanted)) return;
    const stop = new AbortController();
    const ours = new Set(ids.split(","));
    const read = async () => {
      const all: AvatarLook[] = [];
      let token: string | null = null;
      do {
        const got: Page<AvatarLook> = await page<AvatarLook>("v3/avatars/looks", { query: { limit: 50, token }, signal: stop.signal });
        all.push(...got.data.filter(({ group_id }) => group_id !== null && ours.has(group_id)));
        token = got.next_token;
      } while (token && all.length < wanted);
      setLooks(all);
      setError(null);
    };
    read().catch((failure: unknown) => isAbort(failure) || setError(failure as ApiError));
    return () => stop.abort();
  }, [ids, tries]);
  useWatch((looks ?? []).filter(({ status }) => status === "processing"), (look) => setLooks((all) => all?.map((old) => (old.id === look.id ? look : old)) ?? null));
  return { looks, setLooks, error, again: () => setTries(tries + 1) };
}

/** Asks for these looks again and again, until the list has none. */
function useWatch(looks: AvatarLook[], take: (look: AvatarLook) => void): void {
  const latest = useRef(take);
  latest.current = take;
  const ids = looks.map(({ id }) => id).join();
  useEffect(() => {
    if (!ids) return;
    const stop = new AbortController();
    let timer = 0;
    const look = async () => {
      await Promise.all(ids.split(",").map(async (id) => {
        try {
          latest.current(await get<AvatarLook>(`v3/avatars/looks/${id}`, { signal: stop.signal }));
        } catch {
          // The next question says it.
        }
      }));
      if (!stop.signal.aborted) timer = window.setTimeout(look, ASK_AGAIN_AFTER);
    };
    timer = window.setTimeout(look, ASK_AGAIN_AFTER);
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [ids]);
}

/** The new name that a person gives, or `null`. */
async function newName(of: string): Promise<string | null> {
  const typed = await ask({ title: `Rename ${of}`, text: "The id stays as it is.", action: "Rename", danger: false, field: "Name", value: of, input: { required: "", pattern: ".*\\S.*" } });
  return typed === null || typed.trim() === of ? null : typed.trim();
}

interface GroupProps {
  group: AvatarGroup;
  /** Newest first; `null` until they are read. */
  looks: AvatarLook[] | null;
  onAdd: () => void;
  onChange: (group: AvatarGroup) => void;
  onLook: (look: AvatarLook) => void;
  onGone: () => void;
  onLookGone: (look: AvatarLook) => void;
}

function Group({ group, looks, onAdd, onChange, onLook, onGone, onLookGone }: GroupProps) {
  const rename = async () => {
    const name = await newName(group.name);
    if (name === null) return;
    try {
      const change: AvatarChange = { name };
      onChange(await call<AvatarGroup>("PATCH", `v3/avatars/${group.id}`, { body: change }));
    } catch (error) {
      complain("The avatar was not renamed", error);
    }
  };
  const remove = async () => {
    const text = `Its ${count(group.looks_count, "look")} and their photos go with it. Videos that were made of it stay. This cannot be undone.`;
    if ((await ask({ title: `Delete ${group.name}?`, text, action: "Delete", danger: true })) === null) return;
    try {
      await call<Deleted>("DELETE", `v3/avatars/${group.id}`);
      onGone();
      say("The avatar is deleted");
    } catch (error) {
      complain("The avatar was not deleted", error);
    }
  };
  return (
    <section class="panel avatar" aria-labelledby={group.id}>
      <header>
        <div class="avatar-name">
          <h2 id={group.id}>{group.name}</h2>
          <span class="sub">
            {count(group.looks_count, "look")}{group.gender && ` · ${group.gender}`} · since <time dateTime={new Date(group.created_at * 1000).toISOString()} title={fullTime(group.created_at)}>{moment(group.created_at)}</time>
          </span>
        </div>
        {canRender() && (
          <div class="actions">
            <Button icon="plus" title={`Add a look to ${group.name}`} onClick={onAdd}>Add a look</Button>
            <Button icon="edit" kind="quiet" label={`Rename ${group.name}`} onClick={() => void rename()} />
            <Button icon="trash" kind="quiet" label={`Delete ${group.name}`} onClick={() => void remove()} />
          </div>
        )}
      </header>
      {group.looks_count === 0 ? <Empty title="Its looks are deleted" />
        : !looks ? <Loading rows={1} />
        : <ul class="looks">{looks.map((look) => <Look key={look.id} look={look} onChange={onLook} onGone={() => onLookGone(look)} />)}</ul>}
      <Consent group={group} onChange={onChange} />
    </section>
  );
}

/** A photo, or its place where the farm does not know how it is reached. */
export function LookPicture({ look }: { look: AvatarLook }) {
  return look.preview_image_url ? <img src={look.preview_image_url} alt={`Photo of ${look.name}`} loading="lazy" decoding="async" /> : <span class="no-picture"><Icon name="person" /></span>;
}

const LOOK_STATES: Record<string, [badge: string, text: string]> = {
  processing: ["rendering", "Finding the face"], pending_consent: ["paused", "Waits for consent"], completed: ["completed", "Ready"], failed: ["failed", "Failed"],
};

function Look({ look, onChange, onGone }: { look: AvatarLook; onChange: (look: AvatarLook) => void; onGone: () => void }) {
  const rename = async () => {
    const name = await newName(look.name);
    if (name === null) return;
    try {
      const change: AvatarChange = { name };
      onChange(await call<AvatarLook>("PATCH", `v3/avatars/looks/${look.id}`, { body: change }));
    } catch (error) {
      complain("The look was not renamed", error);
    }
  };
  const remove = async () => {
    if ((await ask({ title: `Delete the look ${look.name}?`, text: "Its photo goes with it. Videos that were made of it stay. This cannot be undone.", action: "Delete", danger: true })) === null) return;
    try {
      await call<Deleted>("DELETE", `v3/avatars/looks/${look.id}`);
      onGone();
      say("The look is deleted");
    } catch (error) {
      complain("The look was not deleted", error);
    }
  };
  const [badge, text] = LOOK_STATES[look.status ?? ""] ?? ["", "Not known"];
  const about = [look.gender, ...look.tags].filter(Boolean).join(", ");
  return (
    <li class="look">
      <LookPicture look={look} />
      <div class="look-text">
        <h3>{look.name}</h3>
        <span role="status"><Badge state={badge} text={text} /></span>
        {look.failure_message && <p class="bad-text note"><Message text={sentence(look.failure_message)} /></p>}
        {about && <p class="faint note">{about}</p>}
        <p class="faint note"><code>{look.id}</code></p>
        {canRender() && (
          <div class="actions">
            {look.status === "completed" && <a class="button" href={links.makeVideo(look.id)} aria-label={`Make a video of ${look.name}`}><Icon name="film" /><span>Make a video</span></a>}
            <Button icon="edit" kind="quiet" label={`Rename the look ${look.name}`} onClick={() => void rename()} />
            <Button icon="trash" kind="quiet" label={`Delete the look ${look.name}`} onClick={() => void remove()} />
          </div>
        )}
      </div>
    </li>
  );
}
