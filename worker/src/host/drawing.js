// What scripts draw of videos whose pictures come from the farm, and of animated drawings: on canvases, into textures and as bitmaps and
// video frames they find the picture of the frame. It runs in the top frame only, after playback.js and images.js.
(() => {
  "use strict";
  if (window.top !== window || window.__hyperfarmDrawing) return;
  const clock = window.__HF_VIRTUAL_TIME__;
  const playback = window.__hyperfarmPlayback;
  const images = window.__hyperfarmImages;
  // The page may replace it.
  const { XMLHttpRequest } = window;
  const { open, send, overrideMimeType } = XMLHttpRequest.prototype;

  // The pictures of videos that the plan shows: URL, and the image that loads it, if any does.
  const due = new Map();
  // Images of the page that show videos, and the videos. The runtime draws those images in place of the videos.
  const videos = new WeakMap();
  let isUsed = false;
  const setPicture = (video, url, image) => {
    const isNew = due.get(video)?.url !== url;
    due.set(video, { url, image });
    return isNew;
  };

  // Reads a picture of the slot's server at once: scripts draw it before the browser has loaded it. It is a bitmap of 32 bits with a header
  // of 122 bytes, whose rows come from the top.
  const HEADER = 122;
  const readNow = (url) => {
    const request = new XMLHttpRequest();
    open.call(request, "GET", url, false);
    // Each byte is a character, whose lower eight bits it is.
    overrideMimeType.call(request, "text/plain; charset=x-user-defined");
    send.call(request);
    const text = request.status === 200 ? request.responseText : "";
    const number = (at) => [3, 2, 1, 0].reduce((sum, byte) => (sum << 8) | (text.charCodeAt(at + byte) & 0xff), 0);
    if (text.length <= HEADER) throw new Error(`the picture ${url} of a video did not load`);
    const [width, height, hasAlpha] = [number(18), -number(22), number(66) !== 0];
    const picture = new ImageData(width, height);
    const { data } = picture;
    for (let to = 0, from = HEADER; to < data.length; to += 4, from += 4) {
      data[to] = text.charCodeAt(from + 2);
      data[to + 1] = text.charCodeAt(from + 1);
      data[to + 2] = text.charCodeAt(from);
      data[to + 3] = hasAlpha ? text.charCodeAt(from + 3) : 255;
    }
    return picture;
  };
  // The latest picture of a video that was read at once.
  const read = new WeakMap();
  const readOnce = (video, url) => {
    if (read.get(video)?.url !== url) read.set(video, { url, data: readNow(url), canvas: null });
    return read.get(video);
  };
  const asCanvas = (picture) => {
    if (!picture.canvas) {
      picture.canvas = new OffscreenCanvas(picture.data.width, picture.data.height);
      picture.canvas.getContext("2d").putImageData(picture.data, 0, 0);
    }
    return picture.canvas;
  };

  // A video of the page without a picture: the plan's probe decodes none, and the plan shows some videos later or not at all. Some methods
  // throw if they are given such a video, which a browser has loaded by then.
  const blank = (video) => ({ data: new ImageData(video.videoWidth || 1, video.videoHeight || 1), canvas: null });

  // In a frame that is only visited, a picture is read where it may stay: the first of a run of frames that draw the video, and what the caller
  // asks for. Reading the others would take as long as drawing them. A run that ends in a visited frame has left an old picture, and the
  // frame is told, so that another walk reads it there. A run is that of a video and a canvas.
  const RUN_GAP = 4;
  const runs = new WeakMap();
  const unread = new Set();
  let visited = null;
  const beginVisit = (number, reads) => { visited = { number, reads }; };
  // Returns the numbers of the visits that have left old pictures.
  const endVisit = () => {
    const missed = [];
    for (const run of unread) {
      if (run.at > visited.number - RUN_GAP) continue;
      missed.push(run.at);
      unread.delete(run);
    }
    visited = null;
    return missed;
  };
  const isRead = (video, target) => {
    if (!visited) return true;
    if (!runs.has(target)) runs.set(target, new WeakMap());
    const ofTarget = runs.get(target);
    const run = ofTarget.get(video) ?? { at: -Infinity };
    ofTarget.set(video, run);
    if (run.at !== visited.number) {
      if (visited.reads || run.at < visited.number - RUN_GAP) unread.delete(run);
      else unread.add(run);
      run.at = visited.number;
    }
    return !unread.has(run);
  };

  const isLoaded = (image) => image && image.complete && image.naturalWidth > 0;
  // What `target` draws in place of `source`. `takesData` says that the caller takes ImageData, whose colours are not multiplied by alpha.
  const pictureOf = (source, target, takesData = false) => {
    const video = videos.get(source) ?? source;
    if (video instanceof HTMLImageElement) return images.pictureOf(video);
    if (!(video instanceof HTMLVideoElement)) return source;
    isUsed = true;
    const own = playback.isScripted(video) ? playback.pictureOf(video) : due.get(video);
    if (!own && (clock.isLoading() || !video.hasAttribute("data-start"))) return source;
    if (own && isLoaded(own.image) && own.image.getAttribute("src") === own.url) {
      read.delete(video);
      return own.image;
    }
    const picture = own && isRead(video, target) ? readOnce(video, own.url) : read.get(video) ?? blank(video);
    return takesData ? picture.data : asCanvas(picture);
  };

  for (const context of [window.CanvasRenderingContext2D, window.OffscreenCanvasRenderingContext2D]) {
    if (!context) continue;
    const { drawImage, createPattern } = context.prototype;
    context.prototype.drawImage = function (source, ...rest) { return drawImage.call(this, pictureOf(source, this), ...rest); };
    context.prototype.createPattern = function (source, ...rest) { return createPattern.call(this, pictureOf(source, this), ...rest); };
  }
  for (const context of [window.WebGLRenderingContext, window.WebGL2RenderingContext]) {
    for (const name of ["texImage2D", "texSubImage2D", "texImage3D", "texSubImage3D"]) {
      const upload = context?.prototype[name];
      if (!upload) continue;
      context.prototype[name] = function (...parts) {
        parts.push(pictureOf(parts.pop(), this, true));
        return upload.apply(this, parts);
      };
    }
  }
  const { createImageBitmap } = window;
  if (createImageBitmap) window.createImageBitmap = (source, ...rest) => createImageBitmap.call(window, pictureOf(source, createImageBitmap, true), ...rest);
  if (window.VideoFrame) {
    window.VideoFrame = new Proxy(window.VideoFrame, {
      construct: (target, [source, init, ...rest], self) => {
        const shown = pictureOf(source, target);
        const options = shown === source ? init : { timestamp: Math.round(source.currentTime * 1e6), ...init };
        return Reflect.construct(target, [shown, options, ...rest], self === window.VideoFrame ? target : self);
      },
    });
  }
  Object.defineProperty(window, "__hyperfarmDrawing", { value: Object.freeze({ setPicture, showVideo: (image, video) => videos.set(image, video), isUsed: () => isUsed, beginVisit, endVisit }) });
})();
