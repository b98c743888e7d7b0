/** Who works: one row a process, with what it is at and what an operator can do about it. */

import { useState } from "preact/hooks";
import { post } from "../api";
import { bytes, count, decimal, duration, moment, short } from "../format";
import { links } from "../route";
import { canAdminister, farm, loadWorkers, takeWorker, workers, workersError } from "../store";
import type { Worker, WorkerTask } from "../types";
import { Badge, Button, Empty, Failure, Loading, Meter, Panel, ProgressBar } from "../ui/basics";
import { ask } from "../ui/dialog";
import { complain, say } from "../ui/toast";

export function Workers() {
  const all = workers.value;
  const error = workersError.value;
  const busy = all?.filter((worker) => worker.tasks.length > 0).length ?? 0;
  return (
    <Panel title="Workers" id="workers" flush aside={all && all.length > 0 && <span class="faint">{busy} of {count(all.length, "process", "processes")} at work</span>}>
      {error?.status === 403
        ? <Empty title="Workers are for operators"><p>This key has not the scope <code>admin</code>. The rest of the farm is as open to it as before.</p></Empty>
        : error && !all ? <Failure what="The workers could not be read" error={error} again={() => void loadWorkers()} />
        : !all ? <Loading />
        : all.length === 0 ? <Empty title="No worker is here"><p>Renders wait until one comes. Start one with <code>hyperfarm worker</code>.</p></Empty>
        : <Table workers={all} />}
    </Panel>
  );
}

function Table({ workers: all }: { workers: Worker[] }) {
  const now = farm.value?.now ?? Date.now() / 1000;
  return (
    <table class="stack workers">
      <thead>
        <tr>
          <th scope="col">Worker</th><th scope="col">State</th><th scope="col">Pool, class</th><th scope="col">Slots</th>
          <th scope="col">Memory</th><th scope="col" class="num">Frames/s</th><th scope="col">At work on</th>
          <th scope="col"><span class="hidden">Actions</span></th>
        </tr>
      </thead>
      <tbody>{all.map((worker) => <Row key={worker.worker_id} worker={worker} now={now} />)}</tbody>
    </table>
  );
}

function Row({ worker, now }: { worker: Worker; now: number }) {
  const quiet = now - worker.last_seen_at;
  return (
    <tr class={worker.state}>
      <th scope="row">
        <span class="name" title={worker.worker_id}>{worker.host || short(worker.worker_id)}</span>
        <span class="sub">
          {worker.role} <span title={`version ${worker.version}`}>{short(worker.worker_id, 14)}</span>
        </span>
      </th>
      <td data-name="State">
        <Badge state={worker.state} />
        {worker.state_reason && <span class="sub">{worker.state_reason}</span>}
        <span class={`sub${quiet > 30 ? " warn-text" : ""}`} title={`since ${moment(worker.started_at)}`}>
          {quiet > 30 ? `not heard of for ${duration(Math.round(quiet))}` : `up ${duration(Math.max(0, Math.round(now - worker.started_at)))}`}
        </span>
      </td>
      <td data-name="Pool, class">{worker.pool ?? "–"}<span class="sub class" title={worker.class ?? ""}>{worker.class ?? "–"}</span></td>
      <td data-name="Slots"><span class="with-meter narrow"><Meter value={worker.slots_busy} max={worker.slots} label="Slots busy" /> <span class="tab">{worker.slots_busy} / {worker.slots}</span></span></td>
      <td data-name="Memory"><Memory worker={worker} /></td>
      <td data-name="Frames/s" class="num">{decimal(worker.frames_per_second)}
        {worker.failures_recent > 0 && <span class="sub bad-text">{count(worker.failures_recent, "failure")}</span>}
      </td>
      <td data-name="At work on" class="tasks">
        {worker.tasks.length === 0 ? <span class="faint">idle</span> : worker.tasks.map((task) => <Task key={`${task.render_id}${task.step}${task.chunk}`} task={task} now={now} />)}
      </td>
      <td class="row-actions"><Actions worker={worker} /></td>
    </tr>
  );
}

function Memory({ worker }: { worker: Worker }) {
  if (worker.memory_bytes === null) return <>–</>;
  const limit = worker.memory_limit_bytes;
  if (limit === null) return <span class="tab">{bytes(worker.memory_bytes)}</span>;
  const part = worker.memory_bytes / limit;
  return (
    <span class="with-meter narrow">
      <Meter value={worker.memory_bytes} max={limit} label="Memory" tone={part > 0.9 ? "bad" : part > 0.75 ? "warn" : "accent"} />
      <span class="tab" title={`of ${bytes(limit)}`}>{bytes(worker.memory_bytes)}</span>
    </span>
  );
}

function Task({ task, now }: { task: WorkerTask; now: number }) {
  const what = task.step === "chunk" ? `chunk ${task.chunk}` : task.step;
  // Steps without frames count thousandths.
  const done = task.step === "chunk" ? `${task.frames_done}/${task.frames_total}` : `${Math.floor((task.frames_done / task.frames_total) * 100)} %`;
  return (
    <span class="task">
      <a href={links.render(task.render_id)} title={`${task.render_id}, attempt ${task.attempt}`}>{what}{task.attempt > 1 && <span class="sub-inline"> try {task.attempt}</span>}</a>
      {task.frames_total > 0 ? <ProgressBar percent={(task.frames_done / task.frames_total) * 100} label={`Progress of ${what}`} moving /> : <span />}
      <span class="faint tab">{task.frames_total > 0 ? done : duration(Math.max(0, Math.round(now - task.since)))}</span>
    </span>
  );
}

function Actions({ worker }: { worker: Worker }) {
  const [busy, setBusy] = useState(false);
  if (!canAdminister()) return null;
  const name = worker.host || short(worker.worker_id);
  const act = async (verb: "drain" | "quarantine" | "resume", body?: unknown) => {
    setBusy(true);
    try {
      takeWorker(await post<Worker>(`v3/hyperframes/workers/${encodeURIComponent(worker.worker_id)}/${verb}`, { body: body ?? {} }));
      say({ drain: `${name} takes no more work, and ends when it is done`, quarantine: `${name} is in quarantine`, resume: `${name} takes work again` }[verb]);
    } catch (error) {
      complain(`${name} was not changed`, error);
    }
    setBusy(false);
  };
  const drain = async () => {
    const others = workers.value?.some((other) => other.worker_id !== worker.worker_id && other.role === worker.role && other.state === "active");
    const last = others ? "" : ` It is the last ${worker.role} that takes tasks: nothing is finished until another one comes.`;
    const yes = await ask({
      title: `Drain ${name}?`, action: "Drain", danger: true,
      text: `It takes no new task, finishes what it has, and its process ends. A supervisor may start it again.${last}`,
    });
    if (yes !== null) await act("drain");
  };
  const quarantine = async () => {
    const reason = await ask({
      title: `Quarantine ${name}?`, action: "Quarantine", danger: true, field: "Reason, for those who come after you (optional)",
      text: "It takes no new task and finishes what it has. The process stays, idle, until it is resumed.",
    });
    if (reason !== null) await act("quarantine", reason ? { reason } : {});
  };
  return (
    <>
      {worker.state === "quarantined" && <Button busy={busy} onClick={() => void act("resume")} label={`Resume ${name}`}>Resume</Button>}
      {worker.state === "active" && <Button busy={busy} onClick={() => void quarantine()} label={`Quarantine ${name}`}>Quarantine</Button>}
      {worker.state !== "draining" && <Button busy={busy} onClick={() => void drain()} label={`Drain ${name}`}>Drain</Button>}
    </>
  );
}
