// MediaPipe's models, which the farm serves to pages of the plan stage.

const FOLDER = "/__hyperfarm/mediapipe/";

/** Loads a classic script. */
function load(source) {
  return new Promise((done, failed) => {
    const element = document.createElement("script");
    element.src = source;
    element.onload = done;
    element.onerror = () => failed(new Error(`${source} did not load`));
    document.head.append(element);
  });
}

/** What `read` takes of the results of a model, a global class that `script` defines, for `picture`, a canvas. */
export async function answer(script, model, options, picture, read) {
  await load(FOLDER + script);
  const solution = new window[model]({ locateFile: (file) => FOLDER + file });
  // Where WebGL is drawn in software, the processor itself is three times as fast.
  solution.setOptions({ useCpuInference: true, ...options });
  let found;
  solution.onResults((results) => { found = read(results); });
  // Its library reports what it starts as warnings.
  const { warn, error } = console;
  console.warn = console.error = () => {};
  try {
    await solution.send({ image: picture });
    await solution.close();
  } finally {
    Object.assign(console, { warn, error });
  }
  return found;
}
