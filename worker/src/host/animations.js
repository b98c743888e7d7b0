// Who moves the animations of a document (CSS animations, CSS transitions, Web animations), and by which time. It runs in every frame of the
// page, after early.js.
//
// The runtime moves those of the page that are there when the page is ready, also those that scripts have paused until then: its documents
// ask authors to pause them. The farm moves all others: those that begin later, those of frames and shadow roots, those whose rate is not 1,
// and those that scripts or styles steer once the page is ready. Each of these has an anchor. To scripts all are as if the browser played.
(() => {
  "use strict";
  if (typeof document !== "object" || window.__hyperfarmAnimations || !window.DocumentTimeline) return;
  const clock = window.__HF_VIRTUAL_TIME__;
  const isTop = window.top === window;
  // While the runtime moves the page, the clock is still at the frame before.
  let moment = null;
  const now = () => moment ?? clock.getTime();

  // Timelines of documents have the clock's time.
  const origins = new WeakMap();
  const timelineTime = Object.getOwnPropertyDescriptor(AnimationTimeline.prototype, "currentTime");
  const timeOf = (timeline) => now() - (origins.get(timeline) ?? 0);
  Object.defineProperty(AnimationTimeline.prototype, "currentTime", {
    ...timelineTime,
    get() { return this instanceof DocumentTimeline ? timeOf(this) : timelineTime.get.call(this); },
  });
  window.DocumentTimeline = new Proxy(window.DocumentTimeline, {
    construct: (target, [options, ...rest], self) => {
      const made = Reflect.construct(target, [options, ...rest], self);
      origins.set(made, Number(options?.originTime) || 0);
      return made;
    },
  });

  const native = Object.getOwnPropertyDescriptors(Animation.prototype);
  const pause = (animation) => native.pause.value.call(animation);
  const positionOf = (animation) => native.currentTime.get.call(animation);
  const setPosition = (animation, value) => native.currentTime.set.call(animation, value);
  // Questions for the state and the end of an animation bring the page's style up to date, which takes long after each change of a position. So
  // they are asked before.
  const stateOf = (animation) => native.playState.get.call(animation);
  const isIdle = (animation) => positionOf(animation) === null;
  const endOf = (animation) => animation.effect?.getComputedTiming().endTime ?? Infinity;
  const { addEventListener } = EventTarget.prototype;
  // Whether the runtime itself has called the function that asks. It also runs the scripts of the page, so only its own call counts: the
  // first two places of the stack are in this file. It is asked often, and a short stack is made fast.
  const isByRuntime = () => {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 3;
    const stack = new Error().stack ?? "";
    Error.stackTraceLimit = limit;
    return /\/__hyperfarm\/runtime\.js:\d+:\d+\)?$/.test(stack);
  };

  // Those on a scroll timeline follow it by themselves, and are left alone.
  const followsOther = (animation) => !(animation.timeline instanceof DocumentTimeline);
  const ofRuntime = new WeakSet();
  // The moment in milliseconds to which the runtime has moved an animation.
  const movedAt = new WeakMap();
  // The moment `at` in milliseconds of the clock at which an animation is at position `from` in milliseconds, and whether it stands still.
  const anchors = new WeakMap();
  // Those that runtime or farm have paused to move them, and those that the page had paused when it was ready.
  const held = new WeakSet();
  const pausedInLoad = new WeakSet();
  const isSought = (animation) =>
    held.has(animation) && !pausedInLoad.has(animation) && !anchors.get(animation)?.isStopped && !followsOther(animation);

  // Where it would be if it had no end.
  const movedTo = (animation, ms) => {
    const { at, from, isStopped } = anchors.get(animation);
    return isStopped ? from : from + (ms - at) * animation.playbackRate;
  };
  const positionAt = (animation, ms) => {
    const moved = movedTo(animation, ms);
    const { from } = anchors.get(animation);
    return animation.playbackRate > 0 ? Math.min(moved, Math.max(from, endOf(animation))) : Math.max(moved, Math.min(from, 0));
  };
  const hold = (animation) => {
    held.add(animation);
    pause(animation);
  };
  const place = (animation, ms) => {
    // A position would begin one again that its style has ended.
    if (!isIdle(animation)) setPosition(animation, movedTo(animation, ms));
  };

  // Ends that scripts wait for ---------------------------------------------------------------------------------------------
  // While the page loads, an animation whose end a script waits for runs to it in the steps of the load time.
  const awaited = new Set();
  const ended = new WeakSet();
  const heard = new WeakSet();
  const wait = (animation) => {
    heard.add(animation);
    if (awaited.has(animation) || ended.has(animation)) return;
    awaited.add(animation);
    addEventListener.call(animation, "finish", () => awaited.delete(animation), { once: true });
  };
  const ends = new WeakMap();
  Object.defineProperty(Animation.prototype, "finished", {
    ...native.finished,
    get() {
      if (followsOther(this)) return native.finished.get.call(this);
      wait(this);
      let end = ends.get(this);
      if (!end) {
        end = Promise.withResolvers();
        native.finished.get.call(this).then(end.resolve, end.reject);
        // As with the browser's own, a cancellation that nobody waits for is no error.
        end.promise.catch(() => {});
        ends.set(this, end);
      }
      return end.promise;
    },
  });
  // One that is played again has another end.
  const again = (animation) => {
    if (!ended.delete(animation)) return;
    ends.delete(animation);
    wait(animation);
  };
  Object.defineProperty(Animation.prototype, "onfinish", {
    ...native.onfinish,
    set(listener) {
      if (listener) wait(this);
      native.onfinish.set.call(this, listener);
    },
  });
  const hear = (animation, isRuntime) => (isRuntime ? heard.add(animation) : wait(animation));
  Animation.prototype.addEventListener = function (type, ...rest) {
    // The runtime hears of the end of every animation, and nothing follows from it.
    if (type === "finish") hear(this, isByRuntime());
    return addEventListener.call(this, type, ...rest);
  };
  // Those that are moved never end by themselves: scripts are told when they are at their end. Answers whether any was.
  const tellEnds = () => {
    let isAny = false;
    for (const animation of [...awaited]) {
      const at = positionOf(animation);
      if (!isSought(animation) || at === null || !(animation.playbackRate < 0 ? at <= 0 : at >= endOf(animation) - 1e-3)) continue;
      isAny = true;
      awaited.delete(animation);
      ended.add(animation);
      ends.get(animation)?.resolve(animation);
      animation.dispatchEvent(new AnimationPlaybackEvent("finish", { currentTime: at, timelineTime: now() }));
    }
    return isAny;
  };

  // What scripts ask and order ---------------------------------------------------------------------------------------------
  // Orders of the runtime to these have no effect. An idle one would begin again.
  const isKeptFromRuntime = (animation) =>
    followsOther(animation) || anchors.has(animation) || (clock.isLoading() && heard.has(animation)) || isIdle(animation);
  // After an order of a script, its style does not play or pause an animation any more.
  const steered = new WeakSet();
  // Positions that scripts have given while the page loaded.
  const given = new WeakMap();

  // An order of a script to an animation that is moved: it has its position of this moment before, and an anchor afterwards.
  const steer = (animation, order, isStopped) => {
    if (followsOther(animation) || (clock.isLoading() && !anchors.has(animation))) return order();
    const anchor = anchors.get(animation);
    const isBegun = !isIdle(animation);
    if (anchor) setPosition(animation, positionAt(animation, now()));
    else if (movedAt.has(animation) && isBegun) setPosition(animation, Math.max(0, positionOf(animation) + now() - movedAt.get(animation)));
    const result = order();
    pausedInLoad.delete(animation);
    const at = isBegun ? now() : Math.max(now(), clock.aim());
    anchors.set(animation, { at, from: positionOf(animation) ?? 0, isStopped: isStopped ?? anchor?.isStopped ?? false });
    hold(animation);
    return result;
  };
  const begins = (animation) => {
    pausedInLoad.delete(animation);
    held.delete(animation);
    steered.add(animation);
    again(animation);
  };
  const setRate = (animation, rate) => native.playbackRate.set.call(animation, rate);
  Object.assign(Animation.prototype, {
    pause() {
      if (isByRuntime()) {
        if (!held.has(this) && !isKeptFromRuntime(this)) hold(this);
        return;
      }
      if (clock.isLoading()) pausedInLoad.add(this);
      steered.add(this);
      steer(this, () => pause(this), true);
    },
    play() {
      begins(this);
      steer(this, () => native.play.value.call(this), false);
    },
    // The browser changes these rates at its next frame only.
    reverse() {
      begins(this);
      steer(this, () => {
        setRate(this, -this.playbackRate);
        native.play.value.call(this);
      }, false);
    },
    updatePlaybackRate(rate) { steer(this, () => setRate(this, rate)); },
    finish() {
      begins(this);
      steer(this, () => native.finish.value.call(this), false);
    },
    cancel() {
      pausedInLoad.delete(this);
      awaited.delete(this);
      anchors.delete(this);
      held.delete(this);
      native.cancel.value.call(this);
    },
  });
  Object.defineProperties(Animation.prototype, {
    playbackRate: { ...native.playbackRate, set(rate) { steer(this, () => setRate(this, rate)); } },
    currentTime: {
      ...native.currentTime,
      get() { return isSought(this) && anchors.has(this) ? positionAt(this, now()) : positionOf(this); },
      set(value) {
        if (isByRuntime()) {
          if (isKeptFromRuntime(this)) return;
          setPosition(this, value);
          movedAt.set(this, now());
          return;
        }
        if (clock.isLoading()) given.set(this, Number(value) || 0);
        steer(this, () => setPosition(this, value));
      },
    },
    startTime: {
      ...native.startTime,
      get() {
        const value = native.startTime.get.call(this);
        if (followsOther(this)) return value;
        if (value === null && isSought(this)) {
          const at = anchors.has(this) ? positionAt(this, now()) : positionOf(this);
          return at === null ? null : timeOf(this.timeline) - at / (this.playbackRate || 1);
        }
        return typeof value === "number" ? value - timelineTime.get.call(this.timeline) + timeOf(this.timeline) : value;
      },
      set(value) {
        const isOurs = typeof value === "number" && !followsOther(this);
        if (!isOurs || (clock.isLoading() && !anchors.has(this))) {
          native.startTime.set.call(this, isOurs ? value + timelineTime.get.call(this.timeline) - timeOf(this.timeline) : value);
          return;
        }
        steered.add(this);
        steer(this, () => setPosition(this, (timeOf(this.timeline) - value) * this.playbackRate), false);
      },
    },
    playState: {
      ...native.playState,
      get() {
        const state = stateOf(this);
        // For an element without an animation the runtime would write delays into the style, and the next one would begin with them.
        if (state === "idle") return this instanceof CSSAnimation && isByRuntime() ? "paused" : state;
        if (!isSought(this) || isByRuntime()) return state;
        const at = anchors.has(this) ? positionAt(this, now()) : positionOf(this);
        return (this.playbackRate < 0 ? at <= 0 : at >= endOf(this)) || at < 0 ? "finished" : "running";
      },
    },
  });

  // The farm's part of a frame ------------------------------------------------------------------------------------------------
  // Seconds of the composition at which the clip around an element begins.
  const startOf = (element) => {
    const clip = element.closest("[data-start]");
    return Number((clip && window.__hfResolveMediaStartSeconds?.(clip)) ?? 0) || 0;
  };
  // Of an element whose animations it has not seen yet, because it is not shown, the runtime writes the play state, and delays less the time of
  // its clip.
  const restoreStyle = (element, ms) => {
    const { style } = element;
    if (style?.animationPlayState !== "paused" || style.animationDelay === "") return;
    const local = Math.max(0, ms / 1000 - startOf(element));
    style.animationDelay = style.animationDelay.split(",").map((delay) => `${+(parseFloat(delay) + local).toFixed(3)}s`).join(", ");
    style.animationPlayState = "";
  };
  // It takes these back later, and would take back play states that scripts write too.
  if (isTop) {
    const { removeProperty } = CSSStyleDeclaration.prototype;
    const delayed = new WeakSet();
    CSSStyleDeclaration.prototype.removeProperty = function (name) {
      if (name === "animation-delay" && this.animationDelay !== "") delayed.add(this);
      if (name === "animation-play-state" && !delayed.delete(this) && isByRuntime()) return this.animationPlayState;
      return removeProperty.call(this, name);
    };
  }
  const isPausedByStyle = ({ effect, animationName }) => {
    const style = getComputedStyle(effect.target, effect.pseudoElement);
    if (!style.animationPlayState.includes("paused")) return false;
    const states = style.animationPlayState.split(", ");
    return states[style.animationName.split(", ").lastIndexOf(animationName) % states.length] === "paused";
  };
  // Whether a clip around an element begins between two moments in milliseconds.
  const hasClipThatBegins = (element, since, ms) => {
    for (let clip = element.closest("[data-start]"); clip; clip = clip.parentElement?.closest("[data-start]")) {
      const start = startOf(clip) * 1000;
      if (start > 0 && start > since + 1e-3 && start <= ms + 1e-3) return true;
    }
    return false;
  };
  const first = (animation) => (animation.playbackRate < 0 ? endOf(animation) : 0);
  const isOfElement = (animation) => animation instanceof CSSAnimation && animation.effect?.target instanceof Element;
  // Gives an animation that was not there before its anchor. The runtime goes on with those that appear because their clip begins.
  const begin = (animation, since, ms) => {
    const isNew = isTop && !clock.isLoading() && isOfElement(animation);
    const isByClip = isNew && hasClipThatBegins(animation.effect.target, since, ms);
    if (isByClip && stateOf(animation) === "paused") {
      ofRuntime.add(animation);
      return;
    }
    if (isNew && !isByClip) restoreStyle(animation.effect.target, ms);
    const isStopped = pausedInLoad.has(animation);
    const at = isByClip ? startOf(animation.effect.target) * 1000 : ms;
    anchors.set(animation, { at, from: isStopped ? (positionOf(animation) ?? 0) : first(animation), isStopped });
    // One that only its style has paused would go on with its style.
    hold(animation);
  };
  // Those that a style may pause: it did not when the page was ready.
  const playing = new WeakSet();
  const followStyle = (animation, ms) => {
    const anchor = anchors.get(animation);
    if (!isOfElement(animation) || steered.has(animation) || !(anchor || playing.has(animation))) return;
    const isPaused = isPausedByStyle(animation);
    if (isPaused === (anchor?.isStopped ?? false)) return;
    const from = anchor ? positionAt(animation, ms) : positionOf(animation);
    anchors.set(animation, { at: ms, from, isStopped: isPaused });
  };
  let moving = [];
  // Moves the animations of `scopes` (documents, shadow roots) to `ms`. New ones have begun then, or with a clip since the moment `since`.
  const move = (scopes, ms, since = ms) => {
    moving = [];
    for (const scope of scopes) {
      for (const animation of scope.getAnimations()) {
        if (animation.timeline !== document.timeline) continue;
        if (!anchors.has(animation) && !ofRuntime.has(animation)) begin(animation, since, ms);
        followStyle(animation, ms);
        if (anchors.has(animation)) moving.push(animation);
      }
    }
    for (const animation of moving) place(animation, ms);
  };
  // Moves those of the last frame before any script of this one runs, and runs `seek` with the clock at `ms`.
  const follow = (ms, seek) => {
    moment = ms;
    try {
      for (const animation of moving) if (anchors.has(animation)) place(animation, ms);
      seek?.();
    } finally {
      moment = null;
    }
  };
  // The page is ready: the runtime has what is there.
  const leaveToRuntime = () => {
    for (const animation of document.getAnimations()) {
      if (followsOther(animation)) continue;
      if (animation.playbackRate === 1) {
        ofRuntime.add(animation);
        if (isOfElement(animation) && !isPausedByStyle(animation)) playing.add(animation);
        continue;
      }
      anchors.set(animation, { at: 0, from: given.get(animation) ?? first(animation), isStopped: false });
      hold(animation);
    }
  };
  Object.defineProperty(window, "__hyperfarmAnimations", {
    value: Object.freeze({ move, follow, leaveToRuntime, tellEnds, awaitsEnds: () => awaited.size > 0 }),
  });
})();
