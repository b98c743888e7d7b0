// Runs before any other script of any frame. Messages and exceptions of a page are sent by the browser's protocol to the worker's
// process, so they are limited here: long texts are shortened, and after the first messages of a document the others are omitted, with a
// last message that says so.
(() => {
  "use strict";
  if (window.__hyperfarmLimits) return;
  const MESSAGES = 500;
  const PARTS = 20;
  const CHARACTERS = 2000;

  // Stored before the page can replace them.
  const apply = Reflect.apply;
  const slice = String.prototype.slice;
  const prevent = Event.prototype.preventDefault;
  const warn = console.warn.bind(console);
  const error = console.error.bind(console);

  const cut = (text) =>
    text.length > CHARACTERS ? apply(slice, text, [0, CHARACTERS]) + `… (${text.length - CHARACTERS} more characters)` : text;
  const short = (value) => {
    if (typeof value === "string") return cut(value);
    if (typeof value === "bigint" || typeof value === "symbol") return typeof value;
    try {
      // The protocol sends an error's whole text.
      if (value instanceof Error && String(value.stack).length > CHARACTERS) return cut(String(value.stack));
    } catch { return "an error that cannot be read"; }
    return value;
  };

  let said = 0;
  const mayspeak = () => {
    said++;
    if (said === MESSAGES + 1) warn(`this page printed or threw more than ${MESSAGES} messages; the others are left out`);
    return said <= MESSAGES;
  };

  const methods = [
    "assert", "count", "debug", "dir", "dirxml", "error", "group", "groupCollapsed", "info", "log", "table", "timeEnd", "timeLog", "trace",
    "warn",
  ];
  for (const name of methods) {
    const own = console[name];
    if (typeof own !== "function") continue;
    console[name] = (...parts) => {
      // An assertion that holds prints nothing.
      if (name === "assert" && parts[0]) return;
      if (!mayspeak()) return;
      const shown = [];
      for (let i = 0; i < parts.length && i < PARTS; i++) shown[i] = short(parts[i]);
      apply(own, console, shown);
    };
  }

  const lengthOf = (thrown) => {
    try {
      if (typeof thrown === "string") return thrown.length;
      if (thrown instanceof Error) return String(thrown.stack).length + String(thrown.message).length;
    } catch { return Infinity; }
    return 0;
  };
  const limit = (event, thrown) => {
    if (!mayspeak()) return apply(prevent, event, []);
    if (lengthOf(thrown) > 2 * CHARACTERS) {
      apply(prevent, event, []);
      error("Uncaught", short(thrown));
    }
  };
  Object.defineProperty(window, "__hyperfarmLimits", { value: { short } });
  window.addEventListener("error", (event) => { if (event instanceof ErrorEvent) limit(event, event.error); }, true);
  window.addEventListener("unhandledrejection", (event) => limit(event, event.reason), true);
})();
