/**
 * Server-sent events by fetch, because `EventSource` cannot send a key. A connection that breaks, or that is silent for longer
 * than the farm ever is, comes back with growing pauses.
 */

import { headers, refusal, url } from "./api";

export type LiveState = "connecting" | "live" | "waiting" | "stopped";

export interface LiveEvents {
  event(name: string, data: unknown): void;
  /** `retryAt` is the moment of the next try, in milliseconds, while waiting. */
  state(state: LiveState, retryAt: number | null): void;
}

const SILENCE = 40_000;
const PAUSE_MAX = 30_000;
/** How long a hidden page keeps its connection; browsers allow few to one host, over all tabs. */
const HIDDEN = 30_000;

/** Follows `path` until the returned function is called. */
export function follow(path: string, to: LiveEvents): () => void {
  let stopped = false;
  let failures = 0;
  let connection: AbortController | null = null;
  let timer = 0;
  let hiddenTimer = 0;

  const later = () => {
    if (stopped) return;
    const pause = Math.min(PAUSE_MAX, 1000 * 2 ** failures) * (0.75 + Math.random() / 2);
    failures += 1;
    to.state("waiting", Date.now() + pause);
    timer = window.setTimeout(run, pause);
  };

  const run = async () => {
    clearTimeout(timer);
    const mine = new AbortController();
    connection = mine;
    to.state("connecting", null);
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = window.setTimeout(() => mine.abort(), SILENCE);
    };
    try {
      heard();
      const response = await fetch(url(path), { headers: { ...headers(), accept: "text/event-stream" }, signal: mine.signal });
      if (!response.ok || !response.body) {
        const error = await refusal(response);
        // A refusal stays one until there is another key.
        if (error.status === 401 || error.status === 403) {
          to.state("stopped", null);
          stopped = true;
          return;
        }
        throw error;
      }
      to.state("live", null);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parse = parser((name, data) => {
        failures = 0;
        to.event(name, data);
      });
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        heard();
        parse(value);
      }
    } catch {
      // Whatever it was, the next try says.
    } finally {
      clearTimeout(silence);
      if (connection === mine) {
        connection = null;
        if (!document.hidden) later();
      }
    }
  };

  const seen = () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) {
      hiddenTimer = window.setTimeout(() => {
        clearTimeout(timer);
        const old = connection;
        connection = null;
        old?.abort();
      }, HIDDEN);
    } else if (!connection && !stopped) {
      failures = 0;
      void run();
    }
  };
  document.addEventListener("visibilitychange", seen);
  void run();

  return () => {
    stopped = true;
    clearTimeout(timer);
    clearTimeout(hiddenTimer);
    document.removeEventListener("visibilitychange", seen);
    const old = connection;
    connection = null;
    old?.abort();
  };
}

/** Takes text as it comes and tells every whole event whose data is JSON. */
function parser(tell: (name: string, data: unknown) => void): (text: string) => void {
  let rest = "";
  let name = "message";
  let data: string[] = [];
  const line = (text: string) => {
    if (text === "") {
      if (data.length > 0) {
        let value: unknown;
        try {
          value = JSON.parse(data.join("\n"));
        } catch {
          value = undefined;
        }
        if (value !== undefined) tell(name, value);
      }
      name = "message";
      data = [];
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (field === "event") name = value;
    else if (field === "data") data.push(value);
  };
  return (text) => {
    rest += text;
    const lines = rest.split(/\r\n|\n|\r/);
    rest = lines.pop() ?? "";
    lines.forEach(line);
  };
}
