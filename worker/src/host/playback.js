// The playback of videos whose pictures come from the farm, as scripts see it. A video in the page plays while the plan shows it. One that
// is not in the document plays as scripts say (play, pause, currentTime, rate, loop), in composition time. So do sounds, which nobody hears:
// the farm mixes them by the plan. It runs in the top frame only.
(() => {
  "use strict";
  if (window.top !== window || window.__hyperfarmPlayback) return;
  const clock = window.__HF_VIRTUAL_TIME__;
  const trees = window.__hyperfarmTrees;
  const { createElement } = Document.prototype;
  const { pause } = HTMLMediaElement.prototype;
  const placed = new Map();
  const scripted = new Map();
  const now = () => clock.getTime() / 1000;
  const tell = (video, ...types) => { for (const type of types) video.dispatchEvent(new Event(type)); };
  const define = (video, name, get, set = () => {}) => Object.defineProperty(video, name, { configurable: true, get, set });

  // The runtime sets and pauses what is in the document. Line 0 of the stack names the error, lines 1 and 2 are in this file.
  const isOfRuntime = (video) => video.isConnected && /\/__hyperfarm\/runtime\.js:\d+:\d+\)?$/.test((new Error().stack ?? "").split("\n")[3] ?? "");
  const nameOf = (video) => (video.id ? `the video #${video.id}` : "a video without an id");
  const ignore = (video, what, instead) => clock.note("CLOCK_NOT_HELD", `a script ${what} ${nameOf(video)}, which is shown as its attributes say. Use ${instead}`);

  const serve = (video, about) => {
    define(video, "readyState", () => HTMLMediaElement.HAVE_ENOUGH_DATA);
    define(video, "videoWidth", () => about.width);
    define(video, "videoHeight", () => about.height);
    if (about.index !== null) return;
    placed.set(video, { start: about.start, end: about.end, plays: false });
    const position = () => {
      const moved = about.media_start + Math.min(Math.max(0, now() - about.start), about.end - about.start) * about.rate;
      if (!(about.duration > 0)) return moved;
      return about.looped ? moved % about.duration : Math.min(moved, about.duration);
    };
    define(video, "paused", () => !placed.get(video).plays);
    define(video, "ended", () => !placed.get(video).plays && now() >= about.end);
    define(video, "currentTime", position, (seconds) => {
      if (Math.abs(seconds - position()) > 1 / clock.config.fps && !isOfRuntime(video)) ignore(video, "sets the position of", "data-start and data-media-start");
    });
    define(video, "playbackRate", () => about.rate, (rate) => {
      if (rate !== about.rate && !isOfRuntime(video)) ignore(video, "sets the rate of", "data-playback-rate");
    });
    if (about.duration > 0) define(video, "duration", () => about.duration);
    video.play = () => Promise.resolve();
    video.pause = () => {
      if (placed.get(video).plays && !isOfRuntime(video)) ignore(video, "pauses", "data-start and data-duration, or a second video");
    };
  };

  // A sound in the page plays from `start` to `end`, both seconds of the composition, at `rate`, from second `offset` of its file.
  const place = (sound, { start, end, rate, offset }) => {
    placed.set(sound, { start, end, plays: false });
    pause.call(sound);
    define(sound, "paused", () => !placed.get(sound).plays);
    define(sound, "ended", () => !placed.get(sound).plays && now() >= end);
    define(sound, "seeking", () => false);
    define(sound, "currentTime", () => offset + Math.min(Math.max(0, now() - start), end - start) * rate);
    sound.play = () => Promise.resolve();
    sound.pause = () => {};
  };

  // A video that scripts play: `at` is its position in seconds at the composition's second `since`.
  const position = (video, state) => {
    const moved = state.plays ? state.at + (now() - state.since) * state.rate : state.at;
    // Lengths are rounded in files.
    if (video.loop && state.duration > 0) return (moved + 1e-4) % state.duration;
    return Math.min(Math.max(0, moved), state.duration);
  };
  const anchor = (video, state, at = position(video, state)) => Object.assign(state, { at, since: now() });
  const sourceOf = (state, fps, seconds) => {
    const last = Math.max(0, Math.floor(state.duration * fps + 0.5) - 1);
    return `/__hyperfarm/video/${state.index}/${Math.min(last, Math.floor(seconds * fps + 1e-6))}.bmp`;
  };
  const script = (video, about, source) => {
    const plays = !video.paused || video.autoplay;
    const at = trees.positions.get(video) ?? 0;
    const state = { index: about.index, duration: about.end, plays, at, since: 0, rate: video.playbackRate || 1, url: null, image: null, shownAt: null, sought: false, isRated: false, ended: false };
    scripted.set(video, state);
    pause.call(video);
    define(video, "paused", () => !state.plays);
    define(video, "ended", () => state.ended);
    define(video, "seeking", () => state.sought);
    define(video, "duration", () => state.duration);
    define(video, "src", () => source, () => clock.note("CLOCK_NOT_HELD", `a script gives another source to ${video.localName === "audio" ? "a sound" : "a video"} that is not in the document; it keeps its first one`));
    define(video, "currentSrc", () => source);
    define(video, "currentTime", () => position(video, state), (seconds) => {
      if (isOfRuntime(video)) return;
      anchor(video, state, Math.min(Math.max(0, Number(seconds) || 0), state.duration));
      state.ended = false;
      state.sought = true;
    });
    define(video, "playbackRate", () => state.rate, (rate) => {
      if (isOfRuntime(video)) return;
      anchor(video, state);
      state.rate = Number(rate) || 0;
      state.isRated = true;
    });
    video.play = () => {
      if (isOfRuntime(video)) return Promise.resolve();
      if (state.ended) anchor(video, state, 0);
      state.ended = false;
      if (!state.plays) {
        anchor(video, state);
        state.plays = true;
        tell(video, "play", "playing");
      }
      return Promise.resolve();
    };
    video.pause = () => {
      if (!state.plays || isOfRuntime(video)) return;
      anchor(video, state);
      state.plays = false;
      tell(video, "pause");
    };
  };

  // Tells scripts what plays at the time of the clock.
  const announce = () => {
    const t = now();
    for (const [video, state] of placed) {
      const plays = t >= state.start - 1e-6 && t < state.end - 1e-6;
      const begun = plays && !state.plays;
      const over = !plays && state.plays;
      state.plays = plays;
      if (begun) tell(video, "play", "playing");
      if (over) tell(video, "pause", ...(t >= state.end - 1e-6 ? ["ended"] : []));
      if (plays) tell(video, "timeupdate");
    }
    for (const [video, state] of scripted) {
      if (!state.plays) continue;
      if (!video.loop && state.at + (t - state.since) * state.rate >= state.duration - 1e-6) {
        anchor(video, state, state.duration);
        Object.assign(state, { plays: false, ended: true });
        tell(video, "timeupdate", "pause", "ended");
      } else tell(video, "timeupdate");
    }
  };

  // A video whose file only the page has shows its own picture, which the browser decodes.
  const SEEKS_WITHIN = 5000;
  const seekFile = (video, seconds) => new Promise((done) => {
    video.addEventListener("seeked", done, { once: true });
    clock.originalSetTimeout(done, SEEKS_WITHIN);
    // Moments of pictures are rounded in files.
    trees.currentTime.set.call(video, seconds + 1e-3);
  });

  // Sets the picture that each video out of the document has at second `t`, or at its position, and loads it unless the frame is only
  // visited. Returns the videos whose picture is another one.
  const load = async (t, isVisit = false) => {
    const changed = [];
    const loading = [];
    for (const [video, state] of scripted) {
      const seconds = t === null ? position(video, state) : position(video, { ...state, at: state.plays ? state.at + (t - now()) * state.rate : state.at });
      if (state.index === null) {
        if (isVisit || video.localName !== "video" || state.shownAt === seconds) continue;
        state.shownAt = seconds;
        loading.push(seekFile(video, seconds).then(() => changed.push(video)));
        continue;
      }
      const url = sourceOf(state, clock.config.fps, seconds);
      if (isVisit || state.image?.getAttribute("src") === url) {
        if (state.url !== url) changed.push(video);
        state.url = url;
        continue;
      }
      const image = createElement.call(document, "img");
      image.src = url;
      loading.push(image.decode().then(() => { Object.assign(state, { url, image }); changed.push(video); }, () => {}));
    }
    await Promise.all(loading);
    return changed;
  };
  // After the scripts of a seek: the pictures of the positions to which they have moved videos.
  const follow = async (isVisit = false) => {
    const changed = await load(null, isVisit);
    for (const [video, state] of scripted) {
      if (state.isRated) tell(video, "ratechange");
      state.isRated = false;
      if (!state.sought) continue;
      state.sought = false;
      tell(video, "seeking", "timeupdate", "seeked");
    }
    return changed;
  };
  // The picture of a video that scripts play: its address, and the image that has loaded it or an earlier one.
  const pictureOf = (video) => {
    const { url, image } = scripted.get(video);
    return url && { url, image };
  };
  // The address of the picture of each video that scripts have put into the document since.
  const attached = () => {
    const found = new Map();
    for (const [video, { index, image }] of scripted) {
      if (index !== null && video.isConnected && video.localName === "video") found.set(video, image?.getAttribute("src") ?? null);
    }
    return found;
  };
  Object.defineProperty(window, "__hyperfarmPlayback", {
    value: Object.freeze({ serve, place, script, announce, load, follow, pictureOf, attached, isScripted: (video) => scripted.has(video), hasScripted: () => scripted.size > 0 }),
  });
})();
