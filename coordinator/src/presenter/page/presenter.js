// The page of a presenter video: a photograph that speaks. `presenter.json` beside the page says what and how.
//
// What takes long is found once, in the plan stage, and left to the farm in `window.__hyperfarmPrepared`. Every other page of
// the render gets it as `/__hyperfarm/prepared.json`, so all of them draw the same.

import { drawer } from "./draw.js";
import { rig } from "./face.js";
import { findFace } from "./landmarks.js";
import { motion } from "./motion.js";
import { cutOut, findPerson } from "./person.js";
import { features, mouthTrack, readWav, STEP } from "./sound.js";

/** Where the farm keeps what the plan stage has found. */
const PREPARED = "/__hyperfarm/prepared.json";

/** Pixels a side that a photograph is read with at most. */
const MOST_PIXELS = 4096;

/** Samples a second to which sounds are decoded that are no WAV files. */
const RATE = 22050;

/** Whatever is loaded, or an error that names it. */
async function load(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path} did not load: ${answer.status}`);
  return answer;
}

/** The samples of a sound, of all channels together. */
async function samplesOf(path) {
  const buffer = await (await load(path)).arrayBuffer();
  const wav = readWav(buffer);
  if (wav) return wav;
  const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(buffer).catch(() => {
    throw new Error("the sound cannot be decoded; use a WAV or an MP3 file");
  });
  const samples = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    sound.getChannelData(channel).forEach((value, i) => { samples[i] += value / sound.numberOfChannels; });
  }
  return { samples, rate: sound.sampleRate };
}

/** The image file as a canvas, upright. */
async function photoOf(path) {
  const image = new Image();
  image.src = path;
  await image.decode().catch(() => { throw new Error("the photo cannot be decoded; use a PNG or a JPEG file"); });
  const part = Math.min(1, MOST_PIXELS / Math.max(image.naturalWidth, image.naturalHeight));
  return scaled(image, Math.round(image.naturalWidth * part), Math.round(image.naturalHeight * part));
}

function scaled(source, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  return canvas;
}

/** Where the photograph lies on a canvas of this size: over all of it with the face in sight, or all of it in sight. */
function placed(photo, face, canvas, fit) {
  const [sx, sy] = [canvas.width / photo.width, canvas.height / photo.height];
  const scale = fit === "contain" ? Math.min(sx, sy) : Math.max(sx, sy);
  const within = (wanted, size, room) => Math.min(Math.max(wanted, Math.min(0, room - size)), Math.max(0, room - size));
  if (fit === "contain") return { scale, x: (canvas.width - scale * photo.width) / 2, y: canvas.height - scale * photo.height };
  // The face is in the middle, and a little above it.
  const [x, y] = face.toPixels(face.center);
  return {
    scale,
    x: within(canvas.width / 2 - scale * x, scale * photo.width, canvas.width),
    y: within(0.42 * canvas.height - scale * y, scale * photo.height, canvas.height),
  };
}

const encoded = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** Whether every pixel of a canvas is opaque. */
function isOpaque(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 3; at < data.length; at += 4) if (data[at] < 255) return false;
  return true;
}

/**
 * What the plan stage finds: the face of the photograph, unless it is known, what its mouth does, and the person, where the
 * background is to be left out and the photograph has one.
 */
async function prepare({ sound, words, face, cutout }, photo) {
  const { width, height } = photo;
  const found = { face: face ?? { ...(await findFace(photo)), width, height } };
  if (cutout && isOpaque(photo)) found.person = await findPerson(photo);
  if (sound) {
    const { samples, rate } = await samplesOf(sound);
    const tracks = mouthTrack(features(samples, rate), words);
    found.seconds = samples.length / rate;
    found.tracks = Object.fromEntries(Object.entries(tracks).map(([name, bytes]) => [name, encoded(bytes)]));
  }
  window.__hyperfarmPrepared = found;
  return found;
}

async function start() {
  const [settings, stored] = await Promise.all([load("presenter.json").then((answer) => answer.json()), fetch(PREPARED)]);
  const original = await photoOf(settings.photo);
  const { face: { landmarks, triangles }, tracks: texts, seconds, person } = stored.ok ? await stored.json() : await prepare(settings, original);
  const photo = person ? await cutOut(original, person) : original;
  // The farm does not know how long a sound of the client's is.
  const root = document.getElementById("root");
  if (seconds && !root.dataset.duration) root.dataset.duration = (seconds + settings.tail).toFixed(3);
  const canvas = document.getElementById("presenter");
  const found = rig(landmarks, triangles, photo.width, photo.height);
  // A photograph that is drawn smaller is made smaller first, so that nothing in it glitters when it moves.
  const part = Math.min(1, placed(photo, found, canvas, settings.fit).scale);
  const picture = part < 1 ? scaled(photo, Math.round(photo.width * part), Math.round(photo.height * part)) : photo;
  const face = rig(landmarks, triangles, picture.width, picture.height);
  const draw = drawer(canvas, picture, face, placed(picture, face, canvas, settings.fit));
  const rest = { open: 0, wide: 0, closed: 0, tucked: 0, tongue: 0, speaking: 0, blink: 0, brow: 0, yaw: 0, pitch: 0, roll: 0, x: 0, breath: 0 };
  if (!texts) return draw(rest);
  const tracks = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, decoded(text)]));
  const move = motion(tracks, STEP, settings.seed, settings.expressiveness);
  const at = (name, time) => {
    const values = tracks[name];
    const place = Math.max(0, Math.min(values.length - 1, time / STEP)), index = Math.floor(place);
    return (values[index] + (values[Math.min(values.length - 1, index + 1)] - values[index]) * (place - index)) / 255;
  };
  const show = (time) => draw({
    ...move(time),
    open: at("open", time), wide: 2 * at("wide", time) - 1, closed: at("closed", time), tucked: at("tucked", time),
    tongue: at("tongue", time), speaking: at("speaking", time),
  });
  window.addEventListener("hf-seek", (event) => show(event.detail.time));
  show(0);
}

start()
  .catch((error) => { window.__hfStartupError = error.message; })
  .finally(() => window.presenterIsReady());
