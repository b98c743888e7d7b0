// What the scripts beside this share: a browser, checks that say what they wanted, axe, pictures.

import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

/** Where Debian's packages put Chrome; others say so by environment. */
const CHROME = process.env.HYPERFARM_CHROME ?? "/usr/lib/chromium/chromium-headless-shell";

export const PHONE = { width: 390, height: 844 };
export const DESK = { width: 1360, height: 900 };

export function launch() {
  return chromium.launch({ executablePath: CHROME, args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"] });
}

/** A page that remembers every error of its console and every exception, but for answers that a step wants to be refused. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: DESK, colorScheme: "light", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.problems = [];
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of 40[149]/.test(message.text())) page.problems.push(message.text());
  });
  page.on("pageerror", (error) => page.problems.push(String(error.stack ?? error)));
  return page;
}

export function check(fact, wanted) {
  if (!fact) throw new Error(`not so: ${wanted}`);
}

/** Asks again until `look` answers something true, and returns it. */
export async function until(wanted, look, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${wanted}`);
    await new Promise((again) => setTimeout(again, 150));
  }
}

/** Nothing that a person reads or hears is a value that is not there. */
export async function meaningful(page, what) {
  const texts = await page.evaluate(() => [
    ...document.body.innerText.split("\n"),
    ...Array.from(document.querySelectorAll("[aria-label], [title], [alt]"), (element) =>
      ["aria-label", "title", "alt"].map((name) => element.getAttribute(name) ?? "").join(" ")),
  ]);
  const bad = texts.filter((text) => /\b(NaN|undefined|null|Infinity)\b|\[object /.test(text));
  check(bad.length === 0, `every value is there in ${what}:\n${bad.join("\n")}`);
}

/** No finding of axe that is serious or critical. */
export async function accessible(page, what) {
  await meaningful(page, what);
  // A colour half way to that of the other theme has another contrast.
  await page.evaluate(() => Promise.all(document.getAnimations().filter((one) => one instanceof CSSTransition).map((one) => one.finished.catch(() => {}))));
  const { violations } = await new AxeBuilder({ page }).analyze();
  const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const said = bad.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(" ")}: ${node.failureSummary}`));
  check(bad.length === 0, `axe finds nothing serious in ${what}:\n${said.join("\n")}`);
}

export async function fits(page, what) {
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  check(width <= page.viewportSize().width, `${what} fits the width of the window, and is ${width} wide`);
}

let shots = 0;
/** A picture for who wants to look, where `HYPERFARM_SHOTS` names a folder. */
export async function shoot(page, name, options = {}) {
  const folder = process.env.HYPERFARM_SHOTS;
  if (folder) await page.screenshot({ path: `${folder}/${String(++shots).padStart(2, "0")}-${name}.png`, ...options });
}
