// Edits of the studio, applied now and after every seek, because animations write to the same properties: an element has its
// edited offset, size and rotation in addition to what its timeline sets, and motions are a timeline of their own.
(() => {
  "use strict";
  if (window.__hyperfarmEdits) return;
  const parts = (text) => text.trim().match(/(?:[^\s()]|\([^()]*(?:\([^()]*\)[^()]*)*\))+/g) || [];
  const sum = (first, second) => `calc(${first} + ${second})`;
  const shifted = (element) => {
    const [x, y] = ["var(--hf-studio-offset-x, 0px)", "var(--hf-studio-offset-y, 0px)"];
    const original = (element.getAttribute("data-hf-studio-original-translate") || "").trim();
    const own = original === "none" ? [] : parts(original);
    if (own.length === 0) return `${x} ${y}`;
    return [sum(own[0], x), own[1] ? sum(own[1], y) : y, ...own.slice(2, 3)].join(" ");
  };
  const turned = (element) => {
    const turn = "var(--hf-studio-rotation, 0deg)";
    const original = (element.getAttribute("data-hf-studio-original-rotate") || "").trim();
    return /^-?(?:\d+(?:\.\d+)?|\.\d+)(?:deg|rad|turn|grad)$/.test(original) ? sum(original, turn) : turn;
  };
  // The edit replaces the translation of a timeline, so that is removed from the transform.
  const withoutMove = (element) => {
    const transform = element.style.transform;
    if (!transform || transform === "none") return;
    let matrix;
    try { matrix = new DOMMatrix(transform); } catch { return; }
    if (matrix.m41 === 0 && matrix.m42 === 0) return;
    matrix.m41 = 0;
    matrix.m42 = 0;
    if (matrix.isIdentity) element.style.removeProperty("transform");
    else element.style.transform = matrix.toString();
  };
  const own = (element, name) => element.style.getPropertyValue(name);

  let motions = null;
  let time = 0;
  const seconds = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
  const buildMotions = () => {
    const elements = document.querySelectorAll("[data-hf-studio-motion]");
    if (!elements.length || !window.gsap) return null;
    const timeline = gsap.timeline({ paused: true, defaults: { overwrite: "auto" } });
    let count = 0;
    for (const element of elements) {
      let motion;
      try { motion = JSON.parse(element.getAttribute("data-hf-studio-motion")); } catch { continue; }
      const [start, duration] = [seconds(motion?.start), seconds(motion?.duration)];
      if (start === null || duration === null || duration <= 0) continue;
      let ease = typeof motion.ease === "string" ? motion.ease : "none";
      const custom = motion.customEase;
      if (custom?.id && custom?.data && window.CustomEase) {
        gsap.registerPlugin(CustomEase);
        CustomEase.create(custom.id, custom.data);
        ease = custom.id;
      }
      timeline.fromTo(element, { ...motion.from }, { ...motion.to, duration, ease, overwrite: "auto", immediateRender: false }, start);
      count++;
    }
    if (!count) return null;
    (window.__timelines = window.__timelines || {})["studio-motion"] = timeline;
    return timeline;
  };

  const apply = () => {
    for (const element of document.querySelectorAll('[data-hf-studio-path-offset="true"]')) {
      if (!own(element, "--hf-studio-offset-x") && !own(element, "--hf-studio-offset-y")) continue;
      element.style.setProperty("translate", shifted(element));
      withoutMove(element);
    }
    for (const element of document.querySelectorAll('[data-hf-studio-box-size="true"]')) {
      const [width, height] = [own(element, "--hf-studio-width"), own(element, "--hf-studio-height")];
      if (width) element.style.setProperty("width", width);
      if (height) element.style.setProperty("height", height);
    }
    for (const element of document.querySelectorAll('[data-hf-studio-rotation="true"]')) {
      if (!own(element, "--hf-studio-rotation")) continue;
      element.style.setProperty("rotate", turned(element));
      withoutMove(element);
    }
    motions = motions || buildMotions();
    if (motions) motions.pause().totalTime(time, false);
  };

  const wrapSeek = (holder, name) => {
    const seek = holder && holder[name];
    if (typeof seek !== "function" || seek.__hyperfarmEdits) return;
    const wrapped = function (t, ...rest) {
      const result = seek.call(this, t, ...rest);
      time = Number(t) || 0;
      apply();
      return result;
    };
    wrapped.__hyperfarmEdits = true;
    try { holder[name] = wrapped; } catch { /* a frozen player: the bridge is wrapped instead */ }
  };
  Object.defineProperty(window, "__hyperfarmEdits", { value: Object.freeze({ apply }) });
  // The runtime creates its player after the page's scripts have run.
  const clock = window.__HF_VIRTUAL_TIME__;
  let tries = 0;
  const follow = () => {
    wrapSeek(window.__player, "renderSeek");
    if (window.__player || ++tries > 1200) return;
    (clock ? clock.originalSetTimeout : setTimeout)(follow, 25);
  };
  follow();
  apply();
})();
