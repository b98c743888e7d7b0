// Runs before any other script of any frame. Messages and exceptions of a page are sent by the browser's protocol to the worker's
// process, so they are limited here: long texts are shortened, and after the first messages of a document the others are omitted, with a
// last message that says so.
(() => {
  "use strict";
  if (window.__hyperfarmLimits) return;
  const MESSAGES = 500;
  const PARTS = 20;
  const CHARACTERS = 2000;
  // Most characters of all addresses that a document takes.
  const ADDRESSES = 4 * 1024 * 1024;

  // Longest answer to the farm, in characters.
  const ANSWER = 16 * 1024 * 1024;

  // Stored before the page can replace them.
  const { apply } = Reflect;
  const { isArray } = Array;
  const { keys } = Object;
  const { stringify } = JSON;
  const { slice, toWellFormed } = String.prototype;
  const { toString: sourceOf } = Function.prototype;
  const nativeError = Error;
  const prevent = Event.prototype.preventDefault;
  const warn = console.warn.bind(console);
  const error = console.error.bind(console);

  const cut = (text) =>
    text.length > CHARACTERS ? apply(slice, text, [0, CHARACTERS]) + `… (${text.length - CHARACTERS} more characters)` : text;
  // The protocol sends the whole text of an error, whatever frame it is from, the source of a function or a regular expression, and
  // the name of an object's class. What cannot be told without it is named only.
  const short = (value, most = CHARACTERS) => {
    const isLong = (text) => typeof text === "string" && text.length > most;
    if (typeof value === "string") return isLong(value) ? cut(value) : value;
    if (typeof value === "bigint" || typeof value === "symbol") return typeof value;
    try {
      if (typeof value === "function") return cut(apply(sourceOf, value, []));
      if (typeof value !== "object" || value === null) return value;
      const { stack, message, source, constructor } = value;
      if (isLong(stack)) return cut(stack);
      if (isLong(message)) return cut(message);
      if (isLong(source)) return cut(source);
      if (isLong(constructor?.name)) return cut(constructor.name);
    } catch { return "a value that cannot be read"; }
    return value;
  };

  let said = 0;
  const mayspeak = () => {
    said++;
    if (said === MESSAGES + 1) warn(`this page printed or threw more than ${MESSAGES} messages; the others are left out`);
    return said <= MESSAGES;
  };

  // A console with a name of its own would bring methods without these limits, and its name in every message.
  delete console.context;
  for (const name of Object.getOwnPropertyNames(console)) {
    const own = console[name];
    if (typeof own !== "function" || name === "createTask") continue;
    console[name] = (...parts) => {
      // An assertion that holds prints nothing.
      if (name === "assert" && parts[0]) return;
      if (!mayspeak()) return;
      const shown = [];
      for (let i = 0; i < parts.length && i < PARTS; i++) shown[i] = short(parts[i]);
      apply(own, console, shown);
    };
  }

  // The protocol sends the address of the script too, which a script may give itself at any length.
  const limit = (event, thrown, isLong) => {
    if (!mayspeak()) return apply(prevent, event, []);
    const shown = short(thrown, 2 * CHARACTERS);
    if (shown === thrown && !isLong) return;
    apply(prevent, event, []);
    error("Uncaught", shown);
  };
  const nameOf = Object.getOwnPropertyDescriptor(ErrorEvent.prototype, "filename").get;
  const messageOf = Object.getOwnPropertyDescriptor(ErrorEvent.prototype, "message").get;
  const isLongEvent = (event) => [nameOf, messageOf].some((of) => apply(of, event, []).length > 2 * CHARACTERS);

  // The answer to a question of the farm, as JSON text: what the page does to prototypes changes neither its form nor its length.
  const encode = (value) => {
    let length = 0;
    const counted = (text) => {
      length += text.length;
      if (length > ANSWER) throw new nativeError(`the page answers with more than ${ANSWER} characters`);
      return text;
    };
    const write = (value) => {
      if (typeof value === "string") return counted(stringify(value.length > ANSWER ? value : apply(toWellFormed, value, [])));
      if (typeof value === "boolean" || (typeof value === "number" && value - value === 0)) return counted(`${value}`);
      if (typeof value !== "object" || value === null) return counted("null");
      let text = "";
      const list = isArray(value);
      const names = list ? value : keys(value);
      for (let i = 0; i < names.length; i++) {
        if (!list && value[names[i]] === undefined) continue;
        if (text !== "") text += counted(",");
        text += list ? write(value[i]) : write(names[i]) + ":" + write(value[names[i]]);
      }
      return list ? `[${text}]` : `{${text}}`;
    };
    return write(value);
  };
  const answer = async (question) => {
    try { return encode(await question()); } catch (error) { throw short(error); }
  };

  // The protocol sends each new address of the document, and a fragment has no length limit of its own.
  let addressed = 0;
  window.navigation?.addEventListener("navigate", (event) => {
    addressed += event.destination.url.length;
    if (addressed > ADDRESSES && event.cancelable) apply(prevent, event, []);
  }, true);

  Object.defineProperty(window, "__hyperfarmLimits", { value: Object.freeze({ short, answer }) });
  window.addEventListener("error", (event) => { if (event instanceof ErrorEvent) limit(event, event.error, isLongEvent(event)); }, true);
  window.addEventListener("unhandledrejection", (event) => limit(event, event.reason), true);
})();
