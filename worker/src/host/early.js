// Runs before any script of any frame of the page (same-origin and srcdoc frames included) and of its dedicated workers. It replaces
// the clock, timers and random numbers, so that a picture depends on the frame's number only.
//
// The configuration { fps, variables, seed, epoch } replaces the placeholder below.
(() => {
  "use strict";
  const window = globalThis;
  const inPage = typeof document === "object";
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
    requestAnimationFrame: window.requestAnimationFrame?.bind(window),
    cancelAnimationFrame: window.cancelAnimationFrame?.bind(window),
  };
  const report = (error) => real.setTimeout(() => { throw error; }, 0);

  // The clock -----------------------------------------------------------------------------------------------------------
  // Load time: until the host has found the page ready, `now` is 0 and neither timers nor animation frames are due. A page that waits for
  // them is given steps by the host. Sought time: from then on `now` is the composition's time, from 0 again.
  let loading = true;
  // Milliseconds of the timers' time: of the steps while the page loads, of the composition afterwards.
  let time = 0;
  let now = 0;
  // A script that reads the clock so often without returning waits for it to move, so it moves.
  const READS = 50000;
  let reads = 0;
  // So does one that asks again and again for the same file, and reads the clock after each answer.
  const POLLS = 30;
  const asked = new Map();
  let polls = 0;
  const read = () => {
    if (++reads > READS) now += 0.1;
    else if (loading && polls > POLLS) now += 10;
    return now;
  };
  const countAsked = (file) => {
    const key = String(file?.url ?? file);
    asked.set(key, (asked.get(key) ?? 0) + 1);
    polls = Math.max(polls, asked.get(key));
  };
  class VirtualDate extends real.Date {
    constructor(...parts) {
      if (parts.length === 0) super(config.epoch + read());
      else super(...parts);
    }
    static now() { return config.epoch + read(); }
  }
  // Date() without `new` returns a string; a class cannot be called without `new`, so a proxy handles the call.
  window.Date = new Proxy(VirtualDate, { apply: () => new VirtualDate().toString() });
  Object.defineProperty(VirtualDate.prototype, "constructor", { value: window.Date, configurable: true, writable: true });
  Object.defineProperty(performance, "now", { configurable: true, value: read });
  Object.defineProperty(performance, "timeOrigin", { configurable: true, get: () => config.epoch });
  const getter = (owner, name, get) => {
    const found = owner && Object.getOwnPropertyDescriptor(owner, name);
    if (found?.get) Object.defineProperty(owner, name, { ...found, get() { return get.call(this, found.get); } });
  };
  getter(Event.prototype, "timeStamp", () => now);
  if (inPage) {
    const two = (number) => String(number).padStart(2, "0");
    getter(Document.prototype, "lastModified", () => {
      const at = new real.Date(config.epoch);
      return `${two(at.getMonth() + 1)}/${two(at.getDate())}/${at.getFullYear()} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    });
  }
  getter(window.IntersectionObserverEntry?.prototype, "time", () => now);
  const { mark } = Performance.prototype;
  Performance.prototype.mark = function (name, options) { return mark.call(this, name, { startTime: now, ...options }); };
  // Formats without a date mean the current one.
  if (window.Intl?.DateTimeFormat) {
    const prototype = Intl.DateTimeFormat.prototype;
    const { formatToParts } = prototype;
    prototype.formatToParts = function (date = config.epoch + read()) { return formatToParts.call(this, date); };
    getter(prototype, "format", function (get) {
      const format = get.call(this);
      return (date = config.epoch + read()) => format(date);
    });
  }
  if (window.Temporal?.Now) {
    const instant = () => Temporal.Instant.fromEpochMilliseconds(Math.floor(config.epoch + read()));
    const zone = (given) => given ?? Temporal.Now.timeZoneId();
    const zoned = (given) => instant().toZonedDateTimeISO(zone(given));
    Object.assign(Temporal.Now, {
      instant,
      zonedDateTimeISO: zoned,
      plainDateTimeISO: (given) => zoned(given).toPlainDateTime(),
      plainDateISO: (given) => zoned(given).toPlainDate(),
      plainTimeISO: (given) => zoned(given).toPlainTime(),
    });
  }

  // Timelines of documents have the clock's time. Animations start in it, and run by the browser's until they are sought.
  const origins = new WeakMap();
  if (inPage && window.DocumentTimeline) {
    const timeline = AnimationTimeline.prototype;
    const native = Object.getOwnPropertyDescriptor(timeline, "currentTime").get;
    const ahead = (of) => native.call(of) - (now - (origins.get(of) ?? 0));
    getter(timeline, "currentTime", function (get) {
      return this instanceof DocumentTimeline ? now - (origins.get(this) ?? 0) : get.call(this);
    });
    window.DocumentTimeline = new Proxy(window.DocumentTimeline, {
      construct: (target, [options, ...rest], self) => {
        const made = Reflect.construct(target, [options, ...rest], self);
        origins.set(made, Number(options?.originTime) || 0);
        return made;
      },
    });
    const start = Object.getOwnPropertyDescriptor(Animation.prototype, "startTime");
    Object.defineProperty(Animation.prototype, "startTime", {
      ...start,
      get() {
        const value = start.get.call(this);
        return typeof value === "number" && this.timeline instanceof DocumentTimeline ? value - ahead(this.timeline) : value;
      },
      set(value) {
        const moved = typeof value === "number" && this.timeline instanceof DocumentTimeline;
        start.set.call(this, moved ? value + ahead(this.timeline) : value);
      },
    });
    // The runtime seeks animations by time. Those on a scroll timeline follow it by themselves, and are left alone.
    const follows = (animation) => !(animation.timeline instanceof DocumentTimeline);
    const byRuntime = () => (new Error().stack || "").includes("/__hyperfarm/runtime.js");
    // While the page loads, an animation whose end a script waits for runs to it in the steps of the load time.
    const awaited = new WeakSet();
    const runs = (animation) => follows(animation) || (loading && awaited.has(animation));
    getter(Animation.prototype, "finished", function (get) { awaited.add(this); return get.call(this); });
    const onfinish = Object.getOwnPropertyDescriptor(Animation.prototype, "onfinish");
    Object.defineProperty(Animation.prototype, "onfinish", {
      ...onfinish,
      set(listener) { if (listener) awaited.add(this); onfinish.set.call(this, listener); },
    });
    const { addEventListener } = EventTarget.prototype;
    Animation.prototype.addEventListener = function (type, ...rest) {
      if (type === "finish") awaited.add(this);
      return addEventListener.call(this, type, ...rest);
    };
    const { pause } = Animation.prototype;
    Animation.prototype.pause = function () { if (!runs(this) || !byRuntime()) pause.call(this); };
    const position = Object.getOwnPropertyDescriptor(Animation.prototype, "currentTime");
    Object.defineProperty(Animation.prototype, "currentTime", {
      ...position,
      set(value) { if (!runs(this) || !byRuntime()) position.set.call(this, value); },
    });
  }

  // What the host tells the author, each once: warnings by code and text, and how the page leaves itself ---------------------
  const notes = new Map();
  const note = (code, message) => { if (notes.size < 20) notes.set(code + message, { code, message }); };
  // The first line of a script of the page in the stack of the caller.
  const placeOf = () => {
    for (const line of (new Error().stack || "").split("\n")) {
      const found = /https?:\/\/[^/\s]+\/([^\s)]*?):(\d+):\d+\)?$/.exec(line);
      if (found && !found[1].startsWith("__hyperfarm/")) return `${found[1] || "index.html"}:${found[2]}`;
      const named = /(?:\(|at )([\w./-]+\.(?:html|js|mjs)):(\d+):\d+\)?$/.exec(line);
      if (named) return `${named[1]}:${named[2]}`;
    }
    return null;
  };
  let departure = null;
  // Second of the composition that is sought; the clock follows when the timelines are there.
  let aim = 0;
  const leave = (what) => { departure ??= { what, place: placeOf(), time: loading ? null : aim }; };
  if (inPage && window.top === window) {
    const words = { reload: "reloads itself", traverse: "goes back or forward in its history" };
    window.navigation?.addEventListener("navigate", (event) => {
      if (event.destination.sameDocument || event.hashChange) return;
      const to = event.destination.url.replace(/^https?:\/\/[^/]*\.localhost:\d+/, "").slice(0, 200);
      leave(words[event.navigationType] ?? `goes to ${to || "/"}`);
      if (event.cancelable) event.preventDefault();
    });
    // A step in the history to another document cannot be prevented, so it is not made.
    const { go } = History.prototype;
    const travel = function (delta) {
      const steps = Math.trunc(Number(delta) || 0);
      const target = navigation.entries()[(navigation.currentEntry?.index ?? 0) + steps];
      if (steps === 0 || target?.sameDocument) go.call(this, steps);
      else leave(words.traverse);
    };
    if (window.navigation) {
      History.prototype.go = travel;
      History.prototype.back = function () { travel.call(this, -1); };
      History.prototype.forward = function () { travel.call(this, 1); };
    }
    window.close = () => leave("closes itself");
    // Once it is parsed, a document that is opened for writing is emptied.
    const readyState = Object.getOwnPropertyDescriptor(Document.prototype, "readyState");
    const isParsed = () => readyState.get.call(document) !== "loading";
    for (const name of ["open", "write", "writeln"]) {
      const original = Document.prototype[name];
      Document.prototype[name] = function (...parts) {
        if (this !== document || !isParsed() || (name === "open" && parts.length > 2)) return original.apply(this, parts);
        leave(`replaces itself by document.${name}`);
        return name === "open" ? document : undefined;
      };
    }
  }

  // A view transition shows the browser's picture until it ends by the browser's clock, so its end is shown at once.
  for (const owner of inPage ? [Document, Element] : []) {
    if (!owner.prototype.startViewTransition) continue;
    owner.prototype.startViewTransition = function (options) {
      const update = typeof options === "function" ? options : options?.update;
      note("VIEW_TRANSITION", "the page starts a view transition; the farm shows its end at once, without the motion between");
      const done = Promise.resolve().then(() => update?.()).then(() => {});
      const types = new Set(options?.types ?? []);
      return { updateCallbackDone: done, ready: done, finished: done, types, transitionRoot: document.documentElement, skipTransition() {}, waitUntil() {} };
    };
  }

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

  // Animation frames and idle callbacks wait for the next seek, or for a step of the load ---------------------------------
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
      reads = 0;
      try { callback(now); } catch (error) { report(error); }
    }
    const free = idle;
    idle = new Map();
    for (const callback of free.values()) {
      try { callback(idleDeadline()); } catch (error) { report(error); }
    }
  };
  // A loop over the remaining time ends: each question takes a hundredth of a millisecond.
  const idleDeadline = () => {
    let asked = 0;
    return { didTimeout: false, timeRemaining: () => Math.max(0, 10 - asked++ / 100) };
  };
  let idle = new Map();
  if (window.requestIdleCallback) {
    window.requestIdleCallback = (callback) => {
      if (typeof callback !== "function") throw new TypeError("requestIdleCallback takes a function");
      if (loading) {
        const id = nextFrameId++;
        real.setTimeout(() => callback(idleDeadline()), 0);
        return id;
      }
      idle.set(nextFrameId, callback);
      return nextFrameId++;
    };
    window.cancelIdleCallback = (id) => { idle.delete(id); };
  }

  // Timers: those that are pending when the page is ready fall due in composition time, as if they had been set at its start ----------
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
    const timer = { callback: asFunction(callback), parts, every: repeats ? Math.max(1, wait) : null, due: time + wait, order: order++, real: null };
    timers.set(id, timer);
    // A delay of zero means the end of the running script, whatever the time.
    if (!repeats && wait < (loading ? 2 : 1)) timer.real = real.setTimeout(() => { reads = 0; run(id); }, 0);
    return id;
  };
  const remove = (id) => {
    const timer = timers.get(id);
    if (!timer) return;
    if (timer.real !== null) real.clearTimeout(timer.real);
    timers.delete(id);
  };
  window.setTimeout = (callback, delay, ...parts) => add(callback, delay, parts, false);
  window.setInterval = (callback, delay, ...parts) => add(callback, delay, parts, true);
  window.clearTimeout = window.clearInterval = remove;
  if (window.Scheduler?.prototype.postTask) {
    const { postTask } = Scheduler.prototype;
    Scheduler.prototype.postTask = function (callback, options) {
      if (!(options?.delay > 0)) return postTask.call(this, callback, options);
      return new Promise((done, failed) => add(() => { try { done(callback()); } catch (error) { failed(error); } }, options.delay, [], false));
    };
  }
  const freeze = () => {
    if (!loading) return;
    loading = false;
    for (const timer of timers.values()) timer.due = Math.max(0, timer.due - time);
    time = 0;
    now = 0;
    // The runtime opens an audio context and suspends it by a timer that does not fall due. Its output is not used, and it would take a
    // twentieth of a core.
    for (const context of audioContexts) audioPrototype.suspend.call(context).catch(() => {});
  };
  const flushTimers = (until) => {
    // The number is bounded, because a timer may always set another one. Sums of frame intervals are rounded.
    for (let runs = 0; runs < 10000; runs++) {
      let id = 0;
      let first = null;
      for (const [candidate, timer] of timers) {
        if (timer.real !== null || timer.due > until + 1e-6) continue;
        if (first === null || timer.due < first.due || (timer.due === first.due && timer.order < first.order)) {
          id = candidate;
          first = timer;
        }
      }
      if (first === null) return;
      time = Math.max(time, first.due);
      if (!loading || clockRuns) now = time;
      if (first.every !== null) first.due += first.every;
      reads = 0;
      run(id);
    }
  };
  // A step of `ms` milliseconds in load time, for a page that waits: timers fall due, and where that is not enough animation frames are
  // run, and at last the clock that scripts read moves too. So what a page remembers of the clock is 0 where it needs no more.
  let clockRuns = false;
  const step = (ms, withFrames, withClock) => {
    if (!loading) return;
    clockRuns = withClock;
    const until = time + ms;
    flushTimers(until);
    time = until;
    if (clockRuns) now = time;
    if (withFrames) flushFrames();
  };

  // Requests of scripts that are not answered yet: the page is not ready before they are.
  const requests = { made: 0, underWay: 0 };
  const begin = () => { requests.made++; requests.underWay++; };
  const end = () => { requests.underWay--; };
  const track = (promise) => { begin(); promise.then(end, end); return promise; };
  if (window.fetch) {
    const fetch = window.fetch;
    window.fetch = function (...parts) {
      countAsked(parts[0]);
      return track(fetch.apply(this, parts));
    };
    for (const name of ["arrayBuffer", "blob", "formData", "json", "text"]) {
      const read = Response.prototype[name];
      Response.prototype[name] = function () { return track(read.call(this)); };
    }
  }
  const send = window.XMLHttpRequest?.prototype.send;
  if (send) XMLHttpRequest.prototype.send = function (...parts) {
    let over = false;
    const once = () => { if (!over) end(); over = true; };
    begin();
    this.addEventListener("loadend", once, { once: true });
    try { return send.apply(this, parts); } catch (error) { once(); throw error; }
  };

  // The clock of a child frame has the time of a frame before the scripts of its parent run.
  const show = (ms) => { if (!loading) now = ms; };
  // A seek to the same time runs no animation frame, so that a frame may be sought again; `again` runs one nevertheless.
  let sought = null;
  const seekToTime = (ms, again) => {
    const target = Math.max(0, Number(ms) || 0);
    reseed(target);
    if (!loading) flushTimers(target);
    time = target;
    now = target;
    reads = 0;
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
      show,
      getTime: () => now,
      config,
      lots: () => lots,
      // Whether timers are pending in composition time, and whether one waits for the end of the running script.
      pending: () => timers.size,
      soon: () => !loading && [...timers.values()].some((timer) => timer.real !== null),
      requests,
      freeze,
      step,
      isLoading: () => loading,
      note,
      notes: () => [...notes.values()],
      departure: () => departure,
      aimAt: (seconds) => { aim = seconds; },
    },
  });
})();
