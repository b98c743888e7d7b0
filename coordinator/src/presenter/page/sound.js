// What the mouth does, from the sound and, where they are known, its words with their phonemes.
//
// All of it runs once, in the plan stage; the result is stored with the plan. Times are in seconds.

/** Seconds between two values of a track. */
export const STEP = 0.02;

/** Seconds by which the mouth is ahead of the sound: lips take their shape before it is heard. */
export const LEAD = 0.03;

/** Seconds between two frames of features. */
const HOP = 0.01;

/** Decibels below the loud parts of a sound that count as silence. */
const RANGE = 34;

/**
 * Loudness and spectrum of a sound, every 10 ms: `loud` is 0 (silence) to 1, `bright` the share of 1 to 3 kHz against
 * that and 250 to 1000 Hz, `noise` the share of what is above 3.5 kHz.
 */
export function features(samples, rate) {
  const size = 2 ** Math.round(Math.log2(rate * 0.028));
  const hop = rate * HOP;
  const count = Math.ceil(samples.length / hop);
  const window = Float64Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / size));
  const bin = (hertz) => Math.min(size / 2, Math.round((hertz * size) / rate));
  const bands = [bin(80), bin(250), bin(1000), bin(3000), bin(3500), bin(8000)];
  const level = new Float64Array(count), bright = new Float64Array(count), noise = new Float64Array(count);
  const re = new Float64Array(size), im = new Float64Array(size);
  for (let frame = 0; frame < count; frame++) {
    const start = Math.round((frame + 0.5) * hop - size / 2);
    for (let i = 0; i < size; i++) re[i] = (samples[start + i] ?? 0) * window[i];
    im.fill(0);
    fft(re, im);
    const power = (from, to) => {
      let sum = 0;
      for (let i = from; i < to; i++) sum += re[i] * re[i] + im[i] * im[i];
      return sum;
    };
    const bass = power(bands[0], bands[1]), low = power(bands[1], bands[2]), mid = power(bands[2], bands[3]);
    const high = power(bands[4], bands[5]);
    const all = bass + low + mid + high + 1e-12;
    level[frame] = 10 * Math.log10((low + mid + 0.5 * bass + 0.3 * high) / size + 1e-9);
    bright[frame] = mid / (low + mid + 1e-12);
    noise[frame] = high / all;
  }
  const top = quantile(level, 0.95);
  const loud = level.map((decibels) => clamp((decibels - top + RANGE) / RANGE));
  return { loud, bright, noise };
}

function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let length = 2; length <= n; length *= 2) {
    const angle = (-2 * Math.PI) / length;
    for (let k = 0; k < length / 2; k++) {
      const c = Math.cos(angle * k), s = Math.sin(angle * k);
      for (let a = k; a < n; a += length) {
        const b = a + length / 2;
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}

// What a letter of the International Phonetic Alphabet is to the mouth: how far the jaw opens (0 to 1), how wide (1) or
// round (-1) the lips are, how far the tongue shows, and what of it is heard, for the alignment.
const VOWEL = "vowel", SONORANT = "sonorant", NOISE = "noise", STOP = "stop";
const PHONEMES = new Map();
for (const [letters, kind, jaw, wide, tongue, lips] of [
  ["aɑɐäɒ", VOWEL, 0.95, 0.05, 0.2],
  ["æ", VOWEL, 0.9, 0.35, 0.2],
  ["ʌ", VOWEL, 0.75, 0, 0.2],
  ["ɛe", VOWEL, 0.62, 0.5, 0.3],
  ["ɪiɨ", VOWEL, 0.38, 0.8, 0.4],
  ["əɜɚɝɘɤɵᵻ", VOWEL, 0.48, 0, 0.3],
  ["oɔ", VOWEL, 0.65, -0.65, 0.1],
  ["uʊɯʉ", VOWEL, 0.34, -0.95, 0.1],
  ["yʏøœ", VOWEL, 0.36, -0.8, 0.3],
  ["mbpɓ", STOP, 0, 0, 0, "closed"],
  ["fvɱʋ", NOISE, 0.14, 0.1, 0, "tucked"],
  ["βɸ", NOISE, 0.1, 0, 0],
  ["wʍɥ", SONORANT, 0.2, -1, 0],
  ["θð", NOISE, 0.25, 0.1, 1],
  ["lɫʎɭ", SONORANT, 0.38, 0.15, 0.9],
  ["nɲɳ", SONORANT, 0.26, 0.15, 0.6],
  ["tdʈɖɗ", STOP, 0.22, 0.2, 0.6],
  ["szɕʑçʝ", NOISE, 0.16, 0.4, 0.2],
  ["ʃʒʂʐ", NOISE, 0.22, -0.55, 0.2],
  ["rɹɾʁʀɻɽ", SONORANT, 0.32, -0.35, 0.3],
  ["kgɡŋqɢcɟʔ", STOP, 0.34, 0, 0.1],
  ["hɦxχħɣʕ", NOISE, 0.4, 0, 0.1],
  ["j", SONORANT, 0.28, 0.55, 0.4],
]) {
  for (const letter of letters) PHONEMES.set(letter, { kind, jaw, wide, tongue, lips });
}

/** Seconds that a phoneme of a kind usually lasts, and how much that varies. */
const LENGTHS = { [VOWEL]: [0.1, 0.05], [SONORANT]: [0.065, 0.03], [NOISE]: [0.085, 0.035], [STOP]: [0.065, 0.03] };

/** The phonemes of a text in the International Phonetic Alphabet. */
export function phonemes(text) {
  const found = [];
  let stressed = false;
  for (const letter of text.normalize("NFC")) {
    if (letter === "ˈ" || letter === "ˌ") stressed = true;
    const last = found.at(-1);
    if (letter === "ː" && last) last.long = true;
    const known = PHONEMES.get(letter);
    if (!known) continue;
    const stress = stressed && known.kind === VOWEL;
    if (stress) stressed = false;
    found.push({ ...known, letter, stressed: stress, long: false });
  }
  return found;
}

/** How little a frame sounds like a phoneme of a kind. */
function mismatch(kind, loud, noise) {
  const off = (value, from, to) => (value < from ? from - value : value > to ? value - to : 0);
  switch (kind) {
    case VOWEL: return 2.2 * off(loud, 0.75, 1) + 1.2 * off(noise, 0, 0.15);
    case SONORANT: return 1.6 * off(loud, 0.5, 0.9) + 1.2 * off(noise, 0, 0.15);
    case NOISE: return 0.8 * off(loud, 0.15, 0.75) + 1.4 * off(noise, 0.25, 1);
    default: return 1.8 * off(loud, 0, 0.55);
  }
}

/** The phonemes of a word in turn, with their starts and ends: the division that fits the sound and usual lengths best. */
function align(list, start, end, { loud, noise }) {
  const from = Math.round(start / HOP), frames = Math.max(list.length, Math.round(end / HOP) - from);
  const usual = list.map(({ kind, long, stressed }) => {
    const [mean, spread] = LENGTHS[kind];
    const factor = (long ? 1.5 : 1) * (stressed ? 1.2 : 1);
    return [mean * factor, spread * factor];
  });
  // A slow voice says all of it slowly.
  const pace = (frames * HOP) / usual.reduce((sum, [mean]) => sum + mean, 0);
  const best = [new Float64Array(frames + 1).fill(Infinity)], backs = [];
  best[0][0] = 0;
  list.forEach(({ kind }, index) => {
    const sums = new Float64Array(frames + 1);
    for (let i = 0; i < frames; i++) sums[i + 1] = sums[i] + mismatch(kind, loud[from + i] ?? 0, noise[from + i] ?? 0);
    const row = new Float64Array(frames + 1).fill(Infinity), back = new Int32Array(frames + 1);
    const [mean, spread] = [usual[index][0] * pace, usual[index][1] * pace];
    const most = Math.ceil((mean + 4 * spread) / HOP);
    for (let to = 1; to <= frames; to++) {
      for (let at = Math.max(0, to - most); at < to; at++) {
        const off = ((to - at) * HOP - mean) / spread;
        const cost = best[index][at] + sums[to] - sums[at] + 0.8 * off * off;
        if (cost < row[to]) [row[to], back[to]] = [cost, at];
      }
    }
    best.push(row);
    backs.push(back);
  });
  const ends = [frames];
  for (let index = list.length - 1; index > 0; index--) {
    const even = Math.round((frames * index) / list.length);
    ends.unshift(Number.isFinite(best[index + 1][ends[0]]) ? backs[index][ends[0]] : even);
  }
  return list.map((phoneme, index) => ({
    ...phoneme,
    start: (from + (index ? ends[index - 1] : 0)) * HOP,
    end: (from + ends[index]) * HOP,
  }));
}

/** All phonemes of `words` with their times; none where no word has any. */
export function timed(words, sound) {
  return (words ?? []).flatMap(({ start, end, phonemes: text }) => {
    const list = phonemes(text ?? "");
    return list.length && end > start ? align(list, start, end, sound) : [];
  });
}

/**
 * What the mouth does, every 20 ms, as bytes: `open` (0 to 255), `wide` (128 is neutral, 0 round), `closed` (lips are
 * pressed), `tucked` (the lower lip is under the teeth), `tongue`, `speaking`, and `loud`, the loudness.
 */
export function mouthTrack(sound, words) {
  const { loud, bright, noise } = sound;
  const count = loud.length;
  const energy = smooth(loud, 0.03);
  // Between the loudness as it is heard and the amplitude.
  const volume = energy.map((value) => 0.5 * clamp((value - 0.3) / 0.6) + 0.5 * Math.min(1, 10 ** (((value - 1) * RANGE) / 20)));
  const open = new Float64Array(count), wide = new Float64Array(count), tongue = new Float64Array(count);
  const closed = new Float64Array(count), tucked = new Float64Array(count);
  const spoken = timed(words, sound);
  // What the sound alone says.
  for (let i = 0; i < count; i++) {
    open[i] = volume[i] * (1 - 0.7 * clamp((noise[i] - 0.2) / 0.4));
    wide[i] = energy[i] > 0.4 ? clamp((bright[i] - 0.25) / 0.5) * 1.3 - 0.55 : 0;
    tongue[i] = 0.2;
    const around = Math.max(energy[i - 9] ?? 0, 0) > 0.65 && (energy[i + 9] ?? 0) > 0.65;
    if (!spoken.length && around && energy[i] < 0.5) closed[i] = clamp((0.55 - energy[i]) / 0.2);
  }
  for (const { start, end, jaw, wide: lips, tongue: tip, lips: shape, kind, stressed } of spoken) {
    const [from, to] = [Math.round(start / HOP), Math.min(count, Math.round(end / HOP))];
    for (let i = from; i < to; i++) {
      // Who speaks louder opens wider.
      const effort = kind === VOWEL || kind === SONORANT ? 0.25 + 0.85 * volume[i] : 0.4 + 0.6 * volume[i];
      open[i] = Math.min(1, 0.62 * jaw * effort * (stressed ? 1.15 : 1) + 0.45 * open[i]);
      wide[i] = lips;
      tongue[i] = tip;
    }
    if (shape === "closed" || shape === "tucked") {
      const target = shape === "closed" ? closed : tucked;
      // Lips meet before the sound stops, and stay for a moment at least.
      const middle = (start + end) / 2, half = Math.max(0.03, (end - start) / 2);
      for (let i = Math.floor((middle - half - 0.06) / HOP); i <= (middle + half + 0.06) / HOP; i++) {
        const away = Math.max(0, Math.abs(i * HOP - middle) - half) / 0.06;
        if (i >= 0 && i < count) target[i] = Math.max(target[i], 0.5 + 0.5 * Math.cos(Math.PI * Math.min(1, away)));
      }
    }
  }
  // Silence: nothing within a third of a second is louder than a breath.
  const speaking = smooth(dilated(energy.map((value) => (value > 0.38 ? 1 : 0)), 0.22), 0.07);
  const tracks = {
    open: smooth(open, 0.028), wide: smooth(wide, 0.045).map((value) => value / 2 + 0.5), closed: smooth(closed, 0.012),
    tucked: smooth(tucked, 0.02), tongue: smooth(tongue, 0.04), speaking, loud: energy,
  };
  const length = Math.ceil((count * HOP) / STEP) + 1;
  const bytes = (values, ahead) => Uint8Array.from({ length }, (_, i) => {
    const at = (i * STEP + ahead) / HOP - 0.5, index = Math.floor(at), part = at - index;
    const value = (k) => values[Math.max(0, Math.min(count - 1, k))] ?? 0;
    return Math.round(255 * clamp(value(index) * (1 - part) + value(index + 1) * part));
  });
  return Object.fromEntries(Object.entries(tracks).map(([name, values]) => [name, bytes(values, name === "loud" ? 0 : LEAD)]));
}

/** A smoothed copy, by a Gaussian with this deviation in seconds. */
function smooth(values, deviation) {
  const reach = Math.ceil((3 * deviation) / HOP);
  const kernel = Float64Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-0.5 * (((i - reach) * HOP) / deviation) ** 2));
  const sum = kernel.reduce((a, b) => a + b);
  return Float64Array.from(values, (_, at) => {
    let total = 0;
    for (let k = -reach; k <= reach; k++) total += kernel[k + reach] * values[Math.max(0, Math.min(values.length - 1, at + k))];
    return total / sum;
  });
}

/** The highest value within so many seconds. */
function dilated(values, seconds) {
  const reach = Math.round(seconds / HOP);
  const last = new Float64Array(values.length);
  let left = -Infinity;
  for (let i = 0; i < values.length; i++) {
    if (values[i] > 0) left = i;
    if (i - left <= reach) last[i] = 1;
  }
  let right = Infinity;
  for (let i = values.length - 1; i >= 0; i--) {
    if (values[i] > 0) right = i;
    if (right - i <= reach) last[i] = 1;
  }
  return last;
}

function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

function clamp(value) {
  return Math.min(1, Math.max(0, value));
}

/** The samples of all channels together of a WAV file of 16-bit PCM, or `null` where it is another file. */
export function readWav(buffer) {
  const view = new DataView(buffer);
  const text = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (buffer.byteLength < 44 || text(0) !== "RIFF" || text(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= buffer.byteLength; ) {
    const size = view.getUint32(at + 4, true), body = at + 8;
    if (text(at) === "fmt ") {
      format = { tag: view.getUint16(body, true), channels: view.getUint16(body + 2, true), rate: view.getUint32(body + 4, true), bits: view.getUint16(body + 14, true) };
    } else if (text(at) === "data" && format?.tag === 1 && format.bits === 16) {
      const { channels, rate } = format;
      const frames = Math.floor(Math.min(size, buffer.byteLength - body) / 2 / channels);
      const samples = new Float32Array(frames);
      for (let i = 0; i < frames; i++) {
        for (let c = 0; c < channels; c++) samples[i] += view.getInt16(body + 2 * (i * channels + c), true) / 32768 / channels;
      }
      return { samples, rate };
    }
    at = body + size + (size % 2);
  }
  return null;
}
