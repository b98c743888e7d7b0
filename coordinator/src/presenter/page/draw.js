// Draws a face in WebGL: the inside of the mouth, the eyes, and the photograph over them as a mesh.

import { deform, EYES, INNER_LOWER, INNER_UPPER, sources } from "./face.js";

const PHOTO = {
  vertex: `
    attribute vec2 place, texel;
    varying vec2 at;
    void main() { at = texel; gl_Position = vec4(place, 0.0, 1.0); }`,
  fragment: `
    precision highp float;
    uniform sampler2D photo;
    varying vec2 at;
    void main() { gl_FragColor = texture2D(photo, at); }`,
};

// The inside of the mouth. Lengths are widths of the mouth, and y goes down: `here` is the point, `lips` the inner edges of
// the upper and the lower lip now, `rest` those in the picture.
const MOUTH = {
  vertex: `
    attribute vec2 place, texel, here, lips, rest;
    varying vec2 at, point, now, first;
    void main() { at = texel; point = here; now = lips; first = rest; gl_Position = vec4(place, 0.0, 1.0); }`,
  fragment: `
    precision highp float;
    uniform sampler2D photo;
    uniform vec3 skin;
    uniform float teeth, tongue;
    varying vec2 at, point, now, first;
    // The share of a tooth of \`width\` at x, dark between two of them.
    float between(float x, float width) {
      float off = abs(fract(x / width + 0.5) - 0.5) * 2.0;
      return 1.0 - 0.35 * smoothstep(0.86, 1.0, off);
    }
    void main() {
      float open = now.y - now.x;
      float x = point.x * 2.0;
      float fromUpper = point.y - now.x, fromLower = now.y - point.y;
      float light = dot(skin, vec3(0.3, 0.59, 0.11));
      // Darker the deeper, and towards the corners.
      vec3 color = mix(skin * vec3(0.34, 0.13, 0.13), skin * vec3(0.10, 0.03, 0.03), smoothstep(0.0, 0.14, min(fromUpper, fromLower)));
      // The tongue lies behind the lower teeth, and rises for some sounds.
      float top = now.y - 0.10 - 0.11 * tongue * smoothstep(0.05, 0.2, open) + 0.16 * x * x;
      float body = smoothstep(top - 0.02, top + 0.05, point.y) * (1.0 - smoothstep(0.55, 0.8, abs(x)));
      float groove = 1.0 - 0.25 * exp(-x * x * 160.0);
      color = mix(color, skin * vec3(0.66, 0.31, 0.31) * groove * (0.55 + 0.45 * smoothstep(top, top + 0.1, point.y)), 0.85 * body);
      vec3 enamel = mix(vec3(0.95, 0.90, 0.82), skin, 0.2) * (0.32 + 0.72 * light);
      float corner = 1.0 - smoothstep(0.35, 0.95, abs(x));
      // Lower teeth go with the jaw, low behind the lip.
      float crown = now.y - 0.055 + 0.10 * x * x;
      float lower = smoothstep(crown - 0.008, crown + 0.008, point.y) * smoothstep(0.2, 0.3, open) * (1.0 - smoothstep(0.5, 0.72, abs(x)));
      float depth = smoothstep(0.0, 0.06, point.y - crown);
      color = mix(color, enamel * mix(0.8, 0.55, depth) * mix(1.0, between(point.x, 0.075), 0.5) * (0.4 + 0.6 * corner), lower);
      // Upper teeth stay with the skull.
      float edge = first.x + mix(0.11, first.y - first.x + 0.01, teeth) - 0.10 * x * x * (1.0 - teeth);
      float upper = 1.0 - smoothstep(edge - 0.012, edge + 0.012, point.y);
      vec3 made = enamel * between(point.x, 0.115) * (0.25 + 0.65 * corner) * (0.5 + 0.5 * smoothstep(0.0, 0.08, fromUpper));
      vec3 seen = texture2D(photo, at).rgb * (0.6 + 0.4 * smoothstep(0.0, 0.03, fromUpper));
      color = mix(color, mix(made, seen, teeth), upper * (1.0 - (1.0 - teeth) * smoothstep(0.72, 0.95, abs(x))));
      gl_FragColor = vec4(color, 1.0);
    }`,
};

function program(gl, { vertex, fragment }) {
  const made = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(`a shader of the presenter: ${gl.getShaderInfoLog(shader)}`);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  return made;
}

/** Binds an attribute of two numbers to `values`. */
function attribute(gl, used, name, buffer, values) {
  const location = gl.getAttribLocation(used, name);
  if (location < 0) return;
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
  gl.enableVertexAttribArray(location);
  gl.vertexAttribPointer(location, 2, gl.FLOAT, false, 0, 0);
}

/** The mean colour of the cheeks, 0 to 1. */
function skinOf(image, face) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  [canvas.width, canvas.height] = [face.width, face.height];
  context.drawImage(image, 0, 0);
  const sum = [0, 0, 0];
  const points = [50, 205, 280, 425].map((index) => face.toPixels(face.rest[index]));
  for (const [x, y] of points) {
    const pixel = context.getImageData(Math.round(x), Math.round(y), 1, 1).data;
    for (let c = 0; c < 3; c++) sum[c] += pixel[c] / 255 / points.length;
  }
  return sum;
}

/**
 * A function that draws a pose of `face` on `canvas`. The photograph lies at `scale` and `x`, `y`: canvas pixels per pixel of
 * the photograph, and where its upper left corner is.
 */
export function drawer(canvas, image, face, { scale, x: left, y: top }) {
  const gl = canvas.getContext("webgl", { preserveDrawingBuffer: true, antialias: true, alpha: true, premultipliedAlpha: true });
  if (!gl) throw new Error("the presenter needs WebGL, and this browser has none");
  const most = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  if (Math.max(face.width, face.height) > most) throw new Error(`the photo may have ${most} pixels a side`);
  const [photo, mouth] = [program(gl, PHOTO), program(gl, MOUTH)];
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, true);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
  gl.viewport(0, 0, canvas.width, canvas.height);
  // The mesh is larger than the photograph, whose edges do not move with the head.
  gl.enable(gl.SCISSOR_TEST);
  const [wide, high] = [Math.round(scale * face.width), Math.round(scale * face.height)];
  gl.scissor(Math.round(left), canvas.height - Math.round(top) - high, wide, high);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  gl.enable(gl.BLEND);
  gl.clearColor(0, 0, 0, 0);
  const buffers = Object.fromEntries(["place", "texel", "here", "lips", "rest"].map((name) => [name, gl.createBuffer()]));
  const [faceIndex, eyeIndex, mouthIndex] = [gl.createBuffer(), gl.createBuffer(), gl.createBuffer()];
  const index = (buffer, values) => {
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint16Array(values), gl.STATIC_DRAW);
    return values.length;
  };
  const strip = (upper, lower) => upper.slice(1).flatMap((_, k) => [upper[k], lower[k], upper[k + 1], upper[k + 1], lower[k], lower[k + 1]]);
  const faceCount = index(faceIndex, face.triangles.flat());
  const eyeCount = index(eyeIndex, EYES.flatMap(({ upper, lower }) => strip(upper, lower)));
  const pairs = INNER_UPPER.length;
  const mouthCount = index(mouthIndex, strip([...Array(pairs).keys()], [...Array(pairs).keys()].map((k) => k + pairs)));
  const place = (point) => {
    const [x, y] = face.toPixels(point);
    return [(2 * (left + scale * x)) / canvas.width - 1, 1 - (2 * (top + scale * y)) / canvas.height];
  };
  const texel = (point) => {
    const [x, y] = face.toPixels(point);
    return [x / face.width, y / face.height];
  };
  const flat = (points, map) => new Float32Array(points.flatMap(map));
  const [eyeTexels, texels] = [flat(face.rest, texel), flat(sources(face), texel)];
  const skin = skinOf(image, face);
  const uniform = (name) => gl.getUniformLocation(mouth, name);
  const uniforms = { skin: uniform("skin"), teeth: uniform("teeth"), tongue: uniform("tongue") };

  return (pose) => {
    const { still, moved, head } = deform(face, pose);
    gl.clear(gl.COLOR_BUFFER_BIT);

    // The mouth, a little larger than its opening, so that nothing shows between it and the lips.
    const width = face.mouth.width;
    const grow = 0.012;
    const edges = [...INNER_UPPER.map((landmark) => [landmark, -grow]), ...INNER_LOWER.map((landmark) => [landmark, grow])];
    const inMouth = (point) => [(point[0] - face.mouth.x) / width, (point[1] - face.mouth.y) / width];
    const rows = (points) => edges.map((_, k) => [inMouth(points[INNER_UPPER[k % pairs]])[1], inMouth(points[INNER_LOWER[k % pairs]])[1]]);
    gl.useProgram(mouth);
    attribute(gl, mouth, "place", buffers.place, flat(edges, ([i, more]) => place([moved[i][0], moved[i][1] + more])));
    // What of the picture is there stays with the skull.
    attribute(gl, mouth, "texel", buffers.texel, flat(edges, ([i, more]) => texel([still[i][0], still[i][1] + more])));
    attribute(gl, mouth, "here", buffers.here, flat(edges, ([i, more]) => inMouth([still[i][0], still[i][1] + more])));
    attribute(gl, mouth, "lips", buffers.lips, new Float32Array(rows(still).flat()));
    attribute(gl, mouth, "rest", buffers.rest, new Float32Array(rows(face.rest).flat()));
    gl.uniform3fv(uniforms.skin, skin);
    gl.uniform1f(uniforms.teeth, face.showsTeeth ? 1 : 0);
    gl.uniform1f(uniforms.tongue, pose.tongue);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, mouthIndex);
    gl.drawElements(gl.TRIANGLES, mouthCount, gl.UNSIGNED_SHORT, 0);

    gl.useProgram(photo);
    // Eyes stay open behind the lids.
    attribute(gl, photo, "texel", buffers.texel, eyeTexels);
    attribute(gl, photo, "place", buffers.place, flat(head, place));
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, eyeIndex);
    gl.drawElements(gl.TRIANGLES, eyeCount, gl.UNSIGNED_SHORT, 0);
    attribute(gl, photo, "texel", buffers.texel, texels);
    attribute(gl, photo, "place", buffers.place, flat(moved, place));
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, faceIndex);
    gl.drawElements(gl.TRIANGLES, faceCount, gl.UNSIGNED_SHORT, 0);
  };
}
