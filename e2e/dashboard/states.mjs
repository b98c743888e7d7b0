// Every page in every state, in light, dark and on a phone: node states.mjs. The answers of the API are made here, so
// that states are shown that a test's farm has seldom: nothing at all, every value absent that may be absent, work that
// waits, failures. Ends with what did not hold. HYPERFARM_SHOTS names a folder for pictures.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { accessible, check, DESK, fits, launch, open, PHONE, shoot } from "./stage.mjs";

const DASHBOARD = path.join(import.meta.dirname, "../../dashboard");
const NOW = Date.now() / 1000;
const PICTURE = Buffer.from("R0lGODlhAQABAPAAAEBggP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==", "base64");

/** The bundle as the coordinator serves it. */
function bundle() {
  const out = mkdtempSync(path.join(os.tmpdir(), "hyperfarm-dashboard-"));
  const options = ["--bundle", "--splitting", "--format=esm", "--jsx=automatic", "--jsx-import-source=preact", "--loader:.woff2=file", "--loader:.svg=copy", "--log-level=warning"];
  execFileSync(path.join(DASHBOARD, "node_modules/.bin/esbuild"), ["src/main.tsx", "src/icon.svg", ...options, `--outdir=${out}`], { cwd: DASHBOARD, stdio: "inherit" });
  const files = new Map(readdirSync(out).map((name) => [name, readFileSync(path.join(out, name))]));
  rmSync(out, { recursive: true });
  const font = [...files.keys()].find((name) => name.endsWith(".woff2"));
  let index = readFileSync(path.join(DASHBOARD, "index.html"), "utf8");
  for (const [placeholder, name] of [["script", "main.js"], ["style", "main.css"], ["font", font], ["icon", "icon.svg"]]) index = index.replace(`{{${placeholder}}}`, `assets/dashboard/${name}`);
  return { files, index };
}

const progress = (more = {}) => ({ stage: "queued", frames_done: 0, frames_total: 0, percent: 0, eta_seconds: null, chunks_done: 0, chunks_total: 0, ...more });

/** A render of which only what every render has is there. */
const bare = (id, more = {}) => ({
  render_id: id, status: "queued", format: "mp4", title: null, callback_id: null, fps: 30, quality: "standard", resolution: null, aspect_ratio: null,
  composition: "index.html", created_at: Math.floor(NOW - 40), completed_at: null, video_url: null, thumbnail_url: null, preview_url: null, duration: null,
  failure_message: null, progress: progress(), width: null, height: null, frame_count: null, warnings: [], pool: "cpu", owner: null, ...more,
});

const planned = { width: 1920, height: 1080, frame_count: 900 };
const half = progress({ stage: "capture", frames_done: 410, frames_total: 900, percent: 45.6, eta_seconds: 74, chunks_done: 2, chunks_total: 6 });
const done = progress({ stage: "done", frames_done: 900, frames_total: 900, percent: 100, chunks_done: 6, chunks_total: 6 });
const usage = { worker_seconds: { cpu: 74.2, stitch: 1.4 }, output_minutes: 0.5, usd: 0.0123 };

const RENDERS = {
  r01queued: bare("r01queued", { title: "Spring teaser", owner: "Studio North", priority: 20, waiting: { code: "WAITING_FOR_SLOTS", message: "its next task waits for a free slot of the pool `cpu`, which has 8" } }),
  r02gpu: bare("r02gpu", { title: "Particles", owner: "Studio North", pool: "gpu", waiting: { code: "WAITING_FOR_WORKERS", message: "no worker of the pool `gpu` takes tasks, 1 in quarantine; the render goes on when one is resumed or started" } }),
  r03bare: bare("r03bare"),
  r04work: bare("r04work", { title: "Launch film with a name that is a good deal longer than the column it has to stand in", owner: "Studio North", callback_id: "job-7741", status: "rendering", fps: "30000/1001", progress: half, ...planned, warnings: [{ code: "FONT_SUBSTITUTED", message: "the page names the font Avenir, which no worker has; Inter takes its place" }] }),
  r05storage: bare("r05storage", { title: "Recap", status: "rendering", progress: half, ...planned, waiting: { code: "WAITING_FOR_STORAGE", message: "it waits for storage, which did not answer a worker, and goes on as soon as it does" } }),
  r06paused: bare("r06paused", { title: "Held back", status: "rendering", paused: true, progress: half, ...planned }),
  r07done: bare("r07done", { title: "Q2 results", owner: "Finance", status: "completed", progress: done, ...planned, completed_at: Math.floor(NOW - 8), duration: 30, video_url: "/lost.mp4", thumbnail_url: "/picture", usage }),
  r08gif: bare("r08gif", { title: "Sticker", status: "completed", format: "gif", progress: done, ...planned, completed_at: Math.floor(NOW - 8), duration: 2, video_url: "/picture", thumbnail_url: "/picture" }),
  r09failed: bare("r09failed", { title: "Broken scene", owner: "Studio North", status: "failed", progress: half, ...planned, completed_at: Math.floor(NOW - 5), error_code: "SCRIPT_ERROR", failure_message: "the page threw an error: scene two is missing\nat index.html:41:9", retry_of: "r07done" }),
  r10early: bare("r10early", { status: "failed", completed_at: Math.floor(NOW - 5), error_code: "PROJECT_INVALID", failure_message: "the project has no index.html" }),
  r11cancelled: bare("r11cancelled", { title: "Not wanted", status: "failed", completed_at: Math.floor(NOW - 5), error_code: "cancelled", failure_message: "it was cancelled by request" }),
};

const chunk = (index, status, more = {}) => ({
  index, first_frame: index * 150, frame_count: 150, frames_done: status === "completed" ? 150 : 0, status, attempt: null, worker: null, attempts: 0,
  ms_per_frame: null, seconds: null, capture_path: null, thumbnail_url: null, ...more,
});
const completed = (index) => chunk(index, "completed", { attempt: 1, attempts: 1, worker: "w-a1", ms_per_frame: 31 + index, seconds: 5.1, capture_path: "screenshot", thumbnail_url: "/picture" });
const span = (kind, number, more = {}) => ({
  kind, chunk: number, attempt: 1, worker_id: "w-a1", slot: 0, started_at: NOW - 30, ended_at: NOW - 20, outcome: "committed", error_code: null, message: null,
  frames: 150, ms_per_frame: 31, ...more,
});
const line = (level, message, more = {}) => ({ at: NOW - 12, level, source: "page", step: "chunk", chunk: 2, attempt: 2, frame: 341, message, ...more });

function details(render) {
  const isPlanned = render.progress.chunks_total > 0;
  const isDone = render.status === "completed";
  const isFailed = render.status === "failed";
  const chunks = isPlanned ? Array.from({ length: 6 }, (_, i) => (isDone || i < 2 ? completed(i) : i === 2 && !isFailed ? chunk(i, "rendering", { attempt: 1, attempts: 1, worker: "w-a1", frames_done: 90 }) : chunk(i, "queued"))) : [];
  const spans = isPlanned ? [span("plan", null, { frames: 0, ms_per_frame: null }), span("chunk", 0), span("chunk", 1, { slot: null })] : [];
  if (isFailed && isPlanned) {
    const failed = { outcome: "failed", error_code: "SCRIPT_ERROR", message: "scene two is missing", frames: 41, ms_per_frame: null };
    spans.push(span("chunk", 2, failed), span("chunk", 2, { ...failed, attempt: 2, worker_id: "", slot: null, ended_at: NOW - 6 }));
  } else if (isPlanned && !isDone) spans.push(span("chunk", 2, { ended_at: null, outcome: "running" }));
  const log = isPlanned ? [line("info", "the page is ready", { chunk: 0, frame: null }), line("warning", "image logo.png is slow"), ...(isFailed ? [line("error", "Error: scene two is missing\n    at play (index.html:41:9)")] : [])] : [];
  return { chunks, spans, log };
}

const worker = (name, more = {}) => ({
  worker_id: `w-${name}`, host: name, role: "worker", pool: "cpu", class: "hyperfarm 0.2.0, Chrome 141.0.7390.54, runtime 0.7.9", version: "0.2.0", state: "active", state_reason: null,
  slots: 4, slots_busy: 0, tasks: [], frames_per_second: 0, failures_recent: 0, memory_bytes: 1.2e9, memory_limit_bytes: null, started_at: NOW - 4000, last_seen_at: NOW - 1, ...more,
});
const WORKERS = [
  worker("render-01", { slots_busy: 2, frames_per_second: 61.2, memory_limit_bytes: 4e9, tasks: [
    { render_id: "r04work", step: "chunk", chunk: 2, attempt: 2, frames_done: 90, frames_total: 150, since: NOW - 4 },
    { render_id: "r04work", step: "audio", chunk: null, attempt: 1, frames_done: 0, frames_total: 0, since: NOW - 4 },
  ] }),
  worker("render-02", { state: "quarantined", pool: "gpu", slots: 0, state_reason: "5 failures of its own in 10 minutes", failures_recent: 5 }),
  worker("render-03", { state: "draining", last_seen_at: NOW - 95 }),
  worker("stitch-01", { role: "stitcher", pool: "stitch", class: "", slots: 2 }),
];

const pool = (name, more = {}) => ({ pool: name, workers: 1, slots: 4, slots_busy: 0, queue_depth: 0, queue_oldest_seconds: null, ...more });
const farm = (more = {}) => ({
  version: "0.2.0", started_at: NOW - 9000, now: NOW, active_coordinator: null, pools: [], frames_per_second: 0, slots: 0, slots_busy: 0, queue_depth: 0,
  renders: { queued: 0, rendering: 0, completed_today: 0, failed_today: 0, completed: 0, failed: 0, cancelled: 0 },
  today: { output_minutes: 0, worker_seconds: 0, cost_usd: 0 }, history: [], recent_failures: [], ...more,
});
const history = Array.from({ length: 60 }, (_, i) => ({ at: NOW - 600 + i * 10, frames_per_second: 40 + 20 * Math.sin(i / 6), slots_busy: 2, slots: 8, queue_depth: 12 }));

const voice = (id, more = {}) => ({ voice_id: id, name: id, language: "English", gender: "female", preview_audio_url: null, support_pause: false, support_locale: false, type: "public", engine: "espeak", locale: "en-gb", ...more });
const VOICES = [voice("en-gb"), voice("de", { name: "German", language: "German", locale: "de", gender: "male", preview_audio_url: "/lost.wav", support_pause: true, support_locale: true }), voice("alloy", { engine: "openai", preview_audio_url: "/lost.wav" })];

const group = (id, more = {}) => ({ id, name: id, gender: null, preview_image_url: null, preview_video_url: null, looks_count: 1, default_voice_id: null, consent_status: null, status: null, created_at: Math.floor(NOW - 5000), ...more });
const look = (id, of, more = {}) => ({
  id, name: id, avatar_type: "photo_avatar", group_id: of, gender: null, preview_image_url: null, preview_video_url: null, default_voice_id: null, tags: [], supported_api_engines: ["avatar_iv"], status: null, failure_message: null, ...more,
});
const GROUPS = [
  group("group_a", { name: "Ann", gender: "female", looks_count: 4, consent_status: "approved", status: "completed", preview_image_url: "/picture" }),
  group("group_b", { name: "A person whose name is a good deal longer than a head of a panel has room for on a phone", looks_count: 1, consent_status: "pending" }),
  group("group_c", { looks_count: 0 }),
];
const LOOKS_OF = [
  look("look_1", "group_a", { name: "In the office", status: "completed", preview_image_url: "/picture", gender: "female", tags: ["business", "summer"] }),
  look("look_2", "group_a", { status: "processing", preview_image_url: "/picture" }),
  look("look_3", "group_a", { status: "failed", failure_message: "the photo shows no face; use one of a person who looks at the camera" }),
  look("look_4", "group_a", { status: "pending_consent" }), look("look_5", "group_b", { status: "completed" }),
];
const video = (id, more = {}) => ({
  id, title: null, status: "pending", video_url: null, thumbnail_url: null, gif_url: null, captioned_video_url: null, subtitle_url: null, duration: null, created_at: Math.floor(NOW - 60), completed_at: null,
  failure_code: null, failure_message: null, video_page_url: null, callback_id: null, output_format: "mp4", folder_id: null, ...more,
});
const VIDEOS = [
  video("r03bare"), video("r04work", { title: "A welcome that is a good deal longer than the column it has to stand in", status: "processing", callback_id: "job-7741" }),
  video("r07done", { title: "Welcome", status: "completed", video_url: "/lost.mp4", thumbnail_url: "/picture", subtitle_url: "/lost.srt", duration: 30, completed_at: Math.floor(NOW - 8) }),
  video("r09failed", { title: "Nobody", status: "failed", completed_at: Math.floor(NOW - 5), failure_code: "SCRIPT_ERROR", failure_message: "the photo shows no face; use one of a person who looks at the camera" }),
  video("r10early", { status: "failed" }),
];

const asset = (id, more = {}) => ({ id, name: `${id}.zip`, mime_type: "application/zip", type: "document", size_bytes: 81234, owner: "Studio North", status: "completed", uploaded_at: Math.floor(NOW - 900), url: "/picture", ...more });
const LISTS = {
  "/v3/avatars": GROUPS,
  "/v3/avatars/looks": LOOKS_OF,
  "/v3/videos": VIDEOS,
  "/v3/assets": [asset("a1"), asset("a2", { status: "pending_upload", url: null, name: "a-rather-long-name-of-a-file-that-somebody-has-uploaded-to-the-farm.zip" })],
  "/v3/webhooks/endpoints": [
    { endpoint_id: "e1", url: "https://studio.example.com/hooks/renders/with/a/long/path", events: null, entity_id: null, secret: null, status: "enabled", created_at: "2026-11-28T20:00:00Z" },
    { endpoint_id: "e2", url: "https://x.example.com/", events: ["hyperframes_video.fail"], entity_id: "r07done", secret: null, status: "disabled", created_at: "2026-11-28T20:00:00Z" },
  ],
  "/v3/webhooks/event-types": [{ event_type: "hyperframes_video.fail", description: "A render has failed." }],
  "/v3/hyperframes/audit": [
    { id: "t1", at: NOW - 60, action: "worker.quarantine", target: "w-render-02", key_id: "k1", key_name: "Ops", space: "default", address: "10.0.0.7", request_id: "q1" },
    { id: "t2", at: NOW - 90, action: "key.create", target: null, key_id: null, key_name: null, space: null, address: null, request_id: null },
  ],
};

/** A farm on which nothing was ever done. */
const EMPTY = { farm: farm(), workers: [], renders: {}, voices: [], lists: {} };
/** A farm that cannot speak. */
const MUTE = { ...EMPTY, voices: null };
/** A farm in the middle of a bad day. */
const BUSY = {
  farm: farm({
    pools: [pool("cpu", { slots: 8, slots_busy: 2, queue_depth: 14, queue_oldest_seconds: 421.4 }), pool("gpu", { slots: 0, workers: 1, queue_depth: 1, queue_oldest_seconds: 40 }), pool("stitch", { slots: 2 })],
    frames_per_second: 61.2, slots: 8, slots_busy: 2, queue_depth: 15, history, renders: { queued: 3, rendering: 3, completed_today: 2, failed_today: 2, completed: 2, failed: 2, cancelled: 1 },
    today: { output_minutes: 0.53, worker_seconds: 75.6, cost_usd: 0.0123 },
    recent_failures: [{ render_id: "r09failed", title: "Broken scene", error_code: "SCRIPT_ERROR", failure_message: "the page threw an error: scene two is missing", at: NOW - 5 }, { render_id: "r10early", title: null, error_code: "PROJECT_INVALID", failure_message: "the project has no index.html", at: NOW - 5 }],
  }),
  workers: WORKERS, renders: RENDERS, voices: VOICES, lists: LISTS,
};

let state = EMPTY;
const { files, index } = bundle();

function answer(request, response) {
  const { pathname } = new URL(request.url, "http://x");
  const send = (type, body, status = 200) => {
    response.writeHead(status, { "content-type": type });
    response.end(body);
  };
  const json = (value, status) => send("application/json", JSON.stringify(value), status);
  const list = (data) => json({ data, has_more: false, next_token: null });
  if (pathname === "/") return send("text/html", index);
  if (pathname.startsWith("/assets/dashboard/")) {
    const name = pathname.split("/").pop();
    const type = { js: "text/javascript", css: "text/css", svg: "image/svg+xml", woff2: "font/woff2" }[name.split(".").pop()];
    return send(type ?? "text/plain", files.get(name) ?? "");
  }
  if (pathname === "/picture") return send("image/gif", PICTURE);
  if (pathname === "/v3/users/me") return json({ data: { username: "Ops", space: "default", key_id: "m", scopes: ["read", "render", "admin"], usage_based: { included_credits: 0, spending_current_usd: 0.0123 } } });
  if (pathname === "/v3/hyperframes/farm") return json({ data: state.farm });
  if (pathname === "/v3/hyperframes/workers") return list(state.workers);
  if (pathname === "/v3/hyperframes/renders") return list(Object.values(state.renders));
  if (pathname === "/v3/voices" && state.voices === null) {
    return json({ error: { code: "engine_not_configured", message: "no speech engine is configured: install espeak-ng, or set `HYPERFARM_SPEECH_URL`", param: null } }, 409);
  }
  if (pathname === "/v3/voices") return list(state.voices);
  if (pathname === "/v3/hyperframes/farm/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    return response.write(": here\n\n");
  }
  if (pathname in LISTS) return list(state.lists[pathname] ?? []);
  const [, found] = /^\/v3\/(?:videos|avatars\/looks)\/(\w+)$/.exec(pathname) ?? [];
  if (found) {
    const one = ["/v3/videos", "/v3/avatars/looks"].flatMap((path) => state.lists[path] ?? []).find(({ id }) => id === found);
    return one ? json({ data: one }) : json({ error: { code: "video_not_found", message: "there is no such thing" } }, 404);
  }
  const [, id, part] = /renders\/(\w+)(?:\/(\w+))?$/.exec(pathname) ?? [];
  const render = state.renders[id];
  if (!render) return json({ error: { code: "not_found", message: "there is no such thing" } }, 404);
  const { chunks, spans, log } = details(render);
  if (part === "chunks") return list(chunks);
  if (part === "log") return list(log);
  if (part === "timeline") return json({ data: { created_at: render.created_at, ended_at: render.completed_at, now: NOW, spans } });
  return json({ data: render });
}

const server = http.createServer(answer).listen(0, "127.0.0.1");
await new Promise((ready) => server.once("listening", ready));
const url = `http://127.0.0.1:${server.address().port}/`;

/** The pages: name, hash, and what is there once they are drawn. */
const always = [["account", "#/account", "#assets"], ["farm", "#/", ".tiles"], ["new", "#/new", ".drop"], ["lost", "#/nowhere", ".empty"]];
const EMPTY_PAGES = [
  ...always, ["renders", "#/renders", ".empty"], ["no-render", "#/renders/r99", ".empty"], ["voices", "#/voices", ".empty"], ["compare", "#/compare/r98/r99", ".empty"],
  ["avatars", "#/avatars", ".new-avatar"], ["videos", "#/videos", ".empty"], ["no-video", "#/videos/r99", ".empty"], ["new-video", "#/videos/new", ".make .empty"],
];
const MUTE_PAGES = [["voices", "#/voices", ".empty"], ["new-video", "#/videos/new", "section:has(#speech) .empty"]];
const BUSY_PAGES = [
  ...always, ["renders", "#/renders", ".row"], ["voices", "#/voices", "table.voices"], ["compare", "#/compare/r07done/r09failed", "table.figures"], ["compare-early", "#/compare/r03bare/r08gif", "table.figures"],
  ["avatars", "#/avatars", ".look"], ["videos", "#/videos", "table.videos"], ["new-video", "#/videos/new?look=look_1", ".choice"], ...VIDEOS.map(({ id }) => [`video-${id}`, `#/videos/${id}`, ".stage, .banner.bad"]),
  ...Object.keys(RENDERS).map((id) => [id, `#/renders/${id}`, "#settings"]),
];
const LOOKS = [["light", { viewport: DESK }], ["dark", { viewport: DESK, colorScheme: "dark" }], ["phone", { viewport: PHONE, hasTouch: true }]];

const browser = await launch();
let at = "";
let pages = 0;
try {
  for (const [look, options] of LOOKS) {
    const page = await open(browser, options);
    for (const [name, made, list] of [["empty", EMPTY, EMPTY_PAGES], ["mute", MUTE, MUTE_PAGES], ["busy", BUSY, BUSY_PAGES]]) {
      state = made;
      await page.goto(url);
      await page.reload();
      for (const [title, hash, ready] of list) {
        at = `${title}, ${name}, ${look}`;
        await page.evaluate((to) => (location.hash = to), hash);
        await page.locator(ready).first().waitFor();
        // The details of a render are read after it.
        if (hash.startsWith("#/renders/") && state === BUSY) await page.locator(".panel:has(#log) .log, .panel:has(#log) .empty, .panel:has(#log) .warnings").first().waitFor();
        await page.waitForTimeout(120);
        await accessible(page, at);
        await fits(page, at);
        check(page.problems.length === 0, `the console has no error:\n${page.problems.join("\n")}`);
        await shoot(page, `${look}-${name}-${title}`, { fullPage: true });
        pages += 1;
      }
    }
    await page.context().close();
  }
  console.log(`${pages} pages are whole`);
} catch (error) {
  console.error(`at "${at}": ${error.stack}`);
  process.exitCode = 1;
}
await browser.close();
server.close();
server.closeAllConnections();
