// The composition that the browser submits, as a zip: a moving box, variables of every kind, some words on the console.

import { zipSync, strToU8 } from "../../dashboard/node_modules/fflate/esm/index.mjs";

const VARIABLES = [
  { id: "headline", type: "string", label: "Headline", default: "Hello" },
  { id: "ground", type: "color", label: "Background", default: "#10243d" },
  { id: "size", type: "number", label: "Size of the box", default: 60, min: 20, max: 120, step: 1 },
  { id: "shown", type: "boolean", label: "Show the count", default: true },
  { id: "shape", type: "enum", label: "Shape", default: "square", options: [{ value: "square", label: "Square" }, { value: "round", label: "Round" }] },
];

function page(seconds) {
  const escaped = JSON.stringify(VARIABLES).replaceAll("&", "&amp;").replaceAll("'", "&#39;");
  return `<!doctype html><html data-composition-variables='${escaped}'><head><style>
body { margin: 0; overflow: hidden; font: 700 22px sans-serif; color: #fff }
#ground { position: absolute; inset: 0; background: linear-gradient(120deg, #10243d, #2b5f8f) }
#box { position: absolute; width: 60px; height: 60px; background: linear-gradient(45deg, #ffb347, #e0407b) }
#words { position: absolute; left: 16px; top: 12px } #count { position: absolute; right: 16px; bottom: 12px }
</style></head><body>
<div data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="${seconds}" style="width:320px;height:180px">
<div id="ground"></div><div id="box"></div><div id="words"></div><div id="count">0</div></div>
<script>
const given = window.__hyperframes && window.__hyperframes.getVariables ? window.__hyperframes.getVariables() : {};
document.getElementById("words").textContent = given.headline || "Hello";
const box = document.getElementById("box");
box.style.borderRadius = given.shape === "round" ? "50%" : "10px";
console.log("the headline is " + (given.headline || "Hello"));
console.warn("a warning of the page");
const timeline = gsap.timeline({ paused: true });
timeline.fromTo(box, { x: 10, y: 90, rotation: 0 }, { x: 240, y: 60, rotation: 300, duration: ${seconds}, ease: "sine.inOut" }, 0);
const counter = { value: 0 };
timeline.to(counter, { value: ${seconds} * 30, duration: ${seconds}, ease: "none",
  onUpdate() { document.getElementById("count").textContent = Math.round(counter.value); } }, 0);
window.__timelines = { main: timeline };
</script></body></html>`;
}

export const zip = (seconds) => Buffer.from(zipSync({ "clip/index.html": strToU8(page(seconds)), "clip/notes/read.me": strToU8("not a page") }));
