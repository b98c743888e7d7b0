// Drives the dashboard of a real farm as a person would: node drive.mjs URL KEY. Ends with what did not hold.

import { readFileSync } from "node:fs";
import path from "node:path";
import { accessible, check, DESK, fits, launch, open, PHONE, shoot, until } from "./stage.mjs";
import { zip } from "./project.mjs";

const [base, key] = process.argv.slice(2);
const TITLE = "Launch film";
/** Long enough to be paused half way on a fast machine. */
const SECONDS = 20;

const ask = (path, options = {}) => fetch(`${base}${path}`, { ...options, headers: { "x-api-key": key, ...options.headers } });
const render = async (id) => (await (await ask(`/v3/hyperframes/renders/${id}`)).json()).data;
const renderId = (page) => decodeURIComponent(new URL(page.url()).hash.split("/")[2]);
const badge = (page, text) => page.locator(".view-head .badge", { hasText: text }).waitFor();
/** The console says that the farm refused a request, and nothing else. */
const refused = (page) => check(page.problems.splice(0).every((problem) => /status of 400/.test(problem)), "the farm refused, and nothing else went wrong");
const button = (page, name) => page.getByRole("button", { name, exact: true });

/** Drops the composition, of so many seconds, on the form. */
async function drop(page, seconds) {
  const transfer = await page.evaluateHandle((text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "clip.zip", { type: "application/zip" }));
    return transfer;
  }, zip(seconds).toString("base64"));
  await page.dispatchEvent(".drop", "drop", { dataTransfer: transfer });
  await page.getByText("2 files").waitFor();
}

/** A tone as a WAV file: 0.4 s, 16 kHz, 16 bits. */
function tone() {
  const frames = 6400;
  const file = Buffer.alloc(44 + 2 * frames);
  file.write("RIFF", 0);
  file.writeUInt32LE(36 + 2 * frames, 4);
  file.write("WAVEfmt ", 8);
  for (const [value, at, bytes] of [[16, 16, 4], [1, 20, 2], [1, 22, 2], [16_000, 24, 4], [32_000, 28, 4], [2, 32, 2], [16, 34, 2]]) file.writeUIntLE(value, at, bytes);
  file.write("data", 36);
  file.writeUInt32LE(2 * frames, 40);
  for (let i = 0; i < frames; i += 1) file.writeInt16LE(9000 * Math.sin(i / 12), 44 + 2 * i);
  return file;
}

let step = "start";
const steps = {
  async "the key is asked for"(page) {
    await page.goto(base);
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    await accessible(page, "the prompt");
    await page.getByLabel("API key").fill("hf_wrong");
    await button(page, "Continue").click();
    await page.getByText("does not know this key").waitFor();
    await page.getByLabel("API key").fill(key);
    await button(page, "Continue").click();
    await dialog.waitFor({ state: "detached" });
  },

  async "the farm is shown, in light and dark"(page) {
    await page.getByText("Frames a second").first().waitFor();
    await page.locator("table.workers tbody tr").first().waitFor();
    await page.locator(".live.live").waitFor();
    await accessible(page, "the farm");
    await page.keyboard.press("t");
    check(await page.evaluate(() => document.documentElement.dataset.theme === "dark"), "t makes it dark");
    await accessible(page, "the dark farm");
    await page.keyboard.press("t");
    await page.keyboard.press("?");
    await page.getByRole("heading", { name: "Shortcuts" }).waitFor();
    await accessible(page, "the help");
    await page.keyboard.press("Escape");
  },

  async "a zip is dropped, and its variables are a form"(page) {
    await page.keyboard.press("g");
    await page.keyboard.press("r");
    await page.getByText("No renders yet").waitFor();
    await page.keyboard.press("n");
    await page.locator(".drop").waitFor();
    await accessible(page, "the empty form");
    await drop(page, SECONDS);
    await page.getByLabel("Headline").fill("Spring");
    await page.getByLabel("Shape").selectOption({ label: "Round" });
    await page.getByLabel("Size of the box", { exact: true }).fill("80");
    await page.getByLabel("Title").fill(TITLE);
    await page.getByLabel("Quality").selectOption("draft");
    await page.locator("summary", { hasText: "More settings" }).click();
    await page.getByLabel("Frames a chunk").fill("30");
    await page.getByLabel("Loudness in LUFS").fill("-16");
    await accessible(page, "the form");
    await shoot(page, "form", { fullPage: true });
    await page.getByLabel("Loudness in LUFS").fill("");
    await button(page, "Show the first frame").click();
    const frame = page.getByAltText("First frame", { exact: true });
    await frame.waitFor({ timeout: 60_000 });
    check(await frame.evaluate((picture) => picture.naturalWidth > 0), "the first frame is a picture");
    await page.locator(".first-frame").getByText("320 × 180").waitFor();
    await page.locator(".first-frame").getByText("20 s, as the page declares").waitFor();
    await until("its render is deleted", async () => (await (await ask("/v3/hyperframes/renders")).json()).data.length === 0);
    await accessible(page, "the form with the first frame");
    await shoot(page, "first-frame");
    await button(page, "Render it").click();
    await page.getByRole("heading", { name: TITLE }).waitFor();
  },

  async "the progress moves"(page) {
    const bar = page.getByRole("progressbar", { name: "Progress of the render" });
    const now = async () => Number(await bar.getAttribute("aria-valuenow"));
    const first = await until("the first frames", now, 60);
    await until("more frames", async () => (await now()) > first, 60);
    await until("two finished chunks", async () => (await render(renderId(page))).progress.chunks_done >= 2, 60);
    await button(page, "Pause").click();
    await badge(page, "Paused");
    await button(page, "Priority").click();
    await page.getByLabel(/^Priority, from/).fill("7");
    await button(page, "Change it").click();
    await page.locator(".facts div", { hasText: "Priority" }).getByText("7", { exact: true }).waitFor();
    check((await render(renderId(page))).priority === 7, "the farm has the priority");
  },

  async "the preview plays before the render is done"(page) {
    const video = page.locator("video");
    await video.waitFor();
    await video.evaluate((element) => {
      element.muted = true;
      void element.play();
    });
    await until("the video's time advances", () => video.evaluate((element) => element.currentTime > 0.5), 30);
    const size = await video.evaluate((element) => [element.videoWidth, element.videoHeight]);
    check(size.join() === "320,180", `the video has the composition's size, not ${size}`);
    check((await render(renderId(page))).status === "rendering", "the render is still at work while its preview plays");
    await page.keyboard.press("p");
    check(await video.evaluate((element) => element.paused), "p pauses");
    const end = await video.evaluate((element) => element.seekable.end(0));
    check(end >= 1.9 && end < SECONDS - 0.1, `the finished part can be sought, and only that: ${end} s`);
  },

  async "the timeline, the chunks and the filmstrip say what happened"(page) {
    const timeline = page.locator(".timeline canvas");
    await until("attempts in the timeline", async () => /([2-9]|\d\d) done/.test((await timeline.getAttribute("aria-label")) ?? ""));
    await page.locator(".timeline-body").focus();
    await page.keyboard.press("+");
    await until("a closer view", () => button(page, "All").first().isEnabled());
    await page.keyboard.press("0");
    const chunks = page.locator(".chunk-map canvas");
    await until("chunks that are done", async () => /^20 chunks: 1?\d completed/.test((await chunks.getAttribute("aria-label")) ?? ""));
    await page.getByLabel("Chunk", { exact: true }).fill("1");
    await page.locator(".chunk-detail").getByText("30 to 59").waitFor();
    const pictures = () => page.locator(".shot img").evaluateAll((all) => all.filter((one) => one.naturalWidth > 0).length);
    await until("pictures in the filmstrip", async () => (await pictures()) >= 2);
    await page.getByText("the headline is Spring").first().waitFor();
    await accessible(page, "a render at work");
    await page.keyboard.press("t");
    await accessible(page, "a render at work, dark");
    await shoot(page, "render-dark");
    await page.keyboard.press("t");
    await shoot(page, "render-light", { fullPage: true });
  },

  async "it is resumed, and completes"(page) {
    await button(page, "Resume").click();
    await page.locator(".view-head .badge.completed").waitFor({ timeout: 90_000 });
    const link = page.getByRole("link", { name: "Download" });
    const got = await fetch(await link.getAttribute("href"));
    check(got.ok && Number(got.headers.get("content-length")) > 5000, "the download gives the video");
    await until("the cost", () => page.locator(".facts", { hasText: "Cost" }).getByText("$").count());
    const video = page.locator("video");
    await until("the preview has grown to the end", () => video.evaluate((element) => element.seekable.length && element.seekable.end(0) > 19.8));
    await shoot(page, "completed");
    // A link to it is enough, and starts with the output itself.
    await page.reload();
    await page.locator(".view-head .badge.completed").waitFor();
    await until("the output in the page", () => video.evaluate((element) => element.duration > 19.8));
    await page.evaluate(() => scrollTo(0, 0));
  },

  async "two renders are compared, their players go together"(page) {
    const id = renderId(page);
    await page.evaluate((to) => (location.hash = `#/compare/${to}/${to}`), id);
    await until("both videos", async () => (await page.locator("video").evaluateAll((all) => all.filter((video) => video.readyState > 2).length)) === 2);
    const times = () => page.locator("video").evaluateAll((all) => all.map((video) => video.currentTime));
    await button(page, "Play").click();
    await until("both play", async () => (await times()).every((at) => at > 0.5));
    const [first, second] = await times();
    check(Math.abs(first - second) < 0.25, `the players are together: ${first} s, ${second} s`);
    await button(page, "Pause").click();
    await button(page, "One frame on").click();
    const stopped = await times();
    check(Math.abs(stopped[0] - stopped[1]) < 0.001, `both show the same frame: ${stopped}`);
    await accessible(page, "the comparison");
    await shoot(page, "compare", { fullPage: true });
    await page.evaluate((to) => (location.hash = `#/renders/${to}`), id);
    await page.locator(".view-head .badge.completed").waitFor();
  },

  async "it is retried, and the new one cancelled"(page) {
    const before = renderId(page);
    await button(page, "Retry").click();
    await until("the new render", () => renderId(page) !== before);
    await page.getByText("retry of").waitFor();
    await button(page, "Cancel").click();
    await button(page, "Cancel the render").click();
    await badge(page, "Cancelled");
  },

  async "a failed render says why and where"(page) {
    const html = "<div data-composition-id=m data-width=320 data-height=180 data-duration=1></div><script>window.__timelines = {}; throw new Error('scene two is missing')</script>";
    const body = JSON.stringify({ html, title: "Broken" });
    const made = await ask("/v3/hyperframes/renders", { method: "POST", body, headers: { "content-type": "application/json" } });
    const { render_id } = (await made.json()).data;
    await page.evaluate((id) => (location.hash = `#/renders/${id}`), render_id);
    await page.locator(".view-head .badge.failed").waitFor({ timeout: 90_000 });
    await page.getByText("scene two is missing").first().waitFor();
    check((await page.getByText("known at the end").count()) === 0, "the cost of a failed render is not to come");
    await accessible(page, "a failed render");
    await page.keyboard.press("t");
    await accessible(page, "a failed render, dark");
    await shoot(page, "failed-dark");
    await page.keyboard.press("t");
    await shoot(page, "failed-light", { fullPage: true });
    await ask(`/v3/hyperframes/renders/${render_id}`, { method: "DELETE" });
  },

  async "a page without a composition is taken, and a missing file is named"(page) {
    await page.keyboard.press("n");
    await page.locator(".drop").waitFor();
    const transfer = await page.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["<script src=lib/lost.js></script><h1>Hello</h1>"], "poster.html", { type: "text/html" }));
      return transfer;
    });
    await page.dispatchEvent(".drop", "drop", { dataTransfer: transfer });
    await page.getByText("poster.html names a file that the project does not have").waitFor();
    await page.getByText("lib/lost.js").waitFor();
    check((await page.getByText("There is no page in it").count()) === 0, "a page is a project");
    await accessible(page, "the form of a plain page");
    await shoot(page, "plain-page");
    await page.keyboard.press("Escape");
    await page.evaluate(() => (location.hash = "#/renders"));
  },

  async "many are chosen, retried and cancelled from the list"(page) {
    await page.keyboard.press("u");
    await until("both in the list", async () => (await page.locator(".list-body .row").count()) === 2);
    await page.getByRole("button", { name: /^Cancelled/ }).click();
    await until("only the cancelled one", async () => (await page.locator(".list-body .row").count()) === 1);
    await page.getByLabel("Search renders").fill("no such title");
    await page.getByText("No render matches").waitFor();
    await button(page, "Show all").click();
    await until("both again", async () => (await page.locator(".list-body .row").count()) === 2);
    await accessible(page, "the list");
    await page.keyboard.press("j");
    await page.keyboard.press("x");
    await page.getByText("1 render chosen").waitFor();
    await page.keyboard.press("Escape");
    await page.getByLabel("Choose all 2").check();
    await button(page, "Retry").click();
    await page.getByText("2 renders submitted again").waitFor();
    await until("four in the list", async () => (await page.locator(".list-body .row").count()) === 4);
    await page.getByLabel("Choose all 4").check();
    await button(page, "Cancel").click();
    await button(page, "Cancel them").click();
    await until("three cancelled ones", async () => (await page.locator(".row .badge.cancelled").count()) === 3);
    await shoot(page, "list");
  },

  async "voices are filtered, heard and tried"(page) {
    const before = page.url();
    await page.keyboard.press("g");
    await page.keyboard.press("v");
    const table = page.locator("table.voices");
    await table.or(page.getByText("This farm has no speech engine")).first().waitFor();
    await accessible(page, "the voices");
    if (await table.count()) {
      await page.getByLabel("Search voices").fill("en-gb");
      await until("a listen button", () => page.getByRole("button", { name: "Listen" }).count());
      await page.getByRole("button", { name: "Listen" }).first().click();
      await until("the voice is heard", () => page.locator("audio").first().evaluate((audio) => audio.currentTime > 0));
      await page.getByRole("button", { name: "Try a text" }).first().click();
      await page.getByLabel("Text").fill("Hello farm");
      await button(page, "Speak it").click();
      await until("the sound", () => page.locator(".spoken audio").evaluate((audio) => audio.duration > 0.3));
      await accessible(page, "a voice that is tried");
      await shoot(page, "voices");
    }
    await page.goto(before);
    await page.locator(".row").first().waitFor();
  },

  async "a photo becomes an avatar, whose person consents"(page) {
    await page.keyboard.press("g");
    await page.keyboard.press("p");
    await page.getByText("No avatars yet").waitFor();
    await accessible(page, "no avatars");
    await page.getByLabel("Name").fill("Eileen");
    await button(page, "Make the avatar").click();
    await page.getByText("File is required: the photo").waitFor();
    refused(page);
    await page.getByLabel("File: Photo").setInputFiles({ name: "photo.gif", mimeType: "image/gif", buffer: Buffer.from("GIF89a") });
    await button(page, "Make the avatar").click();
    await page.getByText("The file is none of png, jpeg").waitFor();
    refused(page);
    await accessible(page, "a photo that is refused");
    await page.getByLabel("File: Photo").setInputFiles(path.join(import.meta.dirname, "../presenter/astronaut.jpg"));
    await button(page, "Make the avatar").click();
    const look = page.locator(".look");
    await look.getByText(/Finding the face|Ready/).waitFor();
    await look.locator(".badge.completed").waitFor({ timeout: 60_000 });
    check(await look.locator("img").evaluate((photo) => photo.complete && photo.naturalWidth === 512), "the photo is shown");
    await button(page, "Rename the look Eileen").click();
    await page.getByLabel("Name", { exact: true }).fill("In orange");
    await button(page, "Rename").click();
    await look.getByRole("heading", { name: "In orange" }).waitFor();
    await button(page, "Ask for consent").click();
    await page.getByLabel(/^Where the person is sent/).fill("http://example.com/");
    await button(page, "Make the link").click();
    await page.locator(".consent-form [role=alert]").waitFor();
    refused(page);
    await page.getByLabel(/^Where the person is sent/).fill("");
    await button(page, "Make the link").click();
    await page.getByText("Consent asked for").waitFor();
    const link = await page.locator(".consent-link a").getAttribute("href");
    const agreed = await fetch(link, { method: "POST", body: new URLSearchParams({ decision: "approve" }) });
    check(agreed.ok, `the person can consent: ${agreed.status}`);
    await page.getByText("Consent given").waitFor();
    await accessible(page, "the avatars");
    await shoot(page, "avatars", { fullPage: true });
  },

  async "the avatar presents a video"(page) {
    await page.getByRole("link", { name: "Make a video of In orange" }).click();
    const chosen = page.getByRole("radio", { name: /In orange/ });
    await chosen.waitFor();
    check(await chosen.isChecked(), "the look is chosen");
    const script = page.getByLabel("Script", { exact: true });
    await script.or(page.getByText("This farm has no speech engine")).first().waitFor();
    const hasVoices = (await script.count()) > 0;
    if (hasVoices) {
      await page.getByLabel("Language", { exact: true }).selectOption("English");
      await until("a voice", () => page.getByLabel("Voice", { exact: true }).inputValue());
      await button(page, "Make the video").click();
      await page.getByText("One of script, audio_url and audio_asset_id is required").waitFor();
      check(await script.evaluate((field) => field === document.activeElement), "the field that is wrong has the focus");
      refused(page);
    }
    await accessible(page, "the form of a video");
    await button(page, "A sound file").click();
    await button(page, "Make the video").click();
    await page.getByText("One of script, audio_url and audio_asset_id is required").waitFor();
    refused(page);
    await page.getByLabel("File: Sound").setInputFiles({ name: "tone.wav", mimeType: "audio/wav", buffer: tone() });
    await accessible(page, "the form of a video of a sound");
    if (hasVoices) {
      await button(page, "A script").click();
      await script.fill("Hello farm.");
      await button(page, "Listen").click();
      await until("the voice is heard", () => page.locator(".script audio").evaluate((audio) => audio.currentTime > 0));
    }
    await button(page, "A colour").click();
    await page.getByLabel("Colour", { exact: true }).fill("reddish");
    await page.getByLabel("Title").fill("Welcome");
    await page.getByLabel("Resolution").selectOption("720p");
    await page.getByLabel("Aspect ratio").selectOption("1:1");
    await button(page, "Make the video").click();
    await page.getByText("must be a colour such as").waitFor();
    refused(page);
    await page.getByLabel("Colour", { exact: true }).fill("#203040");
    await shoot(page, "video-form", { fullPage: true });
    await button(page, "Make the video").click();
    await page.getByRole("heading", { name: "Welcome" }).waitFor();
    const video = page.locator("video");
    await video.waitFor({ timeout: 120_000 });
    await page.locator(".view-head .badge.completed").waitFor();
    await video.evaluate((element) => {
      element.muted = true;
      void element.play();
    });
    await until("the video has played", () => video.evaluate((element) => element.ended && element.videoWidth === 720));
    await accessible(page, "a video");
    await shoot(page, "video");
    await page.keyboard.press("u");
    const row = page.locator("table.videos tbody tr");
    await row.locator("img").waitFor();
    await page.getByLabel("Search videos").fill("no such title");
    await page.getByText("No video matches").waitFor();
    await button(page, "Show all").click();
    await accessible(page, "the videos");
    await shoot(page, "videos");
    await button(page, "Delete Welcome").click();
    await button(page, "Delete").click();
    await page.getByText("No videos yet").waitFor();
    await page.keyboard.press("g");
    await page.keyboard.press("p");
    await button(page, "Delete Eileen").click();
    await button(page, "Delete").click();
    await page.getByText("No avatars yet").waitFor();
    await page.evaluate(() => (location.hash = "#/renders"));
    await page.locator(".row").first().waitFor();
  },

  async "the account shows files, acts and webhooks"(page) {
    await page.getByRole("link", { name: /^Account/ }).click();
    await page.locator("#assets").waitFor();
    await page.getByText("clip.zip").first().waitFor();
    await page.getByText("render.cancel").first().waitFor();
    await button(page, "Add a URL").click();
    await page.getByLabel("URL", { exact: true }).fill("https://hooks.example.com/renders");
    await page.getByLabel(/hyperframes_video.fail/).check();
    await accessible(page, "the account");
    await button(page, "Add it").click();
    await page.getByText("It is shown once").waitFor();
    await shoot(page, "account", { fullPage: true });
    await button(page, "Delete https://hooks.example.com/renders").click();
    await button(page, "Delete").click();
    await page.getByText("No URL is told").waitFor();
    await page.evaluate(() => (location.hash = "#/renders"));
    await page.locator(".row").first().waitFor();
  },

  async "it fits a phone"(page) {
    const done = await page.locator(".row", { has: page.locator(".badge.completed") }).getByRole("link").getAttribute("href");
    await page.setViewportSize(PHONE);
    for (const [hash, ready, name] of [["#/", ".tiles", "farm"], ["#/renders", ".row", "renders"], [done, ".chunk-map canvas", "render"], ["#/new", ".drop", "new"], ["#/avatars", ".new-avatar", "avatars"], ["#/videos/new", ".make", "new-video"]]) {
      await page.evaluate((to) => (location.hash = to), hash);
      await page.locator(ready).first().waitFor();
      await fits(page, `${name} on a phone`);
      await accessible(page, `${name} on a phone`);
      await shoot(page, `phone-${name}`);
    }
    await page.setViewportSize(DESK);
  },

  async "a file of rows makes many renders"(page) {
    await page.keyboard.press("n");
    await page.locator(".drop").waitFor();
    await drop(page, 1);
    const rows = { name: "rows.csv", mimeType: "text/csv", buffer: Buffer.from('headline,size,colour\n"One, two",40,red\nThree,60,blue\n') };
    await page.getByLabel("Rows of variables").setInputFiles(rows);
    await page.getByText("2 renders, one for each row").waitFor();
    await page.getByText("declares no variable colour").waitFor();
    await accessible(page, "the form of many renders");
    await shoot(page, "rows", { fullPage: true });
    await button(page, "Render 2 rows").click();
    await page.getByRole("link", { name: "clip 1", exact: true }).waitFor();
    await page.getByRole("link", { name: "clip 2", exact: true }).waitFor();
  },

  async "a worker is quarantined, resumed and drained"(page) {
    await page.keyboard.press("g");
    await page.keyboard.press("f");
    const row = page.locator("table.workers tbody tr", { hasText: "worker" }).first();
    await row.getByRole("button", { name: /^Quarantine/ }).click();
    await page.getByLabel(/Reason/).fill("a look at the machine");
    await button(page, "Quarantine").click();
    await row.locator(".badge.quarantined").waitFor();
    await row.getByText("a look at the machine").waitFor();
    await row.getByRole("button", { name: /^Resume/ }).click();
    await row.locator(".badge.active").waitFor();
    await row.getByRole("button", { name: /^Drain/ }).click();
    await button(page, "Drain").click();
    await until("the worker drains", async () => (await row.count()) === 0 || (await row.locator(".badge.draining").count()) === 1);
  },
};

const browser = await launch();
const page = await open(browser);
const started = Date.now();
try {
  for (const [name, act] of Object.entries(steps)) {
    step = name;
    await act(page);
    check(page.problems.length === 0, `the console has no error:\n${page.problems.join("\n")}`);
    console.log(`${((Date.now() - started) / 1000).toFixed(1)} s: ${name}`);
  }
} catch (error) {
  console.error(`at "${step}": ${error.stack}`);
  console.error(`the console had:\n${page.problems.join("\n")}`);
  console.error(`the page was ${page.url()}:\n${(await page.locator("body").innerText().catch(() => "")).slice(0, 4000)}`);
  await shoot(page, "failed", { fullPage: true });
  process.exitCode = 1;
}
await browser.close();
