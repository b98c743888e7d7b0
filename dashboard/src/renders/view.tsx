/** The list of renders: filter, search, choose, act on many. */

import type { RefObject } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { integer } from "../format";
import { useShortcuts } from "../keyboard";
import { go, links, replaceQuery, route } from "../route";
import { farm, missed, onChanges } from "../store";
import type { Farm, RenderCounts } from "../types";
import { Button, Empty, Failure, Loading } from "../ui/basics";
import { usePageTitle } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { BulkBar } from "./bulk";
import { List } from "./list";
import { type Filter, RenderList } from "./store";

const FILTERS: [keyof RenderCounts | "", string][] = [
  ["", "All"], ["queued", "Queued"], ["rendering", "Rendering"], ["completed", "Completed"], ["failed", "Failed"], ["cancelled", "Cancelled"],
];

const SORTS: [string, string][] = [
  ["", "Newest first"], ["oldest", "Oldest first"], ["priority", "Highest priority first"], ["title", "By title"], ["ended", "Last ended first"],
];

export function RendersView() {
  usePageTitle("Renders");
  const query = route.value.query;
  const value = (name: keyof Filter) => query.get(name) ?? "";
  const filter: Filter = { status: value("status"), search: value("search"), pool: value("pool"), sort: value("sort") };
  const list = useMemo(() => new RenderList(filter), Object.values(filter));
  const counts = farm.value?.renders;
  const pools = poolsOf(farm.value, filter.pool);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [active, setActive] = useState(-1);
  const search = useRef<HTMLInputElement>(null);

  useEffect(() => {
    void list.more();
    setChosen(new Set());
    setActive(-1);
    const stop = onChanges((changes) => list.take(changes));
    return () => {
      stop();
      list.stop();
    };
  }, [list]);
  const epoch = missed.value;
  useEffect(() => {
    if (epoch > 0) void list.again();
  }, [epoch]);

  const set = (change: Partial<Filter>) => {
    const next = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...filter, ...change })) if (value) next.set(name, value);
    replaceQuery(next);
  };
  const choose = (id: string, on = !chosen.has(id)) => {
    const next = new Set(chosen);
    if (on) next.add(id);
    else next.delete(id);
    setChosen(next);
  };

  const rows = list.rows.value;
  const move = (by: number) => setActive(Math.min(rows.length - 1, Math.max(0, active + by)));
  useShortcuts({
    "/": () => search.current?.focus(),
    j: () => move(1),
    k: () => move(-1),
    Enter: (event) => {
      const row = rows[active];
      if (event.target instanceof HTMLAnchorElement || event.target instanceof HTMLButtonElement) (event.target as HTMLElement).click();
      else if (row) go(links.render(row.render_id));
    },
    x: () => rows[active] && choose(rows[active].render_id),
    Escape: () => setChosen(new Set()),
  });

  return (
    <>
      <div class="view-head">
        <h1>Renders</h1>
        <div class="search">
          <Icon name="search" />
          <SearchField field={search} of="Title, id, callback id or owner" label="Search renders" value={filter.search} onChange={(text) => set({ search: text })} />
        </div>
        <div class="segments" role="group" aria-label="Status">
          {FILTERS.map(([value, name]) => (
            <button key={value} type="button" aria-pressed={filter.status === value} onClick={() => set({ status: value })}>
              {name}{value !== "" && counts && " "}{value !== "" && counts && <span class="count">{integer(counts[value])}</span>}
            </button>
          ))}
        </div>
        <div class="list-order">
          {pools.length > 1 && (
            <select aria-label="Pool" value={filter.pool} onChange={(event) => set({ pool: event.currentTarget.value })}>
              <option value="">Every pool</option>
              {pools.map((pool) => <option key={pool} value={pool}>{pool}</option>)}
            </select>
          )}
          <select aria-label="Order" value={filter.sort} onChange={(event) => set({ sort: event.currentTarget.value })}>
            {SORTS.map(([value, name]) => <option key={value} value={value}>{name}</option>)}
          </select>
        </div>
      </div>
      <BulkBar
        rows={rows}
        chosen={chosen}
        onChoose={setChosen}
      />
      {list.error.value && rows.length === 0 ? <Failure what="The renders could not be read" error={list.error.value} again={() => void list.more()} />
        : rows.length === 0 && !list.ended.value ? <Loading rows={8} />
        : rows.length === 0 ? <NoRenders filter={filter} clear={() => set({ status: "", search: "", pool: "" })} />
        : <List rows={rows} chosen={chosen} active={active} onChoose={choose} onRange={(ids) => setChosen(new Set([...chosen, ...ids]))} more={() => void list.more()} />}
      {rows.length > 0 && (
        <p class="list-end faint" role="status">
          {list.error.value ? <Button icon="retry" onClick={() => void list.more()}>The rest could not be read. Try again</Button>
            : list.loading.value ? "Reading more…"
            : list.ended.value ? `${integer(rows.length)} ${rows.length === 1 ? "render" : "renders"}` : `${integer(rows.length)} read; scroll for more`}
        </p>
      )}
    </>
  );
}

/** The pools whose renders can be listed: those with workers or waiting tasks, and the one that is asked for. */
function poolsOf(now: Farm | null, asked: string): string[] {
  const names = now?.pools.map(({ pool }) => pool).filter((pool) => pool !== "stitch") ?? [];
  return asked && !names.includes(asked) ? [...names, asked] : names;
}

interface SearchProps {
  field: RefObject<HTMLInputElement | null>;
  /** What is searched. */
  of: string;
  label: string;
  value: string;
  onChange: (text: string) => void;
}

/** What is typed is searched for when the person pauses. */
export function SearchField({ field, of, label, value, onChange }: SearchProps) {
  const timer = useRef(0);
  useEffect(() => {
    if (field.current && field.current !== document.activeElement) field.current.value = value;
  }, [value]);
  return (
    <input
      ref={field}
      type="search"
      defaultValue={value}
      placeholder={of}
      aria-label={label}
      aria-keyshortcuts="/"
      onInput={(event) => {
        const text = event.currentTarget.value.trim();
        clearTimeout(timer.current);
        timer.current = window.setTimeout(() => onChange(text), 250);
      }}
    />
  );
}

function NoRenders({ filter, clear }: { filter: Filter; clear: () => void }) {
  if (filter.status || filter.search || filter.pool) {
    return <Empty title="No render matches"><Button onClick={clear}>Show all</Button></Empty>;
  }
  return (
    <Empty title="No renders yet">
      <p>Drop a composition on the form, or run <code>hyperfarm render DIR --farm {location.origin}</code>.</p>
      <a class="button primary" href={links.submit}><Icon name="plus" /><span>New render</span></a>
    </Empty>
  );
}
