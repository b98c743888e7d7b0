/** Dialogs on the browser's own element, which keeps the focus inside and gives it back. */

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Button } from "./basics";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, onClose, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => event.target === element.current && onClose()}
    >
      <div class="dialog-body">
        <header>
          <h2 id="dialog-title">{title}</h2>
          <Button icon="close" kind="quiet" label="Close" onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

interface Question {
  title: string;
  text: string;
  action: string;
  danger: boolean;
  field?: string;
  /** What the field has at first, and the attributes that bound what is typed. */
  value?: string;
  input?: Record<string, string | number>;
  answer: (said: string | null) => void;
}

const question = signal<Question | null>(null);

/** Asks before something that cannot be undone: the text of the field (empty without one), or `null` for no. */
export function ask(asked: Omit<Question, "answer">): Promise<string | null> {
  return new Promise((answer) => (question.value = { ...asked, answer }));
}

export function Asking() {
  const asked = question.value;
  const field = useRef<HTMLInputElement>(null);
  if (!asked) return null;
  const answer = (said: string | null) => {
    question.value = null;
    asked.answer(said);
  };
  return (
    <Dialog title={asked.title} onClose={() => answer(null)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          answer(field.current?.value ?? "");
        }}
      >
        <p>{asked.text}</p>
        {asked.field && (
          <label class="field">
            <span>{asked.field}</span>
            <input ref={field} type="text" maxLength={200} defaultValue={asked.value} {...asked.input} />
          </label>
        )}
        <div class="actions">
          <Button onClick={() => answer(null)}>Not now</Button>
          <Button type="submit" kind={asked.danger ? "danger" : "primary"}>{asked.action}</Button>
        </div>
      </form>
    </Dialog>
  );
}
