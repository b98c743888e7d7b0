// The sound of the page beyond its media list: effects, groups, and volumes that scripts change. It is evaluated by the plan stage
// only, in a page that is ready. Results are plain data.
(() => {
  "use strict";
  const LOUDEST = 10 ** (12 / 20);
  const clamp = (value) => (Number.isFinite(value) ? Math.min(LOUDEST, Math.max(0, value)) : 1);
  const media = () => [...document.querySelectorAll("video, audio")];
  const startOf = (element) => {
    const start = typeof window.__hfResolveMediaStartSeconds === "function" ? Number(window.__hfResolveMediaStartSeconds(element)) : NaN;
    return Number.isFinite(start) ? start : Number(element.getAttribute("data-start")) || 0;
  };
  const groupOf = (element) => element.getAttribute("data-hf-group-render-id") ?? element.getAttribute("data-audio-group");

  const describe = () => {
    const elements = media().map((element) => ({
      id: window.__hfMediaId(element),
      hidden: element.closest("[data-hidden]") !== null,
      effects: element.getAttribute("data-fx-chain"),
      group: groupOf(element) || null,
    }));
    const groups = [...document.querySelectorAll("hf-audio-group")].map((element) => {
      const volume = parseFloat(element.getAttribute("data-volume") ?? "");
      return {
        id: element.getAttribute("data-hf-render-id") ?? element.id,
        hidden: element.hasAttribute("data-hidden"),
        volume: Number.isFinite(volume) ? volume : 1,
        effects: element.getAttribute("data-fx-chain"),
        automation: element.getAttribute("data-automation"),
      };
    });
    const root = document.querySelector("[data-composition-id]");
    return { elements, groups, master: root ? root.getAttribute("data-fx-chain") : null };
  };

  // Volumes by script: the root timeline is sought without its callbacks, and what the elements' `volume` then is counts -----
  const rootTimeline = () => {
    const root = document.querySelector("[data-composition-id]");
    return root ? (window.__timelines || {})[root.getAttribute("data-composition-id")] : null;
  };
  const seek = (timeline, t) => {
    if (typeof timeline.totalTime === "function") timeline.totalTime(t, true);
    else if (typeof timeline.seek === "function") timeline.seek(t, true);
  };
  // A page whose scripts do not contain the word cannot change a volume.
  const mayMove = async () => {
    if (!rootTimeline()) return false;
    for (const script of document.scripts) {
      if (!script.src) {
        if (/volume/i.test(script.textContent)) return true;
      } else if (!script.src.includes("/__hyperfarm/")) {
        const text = await fetch(script.src).then((answer) => answer.text()).catch(() => "volume");
        if (/volume/i.test(text)) return true;
      }
    }
    return false;
  };

  let walk = null;
  // Elements store what scripts assign, also values above 1, which the browser's property refuses.
  const keepAssigned = (element) => {
    const own = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "volume");
    let value = Number(own.get.call(element));
    const assign = (next) => {
      value = Number(next);
      if (Number.isFinite(value)) own.set.call(element, Math.min(1, Math.max(0, value)));
    };
    Object.defineProperty(element, "volume", { configurable: true, get: () => value, set: assign });
  };
  const begin = async (duration, step) => {
    if (!(await mayMove())) return 0;
    const times = new Set();
    const clips = [];
    for (const element of media()) {
      const start = startOf(element);
      const length = parseFloat(element.getAttribute("data-duration") ?? "");
      const authored = parseFloat(element.getAttribute("data-end") ?? "");
      let end = duration;
      if (length > 0) end = start + length;
      else if (authored > start) end = authored;
      const from = Math.max(0, start);
      const to = Math.min(duration, end);
      if (!(to > from)) continue;
      const still = parseFloat(element.getAttribute("data-volume") ?? "");
      keepAssigned(element);
      if (Number.isFinite(still)) element.volume = clamp(still);
      clips.push({ id: window.__hfMediaId(element), element, from, to, still: Number.isFinite(still) ? clamp(still) : 1, points: [], last: null });
      const count = Math.ceil((to - from) / step - 1e-6);
      for (let i = 0; i < count; i++) times.add(Number((from + i * step).toFixed(6)));
      times.add(Number(to.toFixed(6)));
    }
    walk = { timeline: rootTimeline(), clips, times: [...times].sort((a, b) => a - b), next: 0 };
    return walk.times.length;
  };
  // Points where the volume changes, each with the point before it.
  const sample = (count) => {
    const until = Math.min(walk.times.length, walk.next + count);
    for (; walk.next < until; walk.next++) {
      const time = walk.times[walk.next];
      seek(walk.timeline, time);
      for (const clip of walk.clips) {
        if (time < clip.from - 1e-6 || time > clip.to + 1e-6) continue;
        const volume = clamp(Number(clip.element.volume));
        const kept = clip.points.at(-1);
        if (!kept || Math.abs(kept[1] - volume) > 1e-4) {
          if (kept && clip.last[0] > kept[0]) clip.points.push(clip.last);
          clip.points.push([time, volume]);
        }
        clip.last = [time, volume];
      }
    }
    return walk.next;
  };
  const end = () => {
    seek(walk.timeline, 0);
    const moved = [];
    for (const clip of walk.clips) {
      delete clip.element.volume;
      if (clip.points.some(([, volume]) => Math.abs(volume - clip.still) > 1e-4)) {
        moved.push({ id: clip.id, points: clip.points.map(([time, gain]) => ({ time, gain })) });
      }
    }
    walk = null;
    return moved;
  };

  Object.defineProperty(window, "__hyperfarmSound", { value: Object.freeze({ describe, begin, sample, end }) });
})()
