// Runs in dedicated workers, after early.js and before the worker's script. It answers the host's calls: a seek or a step of the clock,
// after which the pictures of canvases are sent that the page transferred.
(() => {
  "use strict";
  const clock = self.__HF_VIRTUAL_TIME__;
  const KEY = "__hyperfarm";
  const post = self.postMessage.bind(self);
  const wait = () => new Promise((done) => clock.originalSetTimeout(done, 0));
  const canvases = new Map();
  let expected = [];
  const find = (value, depth = 0) => {
    if (value instanceof OffscreenCanvas) {
      if (expected.length) canvases.set(expected.shift(), value);
    } else if (depth < 6 && value !== null && typeof value === "object" && !ArrayBuffer.isView(value)) {
      for (const inner of value instanceof Map ? value.values() : Object.values(value)) find(inner, depth + 1);
    }
  };
  const pictures = async () => {
    const made = [];
    for (const [number, canvas] of canvases) {
      if (!canvas.width || !canvas.height) continue;
      // One that no script has drawn into yet has no picture.
      try { made.push({ number, picture: await createImageBitmap(canvas) }); } catch { /* nothing to show */ }
    }
    return made;
  };
  const answer = async (call) => {
    if (call.freeze) clock.freeze();
    if (call.step) clock.step(...call.step);
    if (call.seek !== undefined && !call.again) {
      // As in the page: what waits for a promise of a timer's goes on before the next timer.
      for (let runs = clock.beginSeek(call.seek) ? 0 : 10000; runs < 10000 && clock.runNext(call.seek); runs++) {
        for (let turn = 0; turn < 8; turn++) await null;
      }
      clock.seekToTime(call.seek);
    }
    // What the scripts have begun ends first: promises, and timers without a delay.
    await wait();
    for (let turn = 0; turn < 20 && clock.soon(); turn++) await wait();
    for (let turn = 0; call.seek !== undefined && turn < 2000 && clock.requests.underWay > 0; turn++) await wait();
    const made = call.seek === undefined ? [] : await pictures();
    post({ [KEY]: { id: call.id, pictures: made, underWay: clock.requests.underWay, notes: clock.notes() } }, made.map(({ picture }) => picture));
  };
  clock.relay.out = (name, data) => post({ [KEY]: { broadcast: { name, data } } });
  self.addEventListener("message", (event) => {
    const call = event.data?.[KEY];
    if (!call) {
      if (expected.length) find(event.data);
      expected = [];
      return;
    }
    event.stopImmediatePropagation();
    if (call.broadcast) clock.relay.receive(call.broadcast.name, call.broadcast.data, null, true);
    else if (call.canvases) expected = call.canvases;
    else answer(call);
  });
})();
