/** Short messages at the edge of the page. */

import { signal } from "@preact/signals";
import { messageOf } from "../api";
import { Icon } from "./icons";

interface Toast {
  id: number;
  text: string;
  bad: boolean;
  link?: { href: string; text: string };
}

const toasts = signal<Toast[]>([]);
let next = 0;

export function say(text: string, link?: Toast["link"]): void {
  show({ id: ++next, text, bad: false, ...(link ? { link } : {}) }, 6000);
}

export function complain(what: string, error: unknown): void {
  show({ id: ++next, text: `${what}: ${messageOf(error)}`, bad: true }, 12_000);
}

function show(toast: Toast, ms: number): void {
  toasts.value = [...toasts.value.slice(-3), toast];
  setTimeout(() => dismiss(toast.id), ms);
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <div key={toast.id} class={toast.bad ? "toast bad" : "toast"}>
          <span>{toast.text}</span>
          {toast.link && <a href={toast.link.href}>{toast.link.text}</a>}
          <button type="button" class="button quiet square" aria-label="Dismiss" onClick={() => dismiss(toast.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
