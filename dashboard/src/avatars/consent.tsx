/** The consent of a person: its state, and the page on which they give it. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get, post } from "../api";
import { canRender } from "../store";
import type { AvatarGroup, ConsentBegun, ConsentRequest } from "../types";
import { Badge, Button, Failure, Problem } from "../ui/basics";
import { complain, say } from "../ui/toast";

/** Milliseconds between two questions whether the person has consented. */
const ASK_AGAIN_AFTER = 3000;

export function Consent({ group, onChange }: { group: AvatarGroup; onChange: (group: AvatarGroup) => void }) {
  const [isAsking, setAsking] = useState(false);
  const [reroute, setReroute] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [link, setLink] = useState<string | null>(null);
  const { consent_status: status } = group;
  const latest = useRef(onChange);
  latest.current = onChange;

  // Who has the link open waits for the person.
  useEffect(() => {
    if (link === null || status !== "pending") return;
    const stop = new AbortController();
    const timer = setInterval(() => {
      get<AvatarGroup>(`v3/avatars/${group.id}`, { signal: stop.signal }).then((read) => latest.current(read), () => {});
    }, ASK_AGAIN_AFTER);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [link, status]);

  const begin = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const body: ConsentRequest = reroute.trim() ? { reroute_url: reroute.trim() } : {};
      const { avatar_group, url } = await post<ConsentBegun>(`v3/avatars/${group.id}/consent`, { body });
      setLink(url);
      setAsking(false);
      onChange(avatar_group);
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  const copy = (url: string) => navigator.clipboard.writeText(url).then(() => say("The link is in the clipboard"), (failure: unknown) => complain("The link was not copied", failure));
  const [badge, text, note] = status === "approved" ? ["completed", "Consent given", "The person has agreed on their page."]
    : status === "pending" ? ["paused", "Consent asked for", "The person has not answered yet."]
    : ["", "No consent asked for", "Photos need none; the farm records it and refuses nothing for the lack of it."];
  const problem = error instanceof ApiError && error.param === "reroute_url" ? error.message : undefined;
  const id = `reroute-${group.id}`;
  return (
    <div class="consent">
      <div class="consent-state">
        <span role="status"><Badge state={badge} text={text} /></span>
        <span class="faint note">{note}</span>
        {canRender() && !isAsking && <Button title={`Ask ${group.name} for consent`} onClick={() => { setAsking(true); setLink(null); }}>{status === null ? "Ask for consent" : "Ask again"}</Button>}
      </div>
      {isAsking && (
        <form class="consent-form" onSubmit={begin}>
          {status !== null && <p class="warn-text note">{status === "approved" ? "What the person has agreed to is forgotten, and the old link stops." : "The old link stops."}</p>}
          <div class="field">
            <label for={id}>Where the person is sent afterwards; may be empty</label>
            <input
              id={id} type="text" inputMode="url" maxLength={2048} placeholder="https://…" value={reroute} aria-invalid={problem ? true : undefined}
              aria-describedby={problem && `${id}-problem`} onInput={(event) => { setError(null); setReroute(event.currentTarget.value); }}
            />
            {problem && <Problem id={`${id}-problem`} text={problem} />}
          </div>
          {error !== null && !problem && <Failure what="Consent was not asked for" error={error} />}
          <div class="actions">
            <Button onClick={() => { setAsking(false); setError(null); }}>Not now</Button>
            <Button type="submit" kind="primary" busy={busy}>Make the link</Button>
          </div>
        </form>
      )}
      {link !== null && status === "pending" && (
        <div class="banner plain consent-link" role="status">
          <div><strong>Give this link to {group.name}</strong><p><a href={link} target="_blank" rel="noopener">{link}</a></p><p>It is shown once. It needs no key.</p></div>
          <span class="actions">
            <Button icon="copy" kind="quiet" label="Copy the link" onClick={() => void copy(link)} />
            <Button icon="close" kind="quiet" label="Hide the link" onClick={() => setLink(null)} />
          </span>
        </div>
      )}
    </div>
  );
}
