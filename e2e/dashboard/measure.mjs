// What a person feels with many renders and many chunks: node measure.mjs URL [RENDERS] [CHUNKS]. The pages are those of the farm
// at URL; the answers of the API are made here, so that the browser is measured and not the farm.

import http from "node:http";
import { check, launch, open, until } from "./stage.mjs";

const [base, renders = "10000", chunks = "2000"] = process.argv.slice(2);
const R = Number(renders);
const C = Number(chunks);
const FPS = 30;
const noise = (i) => Math.abs(Math.sin(i * 12.9898) * 43758.5453) % 1;
const start = Date.now() / 1000;
const THUMB = Buffer.from("R0lGODlhAQABAPAAAEBggP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==", "base64");

function render(i, moved = 0) {
  const atWork = i < 100;
  const percent = atWork ? (i * 7 + moved) % 100 : 100;
  const progress = {
    stage: atWork ? "capture" : "done", frames_done: Math.floor(percent * 9), frames_total: 900, percent,
    eta_seconds: atWork ? 120 : null, chunks_done: Math.floor(percent / 10), chunks_total: i === 0 ? C : 10,
  };
  return {
    render_id: `r_${String(i).padStart(6, "0")}`, status: atWork ? "rendering" : "completed", format: "mp4", title: `Render number ${i}`,
    callback_id: `job-${i}`, fps: FPS, quality: "standard", resolution: "1080p", aspect_ratio: "16:9", composition: "index.html",
    created_at: Math.floor(start - i * 30), completed_at: atWork ? null : Math.floor(start - i * 30 + 90), duration: atWork ? null : 30,
    width: 1920, height: 1080, frame_count: 900, warnings: [], progress, pool: "cpu", owner: "Studio North",
    ...(atWork ? {} : { video_url: "/thumb", thumbnail_url: `/thumb?${i}` }),
  };
}

function chunkList(done) {
  return Array.from({ length: C }, (_, index) => {
    const status = index < done ? "completed" : index < done + 64 ? "rendering" : "queued";
    return {
      index, first_frame: index * 30, frame_count: 30, frames_done: status === "completed" ? 30 : 0, status, attempt: 1,
      worker: status === "queued" ? null : `worker-${index % 16}`, attempts: 1, ms_per_frame: status === "completed" ? 20 + noise(index) * 40 : null,
      seconds: 1, capture_path: "screenshot", thumbnail_url: status === "completed" ? `/thumb?c${index}` : null,
    };
  });
}

function timeline(done) {
  const spans = chunkList(done).filter(({ status }) => status !== "queued").map(({ index, status }) => {
    const began = start - 600 + Math.floor(index / 64) * 12 + noise(index);
    return {
      kind: "chunk", chunk: index, attempt: 1, worker_id: `worker-${index % 16}`, slot: Math.floor(index / 16) % 4, started_at: began,
      ended_at: status === "completed" ? began + 9 + noise(index) * 2 : null, outcome: status === "completed" ? "committed" : "running",
      error_code: null, message: null, frames: 30, ms_per_frame: 30,
    };
  });
  return { created_at: start - 610, ended_at: null, now: Date.now() / 1000, spans };
}

const farm = () => ({
  version: "0", started_at: start, now: Date.now() / 1000, pools: [], frames_per_second: 1, slots: 64, slots_busy: 64, queue_depth: 0,
  renders: { queued: 0, rendering: 100, completed_today: 1, failed_today: 0, completed: R - 100, failed: 0, cancelled: 0 }, today: { output_minutes: 1, worker_seconds: 1, cost_usd: 1 },
  history: [], recent_failures: [],
});

function answer(request, response) {
  const { pathname: path, searchParams: query } = new URL(request.url, "http://x");
  const json = (value) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  };
  const list = (data) => json({ data, has_more: false, next_token: null });
  const done = Math.floor(C / 2 + ((Date.now() / 1000 - start) * C) / 1000);
  if (path.startsWith("/thumb")) {
    response.writeHead(200, { "content-type": "image/gif", "cache-control": "max-age=600" });
    return response.end(THUMB);
  }
  if (path === "/v3/users/me") return json({ data: { username: "m", space: "default", key_id: "m", scopes: ["admin"] } });
  if (path === "/v3/hyperframes/farm") return json({ data: farm() });
  if (path === "/v3/hyperframes/workers") return list([]);
  if (path === "/v3/hyperframes/farm/events") {
    // A hundred renders at work, each told of once a second: as much as the farm ever says.
    response.writeHead(200, { "content-type": "text/event-stream" });
    let n = 0;
    const timer = setInterval(() => {
      for (let k = 0; k < 10; k += 1, n += 1) response.write(`event: render\ndata: ${JSON.stringify(render(n % 100, n / 100))}\n\n`);
    }, 100);
    return request.on("close", () => clearInterval(timer));
  }
  if (path === "/v3/hyperframes/renders") {
    const limit = Number(query.get("limit"));
    const from = Number(query.get("token") ?? 0);
    const search = query.get("search")?.toLowerCase() ?? "";
    const all = Array.from({ length: R }, (_, i) => i).filter((i) => `render number ${i}`.includes(search));
    const next = from + limit < all.length ? String(from + limit) : null;
    return json({ data: all.slice(from, from + limit).map((i) => render(i)), has_more: next !== null, next_token: next });
  }
  const [, id, part] = /renders\/r_(\d+)(?:\/(\w+))?$/.exec(path) ?? [];
  if (part === "chunks") return list(chunkList(done));
  if (part === "timeline") return json({ data: timeline(done) });
  if (part === "log") return list([]);
  if (id !== undefined) return json({ data: render(Number(id)) });
  fetch(base + request.url, { headers: { "accept-encoding": "gzip" } }).then(async (from) => {
    const sent = { "content-type": from.headers.get("content-type") };
    if (from.headers.has("content-security-policy")) sent["content-security-policy"] = from.headers.get("content-security-policy");
    response.writeHead(from.status, sent);
    response.end(Buffer.from(await from.arrayBuffer()));
  });
}

/** In the page: the times between frames while `act` goes on, sorted; and every task over 50 ms. */
async function frames(page, act) {
  await page.evaluate(() => {
    window.deltas = [];
    window.longest = 0;
    let last = performance.now();
    const tick = (now) => {
      window.deltas.push(now - last);
      last = now;
      window.ticking = requestAnimationFrame(tick);
    };
    window.ticking = requestAnimationFrame(tick);
    window.watch = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
    });
    window.watch.observe({ type: "longtask" });
  });
  await act();
  return page.evaluate(() => {
    cancelAnimationFrame(window.ticking);
    window.watch.disconnect();
    const sorted = window.deltas.slice(2).sort((a, b) => a - b);
    const at = (part) => Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0) * 10) / 10;
    return { frames: sorted.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), longest_task: Math.round(window.longest) };
  });
}

async function memory(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  await session.send("Performance.enable");
  const { metrics } = await session.send("Performance.getMetrics");
  const value = (name) => metrics.find((metric) => metric.name === name).value;
  return { heap_mib: Math.round(value("JSHeapUsedSize") / 104857.6) / 10, nodes: value("Nodes"), listeners: value("JSEventListeners") };
}

/** Milliseconds from before `act` until `seen` holds in the page, and that is painted. */
async function until_painted(page, act, seen) {
  await page.evaluate((source) => {
    const holds = new Function(`return ${source}`);
    const began = performance.now();
    window.painted = new Promise((done) => {
      const look = () => (holds() ? requestAnimationFrame(() => setTimeout(() => done(performance.now() - began))) : requestAnimationFrame(look));
      look();
    });
  }, seen);
  await act();
  return Math.round(await page.evaluate(() => window.painted));
}

const server = http.createServer(answer).listen(0, "127.0.0.1");
await new Promise((ready) => server.once("listening", ready));
const url = `http://127.0.0.1:${server.address().port}/`;
const browser = await launch();
const page = await open(browser);
const figures = {};

await page.goto(`${url}#/renders`);
await page.locator(".row").first().waitFor();
figures.first_rows_ms = await page.evaluate(() => Math.round(performance.now()));
figures.first_paint_ms = await page.evaluate(() => Math.round(performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0));
figures.idle_with_100_events_a_second = await frames(page, () => page.waitForTimeout(4000));
figures.scroll_through_all_15_rows_a_frame = await frames(page, () => page.evaluate(async () => {
  const rest = () => new Promise((next) => requestAnimationFrame(next));
  for (let still = 0; still < 120; ) {
    const before = scrollY;
    scrollBy(0, 900);
    await rest();
    still = scrollY === before ? still + 1 : 0;
  }
}));
figures.rows_read = await until("all rows", async () => Number(await page.locator(".list").getAttribute("aria-rowcount")) - 1 >= R && R, 120);
figures.rows_in_document = await page.locator(".row").count();
figures.scroll_4_rows_a_frame = await frames(page, () => page.evaluate(async () => {
  const rest = () => new Promise((next) => requestAnimationFrame(next));
  for (let i = 0; i < 240; i += 1) {
    scrollBy(0, i < 120 ? -240 : 240);
    await rest();
  }
}));
figures.list_memory = await memory(page);
await page.evaluate(() => scrollTo(0, 0));
const presses = [];
for (let i = 0; i < 30; i += 1) {
  presses.push(await until_painted(page, () => page.keyboard.press("j"), `document.querySelector('.row.active')?.getAttribute('aria-rowindex') === '${i + 2}'`));
}
figures.j_ms = presses.sort((a, b) => a - b).filter((_, i) => i === 15 || i === 28);
figures.choose_all_ms = await until_painted(page, () => page.locator(".bulk input").click(), "document.querySelector('.bulk.on') !== null");
await page.keyboard.press("Escape");
figures.search_ms = await until_painted(page, () => page.getByLabel("Search renders").fill("number 9999"), "document.querySelectorAll('.row').length === 1");

await page.goto(`${url}#/renders/r_000000`);
await page.reload();
await page.locator(".chunk-map canvas").waitFor();
await page.locator(".timeline canvas").waitFor();
figures.render_page_ms = await page.evaluate(() => Math.round(performance.now()));
check((await page.locator(".chunk-map canvas").getAttribute("aria-label")).startsWith(C.toLocaleString("en")), "every chunk is in the grid");
figures.render_idle_and_following = await frames(page, () => page.waitForTimeout(8000));
await page.locator(".timeline canvas").scrollIntoViewIfNeeded();
const box = await page.locator(".timeline canvas").boundingBox();
figures.pointer_over_timeline = await frames(page, async () => {
  for (let i = 0; i < 80; i += 1) await page.mouse.move(box.x + 150 + i * 11, box.y + 40 + (i % 20) * 15);
});
await page.locator(".timeline-body").focus();
figures.zoom_keys = await frames(page, async () => {
  for (const key of "+++++-----+++++-----") await page.keyboard.press(key);
});
await page.locator("h1").click();
figures.arrow_keys_over_chunks = await frames(page, async () => {
  for (let i = 0; i < 60; i += 1) await page.keyboard.press("ArrowRight");
});
figures.filmstrip_scroll = await frames(page, () => page.evaluate(async () => {
  const strip = document.querySelector(".strip");
  for (let i = 0; i < 200; i += 1) {
    strip.scrollLeft += 600;
    await new Promise((next) => requestAnimationFrame(next));
  }
}));
figures.render_memory = await memory(page);
check(page.problems.length === 0, page.problems.join("\n"));
console.log(JSON.stringify({ renders: R, chunks: C, ...figures }, null, 1));
await browser.close();
server.close();
server.closeAllConnections();
