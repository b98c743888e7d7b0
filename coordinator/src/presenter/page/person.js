// Cuts the person of a photograph out, by MediaPipe's selfie segmentation. The mask of its model is coarse; a guided filter
// (He, Sun and Tang, 2010) lays the edge of the mask along those of the photograph.

import { answer } from "./mediapipe.js";

/** Pixels a side at which the outline is found at most. */
const MOST_PIXELS = 1024;

/** A person who covers less than this share of the photograph is none. */
const LEAST_PERSON = 0.02;

/** The radius of the filter, as a share of the longer side, and how much contrast an edge has (of 0 to 1, squared). */
const RADIUS = 1 / 80, CONTRAST = 1e-4;

/** Shares of the filter's answer that are outside and inside of the person. What is between fades. */
const [OUTSIDE, INSIDE] = [0.45, 0.95];

/** Means of `values` over squares of 2 * `radius` + 1 pixels a side, which are cut at the picture's edges. */
function means(values, width, height, radius) {
  const rows = new Float64Array(values.length), out = new Float64Array(values.length);
  const along = (from, to, count, step, start) => {
    let sum = 0, number = 0;
    for (let at = 0; at < Math.min(radius, count); at++) { sum += from[start + at * step]; number++; }
    for (let at = 0; at < count; at++) {
      if (at + radius < count) { sum += from[start + (at + radius) * step]; number++; }
      if (at - radius - 1 >= 0) { sum -= from[start + (at - radius - 1) * step]; number--; }
      to[start + at * step] = sum / number;
    }
  };
  for (let y = 0; y < height; y++) along(values, rows, width, 1, y * width);
  for (let x = 0; x < width; x++) along(rows, out, height, width, x);
  return out;
}

/** `mask` with its edges along those of `guide`. */
function guided(mask, guide, width, height, radius) {
  const mean = (values) => means(values, width, height, radius);
  const [meanGuide, meanMask] = [mean(guide), mean(mask)];
  const [both, square] = [mean(mask.map((value, at) => value * guide[at])), mean(guide.map((value) => value * value))];
  const slope = both.map((value, at) => (value - meanGuide[at] * meanMask[at]) / (square[at] - meanGuide[at] ** 2 + CONTRAST));
  const rest = meanMask.map((value, at) => value - slope[at] * meanGuide[at]);
  const [slopes, rests] = [mean(slope), mean(rest)];
  return guide.map((value, at) => slopes[at] * value + rests[at]);
}

/**
 * The person of `picture`, a canvas, as the URL of a PNG file: how opaque each pixel is, and its colour without that of what
 * is behind the person.
 */
export async function findPerson(picture) {
  const part = Math.min(1, MOST_PIXELS / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * part)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const pixels = (source) => {
    context.clearRect(0, 0, width, height);
    context.drawImage(source, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };
  const options = { modelSelection: 0, selfieMode: false };
  const found = await answer("selfie_segmentation.js", "SelfieSegmentation", options, picture, (results) => pixels(results.segmentationMask));
  const colors = pixels(picture);
  const mask = Float64Array.from({ length: width * height }, (_, at) => found[4 * at] / 255);
  const guide = Float64Array.from(mask, (_, at) => (0.299 * colors[4 * at] + 0.587 * colors[4 * at + 1] + 0.114 * colors[4 * at + 2]) / 255);
  const radius = Math.max(1, Math.round(RADIUS * Math.max(width, height)));
  const shares = guided(mask, guide, width, height, radius).map((value) => Math.min(1, Math.max(0, (value - OUTSIDE) / (INSIDE - OUTSIDE))));
  const covered = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  if (covered < LEAST_PERSON) throw new Error("the photo shows no person who can be cut out; use a photo of one");
  // The colours are those of the person nearby: along the edge they have nothing of what is behind.
  const solid = shares.map((share) => (share < 1 ? 0 : 1)), near = means(solid, width, height, radius);
  const image = context.createImageData(width, height);
  for (let channel = 0; channel < 3; channel++) {
    const color = means(solid.map((weight, at) => weight * colors[4 * at + channel]), width, height, radius);
    color.forEach((value, at) => {
      image.data[4 * at + channel] = near[at] < 1e-6 ? colors[4 * at + channel] : Math.round(value / near[at]);
    });
  }
  shares.forEach((share, at) => { image.data[4 * at + 3] = Math.round(255 * share); });
  context.putImageData(image, 0, 0);
  return canvas.toDataURL("image/png");
}

/** `picture` without what is behind the person, whom `findPerson` has found. */
export async function cutOut(picture, url) {
  const person = new Image();
  person.src = url;
  await person.decode();
  const layer = () => {
    const canvas = document.createElement("canvas"), context = canvas.getContext("2d", { willReadFrequently: true });
    [canvas.width, canvas.height] = [picture.width, picture.height];
    context.imageSmoothingQuality = "high";
    return [canvas, context];
  };
  const [core, inner] = layer();
  inner.drawImage(person, 0, 0, core.width, core.height);
  // Of the photograph itself only what is all person is shown.
  const mask = inner.getImageData(0, 0, core.width, core.height);
  for (let at = 3; at < mask.data.length; at += 4) mask.data[at] = Math.max(0, 4 * mask.data[at] - 765);
  inner.putImageData(mask, 0, 0);
  inner.globalCompositeOperation = "source-in";
  inner.drawImage(picture, 0, 0);
  const [whole, outer] = layer();
  outer.drawImage(person, 0, 0, whole.width, whole.height);
  outer.drawImage(core, 0, 0);
  return whole;
}
