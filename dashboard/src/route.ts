/** Where the person is: `#/renders/ID?tab=log`. The part after the hash needs nothing of the server, and every view has a link. */

import { signal } from "@preact/signals";

export interface Route {
  parts: string[];
  query: URLSearchParams;
}

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { parts, query: new URLSearchParams(query) };
}

export const route = signal<Route>(read());

addEventListener("hashchange", () => {
  const before = route.value.parts.join("/");
  route.value = read();
  if (route.value.parts.join("/") !== before) scrollTo(0, 0);
});

export const links = {
  farm: "#/",
  renders: "#/renders",
  submit: "#/new",
  voices: "#/voices",
  avatars: "#/avatars",
  videos: "#/videos",
  /** The form of a new video, of the look where there is one. */
  makeVideo: (look?: string) => `#/videos/new${look ? `?look=${encodeURIComponent(look)}` : ""}`,
  video: (id: string) => `#/videos/${encodeURIComponent(id)}`,
  account: "#/account",
  render: (id: string) => `#/renders/${encodeURIComponent(id)}`,
  compare: (first: string, second: string) => `#/compare/${encodeURIComponent(first)}/${encodeURIComponent(second)}`,
};

export function go(href: string): void {
  location.hash = href;
}

/** Changes the query of the view without a step in the history. */
export function replaceQuery(query: URLSearchParams): void {
  const text = query.toString();
  const path = location.hash.replace(/^#\/?/, "").split("?")[0] ?? "";
  history.replaceState(null, "", `#/${path}${text ? `?${text}` : ""}`);
  route.value = read();
}
