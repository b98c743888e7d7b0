// The page's part of the page host: it completes `window.__hf` from the runtime's player, reports when the page is ready, seeks it,
// and shows the pictures of videos. Results are plain data. It runs in the top frame only, after early.js.
(() => {
  "use strict";
  if (window.top !== window || window.__hyperfarmHost) return;
  const clock = window.__HF_VIRTUAL_TIME__;
  const trees = window.__hyperfarmTrees;
  const workers = window.__hyperfarmWorkers;
  const playback = window.__hyperfarmPlayback;
  const images = window.__hyperfarmImages;
  const drawing = window.__hyperfarmDrawing;
  const animations = window.__hyperfarmAnimations;
  const wait = (ms) => new Promise((resolve) => clock.originalSetTimeout(resolve, ms));

  // Child frames share the parent's time -----------------------------------------------------------------------------
  const eachFrame = (frameWindow, action) => {
    let frames;
    try { frames = frameWindow.frames; } catch { return; }
    const inRoots = frameWindow === window ? trees.roots().flatMap((root) => [...root.querySelectorAll("iframe")]) : [];
    for (const frame of [...Array.from(frames), ...inRoots.map((element) => element.contentWindow)]) {
      try {
        action(frame);
        eachFrame(frame, action);
      } catch { /* another origin: not ours to seek */ }
    }
  };

  // SVG's own animations (SMIL).
  const smil = "animate, animateMotion, animateTransform, set";
  // The time of a drawing has 32 bits. Rounded down, what begins at a frame would begin one later.
  const roundedUp = (t) => {
    const rounded = Math.fround(t);
    return rounded < t ? rounded + 2 ** (Math.floor(Math.log2(t)) - 23) : rounded;
  };
  const seekDrawings = (within, t) => {
    if (!within.querySelector(smil)) return;
    for (const drawing of within.querySelectorAll("svg")) {
      if (drawing.ownerSVGElement || !drawing.querySelector(smil)) continue;
      drawing.pauseAnimations();
      drawing.setCurrentTime(roundedUp(t));
    }
  };
  // Moves the animations of the page and its shadow roots. The time of the frame before tells whether a clip has begun since.
  let before = 0;
  const moveAnimations = (t) => animations.move([document, ...trees.roots()], t * 1000, before * 1000);
  const seekFrame = (child, t) => {
    const { document: within, __HF_VIRTUAL_TIME__: held } = child;
    if (!held) return;
    const roots = held.roots.filter((root) => root.isConnected);
    child.__hyperfarmAnimations.move([within, ...roots], t * 1000);
    for (const scope of [within, ...roots]) seekDrawings(scope, t);
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

  // Media without times are on the timeline from its start. The attributes say so to the runtime.
  const autoStart = "data-hf-auto-start";
  const timeMedia = () => {
    for (const element of trees.all("video, audio")) {
      if (element.hasAttribute("data-start")) continue;
      element.setAttribute("data-start", "0");
      element.setAttribute(autoStart, "");
    }
  };
  window.addEventListener("DOMContentLoaded", timeMedia, { once: true, capture: true });

  // A page with nothing but media has no composition: it lasts as long as its longest medium, and there is nothing to seek.
  const bridgeMedia = (hf) => {
    if (document.readyState !== "complete" || document.querySelector("[data-composition-id]")) return false;
    const media = [...document.querySelectorAll("video, audio")];
    if (media.length === 0) return false;
    const waiting = media.some((element) => element.readyState < 1 && !element.error && element.networkState !== 3);
    if (waiting) return true;
    const duration = Math.max(0, ...media.map((element) => element.duration).filter(Number.isFinite));
    Object.defineProperty(hf, "duration", { configurable: true, enumerable: true, value: duration });
    hf.seek = () => {};
    return true;
  };

  // The bridge: __player → __hf. A page that brings its own seek keeps it. -------------------------------------------
  let bridged = false;
  const renderReady = () => !bridged || window.__renderReady === true;
  const bridge = () => {
    const hf = window.__hf || (window.__hf = {});
    if (bridged || typeof hf.seek === "function" || bridgeMedia(hf)) return;
    const player = window.__player;
    if (!player || typeof player.renderSeek !== "function" || typeof player.getDuration !== "function") return;
    bridged = true;
    window.__playerReady = true;
    // The runtime goes on after what a timeline's callback throws. It is told as the exceptions of other callbacks are.
    hf.onSwallowed ??= ({ label, error }) => {
      if (label.startsWith("runtime.init.transport.")) clock.originalSetTimeout(() => { throw error; }, 0);
    };
    Object.defineProperty(hf, "duration", {
      configurable: true,
      enumerable: true,
      get: () => {
        // Until then timelines may be empty, and their durations are not final.
        if (window.__hfTimelinesBuilding || !renderReady()) return 0;
        const seconds = player.getDuration();
        return seconds > 0 ? seconds : declaredDuration();
      },
    });
    // The runtime rounds a time down to that of a frame, unless it is told otherwise.
    const how = clock.config.exact ? { exact: true } : undefined;
    hf.seek = (t) => player.renderSeek(t, how);
  };

  // What waits for a promise of a timer's goes on in the timer's time, before the next timer: a few turns of the microtasks.
  const rest = async () => { for (let turn = 0; turn < 8; turn++) await null; };
  const MOST_TIMERS = 10000;
  const seekClock = async (within, t) => {
    const ms = t * 1000;
    const { __HF_VIRTUAL_TIME__: realm, __hyperfarmAnimations: moved } = within;
    let runs = 0;
    if (realm.beginSeek(ms)) for (; runs < MOST_TIMERS && realm.runNext(ms, moved.follow); runs++) await rest();
    if (runs > 0) moved.follow(ms);
    realm.seekToTime(ms);
  };
  const seekAll = async (t) => {
    clock.aimAt(t);
    // Scripts that begin an animation of a drawing begin it now.
    for (const scope of [document, ...trees.roots()]) seekDrawings(scope, t);
    animations.follow(t * 1000, () => window.__hf.seek(t));
    eachFrame(window, (child) => {
      if (!child.__HF_VIRTUAL_TIME__) return;
      child.__HF_VIRTUAL_TIME__.show(t * 1000);
      child.__hyperfarmAnimations.follow(t * 1000);
      seekDrawings(child.document, t);
    });
    await seekClock(window, t);
    const children = [];
    eachFrame(window, (child) => children.push(child));
    for (const child of children) {
      try {
        if (child.__HF_VIRTUAL_TIME__) await seekClock(child, t);
        seekFrame(child, t);
      } catch { /* it is gone, or of another origin */ }
    }
    playback.announce();
    for (const scope of [document, ...trees.roots()]) seekDrawings(scope, t);
    moveAnimations(t);
    let isAnyAtItsEnd = animations.tellEnds();
    for (const child of children) {
      try { isAnyAtItsEnd = child.__hyperfarmAnimations?.tellEnds() || isAnyAtItsEnd; } catch { /* as above */ }
    }
    if (!isAnyAtItsEnd) return;
    // What scripts begin then.
    await rest();
    moveAnimations(t);
    eachFrame(window, (child) => seekFrame(child, t));
  };

  // Readiness --------------------------------------------------------------------------------------------------------
  // The first script that a policy of the page's own has refused.
  let refused = null;
  window.addEventListener("securitypolicyviolation", (event) => {
    if (refused || !event.isTrusted || event.disposition !== "enforce" || !event.effectiveDirective.startsWith("script-src")) return;
    refused = { policy: event.originalPolicy.slice(0, 200), script: event.blockedURI.slice(0, 200) };
  }, true);

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
    window.__hfFlushSync?.();
    bridge();
    const hf = window.__hf || {};
    return {
      document: window.__hyperfarmLoadEvents.nativeState(),
      startup_error: typeof window.__hfStartupError === "string" ? window.__hfStartupError : null,
      can_seek: typeof hf.seek === "function",
      duration: typeof hf.seek === "function" ? Number(hf.duration) || 0 : 0,
      building: window.__hfTimelinesBuilding === true,
      render_ready: renderReady(),
      pending_builds: renderReady() ? [] : Object.keys(hf.buildReady || {}),
      has_composition: document.querySelector("[data-composition-id]") !== null,
      missing_timelines: missingTimelines(),
      requests: requests().underWay,
      departure: clock.departure(),
      refused_script: refused,
    };
  };

  // Moves the load time on by a frame, for a page that waits for it.
  const FRAME_MS = 1000 / 60;
  const step = async (withFrames, withClock) => {
    eachFrame(window, (child) => child.__HF_VIRTUAL_TIME__?.step(FRAME_MS, withFrames, withClock));
    clock.step(FRAME_MS, withFrames, withClock);
    await workers?.step(FRAME_MS, withFrames, withClock);
    await wait(0);
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
      // The image is referenced, so that its decoded picture stays in the cache.
      decoded.set(url, done.then(() => image));
    }
    return done;
  };

  // Pictures that style rules may show later, for example when a seek sets a class.
  const ruleUrls = () => {
    const urls = new Set();
    const collect = (rules, base) => {
      for (const rule of rules) {
        if (rule.cssRules) {
          try { collect(rule.cssRules, base); } catch { /* a sheet of another origin */ }
        }
        if (!rule.style) continue;
        for (const property of ["background-image", "mask-image", "border-image-source", "list-style-image", "content"]) {
          for (const url of backgroundUrls(rule.style.getPropertyValue(property))) {
            try { urls.add(new URL(url, base).href); } catch { /* no URL */ }
          }
        }
      }
    };
    for (const sheet of document.styleSheets) {
      try { collect(sheet.cssRules, sheet.href || document.baseURI); } catch { /* a sheet of another origin */ }
    }
    return urls;
  };

  // Images that a seek has inserted or changed; each is waited for once.
  const settledImages = new WeakMap();
  const loadImages = async () => {
    const loading = [];
    for (const image of trees.hasRoots() ? trees.all("img") : document.images) {
      const source = image.getAttribute("src") || image.srcset;
      if (image.complete || !source || settledImages.get(image) === source) continue;
      settledImages.set(image, source);
      image.loading = "eager";
      loading.push(image.decode().catch(() => {}));
    }
    if (loading.length) await Promise.race([Promise.all(loading), wait(10000)]);
  };

  // Faces that this frame is the first to use. A layout makes the page ask for them.
  const FONTS_WITHIN = 10000;
  let fontsAreLate = false;
  const loadFonts = async () => {
    if (fontsAreLate) return;
    const loading = [];
    const look = ({ document: within }) => {
      if (![...within.fonts].some((face) => face.status === "unloaded" || face.status === "loading")) return;
      within.documentElement.getBoundingClientRect();
      if (within.fonts.status === "loading") loading.push(within.fonts.ready);
    };
    look(window);
    eachFrame(window, look);
    if (!loading.length) return;
    const late = wait(FONTS_WITHIN).then(() => true);
    if ((await Promise.race([Promise.all(loading), late])) !== true) return;
    fontsAreLate = true;
    clock.note("CLOCK_NOT_HELD", "a font that a frame is the first to use does not load; frames do not wait for fonts any more");
  };

  // Frames that scripts have put into the page are waited for, each once.
  const FRAMES_WITHIN = 3000;
  const lateFrames = new WeakMap();
  const isLoadingFrame = (element) => {
    const shown = element.hasAttribute("srcdoc") ? "srcdoc" : element.src;
    if (!shown || /^(?:about|javascript):/.test(shown) || element.loading === "lazy" || lateFrames.get(element) === shown) return false;
    // Without a document it is of another origin.
    const within = element.contentDocument;
    return within !== null && (within.readyState !== "complete" || within.URL === "about:blank");
  };
  const loadFrames = async () => {
    const loading = () => trees.all("iframe").filter(isLoadingFrame);
    for (let waited = 0; waited < FRAMES_WITHIN; waited += 2) {
      if (loading().length === 0) return;
      await wait(2);
    }
    for (const element of loading()) lateFrames.set(element, element.hasAttribute("srcdoc") ? "srcdoc" : element.src);
  };

  // Media are found by their id in the document, in shadow roots, and among videos out of the document.
  const { __hfMediaEl: inDocument } = window;
  const scriptedId = "hf-scripted-";
  const looseVideos = new Map();
  const mediaElement = (id) => {
    const found = inDocument(id);
    if (found || (!trees.hasRoots() && looseVideos.size === 0)) return found;
    return looseVideos.get(id) ?? trees.find(`[data-hf-render-id="${CSS.escape(id)}"]`) ?? trees.find(`[id="${CSS.escape(id)}"]`);
  };
  window.__hfMediaEl = mediaElement;
  // Scripts may go on to draw a video that they have removed.
  const removedVideo = (id) => [...served.keys()].find((video) => window.__hfMediaId(video) === id);
  // Files that only the page has are not in the plan, and the browser decodes them.
  const isOfPage = (video) => trees.sourceOf(video).startsWith("blob:");
  const holdLoose = () => {
    for (const video of trees.loose()) {
      if (!isOfPage(video) || playback.isScripted(video)) continue;
      clock.note("CLOCK_NOT_HELD", "a video that is not in the document has a blob: address, so that the browser decodes it; its pictures may be late. Use the address of a file");
      playback.script(video, { index: null, end: video.duration || 0 }, trees.sourceOf(video));
    }
  };
  const nameLoose = () => {
    for (const video of trees.loose()) {
      if (isOfPage(video)) continue;
      if ([...looseVideos.values()].includes(video)) continue;
      const id = `${scriptedId}${looseVideos.size + 1}`;
      video.setAttribute("data-hf-render-id", id);
      looseVideos.set(id, video);
    }
  };

  // Every media element gets a unique id in document order, so that ids are equal on all workers.
  const nameMedia = () => {
    const taken = new Set();
    let number = 0;
    for (const element of trees.all("video, audio")) {
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

  // Files that scripts request, and the animations (Lottie) that are made of them. An animation that is not loaded after a while
  // without requests will not be loaded.
  const REQUESTS_WITHIN = 10000;
  const GIVEN_UP_AFTER = 1000;
  const requests = () => {
    const all = { made: clock.requests.made, underWay: clock.requests.underWay };
    eachFrame(window, (child) => {
      all.made += child.__HF_VIRTUAL_TIME__?.requests.made ?? 0;
      all.underWay += child.__HF_VIRTUAL_TIME__?.requests.underWay ?? 0;
    });
    return all;
  };
  const requestsRead = async () => {
    const REST = 10;
    const unloaded = () => {
      const registered = (window.lottie ?? window.bodymovin)?.getRegisteredAnimations?.() ?? [];
      return [...(window.__hfLottie ?? []), ...registered].some((player) => player?.isLoaded === false);
    };
    if (requests().made === 0 && requests().underWay === 0 && !unloaded()) return true;
    let quiet = 0;
    for (let waited = 0; waited < REQUESTS_WITHIN; waited += REST) {
      await wait(REST);
      quiet = requests().underWay === 0 ? quiet + REST : 0;
      // Libraries look by a timer whether all is there.
      if (quiet > 0 && unloaded()) await step(false, false);
      if (quiet >= (unloaded() ? GIVEN_UP_AFTER : 3 * REST)) return true;
    }
    return false;
  };

  // Frames of another origin cannot be sought, and their scripts run by no clock of the farm's. Films in frames answer messages.
  const noteFrames = () => {
    if (window.__hfHasFrameSources?.()) return;
    eachFrame(window, (child) => {
      const medium = child.document.querySelector("video[autoplay], audio[autoplay]");
      if (!medium) return;
      const name = medium.id ? `#${medium.id}` : (medium.getAttribute("src") ?? "without an id");
      clock.note("CLOCK_NOT_HELD", `the <${medium.localName}> ${name} in a frame is not shown in time; put it into the page`);
    });
    // These are animated by the browser.
    for (const element of trees.all("marquee")) {
      clock.note("CLOCK_NOT_HELD", "a <marquee> of the page stands still; move its text by a timeline");
      const { parentNode, nextSibling } = element;
      element.remove();
      parentNode.insertBefore(element, nextSibling);
      element.stop();
    }
    for (const element of trees.all("progress:not([value])")) {
      clock.note("CLOCK_NOT_HELD", `the <progress> ${element.id ? `#${element.id}` : "without an id"} has no value, so the browser moves it by its own clock; set its value`);
    }
    for (const frame of trees.all('iframe[src^="data:"]')) {
      clock.note("CLOCK_NOT_HELD", `the frame ${frame.id ? `#${frame.id}` : "without an id"} has a data: address, so that its clock cannot be sought; give it its document as srcdoc`);
    }
    for (const frame of document.querySelectorAll("iframe[sandbox]")) {
      if (frame.sandbox.contains("allow-same-origin") || !frame.sandbox.contains("allow-scripts")) continue;
      const name = frame.id ? `#${frame.id}` : frame.getAttribute("src") ?? "without an id";
      clock.note("CLOCK_NOT_HELD", `the frame ${name} is sandboxed, so that its clock cannot be sought; add allow-same-origin to its sandbox`);
    }
  };

  // Videos out of the document have told the page that they can be played, or that they cannot; so have sounds, that their length is known.
  const LOOSE_WITHIN = 5000;
  const looseLoaded = async () => {
    const isLate = (medium, state) => medium.preload !== "none" && medium.readyState < state && !medium.error;
    const sounds = () => [...trees.all("audio"), ...trees.looseSounds()].filter((sound) => trees.sourceOf(sound) !== "" && sound.networkState !== 3);
    const waits = () => trees.loose().some((video) => isLate(video, 3)) || sounds().some((sound) => isLate(sound, 1));
    for (let waited = 0; waited < LOOSE_WITHIN && waits(); waited += 10) await wait(10);
    // The event comes after the state.
    if (trees.loose().length) await wait(20);
  };

  // From here on sounds play in composition time.
  const holdSounds = () => {
    for (const sound of trees.all("audio")) {
      const start = Number(window.__hfResolveMediaStartSeconds?.(sound) ?? numberOf(sound, "data-start")) || 0;
      const rate = numberOf(sound, "data-playback-rate") ?? 1;
      const offset = numberOf(sound, "data-media-start") ?? numberOf(sound, "data-playback-start") ?? 0;
      const length = Number.isFinite(sound.duration) && !sound.loop ? Math.max(0, sound.duration - offset) / (rate || 1) : Infinity;
      const end = Math.min(endOf(sound, start) ?? Infinity, start + length, Number(window.__hf.duration) || Infinity);
      playback.place(sound, { start, end, rate, offset });
    }
    for (const sound of trees.looseSounds()) playback.script(sound, { index: null, end: sound.duration || 0 }, trees.sourceOf(sound));
  };

  // Loads and decodes fonts, images and style pictures, and reports those that fail. The limit is `limit` milliseconds for each kind.
  const settle = async (limit, videos) => {
    trees.collect();
    // A caret blinks by the browser's clock, so it is steady.
    const steady = ({ document: { documentElement } }) => documentElement.style.setProperty("caret-animation", "manual", "important");
    steady(window);
    eachFrame(window, steady);
    timeMedia();
    nameMedia();
    await looseLoaded();
    nameLoose();
    for (const video of trees.all("video")) known.add(video);
    await serveVideos(videos);
    const report = { images_failed: [], fonts_failed: [], late: [] };
    // What does not come soon may wait for timers of the page.
    const within = async (promise, what) => {
      let over = false;
      const done = Promise.resolve(promise).finally(() => { over = true; });
      const late = wait(limit).then(() => { if (!over) report.late.push(what); over = true; });
      const help = wait(300).then(async () => { while (!over) { await step(false, false); await wait(10); } });
      await Promise.race([done, late]);
      void help;
    };
    noteFrames();
    if (!(await requestsRead())) report.late.push("files that scripts asked for");
    await loadFrames();
    await looseLoaded();
    holdLoose();
    if (typeof window.__hfForceTimelineRebind === "function") window.__hfForceTimelineRebind();
    // A layout makes the page request the files of its style sheets.
    document.documentElement.getBoundingClientRect();
    const sourced = trees.all("img").filter((image) => image.getAttribute("src") || image.srcset);
    for (const image of sourced) image.loading = "eager";
    const settled = sourced.map(async (image) => {
      await image.decode().catch(() => {});
      if (!image.complete || image.naturalWidth === 0) report.images_failed.push(image.getAttribute("src") || image.srcset);
    });
    await within(Promise.all(settled), "images");
    const urls = ruleUrls();
    for (const element of trees.all("*")) {
      const style = getComputedStyle(element);
      for (const property of [style.backgroundImage, style.maskImage, style.borderImageSource, style.listStyleImage]) {
        if (property && property !== "none") backgroundUrls(property).forEach((url) => urls.add(url));
      }
    }
    await within(Promise.all([...urls].map(decode)), "style images");
    await within(images.begin(), "animated images");
    // Faces that only later frames use are loaded too: all faces whose family the page mentions.
    const used = new Set();
    for (const element of trees.all("*")) {
      for (const family of getComputedStyle(element).fontFamily.split(",")) used.add(family.trim().replace(/^["']|["']$/g, "").toLowerCase());
    }
    const faces = [...document.fonts].filter((face) => used.has(face.family.replace(/^["']|["']$/g, "").toLowerCase()));
    await within(Promise.all(faces.map((face) => face.load().catch(() => { report.fonts_failed.push(`${face.family} ${face.weight} ${face.style}`); }))), "fonts");
    await within(document.fonts.ready, "fonts");
    if (window.__tailwindReady && typeof window.__tailwindReady.then === "function") await within(window.__tailwindReady, "tailwind");
    eachFrame(window, (child) => child.__HF_VIRTUAL_TIME__ && child.__HF_VIRTUAL_TIME__.freeze());
    eachFrame(window, (child) => seekFrame(child, 0));
    for (const root of trees.roots()) seekDrawings(root, 0);
    animations.move(trees.roots(), 0);
    holdSounds();
    clock.freeze();
    animations.leaveToRuntime();
    await workers?.freeze(limit);
    return report;
  };

  // Families that texts of the page and of canvases name first, and of which the page has no face: the machine draws them, or the next family.
  const GENERIC = /^(?:ui-)?(?:sans-serif|serif|monospace|cursive|fantasy|system-ui|rounded|emoji|math|fangsong|-apple-system|blinkmacsystemfont|times new roman)$/i;
  const written = new Set();
  for (const context of [window.CanvasRenderingContext2D, window.OffscreenCanvasRenderingContext2D]) {
    const font = context && Object.getOwnPropertyDescriptor(context.prototype, "font");
    if (!font) continue;
    Object.defineProperty(context.prototype, "font", {
      ...font,
      set(value) {
        font.set.call(this, value);
        if (written.size < 100) written.add(value);
      },
    });
  }
  const firstFamily = (list) => /^\s*(?:"([^"]*)"|'([^']*)'|([^,]*))/.exec(list).slice(1).find((name) => name !== undefined).trim();
  const familiesWithoutFace = () => {
    const named = new Set();
    for (const element of trees.all("*")) {
      const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
      if (hasText && element.getClientRects().length) named.add(firstFamily(getComputedStyle(element).fontFamily));
    }
    const pen = document.createElement("canvas").getContext("2d");
    for (const value of written) {
      pen.font = "1px x";
      pen.font = value;
      const list = /px(?:\s*\/\s*\S+)?\s+(.+)$/.exec(pen.font)?.[1];
      if (list && list !== "x") named.add(firstFamily(list));
    }
    const bare = (name) => name.replace(/^["']|["']$/g, "").toLowerCase();
    const faces = new Set([...document.fonts].map((face) => bare(face.family)));
    return [...named].filter((name) => name && !GENERIC.test(name) && !faces.has(name.toLowerCase())).sort();
  };

  // Video pictures ---------------------------------------------------------------------------------------------------
  const copied = [
    "visibility", "filter", "mix-blend-mode", "backdrop-filter", "border-width", "border-style", "border-color",
    "border-radius", "overflow", "clip-path", "mask", "mask-image", "mask-size", "mask-position", "mask-repeat",
    "transform", "transform-origin", "translate", "rotate", "scale",
  ];
  const hiddenByAncestor = (element) => {
    for (let parent = trees.parentOf(element); parent && parent !== document.documentElement; parent = trees.parentOf(parent)) {
      const style = getComputedStyle(parent);
      if (style.display === "none") return true;
      const hostsComposition = parent.hasAttribute("data-composition-src") || parent.hasAttribute("data-composition-file");
      if (style.visibility === "hidden" && hostsComposition) return true;
    }
    return false;
  };
  // The pictures of videos lie behind them in the document.
  const picturesOfVideos = new Map();
  const pictureOf = (video) => picturesOfVideos.get(video) ?? null;
  const makePicture = (video) => {
    const image = document.createElement("img");
    image.className = "__render_frame__";
    image.id = `__render_frame_${window.__hfMediaId(video)}__`;
    image.style.pointerEvents = "none";
    image.style.position = "absolute";
    image.style.visibility = "hidden";
    image.decoding = "sync";
    picturesOfVideos.set(video, image);
    drawing.showVideo(image, video);
    video.after(image);
    return image;
  };
  // They go where scripts move the videos.
  const followVideos = () => {
    for (const [video, image] of picturesOfVideos) {
      if (!video.isConnected) image.remove();
      else if (video.nextElementSibling !== image) video.after(image);
    }
  };
  const hide = (video) => {
    video.style.setProperty("visibility", "hidden", "important");
    video.style.setProperty("pointer-events", "none", "important");
  };

  // A video whose pictures come from the farm unloads its file, so that the browser does not decode it; a poster keeps its size.
  // Scripts see a playing video, and what they draw of it is the picture of the frame.
  const served = new Map();
  const serveVideos = async (videos) => {
    const posters = new Set();
    for (const about of videos) {
      const { id, width, height } = about;
      const video = mediaElement(id);
      if (!(video instanceof HTMLVideoElement)) continue;
      if (about.index !== null) playback.script(video, about, trees.sourceOf(video));
      if (!video.hasAttribute("poster") && width > 0 && height > 0) {
        video.poster = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"/>`)}`;
        posters.add(video.poster);
      }
      HTMLMediaElement.prototype.pause.call(video);
      for (const source of video.querySelectorAll("source")) source.remove();
      video.removeAttribute("src");
      video.load();
      playback.serve(video, about);
      served.set(video, { width, height, callbacks: new Map(early.get(video)) });
      early.delete(video);
    }
    for (const video of trees.all("video[data-start]")) {
      if (!pictureOf(video)) makePicture(video);
    }
    const decodePoster = async (poster) => {
      const image = new Image();
      image.src = poster;
      await image.decode().catch(() => {});
    };
    await Promise.all([...posters].map(decodePoster));
  };

  const prototype = HTMLVideoElement.prototype;
  const { requestVideoFrameCallback, cancelVideoFrameCallback } = prototype;
  let nextCallback = 1;
  const early = new WeakMap();
  prototype.requestVideoFrameCallback = function (callback) {
    const own = served.get(this);
    if (!own && !clock.isLoading()) return requestVideoFrameCallback.call(this, callback);
    if (!own) {
      // What a page asks for while it loads is kept for the first picture of the farm's, unless the browser's comes before.
      const id = nextCallback++;
      if (!early.has(this)) early.set(this, new Map());
      early.get(this).set(id, callback);
      requestVideoFrameCallback.call(this, (...about) => { if (early.get(this)?.delete(id)) callback.apply(this, about); });
      return id;
    }
    own.callbacks.set(nextCallback, callback);
    return nextCallback++;
  };
  prototype.cancelVideoFrameCallback = function (id) {
    if (!early.get(this)?.delete(id) && !served.get(this)?.callbacks.delete(id)) cancelVideoFrameCallback.call(this, id);
  };
  const announce = (video) => {
    const own = served.get(video);
    if (!own || own.callbacks.size === 0) return;
    const due = own.callbacks;
    own.callbacks = new Map();
    const now = clock.getTime();
    const about = { presentationTime: now, expectedDisplayTime: now, width: own.width, height: own.height, mediaTime: video.currentTime, presentedFrames: 1 };
    for (const callback of due.values()) {
      try { callback.call(video, now, about); } catch (error) { clock.originalSetTimeout(() => { throw error; }, 0); }
    }
  };

  // Images that load the pictures which scripts draw of videos of high dynamic range: the farm puts others into the picture of the page.
  const drawnPictures = new WeakMap();
  const drawnPictureOf = (video) => {
    if (!drawnPictures.has(video)) drawnPictures.set(video, new Image());
    return drawnPictures.get(video);
  };
  const videoOf = (id) => mediaElement(id) ?? removedVideo(id);
  // Sets the picture of every visible video. Returns the loads, whether there are any, and the videos that show another picture than in the
  // frame that was sought or visited before.
  const loadPictures = (pictures) => {
    const loading = [];
    const changed = [];
    for (const { id, src, drawn } of pictures) {
      const video = videoOf(id);
      if (!video) continue;
      const load = (image, url) => {
        if (image.getAttribute("src") === url) return;
        image.src = url;
        loading.push(image.decode().catch(() => { throw new Error(`the picture ${url} of video "${id}" did not load`); }));
      };
      let image = pictureOf(video) || makePicture(video);
      load(image, src);
      if (drawn) {
        image = drawing.isUsed() ? drawnPictureOf(video) : null;
        if (image) load(image, drawn);
      }
      if (drawing.setPicture(video, drawn ?? src, image)) changed.push(video);
    }
    return { loaded: Promise.all(loading), isAnyNew: loading.length > 0, changed };
  };

  // Videos that scripts play and have put into the document after the page was ready.
  const loadAttached = async () => {
    const loading = [];
    for (const [video, source] of playback.attached()) {
      const image = pictureOf(video) || makePicture(video);
      if (!source || image.getAttribute("src") === source) continue;
      image.src = source;
      loading.push(image.decode().catch(() => {}));
    }
    await Promise.all(loading);
  };
  const setGradingVisibility = (video, visible) => window.__hf.colorGrading?.setSourceVisibility?.(video, visible);
  const placePicture = (video) => {
    const image = pictureOf(video) || makePicture(video);
    const hidden = hiddenByAncestor(video);
    setGradingVisibility(video, !hidden);
    hide(video);
    if (hidden) {
      image.style.setProperty("visibility", "hidden", "important");
      return;
    }
    const style = getComputedStyle(video);
    const opacity = video.hasAttribute("data-hf-color-grading-source-hidden") ? 1 : parseFloat(style.opacity);
    const box = video.getBoundingClientRect();
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
  };
  // Videos that were there when the page was ready, and those that have been named since.
  const known = new WeakSet();
  const placePictures = (pictures) => {
    followVideos();
    const shown = new Set([...pictures.map(({ id }) => mediaElement(id)), ...playback.attached().keys()]);
    shown.delete(null);
    shown.forEach(placePicture);
    for (const video of served.keys()) {
      if (!video.hasAttribute("src") && !video.querySelector("source")) continue;
      clock.note("CLOCK_NOT_HELD", `a script gives the video ${video.id ? `#${video.id}` : "without an id"} another source after the page was ready; it keeps its first one. Show another video instead`);
      video.removeAttribute("src");
      for (const source of video.querySelectorAll("source")) source.remove();
    }
    for (const video of trees.all("video")) {
      if (known.has(video) || playback.isScripted(video)) continue;
      known.add(video);
      clock.note("CLOCK_NOT_HELD", `a script puts ${video.id ? `the video #${video.id}` : "a video without an id"} into the page after the page was ready; it is not shown at its time. Put it there while the page loads`);
    }
    for (const video of trees.all("video[data-start]")) {
      if (shown.has(video)) continue;
      hide(video);
      pictureOf(video)?.style.setProperty("visibility", "hidden", "important");
      setGradingVisibility(video, false);
    }
  };

  // What the scripts of a seek have begun without the clock, and what belongs to its frame: messages to the page itself, and files that
  // they ask for.
  let messages = 0;
  let messagesRead = 0;
  const echo = new MessageChannel();
  const { postMessage } = MessagePort.prototype;
  const echoed = () => new Promise((done) => {
    echo.port1.onmessage = done;
    postMessage.call(echo.port2, null);
  });
  MessagePort.prototype.postMessage = function (...parts) {
    messages++;
    return postMessage.apply(this, parts);
  };
  const postToWindow = window.postMessage;
  window.postMessage = function (...parts) {
    messages++;
    return postToWindow.apply(window, parts);
  };
  const MESSAGE_ROUNDS = 20;
  const FILES_WITHIN = 5000;
  let filesAreLate = false;
  const begunIsOver = async () => {
    for (let waited = 0; requests().underWay > 0 && !filesAreLate; waited++) {
      await wait(1);
      if (waited < FILES_WITHIN) continue;
      filesAreLate = true;
      clock.note("CLOCK_NOT_HELD", "the page asks for a file while frames are drawn, and the answer does not end; frames do not wait for it");
    }
    for (let round = 0; messages !== messagesRead && round < MESSAGE_ROUNDS; round++) {
      messagesRead = messages;
      await echoed();
    }
    messagesRead = messages;
  };

  // Timers without a delay, of which only a few in a row are not in the clock's time.
  const isSoon = () => {
    let isAny = clock.soon();
    eachFrame(window, (child) => { isAny ||= child.__HF_VIRTUAL_TIME__?.soon() === true; });
    return isAny;
  };
  const SOON_TURNS = 8;
  const allIsOver = async (t) => {
    await begunIsOver();
    for (let turn = 0; turn < SOON_TURNS && isSoon(); turn++) await wait(0);
    await loadFrames();
    if (workers?.isUsed()) {
      await workers.seek(t * 1000);
      await begunIsOver();
    }
    // What has begun since, and in documents that were not there before.
    moveAnimations(t);
    before = t;
    eachFrame(window, (child) => seekFrame(child, t));
    await loadFonts();
  };

  // One frame, in the order of the composition contract ---------------------------------------------------------------
  const check = () => { if (clock.isLoading()) throw new Error("__hyperfarm: this is another document than the one that was ready"); };
  const seek = async (t, pictures) => {
    check();
    const { loaded, isAnyNew, changed } = clock.quietly(() => loadPictures(pictures));
    // A page that draws videos finds their pictures loaded.
    if (drawing.isUsed()) await loaded;
    if (playback.hasScripted()) changed.push(...(await playback.load(t)));
    await images.prepare(t);
    await seekAll(t);
    if (playback.hasScripted()) changed.push(...(await playback.follow()));
    await loadAttached();
    await allIsOver(t);
    const urls = new Set();
    const styled = trees.all('[style*="url("]');
    for (const element of styled) {
      backgroundUrls(element.getAttribute("style")).forEach((url) => { if (!decoded.has(url)) urls.add(url); });
    }
    if (urls.size) await Promise.all([...urls].map(decode));
    await Promise.all([loaded, loadImages()]);
    await images.show(t, styled);
    placePictures(pictures);
    if (isAnyNew || changed.length) {
      window.__hf.colorGrading?.redraw?.();
      changed.forEach(announce);
      if (typeof window.__hfReseekGpu === "function") window.__hfReseekGpu(t);
    }
    if (typeof window.__hfWaitForSeekCompletion === "function") await window.__hfWaitForSeekCompletion();
    const luts = window.__hf.colorGrading?.waitForActiveLuts;
    if (luts) await luts.call(window.__hf.colorGrading);
    if (window.__hf_page_composite_pending && typeof window.__hf_page_composite_prepare === "function") {
      await window.__hf_page_composite_prepare();
      return { composite: true, departure: clock.departure() };
    }
    return { composite: false, departure: clock.departure() };
  };

  // Other pictures in place of those of videos, without a seek.
  const show = async (pictures) => {
    check();
    await clock.quietly(() => loadPictures(pictures)).loaded;
  };
  // Where the picture of a video lies: the size of its content box, and the rectangle of the picture in it (`object-fit`).
  const picture = (id) => {
    const video = mediaElement(id);
    return video ? pictureOf(video) : null;
  };
  const along = (position, room) => {
    let sum = 0;
    for (const [, number, unit] of position.replace(/([+-]) /g, "$1").matchAll(/([+-]?[\d.]+(?:e[+-]?\d+)?)(%|px)/g)) sum += unit === "%" ? (room * number) / 100 : Number(number);
    return sum;
  };
  const placed = (id) => {
    const image = picture(id);
    const own = image && getComputedStyle(image);
    if (!own || own.display === "none" || own.visibility === "hidden" || !(image.naturalWidth > 0 && image.naturalHeight > 0)) return null;
    const inner = (side, [from, to]) => parseFloat(own[side]) - ["border", "padding"].reduce((sum, edge) => {
      const width = edge === "border" ? "Width" : "";
      return sum + parseFloat(own[`${edge}${from}${width}`]) + parseFloat(own[`${edge}${to}${width}`]);
    }, 0);
    const extent = [inner("width", ["Left", "Right"]), inner("height", ["Top", "Bottom"])];
    const natural = [image.naturalWidth, image.naturalHeight];
    const scales = extent.map((side, at) => side / natural[at]);
    const contained = Math.min(...scales);
    const scale = { contain: contained, cover: Math.max(...scales), none: 1, "scale-down": Math.min(1, contained) }[own.objectFit];
    const size = scale === undefined ? extent : natural.map((side) => side * scale);
    const [across = "50%", down = "50%"] = own.objectPosition.match(/calc\([^)]*\)|\S+/g) ?? [];
    const origin = [across, down].map((position, at) => along(position, extent[at] - size[at]));
    return { extent, rect: [...origin, ...size] };
  };
  const composite = () => { if (typeof window.__hf_page_composite_resolve === "function") window.__hf_page_composite_resolve(); };

  // Seeks to earlier times in order without drawing, so that lazily initialised tweens start as in a walk. A visit is its number, the time, the
  // pictures of videos, and whether all that scripts draw are read. Returns how many were reached within about `limit` milliseconds of wall
  // time, and the numbers of those that have left old pictures in canvases.
  const realNow = () => Performance.prototype.now.call(performance);
  const visit = async (visits, limit) => {
    check();
    const until = realNow() + limit;
    // What the browser tells with its frames needs them.
    const draws = window.__hyperfarmVisits.needsDrawing();
    const missed = [];
    let done = 0;
    while (done < (draws ? 1 : visits.length) && (done === 0 || realNow() < until) && !clock.departure()) {
      const [number, t, pictures, reads] = visits[done++];
      const changed = pictures.filter(({ id, src, drawn }) => videoOf(id) && drawing.setPicture(videoOf(id), drawn ?? src, null)).map(({ id }) => videoOf(id));
      if (playback.hasScripted()) changed.push(...(await playback.load(t, true)));
      await images.prepare(t);
      drawing.beginVisit(number, reads);
      try {
        await seekAll(t);
      } catch (error) {
        throw new Error(`at ${t.toFixed(3)} s: ${error?.message ?? error}`, { cause: error });
      }
      if (playback.hasScripted()) changed.push(...(await playback.follow(true)));
      await allIsOver(t);
      changed.forEach(announce);
      // Callbacks that a walk runs between two frames run here too.
      await null;
      missed.push(...drawing.endVisit());
    }
    return { done, draws, missed, departure: clock.departure() };
  };

  // The probe for the plan ----------------------------------------------------------------------------------------
  const numberOf = (element, name) => {
    const text = element.getAttribute(name);
    const value = text === null ? NaN : Number(text);
    return Number.isFinite(value) ? value : null;
  };
  // Videos without a start play while the root's timeline shows them or their scene.
  const visibleWindows = (duration) => {
    const windows = new Map();
    const root = document.querySelector("[data-composition-id]");
    const timeline = (window.__timelines || {})[root?.getAttribute("data-composition-id")];
    const videos = [...document.querySelectorAll(`video[${autoStart}]`)];
    if (!timeline || videos.length === 0 || !(duration > 0)) return windows;
    const go = (t) => (typeof timeline.totalTime === "function" ? timeline.totalTime(t, true) : timeline.seek?.(t, true));
    const sampled = videos.map((video) => ({ video, scene: video.closest(".scene") || video, first: null, last: null }));
    const seen = (scene) => parseFloat(getComputedStyle(scene).opacity) > 0;
    const step = 0.1;
    for (let t = 0; t <= duration; t += step) {
      go(t);
      for (const sample of sampled) {
        if (!seen(sample.scene)) continue;
        sample.first ??= t;
        sample.last = t;
      }
    }
    // Bisects between a hidden and a visible moment, to a sixtieth of a second.
    const edge = (scene, hidden, visible) => {
      while (Math.abs(visible - hidden) > 1 / 60) {
        const middle = (hidden + visible) / 2;
        go(middle);
        if (seen(scene)) visible = middle;
        else hidden = middle;
      }
      return visible;
    };
    for (const { video, scene, first, last } of sampled) {
      if (first === null) continue;
      const from = edge(scene, Math.max(0, first - step), first);
      const to = edge(scene, Math.min(duration, last + step), last);
      if (to > from) windows.set(video, [from, to]);
    }
    go(0);
    return windows;
  };

  // The end of an element in seconds of the composition: its own end, or that of a composition around it.
  const endOf = (element, start) => {
    const own = numberOf(element, "data-start");
    const length = numberOf(element, "data-duration");
    if (own === null || !Number.isFinite(start)) return numberOf(element, "data-end");
    const last = length !== null && length > 0 ? own + length : numberOf(element, "data-end");
    if (last === null) return null;
    let origin = start - own;
    let end = origin + last;
    for (let host = trees.parentOf(element); host; host = trees.parentOf(host)) {
      if (!host.hasAttribute("data-composition-id") || !host.parentElement?.closest("[data-composition-id]")) continue;
      // The runtime stores attributes there that it removes from hosts when it starts.
      const hostLength = numberOf(host, "data-duration") ?? numberOf(host, "data-hf-authored-duration");
      if (hostLength !== null && hostLength > 0) end = Math.min(end, origin + hostLength);
      const hostStart = numberOf(host, "data-start");
      // A start relative to another clip's end is not a number; the root of an inlined file has no start.
      if (hostStart === null && host.hasAttribute("data-start")) break;
      origin -= hostStart ?? 0;
    }
    return end;
  };
  const probe = () => {
    const visible = visibleWindows(Number(window.__hf.duration) || 0);
    const media = [...trees.all("video, audio"), ...looseVideos.values()].map((element) => {
      const absolute = typeof window.__hfResolveMediaStartSeconds === "function" ? window.__hfResolveMediaStartSeconds(element) : null;
      const source = trees.sourceOf(element);
      const isLoose = looseVideos.get(window.__hfMediaId(element)) === element;
      return {
        id: window.__hfMediaId(element),
        kind: element.tagName.toLowerCase(),
        src: source,
        start: isLoose ? 0 : Number.isFinite(absolute) ? absolute : numberOf(element, "data-start"),
        timed: isLoose || element.hasAttribute("data-start"),
        scripted: isLoose,
        duration: numberOf(element, "data-duration"),
        end: endOf(element, absolute),
        media_start: numberOf(element, "data-media-start") ?? numberOf(element, "data-playback-start") ?? 0,
        rate: numberOf(element, "data-playback-rate") ?? 1,
        volume: numberOf(element, "data-volume"),
        fade_in: numberOf(element, "data-fade-in") ?? 0,
        fade_out: numberOf(element, "data-fade-out") ?? 0,
        automation: element.getAttribute("data-automation"),
        muted: element.muted || element.hasAttribute("muted") || isLoose,
        has_audio: element.getAttribute("data-has-audio"),
        looped: element.loop,
        visible: visible.get(element) || null,
      };
    });
    return {
      duration: Number(window.__hf.duration) || 0,
      media,
    };
  };

  const host = { state, step, settle, seek, show, placed, picture, composite, visit, probe, notes: clock.notes, familiesWithoutFace };
  Object.defineProperty(window, "__hyperfarmHost", { value: Object.freeze(host) });
})();
