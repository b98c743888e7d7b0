// The page in which effect chains run: samples in by URL, samples out in slices. The chains themselves are the HyperFrames
// package's own, `__HF_AUDIO_FX`, on an offline audio context.
(() => {
  "use strict";
  const RATE = 48000;
  let done = new Uint8Array(0);

  // Runs the samples at `url`, left and right interleaved, through the chain, and stores the result in the same format. Returns its bytes.
  const render = async (url, chain, automation) => {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`the samples at ${url} do not come: ${answer.status}`);
    const samples = new Float32Array(await answer.arrayBuffer());
    const planes = [0, 1].map((side) => {
      const plane = new Float32Array(samples.length / 2);
      for (let i = 0; i < plane.length; i++) plane[i] = samples[2 * i + side];
      return plane;
    });
    const wet = await window.__HF_AUDIO_FX.render(planes, RATE, chain, automation || undefined, 0);
    const [left, right] = [wet[0], wet[1] ?? wet[0]];
    const mixed = new Float32Array(2 * left.length);
    for (let i = 0; i < left.length; i++) {
      mixed[2 * i] = left[i];
      mixed[2 * i + 1] = right[i];
    }
    done = new Uint8Array(mixed.buffer);
    return done.length;
  };

  // `count` bytes of the result from byte `from`, as base64.
  const slice = (from, count) => {
    const bytes = done.subarray(from, from + count);
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return btoa(text);
  };
  const forget = () => { done = new Uint8Array(0); };

  window.__hyperfarmEffects = { render, slice, forget };
})();
