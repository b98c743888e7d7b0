// The captions of the page: which text is shown when. It is evaluated by the plan stage only, as the last thing in a
// page that is ready, because it leaves the page at another time. Results are plain data.
//
// A caption element has the class `caption-group` or `caption`, or the attribute `data-caption`, and no other caption
// element inside. Its times are those of its clip (`data-start`), or of the clips around it. An element without a
// `data-start` of its own is a caption only while the GSAP timelines show it: between two moments at which a tween of
// it, or of an element around it, begins or ends.
(() => {
  "use strict";
  const SELECTOR = ".caption-group, .caption, [data-caption]";
  const MOST = 10_000;
  const LONGEST = 2000;

  const numberOf = (element, name) => {
    const text = element.getAttribute(name);
    return text === null || text.trim() === "" || !Number.isFinite(Number(text)) ? null : Number(text);
  };
  const HOST = "[data-composition-id], [data-composition-src]";
  const isHost = (element) => element.matches(HOST);
  const hostAround = (element) => element.parentElement?.closest(HOST) ?? null;
  const resolve = (element) =>
    Number(window.__hfResolveMediaStartSeconds?.(element) ?? numberOf(element, "data-start"));

  // Times of clips, in seconds of the composition ---------------------------------------------------------------------
  // The second at which a composition's own time is 0.
  const originOf = (host) => {
    if (host === null) return 0;
    return startOf(host) - (numberOf(host, "data-playback-start") ?? numberOf(host, "data-media-start") ?? 0);
  };
  const startOf = (element) => {
    if (!element.hasAttribute("data-start")) return originOf(hostAround(element));
    const own = numberOf(element, "data-start");
    // A start relative to another clip's end is the runtime's to resolve.
    return own === null ? resolve(element) : originOf(hostAround(element)) + Math.max(0, own);
  };
  const windowOf = (element) => {
    const start = startOf(element);
    const length = numberOf(element, "data-duration") ?? numberOf(element, "data-hf-authored-duration");
    const end = numberOf(element, "data-end") ?? numberOf(element, "data-hf-authored-end");
    if (length !== null && length > 0) return [start, start + length];
    return [start, end === null ? Infinity : originOf(hostAround(element)) + end];
  };
  const isTimed = (element) => element.hasAttribute("data-start") || isHost(element);
  const shownFor = (element, duration) => {
    let [from, to] = [0, duration];
    for (let clip = element; clip; clip = clip.parentElement) {
      if (!isTimed(clip)) continue;
      const [start, end] = windowOf(clip);
      if (!Number.isFinite(start)) continue;
      [from, to] = [Math.max(from, start), Math.min(to, end)];
    }
    return [from, to];
  };

  // Tweens ------------------------------------------------------------------------------------------------------------
  const timelines = () => {
    const isGsap = ([, timeline]) => typeof timeline?.getChildren === "function";
    const registered = Object.entries(window.__timelines ?? {}).filter(isGsap);
    const rootId = document.querySelector("[data-composition-id]")?.getAttribute("data-composition-id");
    const hostOf = (id) => document.querySelector(`[data-composition-id="${CSS.escape(id)}"]`);
    const startOfTimeline = (id) => (id === rootId ? 0 : originOf(hostOf(id)));
    return registered.map(([id, timeline]) => ({ timeline, isRoot: id === rootId, start: startOfTimeline(id) }));
  };
  // Calls `found` with each target and the moments at which a tween of it begins, repeats and ends.
  const eachTween = (timeline, toComposition, registered, found) => {
    for (const child of timeline.getChildren(false, true, true)) {
      if (registered.has(child)) continue;
      const scale = child.timeScale() || 1;
      const start = child.startTime();
      const rounds = Math.min(100, (child.repeat?.() > 0 ? child.repeat() : 0) + 1);
      const moments = [start, start + child.totalDuration() / scale];
      for (let round = 0; round < rounds; round++) {
        const begin = start + (round * (child.duration() + (child.repeatDelay?.() || 0))) / scale;
        moments.push(begin, begin + child.duration() / scale);
        if (typeof child.getChildren !== "function") continue;
        eachTween(child, (t) => toComposition(begin + t / scale), registered, found);
      }
      for (const target of child.targets?.() ?? []) {
        if (target instanceof Element) found(target, moments.map(toComposition));
      }
    }
  };
  const seek = (all, t) => {
    window.__hf.seek(t);
    for (const { timeline, isRoot } of all) if (isRoot) timeline.totalTime(t, true);
    const root = all.find(({ isRoot }) => isRoot)?.timeline;
    for (const { timeline, isRoot, start } of all) {
      // The root's timeline renders those within it, unless they are paused.
      if (isRoot || (root && timeline.parent === root && !timeline.paused())) continue;
      timeline.totalTime(Math.max(0, t - start), true);
    }
  };

  // Text --------------------------------------------------------------------------------------------------------------
  const BLOCKS = new Set(["BR", "DIV", "P", "LI", "H1", "H2", "H3", "H4", "H5", "H6"]);
  const write = (node, written) => {
    for (const child of node.childNodes) {
      if (child.nodeType === Node.TEXT_NODE) written.push(child.data.replaceAll(/\s+/g, " "));
      if (child.nodeType !== Node.ELEMENT_NODE || ["STYLE", "SCRIPT", "TEMPLATE"].includes(child.tagName)) continue;
      const isBlock = BLOCKS.has(child.tagName);
      // Words of a group may be elements without white space between them.
      const isWord = node.classList.contains("caption-group") && child.previousSibling?.nodeType === Node.ELEMENT_NODE;
      if (isBlock || isWord) written.push(isBlock ? "\n" : " ");
      write(child, written);
      if (isBlock) written.push("\n");
    }
  };
  const textOf = (element) => {
    const given = element.getAttribute("data-caption")?.trim();
    const written = [];
    if (given) written.push(given);
    else write(element, written);
    const lines = written.join("").split(/[\r\n]+/).map((line) => line.replaceAll(/\s+/g, " ").trim());
    return lines.filter((line) => line !== "").join("\n").slice(0, LONGEST);
  };

  const nameOf = (element) => (element.id ? `#${element.id}` : `"${textOf(element).slice(0, 40)}"`);

  const isShown = (element) => {
    if (!element.checkVisibility() || getComputedStyle(element).visibility !== "visible") return false;
    for (let at = element; at; at = at.parentElement) {
      if (!isTimed(at) && Number(getComputedStyle(at).opacity) === 0) return false;
    }
    return true;
  };

  // Each stretch of time in which a caption is shown, and the names of elements that are hidden and that no tween
  // shows.
  const read = (duration) => {
    const isCaption = (element) => !element.querySelector(SELECTOR) && textOf(element) !== "";
    const elements = [...document.querySelectorAll(SELECTOR)].filter(isCaption);
    const captions = [];
    const hidden = [];
    const checks = [];
    const all = timelines();
    const registered = new Set(all.map(({ timeline }) => timeline));
    const moments = new Map();
    for (const { timeline, start } of all) {
      eachTween(timeline, (t) => start + t, registered, (target, times) => {
        const known = moments.get(target) ?? moments.set(target, new Set()).get(target);
        times.forEach((time) => known.add(time));
      });
    }
    for (const element of elements.slice(0, MOST)) {
      const [from, to] = shownFor(element, duration);
      if (!(to > from)) continue;
      const caption = { element, stretches: [] };
      captions.push(caption);
      if (element.hasAttribute("data-start")) {
        caption.stretches.push([from, to]);
        continue;
      }
      const edges = new Set([from, to]);
      for (let at = element; at; at = at.parentElement) {
        for (const time of moments.get(at) ?? []) if (time > from && time < to) edges.add(time);
      }
      // Sums of times differ in their last digits.
      const sorted = [...edges].sort((a, b) => a - b).filter((time, at, all) => at === 0 || time - all[at - 1] > 1e-6);
      for (let i = 1; i < sorted.length; i++) checks.push({ caption, begin: sorted[i - 1], end: sorted[i] });
    }
    // Clips are shown by their times. What the runtime's last seek made of their visibility does not count.
    const style = document.createElement("style");
    style.textContent = "[data-start], [data-composition-id] { visibility: visible !important }";
    document.head.append(style);
    const middle = ({ begin, end }) => (begin + end) / 2;
    checks.sort((a, b) => middle(a) - middle(b));
    let sought = null;
    for (const check of checks) {
      const at = middle(check);
      if (at !== sought) seek(all, (sought = at));
      if (!isShown(check.caption.element)) continue;
      const last = check.caption.stretches.at(-1);
      if (last && last[1] === check.begin) last[1] = check.end;
      else check.caption.stretches.push([check.begin, check.end]);
    }
    const found = captions.flatMap(({ element, stretches }) => {
      if (stretches.length === 0) hidden.push(nameOf(element));
      return stretches.map(([start, end]) => ({ start, end, text: textOf(element) }));
    });
    const left_out = Math.max(0, elements.length - MOST);
    return { captions: found.slice(0, MOST), hidden: hidden.slice(0, 20), left_out };
  };

  Object.defineProperty(window, "__hyperfarmCaptions", { value: Object.freeze({ read }) });
})()
