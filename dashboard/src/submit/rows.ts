/** Rows of a CSV or JSON file, of which each is a render: its columns are variables of the composition. */

import type { Variable } from "./project";

/** Renders in one batch at most. */
export const MAX_ROWS = 100;

export type Row = Record<string, unknown>;

/** The rows of a file. The error of one that cannot be read says why. */
export function rowsOf(name: string, text: string, variables: Variable[]): Row[] {
  const rows = /\.json$/i.test(name) ? ofJson(text) : ofCsv(text, variables);
  if (rows.length === 0) throw new Error("It has no row.");
  if (rows.length > MAX_ROWS) throw new Error(`It has ${rows.length} rows; a batch takes ${MAX_ROWS}.`);
  return rows;
}

/** Columns that are no variable of the composition, which the farm ignores. */
export function unknownColumns(rows: Row[], variables: Variable[]): string[] {
  const known = new Set(variables.map(({ id }) => id));
  return [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((name) => !known.has(name));
}

function ofJson(text: string): Row[] {
  const parsed: unknown = JSON.parse(text);
  if (!Array.isArray(parsed) || parsed.some((row) => typeof row !== "object" || row === null || Array.isArray(row))) throw new Error("It is no list of objects.");
  return parsed as Row[];
}

function ofCsv(text: string, variables: Variable[]): Row[] {
  const [head, ...lines] = cells(text.replace(/^\uFEFF/, ""));
  const types = new Map(variables.map(({ id, type }) => [id, type]));
  return lines.map((line, i) => {
    if (line.length !== head?.length) throw new Error(`Row ${i + 1} has ${line.length} cells, and the first line has ${head?.length ?? 0} names.`);
    return Object.fromEntries(line.map((cell, column) => [head[column] ?? "", typed(cell, types.get(head[column] ?? ""))]));
  });
}

/** A cell as the type of its variable wants it. */
function typed(cell: string, type: string | undefined): unknown {
  if (type === "number" && cell.trim() !== "" && Number.isFinite(Number(cell))) return Number(cell);
  if (type === "boolean" && /^(true|false)$/i.test(cell)) return cell.toLowerCase() === "true";
  return cell;
}

/** The cells of each line (RFC 4180); a cell between quotes may have commas, line ends and doubled quotes. */
function cells(text: string): string[][] {
  const lines: string[][] = [];
  let line: string[] = [];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    line.push(quoted === undefined ? plain ?? "" : quoted.replaceAll('""', '"'));
    if (end === ",") continue;
    if (line.length > 1 || line[0] !== "") lines.push(line);
    line = [];
  }
  return lines;
}
