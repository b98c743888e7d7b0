/** Numbers and times as people read them. */

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const exactClock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const whole = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const NONE = "–";

export function integer(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : numbers.format(value);
}

/** Three digits or so: 0.42, 7.3, 128. */
export function decimal(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  if (Math.abs(value) < 1) return value.toFixed(2);
  return Math.abs(value) < 10 ? value.toFixed(1) : numbers.format(value);
}

/** 8 s, 1 min 20 s, 2 h 05 min, 3 d 4 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1).replace(/\.?0+$/, "") || "0"} s`;
  const all = Math.round(seconds);
  if (all < 60) return `${all} s`;
  const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  if (h >= 48) return `${Math.floor(h / 24)} d ${h % 24} h`;
  if (h > 0) return `${h} h ${String(m).padStart(2, "0")} min`;
  return s === 0 ? `${m} min` : `${m} min ${String(s).padStart(2, "0")} s`;
}

/** Seconds of work in all pools. */
export function work(byPool: Record<string, number>): string {
  return duration(Object.values(byPool).reduce((sum, seconds) => sum + seconds, 0));
}

/** 0:07, 1:05:09: a place in a video. */
export function timecode(seconds: number): string {
  const all = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  return h > 0 ? `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}` : `${m}:${String(s).padStart(2, "0")}`;
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let left = value;
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${unit === 0 || left >= 100 ? left.toFixed(0) : left.toFixed(1)} ${units[unit]}`;
}

export function money(usd: number | null | undefined): string {
  if (usd === null || usd === undefined) return NONE;
  if (usd === 0) return "$0";
  return usd < 0.01 ? `$${usd.toPrecision(2)}` : `$${usd.toFixed(2)}`;
}

export function time(at: number): string {
  return exactClock.format(at * 1000);
}

/** The clock today, the day before that. */
export function moment(at: number): string {
  const then = new Date(at * 1000);
  const now = new Date();
  if (then.toDateString() === now.toDateString()) return clock.format(then);
  const text = `${day.format(then)}, ${clock.format(then)}`;
  return then.getFullYear() === now.getFullYear() ? text : `${day.format(then)} ${then.getFullYear()}`;
}

export function fullTime(at: number): string {
  return whole.format(at * 1000);
}

/** `one` thing, or that many of it. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${integer(number)} ${number === 1 ? one : many}`;
}

export function capitalised(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** A message of the farm as a sentence; the name of a field at its start stays as it is. */
export function sentence(text: string): string {
  return `${/^\w*[_.]\w/.test(text) ? text : capitalised(text)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** The start of an id, where the whole of it says no more. */
export function short(id: string, length = 12): string {
  return id.length <= length + 1 ? id : `${id.slice(0, length)}…`;
}
