// Runs before any script of any frame of the page (same-origin and srcdoc frames included) and of its dedicated workers. It replaces
// the clock, timers and random numbers, so that a picture depends on the frame's number only.
//
// The configuration { fps, exact, variables, seed, epoch } replaces the placeholder below.
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
    fetch: window.fetch?.bind(window),
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
  //
  // A frame or a worker that is made in sought time has no load time of its own: it begins at the moment at which it is made.
  const start = (() => {
    if (!inPage) return config.start;
    try {
      const above = window.top === window ? null : window.top.__HF_VIRTUAL_TIME__;
      return above && !above.isLoading() ? above.getTime() : undefined;
    } catch { return undefined; /* the page is of another origin */ }
  })();
  let loading = start === undefined;
  // Milliseconds of the timers' time: of the steps while the page loads, of the composition afterwards.
  let time = start ?? 0;
  let now = time;
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
  const { measure } = Performance.prototype;
  Performance.prototype.measure = function (name, from, to) {
    if (from === null || typeof from !== "object") return measure.call(this, name, { start: from ?? 0, end: to ?? now });
    const options = { ...from };
    if (options.end === undefined && options.duration === undefined) options.end = now;
    if (options.start === undefined && (options.end === undefined || options.duration === undefined)) options.start = 0;
    return measure.call(this, name, options);
  };
  // Entries that the browser makes have moments of the load, which are 0; so have moments of the navigation, which are the submission.
  const fields = (owner) => Object.entries(Object.getOwnPropertyDescriptors(window[owner]?.prototype ?? {})).filter(([, found]) => found.get).map(([name]) => name);
  const made = new Set(["mark", "measure"]);
  for (const name of ["startTime", "duration"]) {
    getter(window.PerformanceEntry?.prototype, name, function (get) { return made.has(this.entryType) ? get.call(this) : 0; });
  }
  const ofEntries = [
    "PerformanceResourceTiming", "PerformanceNavigationTiming", "PerformancePaintTiming", "LargestContentfulPaint", "PerformanceElementTiming",
    "PerformanceEventTiming",
  ];
  for (const owner of ofEntries) {
    for (const name of fields(owner)) {
      if (/(?:Start|End|Time|Interactive|Complete|Restart)$/.test(name)) getter(window[owner].prototype, name, () => 0);
    }
  }
  for (const name of fields("PerformanceTiming")) {
    getter(PerformanceTiming.prototype, name, function (get) { return get.call(this) > 0 ? config.epoch : 0; });
  }
  for (const owner of ["PerformanceEntry", "PerformanceTiming", ...ofEntries]) {
    const prototype = window[owner]?.prototype;
    const toJSON = prototype && Object.getOwnPropertyDescriptor(prototype, "toJSON")?.value;
    if (!toJSON) continue;
    prototype.toJSON = function () {
      const all = toJSON.call(this);
      for (const name of Object.keys(all)) if (typeof all[name] === "number") all[name] = this[name];
      return all;
    };
  }
  const { toJSON } = Performance.prototype;
  Performance.prototype.toJSON = function () {
    return { ...toJSON.call(this), timeOrigin: this.timeOrigin, ...(this.timing && { timing: this.timing.toJSON() }) };
  };
  // What the machine answers is the same on every machine.
  const answers = { NetworkInformation: { rtt: 50, downlink: 10, downlinkMax: 10 }, Navigator: { hardwareConcurrency: 4, deviceMemory: 8 } };
  answers.WorkerNavigator = answers.Navigator;
  for (const [owner, values] of Object.entries(answers)) {
    for (const [name, value] of Object.entries(values)) getter(window[owner]?.prototype, name, () => value);
  }
  getter(window.Performance.prototype, "memory", () => ({ usedJSHeapSize: 1e7, totalJSHeapSize: 2e7, jsHeapSizeLimit: 4e9 }));
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
  // Shadow roots of an iframe, and what it shows next, which is waited for.
  const roots = [];
  if (inPage && window.top !== window) {
    const { attachShadow } = Element.prototype;
    Element.prototype.attachShadow = function (init) {
      const root = attachShadow.call(this, init);
      roots.push(root);
      return root;
    };
    window.navigation?.addEventListener("navigate", (event) => {
      if (event.destination.sameDocument || event.hashChange || event.downloadRequest !== null) return;
      try {
        if (window.frameElement) window.top.__HF_VIRTUAL_TIME__.untilLoaded(window.frameElement, window.navigation, event.signal);
      } catch { /* its page is of another origin */ }
    });
  }
  let departure = null;
  // Second of the composition that is sought; the clock follows when the timelines are there.
  let aim = 0;
  const leave = (what) => { departure ??= { what, place: placeOf(), time: loading ? null : aim }; };
  if (inPage && window.top === window) {
    const words = { reload: "reloads itself", traverse: "goes back or forward in its history" };
    window.navigation?.addEventListener("navigate", (event) => {
      if (event.destination.sameDocument || event.hashChange) return;
      const to = event.destination.url.replace(/^https?:\/\/[^/]*\.localhost(?=\/|$)/, "").slice(0, 200);
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
    nesting = 0;
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
  const audioContexts = new Map();
  const audioPrototype = window.AudioContext?.prototype;
  const nativeSuspend = audioPrototype?.suspend;
  if (audioPrototype) {
    window.AudioContext = class AudioContext extends window.AudioContext {
      constructor(...parts) {
        super(...parts);
        audioContexts.set(this, { at: 0, since: now, runs: true });
      }
    };
    // The clock of an audio context is the page's. Its sound is not heard, so it does nothing once the page is ready.
    const secondsOf = ({ at, since, runs }) => (runs ? at + Math.max(0, now - since) / 1000 : at);
    getter(BaseAudioContext.prototype, "currentTime", function (get) {
      const own = audioContexts.get(this);
      return own ? secondsOf(own) : get.call(this);
    });
    getter(BaseAudioContext.prototype, "state", function (get) {
      const own = audioContexts.get(this);
      const state = get.call(this);
      return own && state !== "closed" ? (own.runs ? "running" : "suspended") : state;
    });
    for (const [name, runs] of [["resume", true], ["suspend", false]]) {
      const original = audioPrototype[name];
      audioPrototype[name] = function () {
        const own = audioContexts.get(this);
        if (!own) return original.call(this);
        if (own.runs !== runs) {
          Object.assign(own, { at: secondsOf(own), since: now, runs });
          queueMicrotask(() => this.dispatchEvent(new Event("statechange")));
        }
        return loading ? original.call(this) : Promise.resolve();
      };
    }
    audioPrototype.getOutputTimestamp = function () { return { contextTime: this.currentTime, performanceTime: now }; };
    getter(audioPrototype, "baseLatency", () => 0.01);
    getter(audioPrototype, "outputLatency", () => 0);
    for (const [name, silence] of [["ByteFrequency", 0], ["ByteTimeDomain", 128], ["FloatFrequency", -Infinity], ["FloatTimeDomain", 0]]) {
      const original = AnalyserNode.prototype[`get${name}Data`];
      AnalyserNode.prototype[`get${name}Data`] = function (array) {
        if (!audioContexts.has(this.context)) return original.call(this, array);
        note("CLOCK_NOT_HELD", "the page reads an analyser of sound, which hears nothing in a render; compute its data in an OfflineAudioContext or beforehand");
        array.fill(silence);
        return undefined;
      };
    }
  }
  let nextTimerId = 1;
  let order = 0;
  const timers = new Map();
  const asFunction = (callback) => (typeof callback === "function" ? callback : () => (0, eval)(String(callback)));
  const run = (id) => {
    const timer = timers.get(id);
    if (!timer) return;
    if (timer.every === null) timers.delete(id);
    else if (++timer.nesting > NESTED) timer.every = Math.max(NESTED_MS, timer.every);
    nesting = timer.nesting;
    try { timer.callback(...timer.parts); } catch (error) { report(error); }
  };
  // The HTML standard: a timer that timers have set one after the other waits for 4 ms at least. So a loop of them is in the clock's time.
  const NESTED = 5;
  const NESTED_MS = 4;
  // What waits for a promise of a timer's belongs to it, so this is 0 again only after that.
  let nesting = 0;
  const endNesting = () => real.setTimeout(() => { nesting = 0; }, 0);
  const add = (callback, delay, parts, repeats) => {
    const asked = Math.max(0, Number(delay) || 0);
    const wait = nesting >= NESTED ? Math.max(NESTED_MS, asked) : asked;
    const id = nextTimerId++;
    const every = repeats ? Math.max(1, wait) : null;
    const timer = { callback: asFunction(callback), parts, every, due: time + wait, order: order++, nesting: nesting + 1, real: null };
    timers.set(id, timer);
    // A delay of zero means the end of the running script, whatever the time.
    if (!repeats && wait < (loading ? 2 : 1)) {
      timer.real = real.setTimeout(() => {
        reads = 0;
        run(id);
        endNesting();
      }, 0);
    }
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
  AbortSignal.timeout = (delay) => {
    const controller = new AbortController();
    add(() => controller.abort(new DOMException("signal timed out", "TimeoutError")), delay, [], false);
    return controller.signal;
  };
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
    for (const [context, own] of audioContexts) {
      Object.assign(own, { at: 0, since: 0 });
      nativeSuspend.call(context).catch(() => {});
    }
  };
  // The moment of the timer that runs; a script that never ends leaves it.
  let running = null;
  // Runs the first timer that is due until then, after `prepare` with its moment. Answers whether there was one. The caller lets what waits
  // for its promises go on before the next, in the timer's time.
  const runNext = (until, prepare) => {
    let id = 0;
    let first = null;
    for (const [candidate, timer] of timers) {
      // Sums of frame intervals are rounded.
      if (timer.real !== null || timer.due > until + 1e-6) continue;
      if (first === null || timer.due < first.due || (timer.due === first.due && timer.order < first.order)) {
        id = candidate;
        first = timer;
      }
    }
    if (first === null) return false;
    time = Math.max(time, first.due);
    if (!loading || clockRuns) now = time;
    if (first.every !== null) first.due += first.every;
    reads = 0;
    prepare?.(time);
    running = time;
    run(id);
    running = null;
    return true;
  };
  // The number is bounded, because a timer may always set another one.
  const RUNS = 10000;
  const flushTimers = (until) => {
    for (let runs = 0; runs < RUNS && runNext(until); runs++);
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
    endNesting();
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

  // Work that a script begins, and whose result comes without the clock: the frame waits for it, and so does the end of the load.
  let quiet = 0;
  const quietly = (action) => {
    quiet++;
    try { return action(); } finally { quiet--; }
  };
  const isWaitedFor = () => quiet === 0;
  const untilOver = (promise) => {
    if (!isWaitedFor() || typeof promise?.then !== "function") return promise;
    requests.underWay++;
    promise.then(end, end);
    return promise;
  };
  const untilEvent = (target, ...types) => {
    if (!isWaitedFor()) return;
    requests.underWay++;
    let over = false;
    const once = () => { if (!over) end(); over = true; };
    for (const type of types) target.addEventListener(type, once, { once: true });
  };
  // Where an iframe gets no page in the end, nothing says so.
  const LOADED_WITHIN = 3000;
  const untilLoaded = (element, navigation, signal) => untilOver(new Promise((done) => {
    const ends = [[element, "load"], [signal, "abort"], [navigation, "navigatesuccess"], [navigation, "navigateerror"]];
    for (const [target, type] of ends) target.addEventListener(type, done, { once: true });
    real.setTimeout(done, LOADED_WITHIN);
  }));
  const works = {
    Blob: ["arrayBuffer", "text", "bytes"], HTMLImageElement: ["decode"], OffscreenCanvas: ["convertToBlob"], FontFace: ["load"], FontFaceSet: ["load"],
    SubtleCrypto: ["digest", "encrypt", "decrypt", "sign", "verify", "importKey", "exportKey", "deriveBits", "deriveKey", "wrapKey", "unwrapKey"],
    OfflineAudioContext: ["startRendering"], BaseAudioContext: ["decodeAudioData"], ImageDecoder: ["decode"], VideoDecoder: ["flush"],
    VideoEncoder: ["flush"], AudioDecoder: ["flush"], AudioEncoder: ["flush"], CacheStorage: ["match", "open", "has"], Cache: ["match", "matchAll", "put"],
    Scheduler: ["yield"],
  };
  for (const [owner, names] of Object.entries(works)) {
    const prototype = window[owner]?.prototype;
    for (const name of names) {
      const original = prototype?.[name];
      if (original) prototype[name] = function (...parts) { return untilOver(original.apply(this, parts)); };
    }
  }
  if (window.createImageBitmap) {
    const { createImageBitmap } = window;
    window.createImageBitmap = (...parts) => untilOver(createImageBitmap.apply(window, parts));
  }
  for (const name of ["compile", "instantiate", "compileStreaming", "instantiateStreaming"]) {
    const original = window.WebAssembly?.[name];
    if (original) WebAssembly[name] = (...parts) => untilOver(original.apply(WebAssembly, parts));
  }
  for (const name of ["readAsArrayBuffer", "readAsDataURL", "readAsText", "readAsBinaryString"]) {
    const original = window.FileReader?.prototype[name];
    if (original) FileReader.prototype[name] = function (...parts) {
      untilEvent(this, "loadend");
      return original.apply(this, parts);
    };
  }
  for (const [owner, names, types] of [
    ["IDBFactory", ["open", "deleteDatabase"], ["success", "error", "blocked"]], ["IDBDatabase", ["transaction"], ["complete", "abort"]],
  ]) {
    for (const name of names) {
      const original = window[owner]?.prototype[name];
      if (original) window[owner].prototype[name] = function (...parts) {
        const request = original.apply(this, parts);
        untilEvent(request, ...types);
        return request;
      };
    }
  }
  if (inPage) {
    const { toDataURL, getContext } = HTMLCanvasElement.prototype;
    // The browser would encode the picture when it is idle, a second later.
    HTMLCanvasElement.prototype.toBlob = function (callback, ...rest) {
      const [, type, body] = /^data:([^;,]*);base64,([^]*)$/.exec(toDataURL.apply(this, rest)) ?? [];
      const blob = body ? new Blob([Uint8Array.from(atob(body), (c) => c.charCodeAt(0))], { type }) : null;
      requests.underWay++;
      real.setTimeout(() => {
        end();
        callback(blob);
      }, 0);
    };
    // A canvas that does not wait for the compositor is drawn at some later frame.
    HTMLCanvasElement.prototype.getContext = function (kind, options) {
      return getContext.call(this, kind, options?.desynchronized ? { ...options, desynchronized: false } : options);
    };
    const loads = new WeakSet();
    const source = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
    Object.defineProperty(HTMLImageElement.prototype, "src", {
      ...source,
      set(value) {
        if (!loading && isWaitedFor() && this.loading !== "lazy" && !loads.has(this)) {
          loads.add(this);
          const over = () => loads.delete(this);
          for (const type of ["load", "error"]) this.addEventListener(type, over, { once: true });
          untilEvent(this, "load", "error");
        }
        source.set.call(this, value);
      },
    });
    // Smooth scrolling runs by the browser's clock, so its end is there at once.
    const atOnce = (options) => {
      if (options?.behavior === "smooth") note("CLOCK_NOT_HELD", "the page scrolls smoothly; the farm shows the end at once, without the motion between");
      return { ...options, behavior: "instant" };
    };
    for (const owner of [window, Element.prototype]) {
      for (const name of ["scroll", "scrollTo", "scrollBy"]) {
        const original = owner[name];
        owner[name] = function (...parts) {
          const options = parts.length > 1 ? { left: parts[0], top: parts[1] } : parts[0];
          return parts.length ? original.call(this, atOnce(options)) : undefined;
        };
      }
    }
    const { scrollIntoView, scrollTo } = Element.prototype;
    Element.prototype.scrollIntoView = function (how) {
      return scrollIntoView.call(this, atOnce(how !== null && typeof how === "object" ? how : how === false ? { block: "end", inline: "nearest" } : {}));
    };
    for (const [name, side] of [["scrollTop", "top"], ["scrollLeft", "left"]]) {
      const found = Object.getOwnPropertyDescriptor(Element.prototype, name);
      Object.defineProperty(Element.prototype, name, { ...found, set(value) { scrollTo.call(this, { [side]: Number(value) || 0 }); } });
    }
    for (const [owner, name, words] of [
      ["HTMLCanvasElement", "captureStream", "a stream of a canvas"], ["HTMLMediaElement", "captureStream", "a stream of a medium"],
      ["MediaRecorder", "start", "a recorder"],
    ]) {
      const original = window[owner]?.prototype[name];
      if (original) window[owner].prototype[name] = function (...parts) {
        note("CLOCK_NOT_HELD", `the page uses ${words}, which runs by the browser's clock`);
        return original.apply(this, parts);
      };
    }
  } else if (window.Worker) {
    window.Worker = new Proxy(window.Worker, {
      construct: (target, parts, self) => {
        note("CLOCK_NOT_HELD", "a worker of the page starts a worker, which runs by the browser's clock; start it in the page");
        return Reflect.construct(target, parts, self);
      },
    });
  }

  // Broadcast channels carry messages between the page, its frames and its workers through the page, in order, so that a frame knows what is
  // under way. `relay.out` sends to the other realms.
  const channels = new Set();
  const relay = {
    out: (name, data) => window.top.__hyperfarmWorkers?.relay(name, data, window),
    // A message that has come from a worker is given on at once: the worker's answer is behind it.
    receive: (name, data, sender = null, atOnce = false) => {
      for (const channel of channels) {
        if (channel === sender || channel.name !== name) continue;
        const deliver = () => {
          if (channels.has(channel)) channel.dispatchEvent(new MessageEvent("message", { data: structuredClone(data), origin: window.origin }));
        };
        if (atOnce) {
          deliver();
          continue;
        }
        requests.underWay++;
        real.setTimeout(() => {
          end();
          deliver();
        }, 0);
      }
    },
  };
  if (window.BroadcastChannel) {
    window.BroadcastChannel = class BroadcastChannel extends EventTarget {
      #name;
      #handler = null;
      constructor(name) {
        super();
        this.#name = String(name);
        channels.add(this);
      }
      get name() { return this.#name; }
      get onmessage() { return this.#handler; }
      set onmessage(handler) {
        if (this.#handler) this.removeEventListener("message", this.#handler);
        this.#handler = typeof handler === "function" ? handler : null;
        if (this.#handler) this.addEventListener("message", this.#handler);
      }
      postMessage(data) {
        if (!channels.has(this)) throw new DOMException("the channel is closed", "InvalidStateError");
        const copy = structuredClone(data);
        relay.receive(this.#name, copy, this);
        relay.out(this.#name, copy);
      }
      close() { channels.delete(this); }
    };
  }

  // The clock of a child frame has the time of a frame before the scripts of its parent run.
  const show = (ms) => {
    aim = ms / 1000;
    if (!loading) now = ms;
  };
  // A seek to the same time runs no animation frame, so that a frame may be sought again; `again` runs one nevertheless.
  let sought = null;
  let isBegun = false;
  // Begins a seek to `ms`: then timers are run one by one, by `runNext`. Answers whether there are any.
  const beginSeek = (ms) => {
    if (loading || timers.size === 0) return false;
    reseed(ms);
    isBegun = true;
    return true;
  };
  const seekToTime = (ms) => {
    const target = Math.max(0, Number(ms) || 0);
    if (!isBegun) reseed(target);
    isBegun = false;
    if (!loading) flushTimers(target);
    time = target;
    now = target;
    reads = 0;
    if (target !== sought) flushFrames();
    nesting = 0;
    sought = target;
    return now;
  };
  Object.defineProperty(window, "__HF_VIRTUAL_TIME__", {
    value: Object.freeze({
      originalFetch: real.fetch,
      originalSetTimeout: real.setTimeout,
      originalClearTimeout: real.clearTimeout,
      originalSetInterval: real.setInterval,
      originalClearInterval: real.clearInterval,
      originalRequestAnimationFrame: real.requestAnimationFrame,
      originalCancelAnimationFrame: real.cancelAnimationFrame,
      beginSeek,
      runNext,
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
      roots,
      quietly,
      untilLoaded,
      relay,
      aimAt: (seconds) => { aim = seconds; },
      // Milliseconds of the composition that are sought, and at which the script began that runs.
      aim: () => aim * 1000,
      stuckAt: () => running ?? aim * 1000,
    }),
  });
})();
