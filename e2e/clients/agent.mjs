// What an agent does on a farm, by the client of the Model Context Protocol's own SDK. Prints JSON: what it has seen.
// Arguments: the URL of the farm, a key, a wrong key.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, key, wrongKey] = process.argv.slice(2);

async function connect(key) {
  const client = new Client({ name: "agent", version: "1.0.0" });
  const requestInit = { headers: { Authorization: `Bearer ${key}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit }));
  return client;
}

const client = await connect(key);
const { tools } = await client.listTools();

const page = `<!doctype html><html><body style="margin:0">
<div data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="0.2"
 style="width:320px;height:180px;background:#123"></div></body></html>`;
const submit = { name: "post_hyperframes_renders", arguments: { html: page, title: "by an agent" } };
const render = (await client.callTool(submit)).structuredContent.data;

const arguments_ = { render_id: render.render_id };
const progress = [];
let followed;
do {
  const follow = { name: "get_hyperframes_renders_render_id_events", arguments: arguments_ };
  const options = { onprogress: (event) => progress.push(event.message) };
  followed = (await client.callTool(follow, undefined, options)).structuredContent.data;
} while (!followed.ended);

const read = await client.callTool({ name: "get_hyperframes_renders_render_id", arguments: arguments_ });
const detail = read.structuredContent.data;
const video = detail.video_url ? new Uint8Array(await (await fetch(detail.video_url)).arrayBuffer()) : new Uint8Array();

const refused = await client.callTool({ name: "post_hyperframes_renders", arguments: { html: page, crf: 64 } });
const wrong = await connect(wrongKey).then(() => "it may connect", (error) => String(error));

console.log(
  JSON.stringify({
    server: client.getServerVersion().name,
    tools: tools.map((tool) => tool.name),
    progress,
    followed,
    detail,
    video: new TextDecoder("latin1").decode(video.slice(4, 8)),
    refused,
    wrong,
  }),
);
await client.close();
