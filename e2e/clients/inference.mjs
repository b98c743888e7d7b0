// Renders with the JavaScript SDK of inference.sh. Prints JSON: what it has seen. Arguments: the URL of the farm, a key,
// a wrong key, the URL of a receiver of webhooks, a page and a sound as files.

import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";

// The package is made for bundlers: its modules name each other without an extension.
registerHooks({
  resolve(name, context, next) {
    const isShort = name.startsWith(".") && !name.endsWith(".js");
    return next(isShort ? `${name}.js` : name, context);
  },
});
const { Inference } = await import("@inferencesh/sdk");

const app = "infsh/hyperframes-render";
const [baseUrl, apiKey, wrongKey, receiver, page, sound] = process.argv.slice(2);
const messages = [];
const client = new Inference({ apiKey, baseUrl, onMessage: (sent) => messages.push(...sent) });
const html = readFileSync(page, "utf8");
const refused = (promise) =>
  promise.then(
    (passed) => ({ passed }),
    ({ statusCode, message }) => ({ status: statusCode, message }),
  );

// Blobs are uploaded by the SDK.
const updates = [];
const input = {
  html: new Blob([html], { type: "text/html" }),
  audio_url: new Blob([readFileSync(sound)], { type: "audio/wav" }),
  fps: 10,
};
const streamed = await client.run({ app, input }, { onUpdate: (task) => updates.push([task.status, task.progress]) });
const response = await fetch(streamed.output.video);
const video = new TextDecoder("latin1").decode(await response.arrayBuffer());

// The sound in base64, whose length the SDK does not tell.
const polling = { audio_url: readFileSync(sound).toString("base64"), html, fps: 10, nonsense: 1 };
const webhook = `${receiver}/javascript`;
const polled = await client.run({ app, input: polling, webhook }, { stream: false, pollIntervalMs: 100 });

const long = html.replace('data-duration="0.3"', 'data-duration="600"');
const cancelled = await client.run({ app, input: { html: long } }, { wait: false });
await client.cancel(cancelled.id);

console.log(
  JSON.stringify({
    updates,
    streamed,
    video,
    polled,
    messages,
    cancelled: (await client.tasks.get(cancelled.id)).data,
    no_input: await refused(client.run({ app, input: {} })),
    wrong_key: await refused(new Inference({ apiKey: wrongKey, baseUrl }).run({ app, input: { html } })),
    failed: await refused(client.run({ app, input: { html: "<p>no composition" } })),
  }),
);
