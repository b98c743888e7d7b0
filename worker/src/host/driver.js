// The host's side of the page: completes `window.__hf` from the runtime's player, says when the page is ready, seeks it,
// and puts the pictures of videos in place. Every answer is plain data. Runs in the top frame only, after early.js.
(() => {
  "use strict";
  if (window.top !== window || window.__hyperfarmHost) return;
  const clock = window.__HF_VIRTUAL_TIME__;
  const wait = (ms) => new Promise((resolve) => clock.originalSetTimeout(resolve, ms));

  // Child frames share the parent's time -----------------------------------------------------------------------------
  const eachFrame = (frameWindow, action) => {
    let frames;
    try { frames = frameWindow.frames; } catch { return; }
    for (let i = 0; i < frames.length; i++) {
      try {
        action(frames[i]);
        eachFrame(frames[i], action);
      } catch { /* another origin: not ours to seek */ }
    }
  };

  const declaredDuration = () => {
    const root = document.querySelector("[data-composition-id]");
    const own = root ? Number(root.getAttribute("data-duration")) : 0;
    if (Number.isFinite(own) && own > 0) return own;
    let end = 0;
    for (const host of document.querySelectorAll("[data-composition-src]")) {
      const last = (Number(host.getAttribute("data-start")) || 0) + (Number(host.getAttribute("data-duration")) || 0);
      if (Number.isFinite(last)) end = Math.max(end, last);
    }
    return end;
  };

  // The bridge: __player → __hf. A page that brings its own seek keeps it. -------------------------------------------
  let bridged = false;
  const bridge = () => {
    const hf = window.__hf || (window.__hf = {});
    if (bridged || typeof hf.seek === "function") return;
    const player = window.__player;
    if (!player || typeof player.renderSeek !== "function" || typeof player.getDuration !== "function") return;
    bridged = true;
    window.__playerReady = true;
    Object.defineProperty(hf, "duration", {
      configurable: true,
      enumerable: true,
      get: () => { const seconds = player.getDuration(); return seconds > 0 ? seconds : declaredDuration(); },
    });
    hf.seek = (t) => player.renderSeek(t);
  };

  const seekAll = (t) => {
    window.__hf.seek(t);
    clock.seekToTime(t * 1000);
    eachFrame(window, (child) => child.__HF_VIRTUAL_TIME__ && child.__HF_VIRTUAL_TIME__.seekToTime(t * 1000));
  };

  // Readiness --------------------------------------------------------------------------------------------------------
  const missingTimelines = () => {
    const registered = window.__timelines || {};
    const missing = [];
    for (const host of document.querySelectorAll("[data-composition-id]")) {
      if (host.hasAttribute("data-no-timeline")) continue;
      const id = host.getAttribute("data-composition-id");
      if (id && !registered[id]) missing.push(id);
    }
    return missing;
  };

  const state = () => {
    bridge();
    const hf = window.__hf || {};
    return {
      document: document.readyState,
      startup_error: typeof window.__hfStartupError === "string" ? window.__hfStartupError : null,
      can_seek: typeof hf.seek === "function",
      duration: typeof hf.seek === "function" ? Number(hf.duration) || 0 : 0,
      building: window.__hfTimelinesBuilding === true,
      has_composition: document.querySelector("[data-composition-id]") !== null,
      missing_timelines: missingTimelines(),
    };
  };

  const backgroundUrls = (style) => {
    const urls = [];
    for (const match of String(style).matchAll(/url\((?:"([^"]*)"|'([^']*)'|([^)]*))\)/g)) {
      const url = match[1] ?? match[2] ?? match[3];
      if (url && !url.startsWith("#")) urls.push(url);
    }
    return urls;
  };
  const decoded = new Map();
  const decode = (url) => {
    let done = decoded.get(url);
    if (!done) {
      const image = new Image();
      image.src = url;
      done = image.decode().catch(() => {});
      // Kept alive, so that the decoded picture stays in the cache.
      decoded.set(url, done.then(() => image));
    }
    return done;
  };

  // Every media element gets an id that no other one has, in document order, so that it is the same on every worker.
  const nameMedia = () => {
    const taken = new Set();
    let number = 0;
    for (const element of document.querySelectorAll("video, audio")) {
      const own = window.__hfMediaId(element);
      if (own && !taken.has(own)) {
        taken.add(own);
        continue;
      }
      do { number++; } while (taken.has(`hf-media-${number}`) || document.getElementById(`hf-media-${number}`));
      element.setAttribute("data-hf-render-id", `hf-media-${number}`);
      taken.add(`hf-media-${number}`);
    }
  };

  // Fonts, images and style pictures: loaded, decoded, and named where they fail. `limit` milliseconds for each kind.
  const settle = async (limit) => {
    nameMedia();
    const report = { images_failed: [], fonts_failed: [], late: [] };
    const within = (promise, what) => Promise.race([promise, wait(limit).then(() => { report.late.push(what); })]);
    if (typeof window.__hfForceTimelineRebind === "function") window.__hfForceTimelineRebind();
    // A layout makes the page ask for what its style sheets name.
    document.documentElement.getBoundingClientRect();
    const images = [...document.querySelectorAll("img")].filter((image) => image.getAttribute("src") || image.srcset);
    for (const image of images) image.loading = "eager";
    const settled = images.map(async (image) => {
      await image.decode().catch(() => {});
      if (!image.complete || image.naturalWidth === 0) report.images_failed.push(image.getAttribute("src") || image.srcset);
    });
    await within(Promise.all(settled), "images");
    const urls = new Set();
    for (const element of document.querySelectorAll("*")) {
      const style = getComputedStyle(element);
      for (const property of [style.backgroundImage, style.maskImage, style.borderImageSource, style.listStyleImage]) {
        if (property && property !== "none") backgroundUrls(property).forEach((url) => urls.add(url));
      }
    }
    await within(Promise.all([...urls].map(decode)), "style images");
    // Faces that only later frames use are loaded too: `load()` of every face whose family the page mentions anywhere.
    const used = new Set();
    for (const element of document.querySelectorAll("*")) {
      for (const family of getComputedStyle(element).fontFamily.split(",")) used.add(family.trim().replace(/^["']|["']$/g, "").toLowerCase());
    }
    const faces = [...document.fonts].filter((face) => used.has(face.family.replace(/^["']|["']$/g, "").toLowerCase()));
    await within(Promise.all(faces.map((face) => face.load().catch(() => { report.fonts_failed.push(`${face.family} ${face.weight} ${face.style}`); }))), "fonts");
    await within(document.fonts.ready, "fonts");
    if (window.__tailwindReady && typeof window.__tailwindReady.then === "function") await within(window.__tailwindReady, "tailwind");
    eachFrame(window, (child) => child.__HF_VIRTUAL_TIME__ && child.__HF_VIRTUAL_TIME__.freeze());
    clock.freeze();
    return report;
  };

  // Video pictures ---------------------------------------------------------------------------------------------------
  const copied = [
    "visibility", "filter", "mix-blend-mode", "backdrop-filter", "border-width", "border-style", "border-color",
    "border-radius", "overflow", "clip-path", "mask", "mask-image", "mask-size", "mask-position", "mask-repeat",
    "transform", "transform-origin", "translate", "rotate", "scale",
  ];
  const hiddenByAncestor = (element) => {
    for (let parent = element.parentElement; parent && parent !== document.documentElement; parent = parent.parentElement) {
      const style = getComputedStyle(parent);
      if (style.display === "none") return true;
      const hostsComposition = parent.hasAttribute("data-composition-src") || parent.hasAttribute("data-composition-file");
      if (style.visibility === "hidden" && hostsComposition) return true;
    }
    return false;
  };
  const pictureOf = (video) => {
    const next = video.nextElementSibling;
    return next && next.classList.contains("__render_frame__") ? next : null;
  };
  const hide = (video) => {
    video.style.setProperty("visibility", "hidden", "important");
    video.style.setProperty("pointer-events", "none", "important");
  };
  const showVideos = async (pictures) => {
    const shown = new Set();
    const loading = [];
    for (const { id, src } of pictures) {
      const video = window.__hfMediaEl(id);
      if (!video) continue;
      shown.add(video);
      let image = pictureOf(video);
      if (hiddenByAncestor(video)) {
        if (image) image.style.setProperty("visibility", "hidden", "important");
        continue;
      }
      const style = getComputedStyle(video);
      const opacity = video.hasAttribute("data-hf-color-grading-source-hidden") ? 1 : parseFloat(style.opacity);
      const box = video.getBoundingClientRect();
      if (!image) {
        image = document.createElement("img");
        image.className = "__render_frame__";
        image.id = `__render_frame_${id}__`;
        image.style.pointerEvents = "none";
        video.after(image);
      }
      for (const property of copied) {
        const value = style.getPropertyValue(property);
        if (value) image.style.setProperty(property, value);
      }
      Object.assign(image.style, {
        position: "absolute",
        inset: "auto",
        left: `${video.offsetLeft}px`,
        top: `${video.offsetTop}px`,
        width: `${video.offsetWidth || box.width}px`,
        height: `${video.offsetHeight || box.height}px`,
        boxSizing: "border-box",
        objectFit: style.objectFit,
        objectPosition: style.objectPosition,
        zIndex: style.zIndex,
        opacity: String(Number.isNaN(opacity) ? 1 : opacity),
      });
      image.style.setProperty("visibility", "visible");
      image.decoding = "sync";
      if (image.getAttribute("src") !== src) {
        image.src = src;
        loading.push(image.decode().catch(() => { throw new Error(`the picture ${src} of video "${id}" did not load`); }));
      }
      hide(video);
    }
    for (const video of document.querySelectorAll("video")) {
      if (shown.has(video)) continue;
      const image = pictureOf(video);
      if (image) image.style.setProperty("visibility", "hidden", "important");
      if (video.hasAttribute("data-start")) hide(video);
    }
    await Promise.all(loading);
    if (loading.length && window.__hf.colorGrading?.redraw) window.__hf.colorGrading.redraw();
  };

  // One frame, in the order of the composition contract ---------------------------------------------------------------
  const seek = async (t, pictures) => {
    seekAll(t);
    const changed = new Set();
    for (const element of document.querySelectorAll('[style*="url("]')) {
      backgroundUrls(element.getAttribute("style")).forEach((url) => { if (!decoded.has(url)) changed.add(url); });
    }
    if (changed.size) await Promise.all([...changed].map(decode));
    if (pictures.length || document.querySelector(".__render_frame__")) {
      await showVideos(pictures);
      if (typeof window.__hfReseekGpu === "function") window.__hfReseekGpu(t);
    }
    if (typeof window.__hfWaitForSeekCompletion === "function") await window.__hfWaitForSeekCompletion();
    const luts = window.__hf.colorGrading?.waitForActiveLuts;
    if (luts) await luts.call(window.__hf.colorGrading);
    if (window.__hf_page_composite_pending && typeof window.__hf_page_composite_prepare === "function") {
      await window.__hf_page_composite_prepare();
      return true;
    }
    return false;
  };
  const composite = () => { if (typeof window.__hf_page_composite_resolve === "function") window.__hf_page_composite_resolve(); };

  // Earlier times, in order and undrawn, so that lazily initialised tweens start where a walk would start them.
  const visit = (times) => { for (const t of times) seekAll(t); };

  // What the plan needs to know ----------------------------------------------------------------------------------------
  const numberOf = (element, name) => {
    const text = element.getAttribute(name);
    const value = text === null ? NaN : Number(text);
    return Number.isFinite(value) ? value : null;
  };
  const probe = () => {
    const media = [...document.querySelectorAll("video, audio")].map((element) => {
      const absolute = typeof window.__hfResolveMediaStartSeconds === "function" ? window.__hfResolveMediaStartSeconds(element) : null;
      const source = element.currentSrc || element.src || element.querySelector("source")?.src || "";
      return {
        id: window.__hfMediaId(element),
        kind: element.tagName.toLowerCase(),
        src: source,
        start: Number.isFinite(absolute) ? absolute : numberOf(element, "data-start"),
        timed: element.hasAttribute("data-start"),
        duration: numberOf(element, "data-duration"),
        end: numberOf(element, "data-end"),
        media_start: numberOf(element, "data-media-start") ?? numberOf(element, "data-playback-start") ?? 0,
        rate: numberOf(element, "data-playback-rate") ?? 1,
        volume: numberOf(element, "data-volume"),
        fade_in: numberOf(element, "data-fade-in") ?? 0,
        fade_out: numberOf(element, "data-fade-out") ?? 0,
        automation: element.getAttribute("data-automation"),
        muted: element.muted || element.hasAttribute("muted"),
        has_audio: element.getAttribute("data-has-audio"),
        looped: element.loop,
      };
    });
    return {
      duration: Number(window.__hf.duration) || 0,
      media,
    };
  };

  Object.defineProperty(window, "__hyperfarmHost", { value: { state, settle, seek, composite, visit, probe } });
})();
