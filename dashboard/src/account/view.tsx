/** The key's account: what it may do, webhooks, uploaded files and, for operators, the audit log. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { call, forgetKey, hasKey, onceKey, post } from "../api";
import { bytes, fullTime, moment, money, NONE } from "../format";
import { account, canAdminister, canRender } from "../store";
import type { Asset, AuditEntry, Endpoint, EventType, Secret } from "../types";
import { Badge, Button, Empty, Failure, Loading, Panel } from "../ui/basics";
import { ask } from "../ui/dialog";
import { usePageTitle } from "../ui/hooks";
import { useList } from "../ui/list";
import { complain, say } from "../ui/toast";

export function AccountView() {
  usePageTitle("Account");
  const me = account.value;
  if (!me) return <Loading rows={6} />;
  const { spending_current_usd: spent, spending_cap_usd: cap } = me.usage_based;
  return (
    <>
      <div class="view-head">
        <h1>Account</h1>
        {hasKey() && <Button onClick={forgetKey}>Sign out</Button>}
      </div>
      <Panel title="Key" id="key">
        <dl class="facts">
          <div><dt>Name</dt><dd>{me.username}</dd></div>
          <div><dt>Id</dt><dd><code>{me.key_id}</code></dd></div>
          <div><dt>Space</dt><dd>{me.space}</dd></div>
          <div><dt>Scopes</dt><dd>{me.scopes.join(", ")}</dd></div>
          <div><dt>Spent</dt><dd>{money(spent)}{cap === undefined ? "" : ` of ${money(cap)}`}</dd></div>
        </dl>
      </Panel>
      <Webhooks />
      <Assets />
      {canAdminister() && <Audit />}
    </>
  );
}

interface ListPanelProps<T> {
  title: string;
  id: string;
  list: ReturnType<typeof useList<T>>;
  empty: string;
  head: string[];
  row: (item: T) => ComponentChildren;
  aside?: ComponentChildren;
  children?: ComponentChildren;
}

function ListPanel<T>({ title, id, list, empty, head, row, aside, children }: ListPanelProps<T>) {
  const { rows, next, error, read } = list;
  return (
    <Panel title={title} id={id} flush aside={aside}>
      {children}
      {error ? <Failure what="This list could not be read" error={error} again={() => void read(null)} />
        : !rows ? <Loading />
        : rows.length === 0 ? <Empty title={empty} />
        : (
          <>
            <table class="stack listed">
              <thead><tr>{head.map((name) => <th key={name} scope="col">{name || <span class="hidden">Actions</span>}</th>)}</tr></thead>
              <tbody>{rows.map(row)}</tbody>
            </table>
            {next !== null && <p class="list-end"><Button onClick={() => void read(next)}>Show more</Button></p>}
          </>
        )}
    </Panel>
  );
}

function Webhooks() {
  const list = useList<Endpoint>("v3/webhooks/endpoints");
  const types = useList<EventType>("v3/webhooks/event-types");
  const [secret, setSecret] = useState<Secret | null>(null);
  const [isAdding, setAdding] = useState(false);
  const act = async (what: string, action: () => Promise<void>) => {
    try {
      await action();
      await list.read(null);
    } catch (error) {
      complain(what, error);
    }
  };
  const add = (url: string, events: string[]) => act("The endpoint was not added", async () => {
    const body = { url, events: events.length > 0 ? events : null };
    const made = await post<Endpoint>("v3/webhooks/endpoints", { body, idempotencyKey: onceKey() });
    if (made.secret) setSecret({ endpoint_id: made.endpoint_id, secret: made.secret });
    setAdding(false);
  });
  const rotate = async ({ endpoint_id, url }: Endpoint) => {
    if ((await ask({ title: "Replace the secret?", text: `The old secret of ${url} stops at once.`, action: "Replace it", danger: true })) === null) return;
    await act("The secret was not replaced", async () => setSecret(await post<Secret>(`v3/webhooks/endpoints/${endpoint_id}/rotate-secret`)));
  };
  const remove = async ({ endpoint_id, url }: Endpoint) => {
    if ((await ask({ title: "Delete this endpoint?", text: `${url} hears of nothing any more.`, action: "Delete", danger: true })) === null) return;
    await act("The endpoint was not deleted", async () => {
      await call("DELETE", `v3/webhooks/endpoints/${endpoint_id}`);
      say("The endpoint is deleted");
    });
  };
  return (
    <ListPanel
      title="Webhooks" id="webhooks" list={list} empty="No URL is told of the ends of renders" head={["URL", "Events", "State", ""]}
      aside={canRender() && !isAdding && <Button icon="plus" onClick={() => setAdding(true)}>Add a URL</Button>}
      row={(endpoint) => (
        <tr key={endpoint.endpoint_id}>
          <th scope="row"><span class="wrap">{endpoint.url}</span><span class="sub"><code>{endpoint.endpoint_id}</code></span></th>
          <td data-name="Events">{endpoint.events?.join(", ") ?? "all"}{endpoint.entity_id && <span class="sub">of {endpoint.entity_id} only</span>}</td>
          <td data-name="State"><Badge state={endpoint.status} /></td>
          <td class="row-actions">
            {canRender() && (
              <>
                <Button label={`Replace the secret of ${endpoint.url}`} onClick={() => void rotate(endpoint)}>New secret</Button>
                <Button icon="trash" kind="quiet" label={`Delete ${endpoint.url}`} onClick={() => void remove(endpoint)} />
              </>
            )}
          </td>
        </tr>
      )}
    >
      {secret && (
        <div class="banner plain secret" role="status">
          <div><strong>Secret of {secret.endpoint_id}</strong><p><code>{secret.secret}</code></p><p>It is shown once. The receiver checks signatures with it.</p></div>
          <Button icon="close" kind="quiet" label="Hide the secret" onClick={() => setSecret(null)} />
        </div>
      )}
      {isAdding && <NewEndpoint types={types.rows ?? []} add={add} onClose={() => setAdding(false)} />}
    </ListPanel>
  );
}

function NewEndpoint({ types, add, onClose }: { types: EventType[]; add: (url: string, events: string[]) => Promise<void>; onClose: () => void }) {
  const [url, setUrl] = useState("");
  const [events, setEvents] = useState<string[]>([]);
  return (
    <form class="new-endpoint" onSubmit={(event) => { event.preventDefault(); void add(url, events); }}>
      <label class="field"><span>URL</span><input type="text" inputMode="url" required pattern="https://.+" placeholder="https://example.com/hooks" value={url} onInput={(event) => setUrl(event.currentTarget.value)} /></label>
      <fieldset>
        <legend>Events; all where none is chosen</legend>
        {types.map(({ event_type, description }) => (
          <label key={event_type} class="check">
            <input type="checkbox" checked={events.includes(event_type)} onChange={() => setEvents(events.includes(event_type) ? events.filter((one) => one !== event_type) : [...events, event_type])} />
            <span><code>{event_type}</code> <span class="faint">{description}</span></span>
          </label>
        ))}
      </fieldset>
      <div class="actions"><Button onClick={onClose}>Not now</Button><Button type="submit" kind="primary">Add it</Button></div>
    </form>
  );
}

function Assets() {
  const list = useList<Asset>("v3/assets");
  const remove = async (asset: Asset) => {
    if ((await ask({ title: `Delete ${asset.name}?`, text: "Renders that were submitted with it keep their own copy.", action: "Delete", danger: true })) === null) return;
    try {
      await call("DELETE", `v3/assets/${asset.id}`);
      list.setRows((rows) => rows?.filter(({ id }) => id !== asset.id) ?? null);
    } catch (error) {
      complain("The file was not deleted", error);
    }
  };
  return (
    <ListPanel
      title="Uploaded files" id="assets" list={list} empty="No file was uploaded" head={["File", "Type", "Size", "Uploaded", "Owner", ""]}
      row={(asset) => (
        <tr key={asset.id}>
          <th scope="row">{asset.url ? <a class="wrap" href={asset.url} download={asset.name}>{asset.name}</a> : <span class="wrap">{asset.name}</span>}<span class="sub"><code>{asset.id}</code></span></th>
          <td data-name="Type">{asset.mime_type}{asset.status === "pending_upload" && <span class="sub">its bytes have not arrived</span>}</td>
          <td data-name="Size" class="tab">{bytes(asset.size_bytes)}</td>
          <td data-name="Uploaded"><time dateTime={new Date(asset.uploaded_at * 1000).toISOString()} title={fullTime(asset.uploaded_at)}>{moment(asset.uploaded_at)}</time></td>
          <td data-name="Owner">{asset.owner}</td>
          <td class="row-actions">{canRender() && <Button icon="trash" kind="quiet" label={`Delete ${asset.name}`} onClick={() => void remove(asset)} />}</td>
        </tr>
      )}
    />
  );
}

function Audit() {
  const list = useList<AuditEntry>("v3/hyperframes/audit");
  return (
    <ListPanel
      title="Audit log" id="audit" list={list} empty="No administrative act was recorded" head={["When", "Act", "Changed", "By", "From"]}
      row={(entry) => (
        <tr key={entry.id}>
          <th scope="row"><time dateTime={new Date(entry.at * 1000).toISOString()} title={fullTime(entry.at)}>{moment(entry.at)}</time></th>
          <td data-name="Act"><code>{entry.action}</code></td>
          <td data-name="Changed"><code>{entry.target ?? NONE}</code></td>
          <td data-name="By">{entry.key_name ?? entry.key_id ?? "an operator at the storage"}{entry.space && <span class="sub">space {entry.space}</span>}</td>
          <td data-name="From">{entry.address ?? NONE}</td>
        </tr>
      )}
    />
  );
}
