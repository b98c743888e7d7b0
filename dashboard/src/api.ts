/** Requests to the farm: the same routes that every client has, with the key that the person gave. */

import { signal } from "@preact/signals";

const STORED = "hyperfarm.key";

/** Why the farm refused the last request for want of a key; `null` while nothing is wanted. */
export const keyWanted = signal<string | null>(null);
/** Changes with every new key, so that what was refused is asked again. */
export const keyEpoch = signal(0);

// Storage can be forbidden (private windows, policies): the key then lives as long as the page.
let remembered: string | null = null;
try {
  remembered = sessionStorage.getItem(STORED) ?? localStorage.getItem(STORED);
} catch {}

export function hasKey(): boolean {
  return remembered !== null;
}

export function setKey(key: string, keep: boolean): void {
  remembered = key;
  try {
    sessionStorage.setItem(STORED, key);
    if (keep) localStorage.setItem(STORED, key);
    else localStorage.removeItem(STORED);
  } catch {}
  keyWanted.value = null;
  keyEpoch.value += 1;
}

export function forgetKey(): void {
  remembered = null;
  try {
    sessionStorage.removeItem(STORED);
    localStorage.removeItem(STORED);
  } catch {}
  keyWanted.value = null;
  keyEpoch.value += 1;
}

/** A request that did not succeed, as the farm said it or, with code `network`, as the browser did. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly param: string | null = null,
    readonly requestId: string | null = null,
  ) {
    super(message);
  }
}

/** The absolute URL of a path of the API; the farm may lie under a path of its host. */
export function url(path: string, query: Record<string, string | number | null | undefined> = {}): string {
  const made = new URL(path, new URL(".", document.baseURI));
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") made.searchParams.set(name, String(value));
  }
  return made.href;
}

export function headers(): Record<string, string> {
  return remembered === null ? {} : { "x-api-key": remembered };
}

/** A page of a list. */
export interface Page<T> {
  data: T[];
  has_more: boolean;
  next_token: string | null;
}

export interface Options {
  body?: unknown;
  query?: Record<string, string | number | null | undefined>;
  signal?: AbortSignal;
  idempotencyKey?: string;
}

/** The `data` of one object, or a whole page, by `method` of `path`. */
export async function call<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const sent = headers();
  if (options.body !== undefined) sent["content-type"] = "application/json";
  if (options.idempotencyKey) sent["idempotency-key"] = options.idempotencyKey;
  let response: Response;
  try {
    response = await fetch(url(path, options.query), {
      method,
      headers: sent,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal ?? null,
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError("The farm did not answer. Is it running, and is the network up?", 0, "network");
  }
  if (!response.ok) throw await refusal(response);
  const answer = (await response.json()) as { data: T; has_more?: boolean };
  return answer.has_more === undefined ? answer.data : (answer as unknown as T);
}

export const get = <T>(path: string, options?: Options) => call<T>("GET", path, options);
export const page = <T>(path: string, options?: Options) => call<Page<T>>("GET", path, options);
export const post = <T>(path: string, options?: Options) => call<T>("POST", path, options);

/** What a response that is no success says. A missing or wrong key brings up the prompt. */
export async function refusal(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  const made = refusalOf(response.status, text, response.headers.get("x-request-id"));
  if (made.status === 401) keyWanted.value = made.message;
  return made;
}

export function refusalOf(status: number, text: string, requestId: string | null): ApiError {
  try {
    const error = (JSON.parse(text) as { error: { code: string; message: string; param?: string } }).error;
    return new ApiError(error.message, status, error.code, error.param ?? null, requestId);
  } catch {
    return new ApiError(`The farm answered with status ${status}.`, status, "unexpected", null, requestId);
  }
}

/** A key that makes a repeated request the same request. */
export function onceKey(): string {
  return `dashboard-${Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("")}`;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
