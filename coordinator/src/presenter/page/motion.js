// What the face and the head do besides speaking: blinks, brows, nods and a slow sway, from a seed and the loudness of the
// speech. Every state is a function of the time.

/** How much of each motion, by `expressiveness`: head, brows. */
const AMOUNTS = { low: [0.55, 0.6], medium: [0.85, 1], high: [1.25, 1.5] };

/** Random numbers from 0 to 1, by a seed: mulberry32. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

/** A bump that is 0 before `start`, rises to 1 within `rise` seconds, stays for `hold`, and falls within `fall`. */
function bump(time, start, rise, hold, fall) {
  const at = time - start;
  if (at <= 0 || at >= rise + hold + fall) return 0;
  const part = at < rise ? at / rise : at < rise + hold ? 1 : 1 - (at - rise - hold) / fall;
  return part * part * (3 - 2 * part);
}

/** The moments that a speaker stresses: peaks of the loudness of whole syllables, at least 0.45 s apart. */
export function accents(loud, step) {
  const reach = Math.round(0.1 / step);
  const level = Array.from(loud, (_, at) => {
    let sum = 0, count = 0;
    for (let k = Math.max(0, at - reach); k <= Math.min(loud.length - 1, at + reach); k++) {
      sum += loud[k];
      count++;
    }
    return sum / count / 255;
  });
  const apart = Math.round(0.45 / step), found = [];
  for (let at = 1; at + 1 < level.length; at++) {
    if (level[at] < 0.6 || level[at] < level[at - 1] || level[at] <= level[at + 1]) continue;
    const last = found.at(-1);
    if (last && at - last.at < apart) {
      if (level[at] > last.level) found[found.length - 1] = { at, level: level[at] };
    } else {
      found.push({ at, level: level[at] });
    }
  }
  return found.map(({ at, level: strength }) => ({ time: at * step, strength }));
}

/** The motion of a speech: a function from the time to a pose. */
export function motion({ loud, speaking }, step, seed, expressiveness) {
  const [head, brows] = AMOUNTS[expressiveness] ?? AMOUNTS.low;
  const next = random(seed);
  const length = loud.length * step;
  const blinks = [];
  for (let time = 0.8 + 1.5 * next(); time < length; time += 2 + 3.4 * next()) {
    blinks.push(time);
    // Some blinks are double.
    if (next() < 0.12) blinks.push(time + 0.34);
  }
  const waves = (count, slow, fast) => Array.from({ length: count }, () => ({
    turn: 2 * Math.PI * (slow + (fast - slow) * next()), phase: 2 * Math.PI * next(),
  }));
  const wander = (list, time) => list.reduce((sum, { turn, phase }) => sum + Math.sin(turn * time + phase), 0) / list.length;
  const [yaw, pitch, roll, shift] = [waves(3, 0.06, 0.27), waves(3, 0.08, 0.3), waves(3, 0.05, 0.22), waves(3, 0.05, 0.2)];
  const nods = accents(loud, step).map(({ time, strength }) => ({
    time: time - 0.14, amount: (strength - 0.35) * (0.5 + next()), tilt: next() - 0.5, brow: next() < 0.3 ? 0.5 + 0.5 * next() : 0,
    turn: next() - 0.5,
  }));
  const at = (values, time) => {
    const place = Math.max(0, Math.min(values.length - 1, time / step)), index = Math.floor(place);
    const [a, b] = [values[index] ?? 0, values[Math.min(values.length - 1, index + 1)] ?? 0];
    return (a + (b - a) * (place - index)) / 255;
  };
  return (time) => {
    const speech = at(speaking, time);
    let blink = 0;
    for (const start of blinks) blink = Math.max(blink, bump(time, start, 0.085, 0.035, 0.16));
    let nod = 0, tilt = 0, raise = 0, turn = 0;
    for (const { time: start, amount, tilt: side, brow, turn: to } of nods) {
      if (Math.abs(time - start) > 1.2) continue;
      const beat = bump(time, start, 0.17, 0.05, 0.4) * amount;
      nod += beat;
      tilt += beat * side;
      turn += beat * to;
      raise = Math.max(raise, bump(time, start - 0.05, 0.16, 0.12, 0.36) * brow);
    }
    const calm = 0.5 + 0.5 * speech;
    return {
      blink,
      brow: brows * raise,
      // In radians.
      yaw: head * (0.05 * calm * wander(yaw, time) + 0.03 * turn),
      pitch: head * (0.028 * calm * wander(pitch, time) + 0.04 * nod),
      roll: head * (0.024 * calm * wander(roll, time) + 0.022 * tilt),
      // In distances between the eyes.
      x: head * 0.02 * wander(shift, time),
      breath: Math.sin((2 * Math.PI * time) / 4.1 + 6 * seed),
    };
  };
}
