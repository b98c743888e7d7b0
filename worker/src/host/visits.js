// Finds the earlier frames that a chunk has to visit so that the page is in the state of a walk from the first frame.
//
// A page that only GSAP tweens of elements move depends on the moments at which tweens take their start values, so visiting the
// frames around starts and ends is enough. Where code of the page may run during a seek (callbacks, animation frames, timers, listeners,
// observers, canvases, other libraries, CSS transitions), every frame is visited. None is visited if the root composition says
// `data-stateless`: each picture of it depends on nothing but the time. It runs in the top frame, after the host's other scripts
// and before those of the page, and changes nothing.
(() => {
  "use strict";
  if (window.top !== window || window.__hyperfarmVisits) return;
  // Paths of the farm's scripts and of copies of remote files.
  const OWN = /\/__hyperfarm\/(?!remote\/)/;
  let seen = null;
  const note = (what) => { seen ??= what; };
  // Whether the page has what the browser calls when it draws: observers of layout, and listeners to scrolling and to animations.
  let isCalledByDrawing = false;
  const byDrawing = /^(?:scroll|scrollend|scrollsnap\w+|(?:animation|transition)(?:start|end|iteration|cancel|run)|finish|ResizeObserver|IntersectionObserver)$/;
  // Whether the caller is a script of the farm (the runtime, the embedded GSAP) and not of the page. Line 0 of the stack names the error,
  // lines 1 and 2 are in this file.
  const byHost = () => OWN.test((new Error().stack || "").split("\n")[3] ?? "");

  // Whether the caller is GSAP's tick, from any copy of GSAP: it counts the ticker's frame and calls listeners with four values.
  const isTick = (callback) => {
    const text = Function.prototype.toString.call(callback);
    return /\+\+\w+\.frame\b/.test(text) && /\]\(\w+, ?\w+, ?\w+, ?\w+\)/.test(text);
  };
  const request = window.requestAnimationFrame;
  const ticks = new WeakSet();
  window.requestAnimationFrame = (callback) => {
    if (seen === null && typeof callback === "function" && !ticks.has(callback) && !byHost()) {
      if (isTick(callback)) ticks.add(callback);
      else note("it asks for animation frames");
    }
    return request(callback);
  };

  const harmless = new Set([
    "load", "DOMContentLoaded", "readystatechange", "error", "abort", "unhandledrejection", "progress", "timeout", "loadend", "beforeunload", "unload", "pagehide", "pageshow",
    "visibilitychange", "resize", "orientationchange", "loadstart", "loadedmetadata", "loadeddata", "canplay", "canplaythrough",
    "loadingdone", "loadingerror", "click", "dblclick", "contextmenu", "focus", "blur", "focusin", "focusout", "wheel",
  ]);
  const byHand = /^(?:mouse|pointer|touch|key|drag|gesture)/;
  const listen = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (type, ...rest) {
    if (seen === null && !harmless.has(type) && !byHand.test(type) && !byHost()) note(`it listens to ${type}`);
    if (!isCalledByDrawing && byDrawing.test(type) && !byHost()) isCalledByDrawing = true;
    return listen.call(this, type, ...rest);
  };
  for (const name of ["MutationObserver", "ResizeObserver", "IntersectionObserver", "Worker", "SharedWorker", "BroadcastChannel", "MessageChannel"]) {
    if (typeof window[name] !== "function") continue;
    window[name] = new Proxy(window[name], {
      construct: (target, parts, self) => {
        if (seen === null && !byHost()) note(`it has a ${name}`);
        if (!isCalledByDrawing && byDrawing.test(name) && !byHost()) isCalledByDrawing = true;
        return Reflect.construct(target, parts, self);
      },
    });
  }
  const define = window.customElements?.define;
  if (define) {
    window.customElements.define = function (...parts) {
      note("it defines elements");
      return define.apply(this, parts);
    };
  }

  const libraries = [
    "lottie", "bodymovin", "anime", "THREE", "PIXI", "p5", "d3", "Matter", "Motion", "createjs", "Konva", "BABYLON", "mapboxgl", "maplibregl", "Chart",
    "ScrollTrigger", "__hfAnime", "__hfLottie", "HyperShader",
  ];
  const playback = ["data-playback-rate", "data-playback-start", "data-media-start"];
  // Properties with state of their own, or with other values at each rendering.
  const unsafe = ["modifiers", "scrollTrigger", "scrambleText", "physics2D", "physicsProps", "inertia", "repeatRefresh"];

  class Unsteady extends Error {}
  const refuse = (why) => { throw new Unsteady(why); };

  const checkVars = (animation) => {
    for (const [key, value] of Object.entries(animation.vars ?? {})) {
      if (typeof value === "function" && /^on[A-Z]/.test(key)) refuse(`a tween has ${key}`);
      if (unsafe.includes(key) && value) refuse(`a tween has ${key}`);
    }
  };
  const checkTargets = (animation) => {
    for (const target of animation.targets?.() ?? []) {
      if (target instanceof Element) {
        if (target instanceof HTMLMediaElement) refuse("a tween moves a sound or a video");
        continue;
      }
      const plain = target && [Object.prototype, null].includes(Object.getPrototypeOf(target));
      const silent = plain && Object.values(Object.getOwnPropertyDescriptors(target)).every((own) => "value" in own && typeof own.value !== "function");
      if (!silent) refuse("a tween moves something that is no element");
    }
  };
  const isLinear = (ease) => typeof ease !== "function" || [0.25, 0.5, 0.75].every((x) => Math.abs(ease(x) - x) < 1e-9);

  // Moments, and ranges in which every frame is visited, in seconds of the composition.
  const collect = (timeline, toComposition, found) => {
    const registered = Object.values(window.__timelines ?? {});
    for (const child of timeline.getChildren(false, true, true)) {
      // The runtime adds the timelines of nested compositions to that of the root, and seeks them separately.
      if (registered.includes(child)) {
        const start = child.startTime();
        found.moments.push(toComposition(start));
        collect(child, (t) => toComposition(start + t), found);
        continue;
      }
      checkVars(child);
      checkTargets(child);
      const scale = child.timeScale();
      if (child.paused() || child.reversed() || !(scale > 0)) refuse("an animation in a timeline is paused or reversed");
      const start = child.startTime();
      const [begin, end] = [toComposition(start), toComposition(start + child.totalDuration() / scale)];
      found.moments.push(begin, toComposition(start + child.duration() / scale), end);
      const inner = typeof child.getChildren === "function" ? child : child.timeline;
      if (!inner) continue;
      if (inner !== child) checkVars(inner);
      if (inner === child || (isLinear(inner._ease) && inner.timeScale() === 1)) collect(inner, (t) => toComposition(start + t / scale), found);
      else {
        collect(inner, () => begin, found);
        found.stretches.push([begin, end]);
      }
    }
  };

  const rootComposition = () =>
    document.querySelector('[data-composition-id][data-root="true"]') ?? document.querySelector("[data-composition-id]");

  const animations = () => {
    const gsap = window.gsap;
    const Timeline = gsap?.core?.Timeline;
    const found = { moments: [], stretches: [] };
    const root = rootComposition();
    const seenTimelines = new Set();
    for (const [id, timeline] of Object.entries(window.__timelines ?? {})) {
      if (!timeline || seenTimelines.has(timeline)) continue;
      if (!Timeline || !(timeline instanceof Timeline)) refuse("a timeline is not GSAP's");
      seenTimelines.add(timeline);
      const host = document.querySelector(`[data-composition-id="${CSS.escape(id)}"]`);
      let start = 0;
      if (host && host !== root) {
        if (playback.some((name) => host.hasAttribute(name))) refuse("a nested composition has a rate or an offset of its own");
        start = Number(window.__hfResolveMediaStartSeconds?.(host) ?? NaN);
        if (!Number.isFinite(start)) refuse("the start of a nested composition is not known");
      }
      checkVars(timeline);
      collect(timeline, (t) => start + t, found);
    }
    for (const child of gsap?.globalTimeline?.getChildren(false, true, true) ?? []) {
      if (!seenTimelines.has(child) && !child.paused() && child.totalProgress() < 1) refuse("an animation runs outside the timelines");
    }
    if ((gsap?.ticker?._listeners?.length ?? 0) > 1) refuse("something listens to GSAP's ticker");
    return found;
  };

  // Properties by which GSAP moves an element in a layer of its own.
  const moves = /^(?:x|y|z|xPercent|yPercent|rotation[XYZ]?|scale[XY]?|skew[XY]?|transform|motionPath)$/;
  const isMove = (animation) => Object.keys(animation.vars ?? {}).some((key) => moves.test(key));
  // A layer is rasterised for a move until the rest of the move is shorter than this, in pixels: twice what Chrome was seen to do.
  const LAST_STEP = 1 / 64;
  // The same as a share of the move, where its length in pixels is not known.
  const LAST_SHARE = 1e-4;
  const EASE_STEP = 1 / 256;
  // Seconds before its end at which a move stops to be seen: an ease may approach its end for long.
  const stillFor = (move) => {
    const ease = move._ease;
    if (typeof ease !== "function" || move.repeat?.() > 0) return 0;
    const pixels = Math.max(...["x", "y"].map((key) => Math.abs(move.vars[key])).filter((length) => length > 1));
    const share = Number.isFinite(pixels) ? LAST_STEP / pixels : LAST_SHARE;
    let progress = 1;
    while (progress > 0 && Math.abs(1 - ease(progress - EASE_STEP)) < share) progress -= EASE_STEP;
    return (1 - progress) * move.duration();
  };
  // Whether `element` is in a clip that is over `seconds` into the composition.
  const isOver = (element, seconds) => {
    const clip = element.closest?.(".clip[data-start][data-duration]");
    const start = clip && window.__hfResolveMediaStartSeconds?.(clip);
    return Boolean(clip) && Number(start ?? NaN) + Number(clip.getAttribute("data-duration")) <= seconds;
  };
  // Moments in seconds of the composition at which the last move of each element that is shown at `seconds` stops to be seen,
  // and at which it ends. GSAP's moves of any timeline count.
  const restsOfMoves = (seconds) => {
    const last = new Map();
    for (const [id, timeline] of Object.entries(window.__timelines ?? {})) {
      if (typeof timeline?.getChildren !== "function") continue;
      const host = document.querySelector(`[data-composition-id="${CSS.escape(id)}"]`);
      const isInner = Object.values(window.__timelines).includes(timeline.parent);
      const start = isInner ? NaN : Number(host && (window.__hfResolveMediaStartSeconds?.(host) ?? 0)) || 0;
      for (const move of timeline.getChildren(true, true, false)) {
        if (!isMove(move)) continue;
        const toComposition = (t) => {
          for (let inner = move.parent; inner && inner !== timeline; inner = inner.parent) t = inner.startTime() + t / inner.timeScale();
          return start + t;
        };
        const begin = toComposition(move.startTime());
        const ends = move.startTime() + move.totalDuration() / move.timeScale();
        const [still, end] = [toComposition(ends - stillFor(move) / move.timeScale()), toComposition(ends)];
        if (![begin, still, end].every(Number.isFinite) || begin >= seconds) continue;
        for (const target of move.targets()) if (!(last.get(target)?.end > end)) last.set(target, { still, end });
      }
    }
    return [...last].filter(([target]) => !isOver(target, seconds)).map(([, rest]) => rest);
  };

  const clips = (found) => {
    for (const element of document.querySelectorAll("[data-start]")) {
      const start = Number(window.__hfResolveMediaStartSeconds?.(element) ?? element.getAttribute("data-start"));
      if (!Number.isFinite(start)) continue;
      found.moments.push(start);
      for (const name of ["data-duration", "data-hf-authored-duration", "data-end"]) {
        const value = parseFloat(element.getAttribute(name));
        if (Number.isFinite(value)) found.moments.push(start + value, value);
      }
    }
  };

  const isMoving = (style) => style && /[1-9]/.test(style.transitionDuration);
  const hasTransitions = () => {
    const declares = (rules) => [...rules].some((rule) => isMoving(rule.style) || (rule.cssRules && declares(rule.cssRules)));
    for (const sheet of document.styleSheets) {
      try { if (declares(sheet.cssRules)) return true; } catch { return true; }
    }
    return [...document.querySelectorAll('[style*="transition"]')].some((element) => isMoving(element.style));
  };

  const checkPage = () => {
    if (seen !== null) refuse(seen);
    if (typeof window.__player?.renderSeek !== "function") refuse("it brings a seek of its own");
    if (window.__HF_VIRTUAL_TIME__.pending() > 0) refuse("it has timers");
    if (window.__hyperfarmAnimations.awaitsEnds()) refuse("it waits for the end of an animation");
    const library = libraries.find((name) => window[name] !== undefined);
    if (library) refuse(`it has ${library}`);
    const element = window.__hyperfarmTrees.find("canvas, iframe, object, embed, [data-shader], [data-color-grading]");
    if (element) refuse(`it has a ${element.localName}`);
    if (hasTransitions()) refuse("it has CSS transitions");
  };

  const framesOf = (num, den, last) => {
    const frames = new Set();
    return {
      at: (seconds) => Math.floor((seconds * num) / den + 1e-6),
      add: (from, to) => {
        for (let frame = Math.max(1, from); frame <= Math.min(to, last - 1); frame++) frames.add(frame);
      },
      inOrder: () => [...frames].sort((a, b) => a - b),
    };
  };

  // Numbers of the frames before `last` that have to be visited, in order, or the reason why all have to be.
  const needed = (last, num, den) => {
    if (rootComposition()?.hasAttribute("data-stateless")) return { frames: [], why: null };
    let found;
    try {
      checkPage();
      found = animations();
      clips(found);
    } catch (error) {
      return { frames: null, why: error instanceof Unsteady ? error.message : String(error) };
    }
    const { at, add, inOrder } = framesOf(num, den, last);
    // The frame before it too, because the runtime treats a step of one frame as playback and a longer step as a jump.
    for (const moment of found.moments) if (Number.isFinite(moment)) add(at(moment) - 1, at(moment) + 2);
    for (const [begin, end] of found.stretches) add(at(begin) - 1, Math.min(at(end), last) + 2);
    add(last - 8, last - 1);
    return { frames: inOrder(), why: null };
  };

  // Numbers of the frames before `last`, in order, at which a move comes to rest.
  const rests = (last, num, den) => {
    const { at, add, inOrder } = framesOf(num, den, last);
    for (const { still, end } of restsOfMoves((last * den) / num)) {
      if (at(end) < last) add(Math.min(at(still), at(end) - 1), Math.min(at(still) + 3, at(end)));
    }
    return inOrder();
  };
  const before = (...range) => ({ ...needed(...range), rests: rests(...range) });
  Object.defineProperty(window, "__hyperfarmVisits", { value: Object.freeze({ before, needsDrawing: () => isCalledByDrawing }) });
})();
