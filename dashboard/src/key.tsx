import { useEffect, useRef, useState } from "preact/hooks";
import { setKey, url } from "./api";
import { Button } from "./ui/basics";

/** Asks for the farm's key, and tries it before it is taken. */
export function KeyPrompt({ reason }: { reason: string }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const keep = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    dialog.current?.showModal();
    field.current?.focus();
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    const key = field.current?.value.trim() ?? "";
    if (!key) return setProblem("Paste a key first.");
    setBusy(true);
    try {
      const answer = await fetch(url("v3/users/me"), { headers: { "x-api-key": key } });
      if (answer.status === 401) setProblem("The farm does not know this key.");
      else if (!answer.ok) setProblem(`The farm answered with status ${answer.status}; try again.`);
      else setKey(key, keep.current?.checked ?? false);
    } catch {
      setProblem("The farm did not answer, or the key has characters that no key has.");
    }
    setBusy(false);
  };
  return (
    <dialog ref={dialog} aria-labelledby="key-title" onCancel={(event) => event.preventDefault()}>
      <form class="dialog-body" onSubmit={submit}>
        <header><h2 id="key-title">This farm wants a key</h2></header>
        <p class="faint">{reason}</p>
        <label class="field">
          <span>API key</span>
          <input ref={field} type="password" autocomplete="current-password" spellcheck={false} aria-invalid={problem !== null} aria-describedby="key-problem" />
        </label>
        <p id="key-problem" class="problem" role="alert">{problem}</p>
        <label class="check">
          <input ref={keep} type="checkbox" /> <span>Remember it on this device</span>
        </label>
        <p class="faint">An operator makes one with <code>hyperfarm keys create</code>. It is kept in this browser only.</p>
        <div class="actions">
          <Button type="submit" kind="primary" busy={busy}>Continue</Button>
        </div>
      </form>
    </dialog>
  );
}
