/** The farm at a glance: how busy, how fast, what waits, what failed, what it costs. */

import { count, decimal, duration, integer, moment, money } from "../format";
import { links } from "../route";
import { farm, farmError, loadFarm, workers } from "../store";
import type { Farm, Worker } from "../types";
import { Empty, Failure, Loading, Message, Meter, Panel } from "../ui/basics";
import { usePageTitle } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { History } from "./chart";
import { Workers } from "./workers";

/** Seconds without a heartbeat after which a worker is named. */
const QUIET = 30;

export function FarmView() {
  usePageTitle("Farm");
  const now = farm.value;
  if (!now) {
    if (farmError.value) return <Failure what="The farm could not be read" error={farmError.value} again={() => void loadFarm()} />;
    return <Loading rows={6} />;
  }
  return (
    <>
      <h1 class="hidden">Farm</h1>
      <Attention farm={now} />
      <Tiles farm={now} />
      <div class="columns">
        <Panel title="Last 15 minutes" id="history"><History /></Panel>
        <Panel title="Pools" id="pools" flush><Pools farm={now} /></Panel>
      </div>
      <Workers />
      <Failures farm={now} />
    </>
  );
}

/** What an operator has to look at: workers out of service and why, and tasks that nobody can take. */
function Attention({ farm: now }: { farm: Farm }) {
  const found = attention(now, workers.value ?? []);
  if (found.length === 0) return null;
  return (
    <section class="banner" aria-label="Needs attention">
      <Icon name="warning" />
      <ul>{found.map((text) => <li key={text}>{text}</li>)}</ul>
    </section>
  );
}

/** Sentences about what needs an operator. */
export function attention(now: Farm, all: Worker[]): string[] {
  const found: string[] = [];
  for (const pool of now.pools) {
    if (pool.queue_depth > 0 && pool.slots === 0) {
      const who = pool.pool === "stitch" ? "No stitcher takes tasks" : `No worker of the pool ${pool.pool} takes tasks`;
      found.push(`${who}: ${count(pool.queue_depth, "task waits", "tasks wait")}.`);
    }
  }
  for (const worker of all) {
    const name = worker.host || worker.worker_id;
    if (worker.state === "quarantined") found.push(`${name} (${worker.role}, pool ${worker.pool}) is in quarantine: ${worker.state_reason || "no reason was given"}.`);
    else if (now.now - worker.last_seen_at > QUIET) found.push(`${name} has not been heard of for ${duration(Math.round(now.now - worker.last_seen_at))}.`);
  }
  return found;
}

function Tiles({ farm: now }: { farm: Farm }) {
  const oldest = now.pools.reduce((most, pool) => Math.max(most, pool.queue_oldest_seconds ?? 0), 0);
  const { renders, today } = now;
  const ended = renders.completed_today + renders.failed_today;
  return (
    <dl class="tiles">
      <Tile name="Frames a second" value={decimal(now.frames_per_second)} note={`${count(renders.rendering, "render")} at work`} />
      <Tile name="Slots busy" value={integer(now.slots_busy)} of={integer(now.slots)} note={<Meter value={now.slots_busy} max={now.slots} label="Slots busy" />} />
      <Tile name="Tasks waiting" value={integer(now.queue_depth)} note={now.queue_depth > 0 ? `oldest for ${duration(Math.round(oldest))}` : "nothing waits"} tone={oldest > 300 ? "warn" : undefined} />
      <Tile name="Renders today" value={integer(renders.completed_today)} note={`${count(renders.queued, "render")} queued`} />
      <Tile name="Failed today" value={integer(renders.failed_today)} note={ended > 0 ? `${decimal((renders.failed_today / ended) * 100)} % of those ended` : "none ended yet"} tone={renders.failed_today > 0 ? "bad" : undefined} />
      <Tile name="Cost today" value={money(today.cost_usd)} note={`${decimal(today.output_minutes)} min of video, ${duration(today.worker_seconds)} of work`} />
    </dl>
  );
}

function Tile({ name, value, of, note, tone }: { name: string; value: string; of?: string; note: preact.ComponentChildren; tone?: string | undefined }) {
  return (
    <div class={`tile ${tone ?? ""}`}>
      <dt>{name}</dt>
      <dd class="tile-value">{value}{of !== undefined && <span class="of"> of {of}</span>}</dd>
      <dd class="tile-note">{note}</dd>
    </div>
  );
}

function Pools({ farm: now }: { farm: Farm }) {
  if (now.pools.length === 0) {
    return <Empty title="No worker is here"><p>Start one with <code>hyperfarm worker</code>, or everything in one process with <code>hyperfarm up</code>.</p></Empty>;
  }
  return (
    <table class="stack">
      <thead><tr><th scope="col">Pool</th><th scope="col" class="num">Workers</th><th scope="col">Slots busy</th><th scope="col" class="num">Waiting</th><th scope="col" class="num">Oldest</th></tr></thead>
      <tbody>
        {now.pools.map((pool) => (
          <tr key={pool.pool}>
            <th scope="row">{pool.pool}</th>
            <td class="num" data-name="Workers">{pool.workers}</td>
            <td data-name="Slots busy"><span class="with-meter"><Meter value={pool.slots_busy} max={pool.slots} label={`Slots busy in ${pool.pool}`} /> <span class="tab">{pool.slots_busy} / {pool.slots}</span></span></td>
            <td class="num" data-name="Waiting">{integer(pool.queue_depth)}</td>
            <td class="num" data-name="Oldest">{duration(pool.queue_oldest_seconds === null ? null : Math.round(pool.queue_oldest_seconds))}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Failures({ farm: now }: { farm: Farm }) {
  return (
    <Panel title="Recent failures" id="failures" flush>
      {now.recent_failures.length === 0 ? <Empty title="Nothing has failed lately" /> : (
        <ul class="failures">
          {now.recent_failures.map((failure) => (
            <li key={failure.render_id}>
              <a href={links.render(failure.render_id)}>{failure.title || failure.render_id}</a>
              <code>{failure.error_code}</code>
              <time dateTime={new Date(failure.at * 1000).toISOString()}>{moment(failure.at)}</time>
              <p><Message text={failure.failure_message} /></p>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
