// A face as a mesh: from 468 landmarks at rest to the positions of a moment.
//
// Positions are in the frame of the face: the origin between the eyes, x to the right of the picture along the line of the
// eyes, y down, z away from the viewer, and the distance of the outer corners of the eyes as the unit.

// Rows of landmarks, each from the left of the picture to the right. The numbers are those of MediaPipe's face mesh.
// Rows of a lip go from its outer to its inner edge.
const UPPER_LIP = [
  [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291],
  [76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306],
  [62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292],
  [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308],
];
const LOWER_LIP = [
  [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291],
  [76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306],
  [62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292],
  [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308],
];
const [INNER_UPPER, INNER_LOWER] = [UPPER_LIP[3], LOWER_LIP[3]];
const EYES = [
  {
    upper: [33, 246, 161, 160, 159, 158, 157, 173, 133], lower: [33, 7, 163, 144, 145, 153, 154, 155, 133],
    lid: [130, 247, 30, 29, 27, 28, 56, 190, 243],
    brow: [70, 63, 105, 66, 107, 46, 53, 52, 65, 55],
  },
  {
    upper: [362, 398, 384, 385, 386, 387, 388, 466, 263], lower: [362, 382, 381, 380, 374, 373, 390, 249, 263],
    lid: [463, 414, 286, 258, 257, 259, 260, 467, 359],
    brow: [300, 293, 334, 296, 336, 276, 283, 282, 295, 285],
  },
];
const OVAL = [
  10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132,
  93, 234, 127, 162, 21, 54, 103, 67, 109,
];
const [RIGHT_EYE, LEFT_EYE, CHIN, FOREHEAD, NOSE_BASE] = [33, 263, 152, 10, 2];

/** Landmarks without those of the irises. */
const LANDMARKS = 468;

/** Rings around the face, as multiples of its outline. */
const RINGS = [1.06, 1.13, 1.22, 1.34, 1.5, 1.7, 1.95, 2.3, 2.8, 3.5, 4.6, 6.5, 10, 16, 28];

/** Gap of the lips of a mouth that is wide open, as a share of its width at rest. */
const OPEN = 0.42;

/** Of the gap of a photo that shows teeth, the share that is left between sentences. */
const REST = 0.3;

const clamp = (value, low = 0, high = 1) => Math.min(high, Math.max(low, value));
const ramp = (from, to, value) => {
  const part = clamp((value - from) / (to - from));
  return part * part * (3 - 2 * part);
};

/**
 * The mesh of a face at rest. `landmarks` are rows of x, y and z as shares of the picture's width and height (z of its
 * width); `triangles` are of landmarks, with holes at the mouth and the eyes.
 */
export function rig(landmarks, triangles, width, height) {
  const px = landmarks.slice(0, LANDMARKS).map(([x, y, z]) => [x * width, y * height, z * width]);
  const [right, left] = [px[RIGHT_EYE], px[LEFT_EYE]];
  const unit = Math.hypot(left[0] - right[0], left[1] - right[1]);
  const origin = [(left[0] + right[0]) / 2, (left[1] + right[1]) / 2, (left[2] + right[2]) / 2];
  const axis = [(left[0] - right[0]) / unit, (left[1] - right[1]) / unit];
  const toFace = ([x, y, z]) => {
    const [dx, dy] = [(x - origin[0]) / unit, (y - origin[1]) / unit];
    return [dx * axis[0] + dy * axis[1], dy * axis[0] - dx * axis[1], (z - origin[2]) / unit];
  };
  const rest = px.map(toFace);
  // Rings around the outline, out to beyond the picture.
  const center = [(rest[CHIN][0] + rest[FOREHEAD][0]) / 2, (rest[CHIN][1] + rest[FOREHEAD][1]) / 2];
  const rings = new Float64Array(LANDMARKS + RINGS.length * OVAL.length).fill(1);
  const all = [...triangles];
  let inner = OVAL;
  RINGS.forEach((scale, ring) => {
    const outer = OVAL.map((landmark, k) => {
      const [x, y, z] = rest[landmark];
      const index = LANDMARKS + ring * OVAL.length + k;
      rings[index] = scale;
      rest.push([center[0] + scale * (x - center[0]), center[1] + scale * (y - center[1]), z + 0.35 * Math.min(1, scale - 1)]);
      return index;
    });
    outer.forEach((_, k) => {
      const next = (k + 1) % OVAL.length;
      all.push([inner[k], outer[k], inner[next]], [inner[next], outer[k], outer[next]]);
    });
    inner = outer;
  });
  const toPixels = ([x, y]) => [
    origin[0] + unit * (x * axis[0] - y * axis[1]), origin[1] + unit * (x * axis[1] + y * axis[0]),
  ];
  return { rest, rings, triangles: all, unit, center, toPixels, width, height, ...weights(rest, rings, center) };
}

/** How far each vertex follows each part of the face. */
function weights(rest, rings, center) {
  const mouthWidth = rest[308][0] - rest[78][0];
  const mouth = { x: (rest[78][0] + rest[308][0]) / 2, y: (rest[13][1] + rest[14][1]) / 2, width: mouthWidth };
  const chin = rest[CHIN][1];
  const halfFace = Math.max(...OVAL.map((index) => Math.abs(rest[index][0] - center[0])));
  const lower = new Set(LOWER_LIP.flatMap((row) => row.slice(1, -1)));
  const upper = new Set(UPPER_LIP.flat());
  const lids = new Set(EYES.flatMap(({ upper: top, lower: bottom }) => [...top, ...bottom]));
  const count = rest.length;
  const jaw = new Float64Array(count), lips = new Float64Array(count), head = new Float64Array(count);
  const brows = new Float64Array(count), lift = new Float64Array(count), breath = new Float64Array(count);
  const gauss = (dx, dy) => Math.exp(-0.5 * (dx * dx + dy * dy));
  const browPoints = EYES.flatMap(({ brow }) => brow.map((index) => rest[index]));
  for (let i = 0; i < count; i++) {
    const [x, y] = rest[i], scale = rings[i];
    const [dx, dy] = [(x - mouth.x) / mouthWidth, (y - mouth.y) / mouthWidth];
    // The jaw turns about the ears: most at the chin, nothing at the temples.
    const below = (y - mouth.y) / (chin - mouth.y);
    const side = 1 - 0.75 * ramp(0.35, 1.05, Math.abs(x - center[0]) / halfFace);
    const edge = 1 - ramp(1, 1.5, scale);
    if (lower.has(i)) jaw[i] = 1;
    else if (upper.has(i)) jaw[i] = 0;
    else jaw[i] = ramp(-0.25, 0.35, below - 0.25 * Math.abs(dx)) * side * edge;
    // Cheeks and chin follow the lips, less the farther they are; the eyes do not.
    const near = edge * ramp(-0.9, -0.5, dy);
    lips[i] = upper.has(i) || lower.has(i) ? 1 : gauss(dx / 0.62, dy / 0.5) * near;
    lift[i] = upper.has(i) ? 1 : dy < 0.1 ? gauss(dx / 0.5, dy / 0.32) * near : 0;
    const up = Math.max(0, (center[1] - y) / (center[1] - rest[FOREHEAD][1]));
    const down = Math.max(0, (y - center[1]) / (chin - center[1]));
    // Hair goes with the head, the neck only in part, the shoulders not.
    const reach = up > down ? [1.5, 3.4] : [1.02, 2.1];
    const mix = clamp(Math.abs(x - center[0]) / (halfFace * scale));
    head[i] = 1 - ramp(reach[0] + (1.25 - reach[0]) * mix * (up > down ? 1 : 0), reach[1] + 0.6 * mix, scale);
    const above = browPoints.reduce((most, [bx, by]) => Math.max(most, gauss((x - bx) / 0.1, (y - by) / (y < by ? 0.17 : 0.07))), 0);
    brows[i] = lids.has(i) ? 0 : above * edge;
    breath[i] = ramp(1.2, 2.2, scale) * ramp(0.6, 1.2, down);
  }
  // How wide each pair of lips may be apart: nothing at the corners.
  const profile = INNER_UPPER.map((index) => {
    const at = clamp(Math.abs((rest[index][0] - mouth.x) / (mouthWidth / 2)));
    return Math.max(0, 1 - at ** 2.2) ** 0.8;
  });
  const gaps = INNER_UPPER.map((index, k) => Math.max(0, rest[INNER_LOWER[k]][1] - rest[index][1]));
  // The edge of an open lower lip is rounder than that of the upper one.
  const edge = INNER_UPPER.map((index) => rest[index][1]);
  const round = edge.map((y, k) => {
    const near = [-2, -1, 0, 1, 2].map((by) => edge[clamp(k + by, 0, edge.length - 1)]);
    return near.reduce((sum, other) => sum + other, 0) / near.length - y;
  });
  // How far the corners are above the middle: a smile.
  const smile = Math.max(0, (rest[13][1] + rest[14][1] - rest[78][1] - rest[308][1]) / 2);
  return { mouth, jaw, lips, lift, head, brows, breath, profile, gaps, round, smile, showsTeeth: gaps[5] > 0.07 * mouthWidth };
}

/**
 * Positions of all vertices in the frame of the face: without the motion of the head (`still`), with it (`moved`), and with
 * it alone (`head`). `pose` has `open`, `wide`, `closed`, `tucked` and `speaking` of the mouth, and what `motion` gives.
 */
export function deform(face, pose) {
  const { rest, rings, mouth, jaw, lips, lift, brows, breath, profile, gaps, round, smile } = face;
  const still = rest.map(([x, y, z]) => [x, y, z]);
  const { speaking } = pose;
  // The gap that is wanted against that of the picture. The lower lip does most of it.
  const pressed = Math.max(pose.closed, 0.9 * pose.tucked);
  const rounded = speaking * Math.max(0, -pose.wide);
  const wanted = speaking * OPEN * mouth.width * pose.open * (1 - pressed) * (1 - 0.15 * rounded);
  const open = speaking * ramp(0, 0.5, pose.open * (1 - pressed));
  const kept = (1 - speaking) * REST;
  const change = profile.map((part, k) => wanted * part - (1 - kept) * gaps[k] + open * round[k]);
  const middle = change[5];
  const [down, up] = [0.82, 0.18];
  const jawDrop = down * middle;
  // Corners: wide or round. Of a smile a part goes while the mouth speaks.
  const stretch = speaking * 0.07 * Math.max(0, pose.wide) - 0.3 * rounded - 0.04 * speaking * Math.max(0, pose.open - 0.5);
  const corner = smile * (0.25 * speaking + 0.45 * rounded) + 0.2 * Math.max(0, jawDrop);
  const sideways = (x) => clamp(Math.abs(x - mouth.x) / (mouth.width / 2), 0, 1.2) ** 2;
  for (let i = 0; i < rest.length; i++) {
    if (rings[i] > 1.6) continue;
    const point = still[i], [x, y] = rest[i];
    point[0] += stretch * lips[i] * (x - mouth.x);
    point[1] += jawDrop * jaw[i] * (jawDrop > 0 ? 1 : 0.7) - up * middle * lift[i] * 0.6;
    point[1] += corner * sideways(x) * lips[i] * (1 - jaw[i]);
    // Round lips are fuller.
    point[1] += 0.16 * rounded * lips[i] * (y - mouth.y);
    point[1] -= 0.05 * pose.brow * brows[i];
  }
  const lip = (rows, amount, inwards) => rows.forEach((row, depth) => row.forEach((index, k) => {
    const [x, y] = rest[index], part = depth / 3;
    const lean = corner * sideways(x) + 0.16 * rounded * (1 - 0.5 * part) * (y - mouth.y);
    still[index][1] = y + amount(k, part) + lean + inwards(k, part);
  }));
  lip(UPPER_LIP, (k, part) => -up * (0.75 + 0.25 * part) * change[k], (k, part) => -0.012 * speaking * pressed * mouth.width * (1 - part));
  lip(
    LOWER_LIP, (k, part) => down * ((0.9 + 0.1 * part) * change[k] + 0.1 * (1 - part) * middle * profile[k]),
    (k, part) => -0.05 * speaking * pose.tucked * mouth.width * profile[k] * (1 - part),
  );
  // Lids.
  for (const { upper, lower, lid } of EYES) {
    upper.forEach((index, k) => {
      const [top, bottom] = [rest[index], rest[lower[k]]];
      const gap = bottom[1] - top[1];
      still[index][1] += 0.97 * pose.blink * gap;
      still[lower[k]][1] -= k > 0 && k + 1 < upper.length ? 0.07 * pose.blink * gap : 0;
      still[lid[k]][1] += 0.4 * pose.blink * gap;
    });
  }
  const move = (point, i) => {
    const [x, y, z] = face.head[i] ? turned(point, pose, face.head[i]) : point;
    return [x, y + 0.006 * pose.breath * breath[i], z];
  };
  return { still, moved: still.map(move), head: rest.map(move) };
}

/** A point that the head has turned, about a pivot in the neck. */
function turned([x, y, z], { yaw, pitch, roll, x: shift }, follow) {
  const pivot = [0, 1.35, 0.75];
  const [ax, ay, az] = [yaw * follow, pitch * follow, roll * follow];
  let [px, py, pz] = [x - pivot[0], y - pivot[1], z - pivot[2]];
  [px, pz] = [px * Math.cos(ax) - pz * Math.sin(ax), px * Math.sin(ax) + pz * Math.cos(ax)];
  [py, pz] = [py * Math.cos(ay) - pz * Math.sin(ay), py * Math.sin(ay) + pz * Math.cos(ay)];
  [px, py] = [px * Math.cos(az) - py * Math.sin(az), px * Math.sin(az) + py * Math.cos(az)];
  return [px + pivot[0] + shift * follow, py + pivot[1], pz + pivot[2]];
}

/**
 * The places in the picture whose colours the vertices have. Edges of lips and lids are moved a little into the skin, so that
 * they take nothing of teeth and eyes with them.
 */
export function sources({ rest, mouth, showsTeeth }) {
  const places = rest.map(([x, y]) => [x, y]);
  const into = (showsTeeth ? 0.02 : 0.008) * mouth.width;
  INNER_UPPER.slice(1, -1).forEach((index) => { places[index][1] -= 0.5 * into; });
  INNER_LOWER.slice(1, -1).forEach((index) => { places[index][1] += into; });
  for (const { upper, lower } of EYES) {
    upper.slice(1, -1).forEach((index) => { places[index][1] -= 0.012; });
    lower.slice(1, -1).forEach((index) => { places[index][1] += 0.01; });
  }
  return places;
}

export { EYES, INNER_LOWER, INNER_UPPER };
