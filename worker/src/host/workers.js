// Dedicated workers share the page's time. Their scripts run after early.js and worker.js; the host seeks them with the page, and
// waits until they have drawn. A canvas whose control a page transfers is drawn by the page, from what the worker's canvas has after each
// seek, because the browser would show it at some later frame. It runs in the top frame only, after remote.js.
(() => {
  "use strict";
  if (window.top !== window || window.__hyperfarmWorkers || !window.Worker) return;
  const clock = window.__HF_VIRTUAL_TIME__;
  const KEY = "__hyperfarm";
  // Longest wait in milliseconds for a worker that computes.
  const ANSWER_WITHIN = 20000;
  // Most questions and answers of the page and a worker, one after the other, for one frame.
  const ROUNDS = 100;
  const own = window.location.origin;
  const { createObjectURL } = URL;
  const { Blob } = window;
  const blobs = new Map();
  URL.createObjectURL = (object) => {
    const url = createObjectURL.call(URL, object);
    if (object instanceof Blob) blobs.set(url, object);
    return url;
  };

  const config = () => {
    const { fps, seed, epoch } = clock.config;
    return JSON.stringify({ fps, seed, epoch, start: clock.isLoading() ? undefined : clock.getTime() });
  };
  const lead = (isModule) => {
    const script = JSON.stringify(`${own}/__hyperfarm/worker.js`);
    const set = `self.__hyperfarmConfig=${config()};`;
    return isModule ? `import "data:text/javascript,${encodeURIComponent(set)}";import ${script};` : `${set}importScripts(${script});`;
  };
  // The address of the script `url` with the farm's script before it.
  const prepared = (url, isModule) => {
    const text = String(url);
    const type = { type: "text/javascript" };
    if (blobs.has(text)) return createObjectURL.call(URL, new Blob([lead(isModule), blobs.get(text)], type));
    const data = /^data:[^,]*?(;base64)?,([^]*)$/i.exec(text);
    if (data) {
      const body = data[1] ? Uint8Array.from(atob(decodeURIComponent(data[2])), (c) => c.charCodeAt(0)) : decodeURIComponent(data[2]);
      return createObjectURL.call(URL, new Blob([lead(isModule), body], type));
    }
    const target = new URL(text, document.baseURI);
    if (target.origin !== own) return url;
    target.search += `${target.search ? "&" : "?"}hyperfarm-worker=${isModule ? "module" : "classic"}&hyperfarm-config=${encodeURIComponent(config())}`;
    return target.href;
  };

  // Canvases whose control was transferred, by number.
  const targets = new Map();
  const numbers = new WeakMap();
  const local = new Map();
  const transfer = window.HTMLCanvasElement.prototype.transferControlToOffscreen;
  if (transfer) {
    window.HTMLCanvasElement.prototype.transferControlToOffscreen = function () {
      const canvas = new OffscreenCanvas(this.width, this.height);
      const context = this.getContext("2d");
      if (!context) throw new DOMException("Cannot transfer control from a canvas that has a rendering context.", "InvalidStateError");
      const number = targets.size + 1;
      targets.set(number, { element: this, context });
      numbers.set(canvas, number);
      local.set(number, canvas);
      return canvas;
    };
  }
  const show = (number, picture) => {
    const { element, context } = targets.get(number) ?? {};
    if (!element || picture.width === 0 || picture.height === 0) return;
    if (element.width !== picture.width) element.width = picture.width;
    if (element.height !== picture.height) element.height = picture.height;
    context.globalCompositeOperation = "copy";
    context.drawImage(picture, 0, 0);
  };
  // Numbers of the canvases in a message, in the order in which worker.js finds them.
  const canvasesIn = (value, depth = 0, found = []) => {
    if (value instanceof OffscreenCanvas) {
      if (numbers.has(value)) found.push(numbers.get(value));
    } else if (depth < 6 && value !== null && typeof value === "object" && !ArrayBuffer.isView(value)) {
      for (const inner of value instanceof Map ? value.values() : Object.values(value)) canvasesIn(inner, depth + 1, found);
    }
    return found;
  };

  const workers = new Set();
  const waiting = new Map();
  let calls = 0;
  let posted = 0;
  const post = Worker.prototype.postMessage;
  const { addEventListener } = EventTarget.prototype;
  Worker.prototype.postMessage = function (message, ...rest) {
    posted++;
    const found = targets.size ? canvasesIn(message) : [];
    if (found.length) {
      post.call(this, { [KEY]: { canvases: found } });
      for (const number of found) local.delete(number);
    }
    return post.call(this, message, ...rest);
  };
  // Sends a message of a broadcast channel to every realm but its own.
  const relay = (name, data, from) => {
    if (from !== window) clock.relay.receive(name, data, null, workers.has(from));
    const toFrames = (within) => {
      for (let i = 0; i < within.frames.length; i++) {
        try {
          if (within.frames[i] !== from) within.frames[i].__HF_VIRTUAL_TIME__?.relay.receive(name, data, null, workers.has(from));
          toFrames(within.frames[i]);
        } catch { /* another origin */ }
      }
    };
    toFrames(window);
    for (const worker of workers) {
      if (worker === from) continue;
      posted++;
      post.call(worker, { [KEY]: { broadcast: { name, data } } });
    }
  };
  clock.relay.out = (name, data) => relay(name, data, window);
  const { terminate } = Worker.prototype;
  const forget = (worker) => {
    workers.delete(worker);
    for (const [id, { of, done }] of waiting) {
      if (of !== worker) continue;
      waiting.delete(id);
      done(null);
    }
  };
  Worker.prototype.terminate = function () {
    forget(this);
    return terminate.call(this);
  };
  window.Worker = new Proxy(window.Worker, {
    construct: (target, [url, options, ...rest], self) => {
      const worker = Reflect.construct(target, [prepared(url, options?.type === "module"), options, ...rest], self);
      workers.add(worker);
      addEventListener.call(worker, "message", (event) => {
        const answer = event.data?.[KEY];
        if (!answer) return;
        event.stopImmediatePropagation();
        if (answer.broadcast) {
          relay(answer.broadcast.name, answer.broadcast.data, worker);
          return;
        }
        for (const { code, message } of answer.notes) clock.note(code, message);
        for (const { number, picture } of answer.pictures) {
          show(number, picture);
          picture.close();
        }
        waiting.get(answer.id)?.done(answer);
        waiting.delete(answer.id);
      });
      addEventListener.call(worker, "error", (event) => {
        // A worker whose script cannot be loaded answers nothing.
        if (!event.lineno) forget(worker);
        // What its timers and frames throw is thrown again by the farm's script.
        const file = event.filename?.replace(/^https?:\/\/[^/]*\//, "").slice(0, 100);
        const place = file?.startsWith("__hyperfarm/") ? "" : ` (${file}:${event.lineno})`;
        clock.originalSetTimeout(() => {
          if (event.lineno && !event.defaultPrevented) clock.note("SCRIPT_EXCEPTION", `a worker threw: ${event.message.replace(/^Uncaught /, "").slice(0, 200)}${place}`);
        }, 0);
      });
      return worker;
    },
  });
  for (const [name, words] of [["SharedWorker", "a shared worker"], ["AudioWorkletNode", "an audio worklet"]]) {
    if (typeof window[name] !== "function") continue;
    window[name] = new Proxy(window[name], {
      construct: (target, parts, self) => {
        clock.note("CLOCK_NOT_HELD", `the page uses ${words}, which runs by the browser's clock; use a dedicated worker and its messages, or the page`);
        return Reflect.construct(target, parts, self);
      },
    });
  }

  const call = (worker, what) => new Promise((done) => {
    const id = ++calls;
    waiting.set(id, { of: worker, done });
    clock.originalSetTimeout(() => {
      if (!waiting.delete(id)) return;
      clock.note("WORKER_BUSY", "a worker of the page did not answer in time, and is not waited for any more");
      workers.delete(worker);
      done(null);
    }, ANSWER_WITHIN);
    post.call(worker, { [KEY]: { id, ...what } });
  });
  const callAll = (what) => Promise.all([...workers].map((worker) => call(worker, what)));
  const seek = async (ms) => {
    // What a worker says may make the page ask it for something more.
    for (let round = 0; workers.size; round++) {
      const before = posted;
      await callAll({ seek: ms, again: round > 0 });
      if (posted === before) break;
      if (round < ROUNDS) continue;
      clock.note("WORKER_BUSY", `the page and its workers exchange more than ${ROUNDS} messages in turn for one frame; the farm does not wait for the rest`);
      break;
    }
    for (const [number, canvas] of local) show(number, canvas);
  };
  const step = (ms, withFrames, withClock) => callAll({ step: [ms, withFrames, withClock] });
  // Waits until no worker loads, and ends their load time.
  const freeze = async (limit) => {
    const until = Performance.prototype.now.call(performance) + limit;
    while (workers.size && Performance.prototype.now.call(performance) < until) {
      const answers = await callAll({});
      if (answers.every((answer) => !answer || answer.underWay === 0)) break;
      await new Promise((done) => clock.originalSetTimeout(done, 10));
    }
    if (workers.size) await callAll({ freeze: true });
  };
  const isUsed = () => workers.size > 0 || local.size > 0;
  Object.defineProperty(window, "__hyperfarmWorkers", { value: Object.freeze({ seek, step, freeze, isUsed, relay }) });
})();
