// The scope of a nested composition's script: its document and GSAP find elements of its own mount only, and its timelines and
// variables are those of the mount. It is loaded before the scripts that need it.
(() => {
  "use strict";
  if (window.__hyperfarmScope) return;
  const quoted = (text) => String(text).replace(/\\/g, "\\\\").replace(/"/g, '\\"');
  const literally = (text) => String(text).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const bound = (target, key) => {
    const value = Reflect.get(target, key, target);
    // A bound class would lose its static members; only plain functions and methods need to be bound.
    return typeof value === "function" && value.prototype === undefined ? value.bind(target) : value;
  };
  const asMethod = (target, key) => {
    const value = Reflect.get(target, key, target);
    return typeof value === "function" ? value.bind(target) : value;
  };

  const hyperframes = ({ runtime, source }) => {
    const base = window.__hyperframes;
    if (!base) return base;
    return Object.assign({}, base, {
      assetUrl: (path) => new URL(path, source ? new URL(source, document.baseURI) : document.baseURI).href,
      getVariables: () => Object.assign({}, (window.__hfVariablesByComp || {})[runtime]),
    });
  };

  // Replaces selectors of the composition's id or its root's id, which the author wrote.
  const translator = ({ composition, selector, root }) => {
    const self = `\\[\\s*data-composition-id\\s*=\\s*(?:"${literally(composition)}"|'${literally(composition)}')\\s*\\]`;
    const timing = `\\s*\\[\\s*data-(?:start|duration)\\s*=\\s*(?:"[^"]*"|'[^']*')\\s*\\]`;
    const rules = [
      [new RegExp(`${self}(?:${timing})+`, "g"), selector],
      [new RegExp(`(?:${timing})+${self}`, "g"), selector],
    ];
    const ids = new Map();
    if (root) ids.set(root, `[data-hf-authored-id="${quoted(root)}"]`);
    return (text) => {
      if (typeof text !== "string") return text;
      let out = text;
      for (const [pattern, replacement] of rules) out = out.replace(pattern, () => replacement);
      if (!out.includes("#")) return out;
      // Strings and attributes are not changed.
      return out.replace(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\[[^\]]*\]|#((?:[\w-]|[^\x00-\x7f]|\\.)+)/g, (whole, id) => {
        if (id === undefined) return whole;
        const name = id.replace(/\\(.)/g, "$1");
        if (ids.has(name)) return ids.get(name);
        // Ids in SVG pictures that several mounts have were renamed.
        const renamed = `[data-hf-authored-id="${quoted(name)}"]`;
        return document.querySelector(`svg ${renamed}, svg${renamed}`) ? `:is(#${id}, ${renamed})` : whole;
      });
    };
  };

  const finder = (options) => {
    const translate = translator(options);
    let found = null;
    const root = () => found || (found = document.querySelector(options.selector));
    const all = (selector) => {
      const host = root();
      if (!host || typeof selector !== "string") return document.querySelectorAll(selector);
      return Array.prototype.filter.call(document.querySelectorAll(translate(selector)), (node) => host.contains(node));
    };
    const byId = (id) => {
      const host = root();
      const first = document.getElementById(id);
      if (!host || (first && host.contains(first))) return first;
      if (host.id === String(id)) return host;
      return host.querySelector(`[data-hf-authored-id="${quoted(id)}"]`) || host.querySelector(`[id="${quoted(id)}"]`);
    };
    return { root, all, translate, one: (selector) => all(selector)[0] || null, byId };
  };

  // The authored id is the key of this mount's timeline.
  const timelinesOf = ({ composition, runtime }) => {
    let proxy = null;
    let target = null;
    const get = () => {
      window.__timelines = window.__timelines || {};
      if (!composition || composition === runtime) return window.__timelines;
      if (target === window.__timelines) return proxy;
      target = window.__timelines;
      proxy = new Proxy(target, {
        get: (registry, key) => {
          if (key !== composition) return registry[key];
          return registry[runtime] === undefined ? registry[key] : registry[runtime];
        },
        set: (registry, key, value) => {
          if (key !== composition) return Reflect.set(registry, key, value);
          // The first mount is registered by the authored id too, for scripts outside of mounts.
          const owns = registry[composition] === undefined || registry[composition] === registry[runtime];
          registry[runtime] = value;
          if (owns) registry[composition] = value;
          return true;
        },
      });
      return proxy;
    };
    return { get, isOwn: (value) => proxy !== null && value === proxy };
  };

  const animated = ["to", "from", "fromTo", "set"];
  const scopedGsap = (gsap, find) => {
    if (!gsap) return gsap;
    const targets = (value) => {
      if (typeof value === "string") return find.all(value);
      if (!Array.isArray(value)) return value;
      return value.flatMap((item) => (typeof item === "string" ? [...find.all(item)] : [item]));
    };
    const timeline = (made) => {
      if (!made) return made;
      for (const name of animated) {
        const original = made[name];
        if (typeof original === "function") made[name] = (first, ...rest) => original.call(made, targets(first), ...rest);
      }
      return made;
    };
    const utils = (own) => new Proxy(own, {
      get: (target, key) => {
        if (key === "toArray") return (first, ...rest) => target.toArray(targets(first), ...rest);
        if (key === "selector") {
          return (base) => {
            const within = (typeof base === "string" ? find.one(base) : base) || find.root();
            return (selector) => {
              if (!within || typeof selector !== "string") return [];
              const host = within.current || within.nativeElement || within;
              const nodes = document.querySelectorAll(find.translate(selector));
              return Array.prototype.filter.call(nodes, (node) => host.contains && host.contains(node));
            };
          };
        }
        return asMethod(target, key);
      },
    });
    return new Proxy(gsap, {
      get: (target, key) => {
        if (key === "timeline") return (...rest) => timeline(target.timeline(...rest));
        if (animated.includes(key)) return (first, ...rest) => target[key](targets(first), ...rest);
        if (key === "utils" && target.utils) return utils(target.utils);
        return asMethod(target, key);
      },
    });
  };

  const scope = (options, body) => {
    const find = finder(options);
    const timelines = timelinesOf(options);
    const own = hyperframes(options);
    const scopedDocument = new Proxy(document, {
      get: (target, key) => {
        if (key === "querySelector") return find.one;
        if (key === "querySelectorAll") return find.all;
        if (key === "getElementById") return find.byId;
        return asMethod(target, key);
      },
      set: (target, key, value) => Reflect.set(target, key, value, target),
    });
    const scopedWindow = new Proxy(window, {
      get: (target, key) => {
        if (key === "__timelines") return timelines.get();
        if (key === "__hyperframes") return own;
        return bound(target, key);
      },
      set: (target, key, value) => {
        if (key !== "__timelines") return Reflect.set(target, key, value, target);
        // `window.__timelines = window.__timelines || {}` assigns the registry to itself.
        if (!timelines.isOwn(value)) target.__timelines = value || {};
        return true;
      },
    });
    find.root();
    try {
      body.call(window, scopedDocument, scopedGsap(window.gsap, find), scopedWindow, own);
    } catch (error) {
      // Other scripts go on; the host is told that this one failed.
      const later = window.__HF_VIRTUAL_TIME__ ? window.__HF_VIRTUAL_TIME__.originalSetTimeout : setTimeout;
      later(() => { throw error; }, 0);
    }
  };
  scope.hyperframes = hyperframes;
  Object.defineProperty(window, "__hyperfarmScope", { value: scope });
})();
