// A plain page, whose body is the composition. Registers the page's timeline, and sets its duration where none is set: that of its
// clips, timelines and animations.
(() => {
  "use strict";
  const root = document.body;
  const longest = 3600;

  const adoptTimelines = () => {
    const timelines = window.__timelines;
    const names = timelines ? Object.keys(timelines) : [];
    if (names.length === 0) {
      root.setAttribute("data-no-timeline", "");
      return;
    }
    root.removeAttribute("data-no-timeline");
    const id = root.getAttribute("data-composition-id");
    if (timelines[id]) return;
    if (names.length === 1 || !window.gsap) {
      timelines[id] = timelines[names[0]];
      return;
    }
    const all = window.gsap.timeline({ paused: true });
    for (const name of names) all.add(timelines[name].paused(false), 0);
    timelines[id] = all;
  };

  const end = () => {
    let last = 0;
    const reach = (seconds) => { if (Number.isFinite(seconds) && seconds > last) last = seconds; };
    for (const clip of root.querySelectorAll("[data-start][data-duration]")) {
      reach(Number(clip.getAttribute("data-start")) + Number(clip.getAttribute("data-duration")));
    }
    for (const timeline of Object.values(window.__timelines || {})) {
      if (timeline && typeof timeline.duration === "function") reach(Number(timeline.duration()));
    }
    let once = 0;
    for (const animation of document.getAnimations()) {
      const timing = animation.effect ? animation.effect.getComputedTiming() : null;
      if (!timing) continue;
      if (Number.isFinite(timing.endTime)) reach(Number(timing.endTime) / 1000);
      // Endless animations are shown once, if nothing else has an end.
      else once = Math.max(once, (Number(timing.delay) + Number(timing.duration)) / 1000);
    }
    if (last === 0) reach(once);
    return Math.min(last, longest);
  };

  const complete = () => {
    adoptTimelines();
    if (root.hasAttribute("data-duration") && !root.hasAttribute("data-hyperfarm-duration")) return;
    const seconds = end();
    if (seconds > 0) {
      root.setAttribute("data-hyperfarm-duration", "");
      root.setAttribute("data-duration", String(Math.round(seconds * 1e6) / 1e6));
    }
  };
  complete();
  // Scripts that wait for the document register their timelines after this script has run.
  document.addEventListener("DOMContentLoaded", complete);
  window.addEventListener("load", complete);
})();
