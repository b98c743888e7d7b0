// Runs before any script of any frame, after early.js. A page loads no remote files while it is rendered: files that were
// downloaded before are on the slot's server, by their URL. So each absolute URL that a script uses is replaced by
// `/__hyperfarm/remote/{URL}`. The server refuses and records URLs that it does not have; as a proxy it would learn only the host of an
// https URL.
(() => {
  "use strict";
  if (window.__hyperfarmRemote) return;
  Object.defineProperty(window, "__hyperfarmRemote", { value: true });
  const own = window.location.origin;
  const origin = own && own !== "null" ? own : (() => { try { return window.parent.location.origin; } catch { return ""; } })();
  const prefix = origin + "/__hyperfarm/remote/";

  const local = (value) => {
    if (typeof value !== "string" && !(value instanceof URL)) return value;
    const text = String(value).trim();
    if (!/^(https?:)?\/\//i.test(text)) return value;
    try {
      const url = new URL(text, "https://x.invalid/");
      const absolute = text.startsWith("//") ? "https:" + text : url.href;
      if (url.origin === origin) return value;
      const target = new URL(absolute);
      const hash = target.hash;
      target.hash = "";
      return prefix + encodeURIComponent(target.href) + hash;
    } catch {
      return value;
    }
  };
  const inCss = (text) =>
    typeof text === "string" && text.includes("//")
      ? text.replace(/url\(\s*(["']?)((?:https?:)?\/\/[^"')]+)\1\s*\)/gi, (_, quote, url) => `url("${local(url)}")`)
      : text;
  const inSet = (text) =>
    typeof text === "string" ? text.replace(/(^|,\s+|,(?=https?:))(\S+)/g, (_, before, url) => before + local(url)) : text;

  if (window.fetch) {
    const fetch = window.fetch;
    // What the server has not got is to scripts what no network is.
    const orFail = (response) => {
      if (!response.ok) throw new TypeError("Failed to fetch");
      return response;
    };
    window.fetch = function (input, options) {
      const url = input instanceof Request ? input.url : input;
      const mapped = local(url);
      if (mapped === url) return fetch.call(this, input, options);
      const request = input instanceof Request ? new Request(mapped, input.method === "GET" ? {} : input) : mapped;
      return fetch.call(this, request, options).then(orFail);
    };
  }
  const open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (method, url, ...rest) { return open.call(this, method, local(url), ...rest); };
  for (const name of ["Worker", "SharedWorker"]) {
    if (window[name]) window[name] = new Proxy(window[name], { construct: (target, [url, ...rest]) => new target(local(url), ...rest) });
  }
  if (window.FontFace) {
    window.FontFace = new Proxy(window.FontFace, {
      construct: (target, [family, source, ...rest]) => new target(family, inCss(source), ...rest),
    });
  }

  const setter = (owner, name, map) => {
    const found = owner && Object.getOwnPropertyDescriptor(owner.prototype, name);
    if (found && found.set) Object.defineProperty(owner.prototype, name, { ...found, set(value) { found.set.call(this, map(value)); } });
  };
  for (const owner of ["HTMLImageElement", "HTMLScriptElement", "HTMLMediaElement", "HTMLSourceElement", "HTMLTrackElement", "HTMLIFrameElement"]) {
    setter(window[owner], "src", local);
  }
  setter(window.HTMLImageElement, "srcset", inSet);
  setter(window.HTMLVideoElement, "poster", local);
  setter(window.HTMLLinkElement, "href", local);
  for (const name of ["cssText", "background", "backgroundImage", "maskImage", "listStyleImage", "borderImageSource"]) {
    setter(window.CSSStyleDeclaration, name, inCss);
  }
  const setProperty = CSSStyleDeclaration.prototype.setProperty;
  CSSStyleDeclaration.prototype.setProperty = function (name, value, ...rest) { return setProperty.call(this, name, inCss(value), ...rest); };

  // Attributes of elements that load files.
  const loads = (element, name) =>
    name === "src" || name === "poster" || (name === "data" && element.localName === "object") ||
    ((name === "href" || name === "xlink:href") && ["link", "image", "use", "feimage"].includes(element.localName.toLowerCase()));
  const mapped = (element, name, value) => {
    if (name === "style") return inCss(value);
    if (name === "srcset") return inSet(value);
    return loads(element, name) ? local(value) : value;
  };
  const setAttribute = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    return setAttribute.call(this, name, mapped(this, String(name).toLowerCase(), String(value)));
  };
  const setAttributeNS = Element.prototype.setAttributeNS;
  Element.prototype.setAttributeNS = function (space, name, value) {
    return setAttributeNS.call(this, space, name, mapped(this, String(name).toLowerCase(), String(value)));
  };

  // Markup that scripts insert is changed before the browser begins to load it.
  const names = ["src", "srcset", "poster", "href", "xlink:href", "data", "style"];
  const repair = (element) => {
    for (const name of names) {
      const value = element.getAttribute(name);
      if (value === null || !value.includes("//")) continue;
      const next = mapped(element, name, value);
      if (next !== value) setAttribute.call(element, name, next);
    }
  };
  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const node of change.addedNodes) {
        if (node.nodeType !== 1 || node.ownerDocument !== document) continue;
        repair(node);
        for (const inner of node.querySelectorAll("[src],[srcset],[poster],[href],[data],[style*='//']")) repair(inner);
      }
    }
  }).observe(document, { childList: true, subtree: true });
})();
