// The landmarks of the face of a photograph, by MediaPipe's face mesh, which the farm serves to pages of the plan stage.

import { answer } from "./mediapipe.js";

/** A face that is smaller than this share of the picture's shorter side has too few pixels to speak. */
const LEAST_FACE = 0.08;

/**
 * The face of `picture`, a canvas: `landmarks` as rows of x, y and z, shares of its width and height (z of its width), and
 * the `triangles` between them.
 */
export async function findFace(picture) {
  const options = { maxNumFaces: 2, refineLandmarks: true, staticImageMode: true, minDetectionConfidence: 0.5 };
  const found = (await answer("face_mesh.js", "FaceMesh", options, picture, (results) => results.multiFaceLandmarks)) ?? [];
  const width = (face) => Math.abs(face[454].x - face[234].x) * picture.width;
  found.sort((a, b) => width(b) - width(a));
  const [face, other] = found;
  if (!face) throw new Error("the photo shows no face; use one of a person who looks at the camera");
  if (other && width(other) > 0.6 * width(face)) throw new Error("the photo shows more than one face; use one of a single person");
  if (width(face) < LEAST_FACE * Math.min(picture.width, picture.height)) {
    throw new Error("the face of the photo is too small; crop the photo to the head and the shoulders");
  }
  // Where the tip of the nose is between the sides of the face; 0 is the middle.
  const turn = Math.abs((face[1].x - face[234].x) / (face[454].x - face[234].x) - 0.5);
  if (turn > 0.3) throw new Error("the face of the photo is seen from the side; use one that looks at the camera");
  const rounded = (value) => Math.round(value * 1e6) / 1e6;
  const edges = window.FACEMESH_TESSELATION, triangles = [];
  for (let at = 0; at + 2 < edges.length; at += 3) triangles.push([edges[at][0], edges[at + 1][0], edges[at + 2][0]]);
  return { landmarks: face.slice(0, 468).map(({ x, y, z }) => [rounded(x), rounded(y), rounded(z)]), triangles };
}
