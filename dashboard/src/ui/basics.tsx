/** Small pieces that every view uses. */

import type { ComponentChildren } from "preact";
import { type ApiError, messageOf } from "../api";
import { sentence } from "../format";
import type { RenderDetail, Waiting } from "../types";
import { Icon, type IconName } from "./icons";

interface ButtonProps {
  icon?: IconName;
  kind?: "primary" | "plain" | "danger" | "quiet";
  label?: string;
  busy?: boolean;
  disabled?: boolean;
  title?: string;
  type?: "button" | "submit";
  pressed?: boolean;
  onClick?: (event: MouseEvent) => void;
  children?: ComponentChildren;
}

export function Button({ icon, kind = "plain", label, busy = false, disabled = false, title, type = "button", pressed, onClick, children }: ButtonProps) {
  return (
    <button
      type={type}
      class={`button ${kind}${children ? "" : " square"}`}
      disabled={disabled || busy}
      aria-busy={busy}
      aria-label={label}
      aria-pressed={pressed}
      title={title ?? label}
      onClick={onClick}
    >
      {icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** A message of the farm; what stands between backticks is code. */
export function Message({ text }: { text: string }) {
  return <>{text.split("`").map((part, i) => (i % 2 === 1 ? <code key={i}>{part}</code> : part))}</>;
}

export function Meter({ value, max, label, tone = "accent" }: { value: number; max: number; label: string; tone?: string }) {
  const part = max > 0 ? Math.min(1, value / max) : 0;
  return (
    <span class={`meter ${tone}`} role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={max} aria-valuenow={value}>
      <span style={{ transform: `scaleX(${part})` }} />
    </span>
  );
}

export function ProgressBar({ percent, label, tone = "accent", moving = false }: { percent: number; label: string; tone?: string; moving?: boolean }) {
  return (
    <span class={`meter ${tone}${moving ? " moving" : ""}`} role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(percent)}>
      <span style={{ transform: `scaleX(${Math.min(100, percent) / 100})` }} />
    </span>
  );
}

export type State = "queued" | "rendering" | "paused" | "completed" | "failed" | "cancelled";

/** What a person calls the state of a render; the API knows no cancelled or paused ones as such. */
export function stateOf(render: RenderDetail): State {
  if (render.status === "failed" && render.error_code === "cancelled") return "cancelled";
  if (render.paused && (render.status === "queued" || render.status === "rendering")) return "paused";
  return render.status;
}

export function isOver(render: RenderDetail): boolean {
  return render.status === "completed" || render.status === "failed";
}

const WAITING: Record<string, string> = {
  WAITING_FOR_STORAGE: "waiting for storage", WAITING_FOR_SERVERS: "waiting for the ledger or broker", WAITING_FOR_WORKERS: "no worker in its pool",
  WAITING_FOR_CLASS: "no worker of its capture class", WAITING_FOR_SLOTS: "waiting for a free slot", WAITING_FOR_STITCHERS: "no stitcher",
};

/** What a render waits for, in a few words. */
export function waitingFor(waiting: Waiting): string {
  return WAITING[waiting.code] ?? waiting.message;
}

const STATE_NAMES: Record<string, string> = {
  queued: "Queued", rendering: "Rendering", paused: "Paused", completed: "Completed", failed: "Failed", cancelled: "Cancelled",
  enabled: "Enabled", disabled: "Disabled", active: "Active", draining: "Draining", quarantined: "Quarantined",
};

export function Badge({ state, text }: { state: string; text?: string }) {
  return <span class={`badge ${state}`}>{text ?? STATE_NAMES[state] ?? state}</span>;
}

/** What is wrong with a field, under it. */
export function Problem({ id, text }: { id: string; text: string }) {
  return <span id={id} class="bad-text note" role="alert"><Message text={sentence(text)} /></span>;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

export function Failure({ error, what, again }: { error: unknown; what: string; again?: () => void }) {
  const id = (error as ApiError).requestId;
  return (
    <div class="failure" role="alert">
      <Icon name="warning" />
      <div>
        <p><strong>{what}</strong></p>
        <p>{messageOf(error)}</p>
        {id && <p class="faint">Request <code>{id}</code></p>}
        {again && <Button icon="retry" onClick={again}>Try again</Button>}
      </div>
    </div>
  );
}

export function Loading({ rows = 3 }: { rows?: number }) {
  return (
    <div class="loading" role="status">
      <span class="hidden">Loading…</span>
      {Array.from({ length: rows }, (_, i) => <span key={i} aria-hidden="true" />)}
    </div>
  );
}

export function Panel({ title, id, aside, children, flush = false }: { title: string; id: string; aside?: ComponentChildren; children: ComponentChildren; flush?: boolean }) {
  return (
    <section class={`panel${flush ? " flush" : ""}`} aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {aside && <div class="aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}
