// Animated images, which the browser plays by the wall clock. Each GIF, PNG, WebP and AVIF is decoded, and shows the picture that it has at the
// time of the frame; each SVG file is sought in a document of its own, and shown as a still drawing. The images are those of the document
// and of shadow roots (by `src`, `srcset`, `<picture>`, data: and blob: addresses), of style sheets and style attributes, and of
// `<image>` in drawings. The compiler has replaced images whose file is in the project by videos. It runs in the top frame only, before
// driver.js.
(() => {
  "use strict";
  if (window.top !== window || window.__hyperfarmImages) return;
  const clock = window.__HF_VIRTUAL_TIME__;
  const trees = window.__hyperfarmTrees;
  const { ImageDecoder } = window;
  const { createElement } = Document.prototype;
  const { createObjectURL, revokeObjectURL } = URL;
  const KINDS = /\.(?:gif|a?png|webp|avif|svg)(?:[?#]|$)|^blob:/i;
  const DATA_KINDS = /^data:image\/(?:gif|a?png|webp|avif|svg)/i;
  const mayMove = (url) => (url.startsWith("data:") ? DATA_KINDS.test(url.slice(0, 20)) : KINDS.test(url));
  const mayBeDrawing = (url) => /^(?:data:image\/svg|blob:)/i.test(url.slice(0, 15)) || (!url.startsWith("data:") && /\.svg(?:[?#]|$)/i.test(url));
  // Bytes of a file that say whether it is an animation.
  const HEAD = 4096;
  // Most bytes of pictures that are kept.
  const KEPT = 256 * 1024 * 1024;
  // Browsers show a picture without a duration for a tenth of a second.
  const SHORTEST_MS = 10;
  const DEFAULT_MS = 100;

  const shorten = (url) => (url.length > 80 ? `${url.slice(0, 77)}…` : url);
  const nameOf = (url) => shorten(url.startsWith(`${location.origin}/`) ? decodeURI(url.slice(location.origin.length + 1)) : url);
  const unheld = (url, why) => clock.note("ANIMATED_IMAGE", `${nameOf(url)} is an animated image ${why}; its pictures may differ between renders`);

  // The pictures of an animation, as files that a style sheet can name, by a key. The oldest are given back.
  const made = new Set();
  let keptBytes = 0;
  const keep = async (owner, key, blob) => {
    const url = createObjectURL.call(URL, blob);
    const image = createElement.call(document, "img");
    image.src = url;
    await image.decode();
    const picture = { url, image, bytes: blob.size + image.naturalWidth * image.naturalHeight * 4, drop: () => owner.delete(key) };
    owner.set(key, picture);
    made.add(picture);
    keptBytes += picture.bytes;
    for (const oldest of made) {
      if (keptBytes <= KEPT || oldest === picture) break;
      made.delete(oldest);
      keptBytes -= oldest.bytes;
      oldest.drop();
      revokeObjectURL.call(URL, oldest.url);
    }
    return picture;
  };
  const isOwn = (url) => url.startsWith("blob:") && [...made].some((picture) => picture.url === url);

  // A picture as a bitmap file of 32 bits: a header with the masks of red, green, blue and alpha, and the rows from the top.
  const bitmapOf = ({ width, height, data }) => {
    const header = new DataView(new ArrayBuffer(122));
    header.setUint16(0, 0x424d);
    const fields = [
      [2, 122 + data.length], [10, 122], [14, 108], [18, width], [22, -height], [30, 3], [34, data.length], [54, 0xff], [58, 0xff00],
      [62, 0xff0000], [66, 0xff000000], [70, 0x73524742],
    ];
    for (const [at, value] of fields) header.setInt32(at, value, true);
    header.setInt16(26, 1, true);
    header.setInt16(28, 32, true);
    return new Blob([header, data], { type: "image/bmp" });
  };

  class Pictures {
    constructor(decoder, track) {
      Object.assign(this, { decoder, count: track.frameCount, plays: track.repetitionCount + 1, ends: [], kept: new Map() });
    }
    async decode(frameIndex) { return (await this.decoder.decode({ frameIndex })).image; }
    // The number of the picture at `ms`. Lengths are known of decoded pictures only.
    async indexAt(ms) {
      while (this.ends.length < this.count && (this.ends.at(-1) ?? 0) <= ms) {
        const frame = await this.decode(this.ends.length);
        const length = (frame.duration ?? 0) / 1000;
        frame.close();
        this.ends.push((this.ends.at(-1) ?? 0) + (length <= SHORTEST_MS ? DEFAULT_MS : length));
      }
      const total = this.ends.at(-1);
      if (this.ends.length === this.count && ms >= total * this.plays) return this.count - 1;
      const within = ms % total;
      return Math.max(0, this.ends.findIndex((end) => (ms < total ? ms : within) < end));
    }
    async at(seconds) {
      // Sums of frame intervals are rounded.
      const index = await this.indexAt(Math.max(0, seconds) * 1000 + 1e-3);
      if (this.kept.has(index)) return this.kept.get(index);
      const frame = await this.decode(index);
      const canvas = new OffscreenCanvas(frame.displayWidth, frame.displayHeight);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(frame, 0, 0);
      frame.close();
      return keep(this.kept, index, bitmapOf(context.getImageData(0, 0, canvas.width, canvas.height)));
    }
  }

  // The animated value of an attribute of a drawing's element as text; null where it is a property of styles.
  const attributeValue = (target, name) => {
    const one = (value) => value.valueAsString ?? value.value ?? value;
    const matrix = ({ matrix: m }) => `matrix(${m.a} ${m.b} ${m.c} ${m.d} ${m.e} ${m.f})`;
    if (name === "points") return [...target.animatedPoints].map(({ x, y }) => `${x},${y}`).join(" ");
    const pair = [target[`${name}X`]?.animVal, target[`${name}Y`]?.animVal];
    if (pair[0] !== undefined && pair[1] !== undefined) return pair.map(one).join(" ");
    const value = target[name === "class" ? "className" : name]?.animVal;
    if (value === undefined || target[name] instanceof SVGAnimatedEnumeration) return null;
    if (typeof value !== "object") return String(value);
    if ("x" in value && "width" in value) return `${value.x} ${value.y} ${value.width} ${value.height}`;
    if (typeof value.numberOfItems !== "number") return value.valueAsString ?? null;
    return [...value].map((item) => (item.matrix ? matrix(item) : one(item))).join(" ");
  };
  const SMIL = "animate,set,animateTransform,animateMotion";
  const MOVES = /<(?:animate|animateTransform|animateMotion|set)\b|@keyframes/;
  // A drawing with animations. It is sought in a frame of the page, and its values at a moment are written into a copy.
  class Drawing {
    constructor(root) { Object.assign(this, { root, kept: new Map() }); }
    static async open(source, url) {
      const parsed = new DOMParser().parseFromString(source, "image/svg+xml");
      const { documentElement } = parsed;
      if (documentElement.localName !== "svg" || parsed.querySelector("parsererror")) return null;
      for (const script of parsed.querySelectorAll("script")) script.remove();
      const box = documentElement.viewBox.baseVal;
      const side = (name, fallback) => parseFloat(documentElement.getAttribute(name)) || box?.[name] || fallback;
      const frame = createElement.call(document, "iframe");
      const size = { width: `${side("width", 300)}px`, height: `${side("height", 150)}px` };
      Object.assign(frame.style, { position: "fixed", left: "-20000px", top: "0", border: "0", ...size });
      const address = createObjectURL.call(URL, new Blob([new XMLSerializer().serializeToString(parsed)], { type: "image/svg+xml" }));
      const loaded = new Promise((done) => { frame.onload = done; });
      frame.src = address;
      document.documentElement.append(frame);
      await loaded;
      const root = frame.contentDocument?.documentElement;
      if (root?.localName === "svg") return new Drawing(root);
      unheld(url, "that cannot be read");
      return null;
    }
    async at(seconds) {
      const t = Math.max(0, seconds);
      if (this.kept.has(t)) return this.kept.get(t);
      const { root } = this;
      const { defaultView: view } = root.ownerDocument;
      root.pauseAnimations();
      root.setCurrentTime(t);
      const animations = root.ownerDocument.getAnimations();
      for (const animation of animations) {
        animation.pause();
        animation.currentTime = t * 1000;
      }
      const copy = root.cloneNode(true);
      const copies = new Map();
      const inCopy = copy.querySelectorAll("*");
      root.querySelectorAll("*").forEach((element, at) => copies.set(element, inCopy[at]));
      copies.set(root, copy);
      const setStyle = (target, name) => copies.get(target)?.style.setProperty(name, view.getComputedStyle(target).getPropertyValue(name), "important");
      for (const { effect } of animations) {
        for (const keyframe of effect.getKeyframes()) {
          for (const name of Object.keys(keyframe)) {
            if (["offset", "computedOffset", "easing", "composite"].includes(name)) continue;
            setStyle(effect.target, name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`));
          }
        }
      }
      const moved = [];
      for (const element of root.querySelectorAll(SMIL)) {
        const { targetElement: target } = element;
        if (!copies.has(target)) continue;
        const name = element.getAttribute("attributeName") ?? "";
        if (element.localName === "animateMotion") moved.push(target);
        else {
          const value = attributeValue(target, name);
          if (value !== null) copies.get(target).setAttribute(name, value);
          else setStyle(target, name);
        }
      }
      for (const target of moved) {
        const m = target.parentNode.getScreenCTM()?.inverse().multiply(target.getScreenCTM());
        if (m) copies.get(target).setAttribute("transform", `matrix(${m.a} ${m.b} ${m.c} ${m.d} ${m.e} ${m.f})`);
      }
      for (const element of copy.querySelectorAll(SMIL)) element.remove();
      const still = root.ownerDocument.createElementNS("http://www.w3.org/2000/svg", "style");
      still.textContent = "*{animation:none!important;transition:none!important}";
      copy.append(still);
      return keep(this.kept, t, new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }));
    }
  }

  const text = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  const typeOf = (bytes) => {
    const start = text(bytes, 0, Math.min(bytes.length, HEAD));
    if (start.startsWith("GIF8")) return "image/gif";
    if (start.startsWith("RIFF") && start.startsWith("WEBPVP8X", 8) && (bytes[20] & 2) !== 0) return "image/webp";
    if (start.startsWith("ftypavis", 4)) return "image/avif";
    const [before, found] = start.startsWith("\x89PNG") ? start.split("acTL") : [];
    return found !== undefined && !before.includes("IDAT") ? "image/png" : null;
  };
  const read = async (url, limit) => {
    const answer = await clock.originalFetch(url, limit && !/^(?:data|blob):/.test(url) ? { headers: { Range: `bytes=0-${limit - 1}` } } : {});
    if (!answer.ok) throw new Error(`${answer.status}`);
    return { bytes: new Uint8Array(await answer.arrayBuffer()), isPart: answer.status === 206 };
  };
  const open = async (url) => {
    const head = await read(url, HEAD);
    const type = typeOf(head.bytes);
    if (type === null && /^\s*<|^\ufeff/.test(new TextDecoder().decode(head.bytes.subarray(0, 64)))) {
      const source = new TextDecoder().decode(head.isPart ? (await read(url, 0)).bytes : head.bytes);
      return MOVES.test(source) ? Drawing.open(source, url) : null;
    }
    if (type === null) return null;
    const data = head.isPart ? (await read(url, 0)).bytes : head.bytes;
    try {
      const decoder = new ImageDecoder({ data, type });
      await Promise.all([decoder.completed, decoder.tracks.ready]);
      const track = decoder.tracks.selectedTrack;
      return track.frameCount > 1 ? new Pictures(decoder, track) : null;
    } catch {
      unheld(url, "that cannot be decoded");
      return null;
    }
  };
  const opened = new Map();
  // The animation in the file of an address; null for a still image.
  const find = (url) => {
    if (!url || !mayMove(url) || isOwn(url)) return null;
    if (!opened.has(url)) opened.set(url, open(url).catch(() => null));
    return opened.get(url);
  };

  // Elements of images -----------------------------------------------------------------------------------------------
  const startOf = (element) => Number(element.getAttribute("data-start")) || 0;
  const elements = new WeakMap();
  const still = new WeakMap();
  const showElement = async (image, t) => {
    const source = image.currentSrc || image.src;
    if (still.get(image) === source || !mayMove(source)) return;
    const own = elements.get(image);
    if (own && own.source !== source) {
      image.style.removeProperty("content");
      elements.delete(image);
    }
    const animation = await find(source);
    if (!animation && image.complete) still.set(image, source);
    if (!animation || !image.complete) return;
    const picture = await animation.at(t - startOf(image));
    if (elements.get(image)?.picture === picture) return;
    const density = elements.get(image)?.density ?? picture.image.naturalWidth / (image.naturalWidth || picture.image.naturalWidth);
    elements.set(image, { source, picture, density });
    const address = `url("${picture.url}")`;
    image.style.setProperty("content", density === 1 ? address : `image-set(${address} ${density}x)`, "important");
  };

  // Values that name files: properties of style rules and style attributes, and addresses of <image> in drawings ---------
  const URLS = /url\((?:"([^"]*)"|'([^']*)'|([^)"']*))\)/g;
  const absolute = (url, base) => { try { return new URL(url, base).href; } catch { return null; } };
  const urlsIn = (value, base) => [...value.matchAll(URLS)].map((found) => absolute(found[1] ?? found[2] ?? found[3], base));
  const written = new WeakMap();
  const original = (owner, name, value) => {
    const own = written.get(owner)?.get(name);
    return own?.value === value ? own.original : value;
  };
  const remember = (owner, name, about) => {
    if (!written.has(owner)) written.set(owner, new Map());
    written.get(owner).set(name, about);
  };
  const showProperty = async (style, name, base, t) => {
    const present = style.getPropertyValue(name);
    if (!present.includes("url(")) return false;
    const source = original(style, name, present);
    let value = source;
    let isAnimated = false;
    for (const url of new Set(urlsIn(source, base))) {
      const animation = url && (await find(url));
      if (!animation) continue;
      isAnimated = true;
      const picture = await animation.at(t);
      value = value.replace(URLS, (whole, ...found) => (absolute(found[0] ?? found[1] ?? found[2], base) === url ? `url("${picture.url}")` : whole));
    }
    if (value !== present) {
      style.setProperty(name, value, style.getPropertyPriority(name));
      remember(style, name, { original: source, value: style.getPropertyValue(name) });
    }
    return isAnimated;
  };
  const showStyle = async (style, base, t, without) => {
    let any = false;
    for (const name of [...style]) if (name !== without) any = (await showProperty(style, name, base, t)) || any;
    return any;
  };
  let rules = [];
  const rulesIn = (list, base, found) => {
    for (const rule of list) {
      if (rule.style?.cssText.includes("url(")) found.push({ style: rule.style, base });
      try {
        if (rule.styleSheet) rulesIn(rule.styleSheet.cssRules, rule.styleSheet.href || base, found);
        else if (rule.cssRules) rulesIn(rule.cssRules, base, found);
      } catch { /* a sheet of another origin */ }
    }
    return found;
  };
  const allRules = () => {
    const found = [];
    for (const root of [document, ...trees.roots()]) {
      for (const sheet of [...root.styleSheets, ...root.adoptedStyleSheets]) {
        try { rulesIn(sheet.cssRules, sheet.href || document.baseURI, found); } catch { /* a sheet of another origin */ }
      }
    }
    return found;
  };
  const showDrawing = async (image, t) => {
    const present = image.href.baseVal;
    const source = original(image, "href", present);
    const animation = await find(absolute(source, document.baseURI));
    if (!animation) return;
    const { url } = await animation.at(t - startOf(image));
    if (url === present) return;
    image.setAttribute("href", url);
    remember(image, "href", { original: source, value: url });
    await image.decode?.().catch(() => {});
  };

  // What shows an image and cannot be given another one.
  const noteOthers = async () => {
    const others = [["input[type=image]", "src"], ["object[data]", "data"], ["embed[src]", "src"], ["video[poster]", "poster"]];
    for (const [selector, name] of others) {
      for (const element of trees.all(selector)) {
        const url = element[name];
        if (await find(url)) unheld(url, `in <${element.localName}>, which plays by the browser's clock. Use <img>`);
      }
    }
    for (let i = 0; i < window.frames.length; i++) {
      let images = [];
      try { images = [...window.frames[i].document.images]; } catch { /* another origin */ }
      for (const { currentSrc } of images) {
        if (await find(currentSrc)) unheld(currentSrc, "in a frame, which plays by the browser's clock. Put it into the page");
      }
    }
  };

  // Drawings that scripts draw into canvases, which draw the first picture of other animations.
  const drawn = new Map();
  const pictureOf = (image) => {
    const source = image.currentSrc;
    if (!mayBeDrawing(source)) return image;
    if (!drawn.has(source)) {
      drawn.set(source, null);
      find(source);
    }
    return drawn.get(source)?.image ?? image;
  };
  const prepare = async (t) => {
    for (const source of drawn.keys()) {
      const animation = await find(source);
      if (animation instanceof Drawing) drawn.set(source, await animation.at(t));
    }
  };

  const images = () => (trees.hasRoots() ? trees.all("img") : document.images);
  // Shows the pictures of second `t`. `styled` are elements whose style attribute names a file.
  const show = async (t, styled) => {
    for (const image of images()) await showElement(image, t);
    for (const { style, base } of rules) await showStyle(style, base, t, null);
    for (const element of styled) await showStyle(element.style, document.baseURI, t, elements.has(element) ? "content" : null);
    for (const image of trees.all("svg image")) await showDrawing(image, t);
  };
  const begin = async () => {
    await noteOthers();
    const animated = [];
    for (const rule of allRules()) if (await showStyle(rule.style, rule.base, 0, null)) animated.push(rule);
    rules = animated;
  };
  Object.defineProperty(window, "__hyperfarmImages", { value: Object.freeze({ begin, prepare, show, pictureOf }) });
})();
