// Runs before any script of any frame of the page (same-origin and srcdoc frames included). It replaces the page's clock,
// timers and random numbers, so that a picture depends on the frame's number only.
//
// The configuration { fps, variables, seed } replaces the placeholder below.
(() => {
  "use strict";
  if (window.__HF_VIRTUAL_TIME__) return;
  const config = __HYPERFARM_CONFIG__;

  // Page scripts may write into __hf before the bridge completes it.
  window.__hf = window.__hf || {};
  if (config.variables) window.__hfVariables = config.variables;
  window.__HF_EXPORT_RENDER_SEEK_CONFIG = {
    mode: "preview-phase",
    diagnostics: false,
    step: 1 / 120,
    offsetFraction: 0.5,
    fps: config.fps,
    fpsSource: "render-options",
    owner: "runtime",
  };
  const renderId = "data-hf-render-id";
  window.__hfMediaEl = (id) => document.querySelector(`[${renderId}="${CSS.escape(id)}"]`) || document.getElementById(id);
  window.__hfMediaId = (element) => element.getAttribute(renderId) || element.id;

  const real = {
    Date: window.Date,
    setTimeout: window.setTimeout.bind(window),
    clearTimeout: window.clearTimeout.bind(window),
    setInterval: window.setInterval.bind(window),
    clearInterval: window.clearInterval.bind(window),
    requestAnimationFrame: window.requestAnimationFrame.bind(window),
    cancelAnimationFrame: window.cancelAnimationFrame.bind(window),
  };
  const report = (error) => real.setTimeout(() => { throw error; }, 0);

  // Date and performance.now --------------------------------------------------------------------------------------
  let now = 0;
  class VirtualDate extends real.Date {
    constructor(...parts) {
      if (parts.length === 0) super(now);
      else super(...parts);
    }
    static now() { return now; }
  }
  // Date() without `new` returns a string; a class cannot be called without `new`, so a proxy handles the call.
  window.Date = new Proxy(VirtualDate, { apply: () => new real.Date(now).toString() });
  Object.defineProperty(performance, "now", { configurable: true, value: () => now });

  // Random numbers: seeded by each frame's time, so that a frame does not depend on how many earlier frames used -------
  let state = 0;
  let lots = 0;
  const draw = () => {
    lots++;
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const seed = 0x9e3779b9 + (config.seed | 0);
  const reseed = (ms) => { state = (Math.imul(Math.floor(ms) | 0, -1640531527) + seed) | 0; };
  reseed(0);
  Math.random = draw;
  if (window.crypto) {
    crypto.getRandomValues = (array) => {
      const view = new DataView(array.buffer, array.byteOffset, array.byteLength);
      let at = 0;
      for (; at + 4 <= view.byteLength; at += 4) view.setUint32(at, (draw() * 4294967296) >>> 0, true);
      for (; at < view.byteLength; at++) view.setUint8(at, (draw() * 256) | 0);
      return array;
    };
    if (crypto.randomUUID) {
      crypto.randomUUID = () => {
        const bytes = crypto.getRandomValues(new Uint8Array(16));
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
        return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
      };
    }
  }

  // Animation frames wait for the next seek ---------------------------------------------------------------------------
  let nextFrameId = 1;
  let frames = new Map();
  window.requestAnimationFrame = (callback) => {
    if (typeof callback !== "function") return 0;
    frames.set(nextFrameId, callback);
    return nextFrameId++;
  };
  window.cancelAnimationFrame = (id) => { frames.delete(id); };
  const flushFrames = () => {
    const due = frames;
    frames = new Map();
    for (const callback of due.values()) {
      try { callback(now); } catch (error) { report(error); }
    }
  };

  // Timers run by the wall clock while the page loads, because loaders poll with them. Timers that are pending when the host
  // freezes the page, and all later ones, run in composition time ------------------------------------------------------
  let frozen = false;
  const audioContexts = [];
  const audioPrototype = window.AudioContext?.prototype;
  if (audioPrototype) {
    window.AudioContext = class AudioContext extends window.AudioContext {
      constructor(...parts) {
        super(...parts);
        audioContexts.push(this);
      }
    };
  }
  let nextTimerId = 1;
  let order = 0;
  const timers = new Map();
  const asFunction = (callback) => (typeof callback === "function" ? callback : () => (0, eval)(String(callback)));
  const run = (id) => {
    const timer = timers.get(id);
    if (!timer) return;
    if (timer.every === null) timers.delete(id);
    try { timer.callback(...timer.parts); } catch (error) { report(error); }
  };
  const add = (callback, delay, parts, repeats) => {
    const wait = Math.max(0, Number(delay) || 0);
    const id = nextTimerId++;
    const timer = { callback: asFunction(callback), parts, every: repeats ? Math.max(1, wait) : null, due: now + wait, order: order++, real: null };
    timers.set(id, timer);
    if (!frozen) {
      timer.real = repeats ? real.setInterval(() => run(id), wait) : real.setTimeout(() => run(id), wait);
    } else if (wait === 0 && !repeats) {
      // A delay of zero means the end of the running script, whatever the time.
      timer.real = real.setTimeout(() => run(id), 0);
    }
    return id;
  };
  const remove = (id) => {
    const timer = timers.get(id);
    if (!timer) return;
    if (timer.real !== null) (timer.every === null ? real.clearTimeout : real.clearInterval)(timer.real);
    timers.delete(id);
  };
  window.setTimeout = (callback, delay, ...parts) => add(callback, delay, parts, false);
  window.setInterval = (callback, delay, ...parts) => add(callback, delay, parts, true);
  window.clearTimeout = window.clearInterval = remove;
  const freeze = () => {
    if (frozen) return;
    frozen = true;
    for (const timer of timers.values()) {
      if (timer.real !== null) (timer.every === null ? real.clearTimeout : real.clearInterval)(timer.real);
      timer.real = null;
    }
    // The runtime opens an audio context and suspends it by a timer that is frozen here. Its output is not used, and it would take a
    // twentieth of a core.
    for (const context of audioContexts) audioPrototype.suspend.call(context).catch(() => {});
  };
  const flushTimers = (until) => {
    // The number is bounded, because a timer may always set another one.
    for (let runs = 0; runs < 10000; runs++) {
      let id = 0;
      let first = null;
      for (const [candidate, timer] of timers) {
        if (timer.real !== null || timer.due > until) continue;
        if (first === null || timer.due < first.due || (timer.due === first.due && timer.order < first.order)) {
          id = candidate;
          first = timer;
        }
      }
      if (first === null) return;
      now = Math.max(now, first.due);
      if (first.every !== null) first.due += first.every;
      run(id);
    }
  };

  // Requests of scripts that are not answered yet: the page is not ready before they are.
  const requests = { made: 0, underWay: 0 };
  const begin = () => { requests.made++; requests.underWay++; };
  const end = () => { requests.underWay--; };
  const track = (promise) => { begin(); promise.then(end, end); return promise; };
  if (window.fetch) {
    const fetch = window.fetch;
    window.fetch = function (...parts) { return track(fetch.apply(this, parts)); };
    for (const name of ["arrayBuffer", "blob", "formData", "json", "text"]) {
      const read = Response.prototype[name];
      Response.prototype[name] = function () { return track(read.call(this)); };
    }
  }
  const send = XMLHttpRequest.prototype.send;
  XMLHttpRequest.prototype.send = function (...parts) {
    let over = false;
    const once = () => { if (!over) end(); over = true; };
    begin();
    this.addEventListener("loadend", once, { once: true });
    try { return send.apply(this, parts); } catch (error) { once(); throw error; }
  };

  // A seek to the same time runs no animation frame, so that a frame may be sought again; `again` runs one nevertheless.
  let sought = null;
  const seekToTime = (ms, again) => {
    const target = Math.max(0, Number(ms) || 0);
    reseed(target);
    if (frozen) flushTimers(target);
    now = target;
    if (target !== sought || again) flushFrames();
    sought = target;
    return now;
  };
  Object.defineProperty(window, "__HF_VIRTUAL_TIME__", {
    value: {
      originalSetTimeout: real.setTimeout,
      originalClearTimeout: real.clearTimeout,
      originalSetInterval: real.setInterval,
      originalClearInterval: real.clearInterval,
      originalRequestAnimationFrame: real.requestAnimationFrame,
      originalCancelAnimationFrame: real.cancelAnimationFrame,
      seekToTime,
      getTime: () => now,
      lots: () => lots,
      // Whether timers are pending in composition time, and whether one waits for the end of the running script.
      pending: () => timers.size,
      soon: () => frozen && [...timers.values()].some((timer) => timer.real !== null),
      requests,
      freeze,
    },
  });
})();
