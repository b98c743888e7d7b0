// Renders a page with the generated TypeScript client. Prints JSON. Arguments: the URL of the farm, a key, a wrong key.

import { getHyperframesRendersRenderId, getUsersMe, postHyperframesRenders } from "hyperfarm-client";
import type { RenderDetail, RenderRequest } from "hyperfarm-client";
import { createClient } from "hyperfarm-client/dist/client/index.js";

declare const process: { argv: string[] };
const [url, key, wrongKey] = process.argv.slice(2);
const client = createClient({ baseUrl: url, auth: key });
const html = `<!doctype html><html><body style="margin:0">
<div data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="0.2"
 style="width:320px;height:180px;background:#123"></div></body></html>`;
const body: RenderRequest = { html, title: "by TypeScript" };
const headers = { "Idempotency-Key": "typescript" };
const created = await postHyperframesRenders({ client, body, headers, throwOnError: true });
const again = await postHyperframesRenders({ client, body, headers, throwOnError: true });
const path = { render_id: created.data.data.render_id };
let detail: RenderDetail;
do {
  await new Promise((resolve) => setTimeout(resolve, 200));
  detail = (await getHyperframesRendersRenderId({ client, path, throwOnError: true })).data.data;
} while (detail.status !== "completed" && detail.status !== "failed");
const video = detail.video_url ? await (await fetch(detail.video_url)).arrayBuffer() : new ArrayBuffer(0);
const refused = await postHyperframesRenders({ client, body: { html, crf: 64 } });
const wrong = await getUsersMe({ client: createClient({ baseUrl: url, auth: wrongKey }) });
console.log(
  JSON.stringify({
    is_once: created.data.data.render_id === again.data.data.render_id,
    detail,
    video: new TextDecoder("latin1").decode(video.slice(4, 8)),
    refused: refused.error,
    wrong: wrong.error,
  }),
);
