// Finds what `document.querySelectorAll` does not: elements in shadow roots (open, closed and declarative), and videos that scripts have
// created and not put into the document. It runs in the top frame only, before the page's scripts.
(() => {
  "use strict";
  if (window.top !== window || window.__hyperfarmTrees) return;
  const clock = window.__HF_VIRTUAL_TIME__;
  const roots = new Set();
  const videos = new Set();
  const sounds = new Set();
  const shadowRoot = Object.getOwnPropertyDescriptor(Element.prototype, "shadowRoot");
  const attachShadow = Element.prototype.attachShadow;
  Element.prototype.attachShadow = function (init) {
    const root = attachShadow.call(this, init);
    roots.add(root);
    return root;
  };
  // The compiler opens declarative roots that are closed; scripts still do not see them.
  Object.defineProperty(Element.prototype, "shadowRoot", {
    ...shadowRoot,
    get() {
      const root = shadowRoot.get.call(this);
      return root && this.hasAttribute("data-hf-closed-root") && root.mode === "open" ? null : root;
    },
  });
  // Declarative roots are made by the parser.
  const collect = (within) => {
    for (const element of within.querySelectorAll("*")) {
      const root = shadowRoot.get.call(element);
      if (!root || roots.has(root)) continue;
      roots.add(root);
      collect(root);
    }
  };
  for (const owner of [Element, ShadowRoot]) {
    const { setHTMLUnsafe } = owner.prototype;
    if (!setHTMLUnsafe) continue;
    owner.prototype.setHTMLUnsafe = function (...parts) {
      setHTMLUnsafe.apply(this, parts);
      collect(this);
    };
  }
  const { createElement } = Document.prototype;
  Document.prototype.createElement = function (...parts) {
    const element = createElement.apply(this, parts);
    if (element instanceof HTMLAudioElement) sounds.add(element);
    if (element instanceof HTMLVideoElement) {
      videos.add(element);
      if (!clock.isLoading()) {
        clock.note("CLOCK_NOT_HELD", "a script creates a video after the page was ready; it plays by the browser's clock. Create it while the page loads");
      }
    }
    return element;
  };
  const media = HTMLMediaElement.prototype;
  const { play } = media;
  // The farm and the runtime interrupt what plays. To scripts it plays on.
  const uninterrupted = (promise) => promise?.catch((error) => { if (error?.name !== "AbortError") throw error; });
  // A sound that is played follows the frames if it was there when the page was ready. Nobody hears it.
  media.play = function () {
    if (this instanceof HTMLVideoElement) videos.add(this);
    else if (!clock.isLoading()) {
      clock.note("CLOCK_NOT_HELD", "a script plays a sound that was created after the page was ready; it stays at its start. Create it while the page loads");
      return Promise.resolve();
    } else sounds.add(this);
    return uninterrupted(play.call(this));
  };
  window.Audio = new Proxy(window.Audio, {
    construct: (target, parts, self) => {
      const element = Reflect.construct(target, parts, self);
      sounds.add(element);
      return element;
    },
  });
  // Where a script has put a medium, in seconds. While the page loads it plays by the wall clock, and to scripts by the page's.
  const positions = new WeakMap();
  const currentTime = Object.getOwnPropertyDescriptor(media, "currentTime");
  Object.defineProperty(media, "currentTime", {
    ...currentTime,
    get() {
      if (!clock.isLoading()) return currentTime.get.call(this);
      return (positions.get(this) ?? 0) + (this.paused ? 0 : clock.getTime() / 1000);
    },
    set(seconds) {
      positions.set(this, Number(seconds) || 0);
      currentTime.set.call(this, seconds);
    },
  });

  const connected = () => [...roots].filter((root) => root.isConnected && root.ownerDocument === document);
  const all = (selector) => {
    const found = [...document.querySelectorAll(selector)];
    if (roots.size) for (const root of connected()) found.push(...root.querySelectorAll(selector));
    return found;
  };
  const find = (selector) => {
    const found = document.querySelector(selector);
    if (found || !roots.size) return found;
    for (const root of connected()) {
      const inner = root.querySelector(selector);
      if (inner) return inner;
    }
    return null;
  };
  // The parent, or the host where that is a shadow root.
  const parentOf = (element) => element.parentElement ?? element.getRootNode().host ?? null;
  const sourceOf = (video) => video.currentSrc || video.src || video.querySelector("source")?.src || "";
  const loose = () => [...videos].filter((video) => !video.isConnected && sourceOf(video) !== "");
  const looseSounds = () => [...sounds].filter((sound) => !sound.isConnected && sourceOf(sound) !== "");
  Object.defineProperty(window, "__hyperfarmTrees", {
    value: Object.freeze({ all, find, roots: connected, hasRoots: () => roots.size > 0, collect: () => collect(document), parentOf, loose, looseSounds, sourceOf, positions, currentTime }),
  });
})();
