// Scripts of the body run after the fonts are loaded, when the browser has loaded the document already. Until they have run, the page sees
// a document that is loading, and what tells of the load is held: events of the document, of the window, and of elements that the
// parser has found. Then all of it comes in the order of a browser. A page without such scripts keeps the browser's events. It runs in the
// top frame only, after driver.js, whose listener of DOMContentLoaded runs first.
(() => {
  "use strict";
  if (window.top !== window || window.__hyperfarmLoadEvents) return;
  const readyState = Object.getOwnPropertyDescriptor(Document.prototype, "readyState");
  const nativeState = () => readyState.get.call(document);
  const { addEventListener } = EventTarget.prototype;
  // "parsing": the parser works; "held": the scripts of the body wait or run; "released": they have run, or there are none.
  let phase = "parsing";
  let visible = null;
  Object.defineProperty(Document.prototype, "readyState", {
    ...readyState,
    get() { return this === document && visible !== null ? visible : readyState.get.call(this); },
  });
  const parsed = new WeakSet();
  const held = [];
  const ofDocument = new Set();
  let start = null;

  const replay = () => {
    for (const [element, type] of held.splice(0)) element.dispatchEvent(new Event(type));
  };
  const parsingEnded = () => {
    if (phase !== "parsing") return;
    if (!document.querySelector('script[type^="text/hf-after-fonts"]')) {
      phase = "released";
      replay();
      return;
    }
    phase = "held";
    visible = "loading";
    for (const element of document.body.querySelectorAll("*")) parsed.add(element);
    // The runtime would call listeners of DOMContentLoaded itself, which scripts of the body add.
    for (const target of [document, window]) {
      Object.defineProperty(target, "addEventListener", {
        configurable: true,
        get: () => EventTarget.prototype.addEventListener,
        set() { delete this.addEventListener; },
      });
    }
  };
  const hold = (event) => {
    ofDocument.add(event.type);
    event.stopImmediatePropagation();
  };
  const completed = () => {
    visible = null;
    document.dispatchEvent(new Event("readystatechange"));
    if (ofDocument.has("load")) window.dispatchEvent(new Event("load"));
    if (ofDocument.has("pageshow")) window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: false }));
  };
  const release = () => {
    if (phase !== "held") return;
    phase = "released";
    for (const target of [document, window]) {
      if (Object.getOwnPropertyDescriptor(target, "addEventListener")?.get) delete target.addEventListener;
    }
    visible = "interactive";
    document.dispatchEvent(new Event("readystatechange"));
    document.dispatchEvent(new Event("DOMContentLoaded", { bubbles: true }));
    replay();
    if (nativeState() === "complete") completed();
  };
  addEventListener.call(window, "readystatechange", (event) => {
    if (event.target !== document || !event.isTrusted) return;
    parsingEnded();
    if (phase === "held") event.stopImmediatePropagation();
    else visible = null;
  }, true);
  addEventListener.call(window, "DOMContentLoaded", (event) => {
    if (event.target !== document || !event.isTrusted) return;
    parsingEnded();
    if (phase !== "held") {
      start?.call(document, event);
      return;
    }
    event.stopImmediatePropagation();
    start?.call(document, event);
  }, true);
  for (const type of ["load", "pageshow"]) {
    addEventListener.call(window, type, (event) => { if (phase === "held" && event.isTrusted) hold(event); }, true);
  }
  // Elements of the head tell scripts of the head.
  const ofElements = [
    "load", "error", "loadstart", "durationchange", "loadedmetadata", "loadeddata", "progress", "suspend", "stalled", "canplay", "canplaythrough",
    "play", "playing", "resize",
  ];
  for (const type of ofElements) {
    addEventListener.call(document, type, (event) => {
      const element = event.target;
      if (phase === "released" || !event.isTrusted || !(element instanceof Element) || !document.body?.contains(element)) return;
      if (phase === "held" && !parsed.has(element)) return;
      event.stopImmediatePropagation();
      if (held.length < 10000) held.push([element, type]);
    }, true);
  }

  // The runtime starts at DOMContentLoaded: it runs the scripts of the body, and then says that it has been started.
  document.addEventListener = function (type, listener, ...rest) {
    if (type !== "DOMContentLoaded" || !document.currentScript?.src.endsWith("/__hyperfarm/runtime.js")) {
      return EventTarget.prototype.addEventListener.call(this, type, listener, ...rest);
    }
    delete document.addEventListener;
    start = listener;
  };
  let bootstrapped;
  Object.defineProperty(window, "__hyperframeRuntimeBootstrapped", {
    configurable: true,
    get: () => bootstrapped,
    set(value) {
      bootstrapped = value;
      queueMicrotask(release);
    },
  });

  // What a script of the body writes is put behind the script. Texts of several calls are one text.
  const written = new WeakMap();
  const writeBehind = (script, text) => {
    const own = written.get(script) ?? { text: "", nodes: [], scripts: 0 };
    written.set(script, own);
    own.text += text;
    for (const node of own.nodes) node.remove();
    const range = document.createRange();
    range.selectNode(script);
    const fragment = range.createContextualFragment(own.text);
    const scripts = [...fragment.querySelectorAll("script")];
    // Those that have run already stay without effect; files are run at once, as a parser does.
    scripts.slice(0, own.scripts).forEach((ran) => { ran.type = "text/plain"; });
    for (const file of scripts.slice(own.scripts)) {
      if (!file.src || (file.type && !/javascript/i.test(file.type))) continue;
      const request = new XMLHttpRequest();
      request.open("GET", file.src, false);
      request.send();
      file.removeAttribute("src");
      file.text = `${request.responseText}\n//# sourceURL=${request.responseURL}`;
    }
    own.scripts = scripts.length;
    own.nodes = [...fragment.childNodes];
    script.after(fragment);
  };
  for (const [name, end] of [["write", ""], ["writeln", "\n"]]) {
    const original = Document.prototype[name];
    Document.prototype[name] = function (...parts) {
      const script = document.currentScript;
      if (this !== document || phase !== "held" || !script) return original.apply(this, parts);
      writeBehind(script, parts.join("") + end);
    };
  }
  const { open } = Document.prototype;
  Document.prototype.open = function (...parts) { return this === document && phase === "held" && document.currentScript ? document : open.apply(this, parts); };

  Object.defineProperty(window, "__hyperfarmLoadEvents", { value: Object.freeze({ nativeState }) });
})();
