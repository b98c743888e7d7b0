// What can be told without a browser. `make dashboard-check` bundles and runs it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, count, decimal, duration, money, sentence, timecode, work } from "../src/format.ts";
import { AXIS, ended, lanes, NAME, places, ROW, spanAt, ticks } from "../src/render/lanes.ts";
import { lastFailure, linesOf, pictureBefore } from "../src/render/failed.tsx";
import { FIELDS } from "../src/submit/fields.ts";
import { groups, labelOf, noteOf, request, valueOf } from "../src/submit/output.tsx";
import { rowsOf, unknownColumns } from "../src/submit/rows.ts";
import { missing } from "../src/submit/references.ts";
import { VIDEO_FIELDS } from "../src/videos/fields.ts";
import { LEFT_OUT, placeOf, sent, videoRequest } from "../src/videos/request.ts";

const span = (chunk, started_at, ended_at, more = {}) => ({
  kind: "chunk", chunk, attempt: 1, worker_id: "w1", slot: null, started_at, ended_at, outcome: "committed",
  error_code: null, message: null, frames: 1, ms_per_frame: 1, ...more,
});

test("numbers are as people read them", () => {
  assert.deepEqual([0.004, 7, 59.6, 60, 80, 3725, 200_000].map(duration), ["0 s", "7 s", "1 min", "1 min", "1 min 20 s", "1 h 02 min", "2 d 7 h"]);
  assert.deepEqual([0, 0.42, 7.25, 128.4, null].map(decimal), ["0", "0.42", "7.3", "128", "–"]);
  assert.deepEqual([900, 2048, 8 * 2 ** 30].map(bytes), ["900 B", "2.0 KiB", "8.0 GiB"]);
  assert.deepEqual([0, 0.00123, 7.4].map(money), ["$0", "$0.0012", "$7.40"]);
  assert.deepEqual([0, 65, 3661].map(timecode), ["0:00", "1:05", "1:01:01"]);
  assert.deepEqual(["the photo shows no face", "background.value is empty!", "avatar_id is required", "a."].map(sentence), ["The photo shows no face.", "background.value is empty!", "avatar_id is required.", "A."]);
  assert.deepEqual([count(1, "process", "processes"), count(1200, "render")], ["1 process", "1,200 renders"]);
});

test("work is that of all pools together", () => {
  assert.equal(work({ cpu: 70, stitch: 10 }), "1 min 20 s");
  assert.equal(work({}), "0 s");
});

test("files that a page names and the project lacks", () => {
  const files = new Set(["index.html", "scenes/a.html", "scenes/a b.js", "lib/x.js"]);
  const of = (references) => missing(references, "scenes/a.html", files);
  assert.deepEqual(of(["a%20b.js", "../lib/x.js?v=1", "/lib/x.js", "https://x.example/y.js", "//x.example/y.js", "data:,x", "#top", ""]), []);
  assert.deepEqual(of(["lost.js", "./lost.js", "../lib/lost.js"]), ["scenes/lost.js", "lib/lost.js"]);
  assert.deepEqual(of(["../node_modules/gsap/dist/gsap.min.js"]), []);
});

test("spans that overlap get lanes of their own, others share one", () => {
  const made = lanes([span(0, 0, 5), span(1, 1, 6), span(2, 5, 9), span(3, 2, null, { worker_id: "w2", outcome: "running" })]);
  assert.deepEqual(made.map((lane) => [lane.worker, lane.isFirst, lane.spans.map(({ chunk }) => chunk)]), [["w1", true, [0, 2]], ["w1", false, [1]], ["w2", true, [3]]]);
});

test("a known slot is its lane, whatever overlaps", () => {
  const made = lanes([span(0, 0, 5, { slot: 1 }), span(1, 4, 6, { slot: 1 }), span(2, 0, 3, { slot: 0 })]);
  assert.deepEqual(made.map((lane) => lane.spans.length), [2, 1]);
});

test("names that stand above their lanes move these down", () => {
  const made = lanes([span(0, 0, 5), span(1, 1, 6), span(2, 2, 9, { worker_id: "w2" })]);
  assert.deepEqual(places(made, false), { tops: [AXIS, AXIS + ROW, AXIS + 2 * ROW], height: AXIS + 3 * ROW });
  assert.deepEqual(places(made, true), { tops: [AXIS + NAME, AXIS + NAME + ROW, AXIS + 2 * (NAME + ROW)], height: AXIS + 2 * NAME + 3 * ROW });
});

test("a lost attempt lasts until the next one at the same chunk", () => {
  const [lost, , alone] = ended([span(0, 1, null, { outcome: "lost" }), span(0, 7, 9, { attempt: 2 }), span(1, 2, null, { outcome: "lost" })], 20);
  assert.deepEqual([lost.ended_at, alone.ended_at], [7, 20]);
});

test("the span under the pointer, or near it", () => {
  const [lane] = lanes([span(0, 0, 4), span(1, 6, 8)]);
  assert.equal(spanAt(lane, 3, 0.5, 9)?.chunk, 0);
  assert.equal(spanAt(lane, 5.8, 0.5, 9)?.chunk, 1);
  assert.equal(spanAt(lane, 5, 0.5, 9), null);
});

test("an axis has round marks", () => {
  assert.deepEqual(ticks(0, 61, 6), [0, 15, 30, 45, 60]);
  assert.ok(ticks(0, 90_000, 8).length <= 9);
});

test("a failure is named by its last attempt, the last picture before it and the lines of its step", () => {
  const failed = (chunk, ended_at) => span(chunk, ended_at - 1, ended_at, { outcome: "failed" });
  assert.equal(lastFailure([failed(0, 5), failed(2, 9), failed(1, 7), span(3, 8, 10)]).chunk, 2);
  assert.equal(lastFailure([span(0, 0, 5)]), null);
  const chunks = [{ index: 0, thumbnail_url: "a" }, { index: 1, thumbnail_url: "b" }, { index: 2, thumbnail_url: null }, { index: 3, thumbnail_url: "c" }];
  assert.equal(pictureBefore(chunks, 2).index, 1);
  assert.equal(pictureBefore([], 0), null);
  const line = (level, chunk, message) => ({ level, chunk, message, step: "chunk" });
  const log = [line("info", 2, "ready"), line("warning", 1, "slow"), line("error", 2, "broken")];
  const said = (lines) => lines.map(({ message }) => message);
  assert.deepEqual(said(linesOf(log, failed(2, 9))), ["broken"]);
  assert.deepEqual(said(linesOf(log, failed(4, 9))), ["slow", "broken"]);
  assert.deepEqual(said(linesOf([log[0]], null)), ["ready"]);
});

test("every setting of the contract is in the form, and is sent as the contract has it", () => {
  const elsewhere = ["format", "quality", "resolution", "fps", "title", "composition", "html", "project", "variables"];
  const shown = groups().flatMap(([, fields]) => fields.map(({ name }) => name));
  assert.deepEqual([...shown, ...elsewhere.filter((name) => FIELDS.some((field) => field.name === name))].sort(), FIELDS.map(({ name }) => name).sort());
  assert.ok(["loudness", "true_peak", "from", "now", "verify"].every((name) => shown.includes(name)));
  const field = (name) => FIELDS.find((one) => one.name === name);
  const sent = { loudness: "-16", fps: "30000/1001", from: "75f", to: "2.5", verify: "true", codec: "h265", crf: "", pool: " gpu " };
  assert.deepEqual(request(sent, { name: "Film" }), { loudness: -16, fps: "30000/1001", from: "75f", to: 2.5, verify: true, codec: "h265", pool: "gpu", title: "Film" });
  assert.deepEqual([valueOf(field("fps"), "25"), valueOf(field("crf"), undefined), valueOf(field("callback_id"), "7")], [25, null, "7"]);
  assert.deepEqual(valueOf(field("renditions"), "720, 480"), [720, 480]);
  assert.equal(valueOf({ ...field("codec"), name: "bits", isNumber: true, options: ["8", "10"] }, "10"), 10);
  assert.equal(labelOf({ ...field("crf"), name: "a_new_setting" }), "A new setting");
});

test("rows of a file are the variables of as many renders", () => {
  const variables = [{ id: "headline", type: "string" }, { id: "size", type: "number" }, { id: "shown", type: "boolean" }];
  const csv = '\uFEFFheadline,size,shown,note\r\n"One, ""two""",80,true,\nPlain,x,no,"a\nb"\n';
  const rows = rowsOf("rows.csv", csv, variables);
  assert.deepEqual(rows, [{ headline: 'One, "two"', size: 80, shown: true, note: "" }, { headline: "Plain", size: "x", shown: "no", note: "a\nb" }]);
  assert.deepEqual(unknownColumns(rows, variables), ["note"]);
  assert.deepEqual(rowsOf("rows.json", '[{"size":1}]', variables), [{ size: 1 }]);
  assert.throws(() => rowsOf("rows.csv", "headline,size\nOne\n", variables), /Row 1 has 1 cells/);
  assert.throws(() => rowsOf("rows.csv", "headline\n", variables), /no row/);
  assert.throws(() => rowsOf("rows.json", "{}", variables), /list of objects/);
  assert.throws(() => rowsOf("rows.csv", "headline\n" + "x\n".repeat(101), variables), /101 rows/);
});

const NO_FILES = { image: null, sound: null, background: null };
const video = (more = {}, typed = {}) => ({ type: "avatar", speech: "script", background: "none", ...more, typed: { avatar_id: "look_1", voice_id: "v", script: "Hi", ...typed } });

test("every setting of a presenter video is in its form, or left out by name", () => {
  const form = [...sent(), ...LEFT_OUT].filter((name) => name !== "image" && name !== "background");
  assert.deepEqual(form.sort(), VIDEO_FIELDS.map(({ name }) => name).sort());
});

test("the note of a field says its range once", () => {
  const note = (fields, name) => noteOf(fields.find((one) => one.name === name));
  assert.match(note(VIDEO_FIELDS, "voice_settings.speed"), /default\. From 0\.5 to 1\.5\.$/);
  assert.match(note(FIELDS, "device_scale_factor"), /1 to 4\.$/);
  assert.doesNotMatch(note(FIELDS, "device_scale_factor"), /From/);
});

test("a presenter video is asked for with what its form shows, and nothing else", () => {
  const typed = {
    title: " Welcome ", resolution: "720p", captions: "true", expressiveness: "high", "background.value": "#1a2b3c",
    "voice_settings.speed": "0.8", "voice_settings.pitch": "-5", "voice_settings.locale": "de", callback_url: "",
  };
  const shared = { title: "Welcome", resolution: "720p" };
  assert.deepEqual(videoRequest(video({ background: "color" }, typed), true, NO_FILES), {
    type: "avatar", avatar_id: "look_1", voice_id: "v", script: "Hi", captions: true, expressiveness: "high", ...shared,
    voice_settings: { speed: 0.8, pitch: -5, locale: "de" }, background: { type: "color", value: "#1a2b3c" },
  });
  const asset = (asset_id) => ({ type: "asset_id", asset_id });
  const files = { image: asset("a"), sound: asset("b"), background: { type: "url", url: "https://x.example/c.png" } };
  assert.deepEqual(videoRequest(video({ type: "image", speech: "sound", background: "image" }, typed), true, files), {
    type: "image", image: asset("a"), audio_asset_id: "b", background: { type: "image", url: "https://x.example/c.png" }, ...shared,
  });
  assert.deepEqual(videoRequest(video({}, typed), false, files).voice_settings, { speed: 0.8, pitch: -5 });
  assert.deepEqual(videoRequest(video({ speech: "sound", background: "image" }), true, NO_FILES), { type: "avatar", avatar_id: "look_1", background: { type: "image" } });
  assert.deepEqual(videoRequest(video({ speech: "sound", background: "video" }), true, { ...NO_FILES, background: asset("f") }).background, { type: "video", asset_id: "f" });
});

test("an error is shown at the field that it names, where the form shows it", () => {
  const place = (param, more) => placeOf(param, video(more), true);
  for (const name of ["script", "voice_id", "captions", "voice_settings.pitch", "voice_settings.locale", "title", "callback_url"]) assert.equal(place(name), name);
  assert.equal(place("avatar_id"), "look");
  assert.deepEqual(["image", "image.url", "image.asset_id"].map((param) => place(param, { type: "image" })), ["image", "image", "image"]);
  assert.deepEqual(["audio_url", "audio_asset_id", "script"].map((param) => place(param, { speech: "sound" })), ["sound", "sound", "sound"]);
  assert.deepEqual(["background.url", "background.asset_id", "background.type"].map((param) => place(param, { background: "image" })), ["background.file", "background.file", "background"]);
  assert.equal(place("background.value", { background: "color" }), "background.value");
  assert.deepEqual([null, "engine.type", "image", "background.value"].map((param) => place(param)), [null, null, null, null]);
  assert.equal(placeOf("voice_settings.locale", video(), false), null);
});
