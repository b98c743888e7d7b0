/** A project as the person has it: a folder, a zip, one page. Read in the browser, to show its variables before it is sent. */

import { unzip, Zip, ZipDeflate, ZipPassThrough } from "fflate";
import { missing } from "./references";

export interface Variable {
  id: string;
  type: string;
  label: string;
  description: string | null;
  value: unknown;
  options: { value: unknown; label: string }[];
  min: number | null;
  max: number | null;
  step: number | null;
}

export interface Composition {
  path: string;
  width: string | null;
  height: string | null;
  duration: string | null;
  variables: Variable[];
  /** Why the declared variables cannot be shown. */
  problem: string | null;
  /** Files that the page names and the project does not have. */
  missing: string[];
}

export interface Project {
  name: string;
  files: number;
  bytes: number;
  /** The pages that can be rendered: those with a composition, or else all. */
  compositions: Composition[];
  /** The archive that is uploaded; made when it is wanted. */
  archive: (progress: (part: number) => void) => Promise<Blob>;
}

/** Folders that are no part of a composition; what the command line leaves out too. */
const SKIPPED = new Set(["node_modules", ".git", ".hyperframes", ".DS_Store", "__MACOSX", "Thumbs.db"]);
/** Media are compressed already. */
const PACKED = /\.(png|jpe?g|gif|webp|avif|mp[34]|m4a|mov|webm|ogg|woff2?|zip)$/i;

/** What a style attribute is called while a page is read. */
const STYLE = " data-read-style";

interface Entry {
  path: string;
  file: File;
}

/** What a drop brought. A folder is read to its leaves. */
export async function ofDrop(transfer: DataTransfer): Promise<Project> {
  // The items are gone after the first await.
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const files = Array.from(transfer.files);
  if (entries.length === 0) return ofFiles(files.map((file) => ({ path: file.name, file })));
  const found: Entry[] = [];
  for (const entry of entries) await walk(entry, "", found);
  return ofFiles(found);
}

export function ofPicked(list: FileList): Promise<Project> {
  return ofFiles(Array.from(list, (file) => ({ path: file.webkitRelativePath || file.name, file })));
}

async function walk(entry: FileSystemEntry, folder: string, found: Entry[]): Promise<void> {
  if (SKIPPED.has(entry.name)) return;
  const path = folder + entry.name;
  if (entry.isFile) {
    const file = await new Promise<File>((good, bad) => (entry as FileSystemFileEntry).file(good, bad));
    found.push({ path, file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // One call gives no more than a hundred.
    const some = await new Promise<FileSystemEntry[]>((good, bad) => reader.readEntries(good, bad));
    if (some.length === 0) return;
    for (const inner of some) await walk(inner, `${path}/`, found);
  }
}

async function ofFiles(all: Entry[]): Promise<Project> {
  const entries = all.filter(({ path }) => !path.split("/").some((part) => SKIPPED.has(part)));
  const [only] = entries;
  if (!only) throw new Error("There is no file in it.");
  if (entries.length === 1 && /\.zip$/i.test(only.path)) return ofZip(only.file);
  const root = commonFolder(entries.map(({ path }) => path));
  const inside = entries.map(({ path, file }) => ({ path: path.slice(root.length), file }));
  const pages = new Map<string, string>();
  for (const { path, file } of inside) if (/\.html?$/i.test(path)) pages.set(path, await file.text());
  return {
    name: root.replace(/\/$/, "").split("/").pop() || only.file.name.replace(/\.[^.]+$/, ""),
    files: inside.length,
    bytes: inside.reduce((sum, { file }) => sum + file.size, 0),
    compositions: compositions(pages, new Set(inside.map(({ path }) => path))),
    archive: (progress) => pack(inside, progress),
  };
}

async function ofZip(file: File): Promise<Project> {
  const data = new Uint8Array(await file.arrayBuffer());
  const names: string[] = [];
  let bytes = 0;
  const unpacked = await new Promise<Record<string, Uint8Array>>((good, bad) => {
    unzip(data, {
      filter: ({ name, originalSize }) => {
        if (name.endsWith("/") || name.split("/").some((part) => SKIPPED.has(part))) return false;
        names.push(name);
        bytes += originalSize;
        return /\.html?$/i.test(name) && originalSize < 16 * 1024 * 1024;
      },
    }, (error, result) => (error ? bad(new Error(`${file.name} is no zip that can be read: ${error.message}`)) : good(result)));
  });
  // The farm looks into a single top-level folder, and no deeper.
  const root = /^[^/]*\//.exec(commonFolder(names))?.[0] ?? "";
  const decoder = new TextDecoder();
  const pages = new Map(Object.entries(unpacked).map(([path, text]) => [path.slice(root.length), decoder.decode(text)]));
  const files = new Set(names.map((path) => path.slice(root.length)));
  return { name: file.name.replace(/\.zip$/i, ""), files: names.length, bytes, compositions: compositions(pages, files), archive: async () => file };
}

/** The folder that holds everything, with its slash. */
function commonFolder(paths: string[]): string {
  const first = paths[0]?.split("/").slice(0, -1) ?? [];
  let depth = first.length;
  for (const path of paths) {
    const parts = path.split("/").slice(0, -1);
    while (depth > 0 && first.slice(0, depth).join("/") !== parts.slice(0, depth).join("/")) depth -= 1;
  }
  return depth === 0 ? "" : `${first.slice(0, depth).join("/")}/`;
}

/** The pages that are compositions of their own, or else all pages; `index.html` first. */
function compositions(pages: Map<string, string>, files: ReadonlySet<string>): Composition[] {
  const found: Composition[] = [];
  const others: Composition[] = [];
  for (const [path, text] of pages) {
    // Nothing of the page is run or loaded by this; its styles would only be complained of by our own content policy.
    const plain = text.replace(/<style\b[\s\S]*?<\/style>/gi, "").replace(/\sstyle(?=\s*=)/gi, STYLE);
    const page = new DOMParser().parseFromString(plain, "text/html");
    const root = page.querySelector("body [data-composition-id], body[data-composition-id]");
    const isComposition = root !== null || path === "index.html";
    const read = variables(page);
    (isComposition ? found : others).push({
      path,
      width: root?.getAttribute("data-width") ?? null,
      height: root?.getAttribute("data-height") ?? null,
      duration: root?.getAttribute("data-duration") ?? null,
      missing: missing(references(page), path, files),
      ...read,
    });
  }
  const depth = (path: string) => path.split("/").length;
  return (found.length > 0 ? found : others).sort((a, b) => depth(a.path) - depth(b.path) || Number(b.path === "index.html") - Number(a.path === "index.html") || a.path.localeCompare(b.path));
}

/** What a page loads by its elements. */
function references(page: Document): string[] {
  const loaded: [string, string][] = [
    ["script[src], img[src], video[src], audio[src], source[src], iframe[src]", "src"],
    ["link[rel=stylesheet][href]", "href"],
    ["[data-composition-src]", "data-composition-src"],
  ];
  return loaded.flatMap(([selector, name]) => Array.from(page.querySelectorAll(selector), (element) => element.getAttribute(name) ?? ""));
}

function variables(page: Document): { variables: Variable[]; problem: string | null } {
  const made = new Map<string, Variable>();
  let problem: string | null = null;
  for (const element of page.querySelectorAll("[data-composition-variables]")) {
    try {
      const declared: unknown = JSON.parse((element.getAttribute("data-composition-variables") ?? "").replaceAll(STYLE, " style"));
      if (!Array.isArray(declared)) throw new Error("it is not a list");
      for (const one of declared as Record<string, unknown>[]) {
        if (typeof one?.["id"] !== "string" || made.has(one["id"])) continue;
        made.set(one["id"], variable(one["id"], one));
      }
    } catch (error) {
      problem = `data-composition-variables cannot be read: ${(error as Error).message}`;
    }
  }
  return { variables: [...made.values()], problem };
}

function variable(id: string, one: Record<string, unknown>): Variable {
  const number = (name: string) => (typeof one[name] === "number" ? (one[name] as number) : null);
  const text = (name: string) => (typeof one[name] === "string" && one[name] !== "" ? (one[name] as string) : null);
  const options = Array.isArray(one["options"]) ? (one["options"] as unknown[]) : [];
  return {
    id,
    type: text("type") ?? "string",
    label: text("label") ?? id,
    description: text("description"),
    value: one["default"] ?? null,
    options: options.map((option) => {
      if (typeof option === "object" && option !== null && "value" in option) {
        const { value, label } = option as { value: unknown; label?: unknown };
        return { value, label: String(label ?? value) };
      }
      return { value: option, label: String(option) };
    }),
    min: number("min"),
    max: number("max"),
    step: number("step"),
  };
}

/** Packs the files one after another, so that a large folder never lies in memory twice. */
async function pack(files: Entry[], progress: (part: number) => void): Promise<Blob> {
  const parts: BlobPart[] = [];
  let failure: Error | null = null;
  const zip = new Zip((error, data) => {
    if (error) failure = error;
    else parts.push(data as Uint8Array<ArrayBuffer>);
  });
  const all = files.reduce((sum, { file }) => sum + file.size, 0) || 1;
  let done = 0;
  for (const { path, file } of files) {
    const entry = PACKED.test(path) ? new ZipPassThrough(path) : new ZipDeflate(path, { level: 6 });
    zip.add(entry);
    const reader = file.stream().getReader();
    for (;;) {
      const { value, done: last } = await reader.read();
      if (last) break;
      entry.push(value);
      done += value.length;
      progress(done / all);
    }
    entry.push(new Uint8Array(0), true);
    if (failure) throw failure;
  }
  zip.end();
  return new Blob(parts, { type: "application/zip" });
}
