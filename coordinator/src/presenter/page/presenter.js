// The page of a presenter video: a photograph that speaks. `presenter.json` beside the page says what and how.

import { drawer } from "./draw.js";
import { rig } from "./face.js";
import { motion } from "./motion.js";
import { features, mouthTrack, readWav, STEP } from "./sound.js";

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
  const rate = 22050;
  const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(buffer);
  const samples = new Float32Array(sound.length);
  for (let c = 0; c < sound.numberOfChannels; c++) {
    sound.getChannelData(c).forEach((value, i) => { samples[i] += value / sound.numberOfChannels; });
  }
  return { samples, rate };
}

/** Where the photograph lies on a canvas of this size: over all of it, the face in sight, or all of it in sight. */
function placed(photo, face, canvas, fit) {
  const [sx, sy] = [canvas.width / photo.width, canvas.height / photo.height];
  const scale = fit === "contain" ? Math.min(sx, sy) : Math.max(sx, sy);
  const [fx, fy] = face.toPixels(face.center);
  const within = (wanted, size, room) => Math.min(Math.max(wanted, Math.min(0, room - size)), Math.max(0, room - size));
  if (fit === "contain") {
    return { scale, x: (canvas.width - scale * photo.width) / 2, y: canvas.height - scale * photo.height };
  }
  // The face is in the middle, and a little above it.
  return {
    scale,
    x: within(canvas.width / 2 - scale * fx, scale * photo.width, canvas.width),
    y: within(0.42 * canvas.height - scale * fy, scale * photo.height, canvas.height),
  };
}

/** What the plan stage finds once: the face of the photograph, and what its mouth does. */
async function prepared({ sound, words, face }) {
  const found = await samplesOf(sound);
  const tracks = mouthTrack(features(found.samples, found.rate), words);
  return { face: await (await load(face)).json(), tracks };
}

async function start() {
  const settings = await (await load("presenter.json")).json();
  const { face: landmarks, tracks } = await prepared(settings);
  const image = new Image();
  image.src = settings.photo;
  await image.decode();
  const photo = { width: image.naturalWidth, height: image.naturalHeight };
  const face = rig(landmarks.landmarks, landmarks.triangles, photo.width, photo.height);
  const canvas = document.getElementById("presenter");
  const draw = drawer(canvas, image, face, placed(photo, face, canvas, settings.fit));
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

start();
