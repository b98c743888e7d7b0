// Plays an hls package in a real browser: node play.mjs FOLDER SECONDS SIZE... The sizes are those of its renditions, the
// largest first. Each is played in turn, at its start and near its end; the sound is decoded with it.

import { createReadStream, existsSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { check, launch, open, until } from "./stage.mjs";

const [folder, seconds, ...sizes] = process.argv.slice(2);
const PLAYER = path.join(import.meta.dirname, "../../dashboard/node_modules/hls.js/dist/hls.min.js");
const PAGE = '<!doctype html><video muted></video><script src="/player.js"></script>';
const KINDS = { ".m3u8": "application/vnd.apple.mpegurl", ".mp4": "video/mp4", ".m4s": "video/mp4" };

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/") return response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
  const file = pathname === "/player.js" ? PLAYER : path.join(folder, path.basename(pathname));
  if (!existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": KINDS[path.extname(file)] ?? "text/javascript" });
  return createReadStream(file).pipe(response);
}).listen(0, "127.0.0.1");
await new Promise((ready) => server.once("listening", ready));

const browser = await launch();
try {
  for (const [level, size] of sizes.entries()) {
    const page = await open(browser);
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.evaluate((wanted) => {
      window.faults = [];
      const player = new Hls({ enableWorker: false });
      player.on(Hls.Events.ERROR, (_, { details }) => window.faults.push(details));
      player.on(Hls.Events.MANIFEST_PARSED, (_, { levels }) => {
        window.levels = levels.map(({ width, height }) => `${width}x${height}`);
        player.currentLevel = window.levels.indexOf(wanted);
      });
      player.loadSource("/index.m3u8");
      player.attachMedia(document.querySelector("video"));
    }, size);
    const video = page.locator("video");
    await until("the length is known", () => video.evaluate((element) => element.duration > 0));
    const duration = await video.evaluate((element) => element.duration);
    check(Math.abs(duration - Number(seconds)) < 0.1, `it lasts ${seconds} s, not ${duration}`);
    for (const from of [0, Number(seconds) - 1.5]) {
      await video.evaluate((element, at) => {
        element.currentTime = at;
        void element.play();
      }, from);
      await until(`it plays on from ${from} s`, () => video.evaluate((element, at) => element.currentTime > at + 0.5 && element.readyState > 2, from));
    }
    const shown = await video.evaluate((element) => `${element.videoWidth}x${element.videoHeight}`);
    check(shown === size, `rendition ${level} is ${size}, not ${shown}`);
    const heard = await video.evaluate((element) => element.webkitAudioDecodedByteCount);
    check(heard > 0, "the sound is decoded");
    check((await page.evaluate(() => window.faults)).length === 0, `no error: ${await page.evaluate(() => window.faults)}`);
    check(page.problems.length === 0, `the console has no error:\n${page.problems.join("\n")}`);
    await page.close();
  }
} catch (error) {
  console.error(error.stack);
  process.exitCode = 1;
}
await browser.close();
server.close();
server.closeAllConnections();
