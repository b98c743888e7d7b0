/** The declared variables of a composition as fields. */

import type { Variable } from "./project";

interface VariablesProps {
  variables: Variable[];
  values: Record<string, unknown>;
  onChange: (id: string, value: unknown) => void;
}

export function Variables({ variables, values, onChange }: VariablesProps) {
  return (
    <div class="fields">
      {variables.map((variable) => (
        <Field key={variable.id} variable={variable} value={variable.id in values ? values[variable.id] : variable.value} onChange={(value) => onChange(variable.id, value)} />
      ))}
    </div>
  );
}

function Field({ variable, value, onChange }: { variable: Variable; value: unknown; onChange: (value: unknown) => void }) {
  const id = `var-${variable.id}`;
  const note = variable.description ? `${id}-note` : undefined;
  if (variable.type === "boolean") {
    return (
      <label class="field check-field">
        <span>{variable.label}</span>
        <span class="check"><input type="checkbox" name={id} checked={value === true} onChange={(event) => onChange(event.currentTarget.checked)} /> <span>{variable.description ?? "on"}</span></span>
      </label>
    );
  }
  return (
    <div class="field">
      <label for={id}>{variable.label}</label>
      <Input id={id} note={note} variable={variable} value={value} onChange={onChange} />
      {note && <span id={note} class="faint">{variable.description}</span>}
    </div>
  );
}

interface InputProps {
  id: string;
  note: string | undefined;
  variable: Variable;
  value: unknown;
  onChange: (value: unknown) => void;
}

function Input({ id, note, variable, value, onChange }: InputProps) {
  const shared = { id, name: id, "aria-describedby": note };
  const text = plain(value);
  if (variable.options.length > 0) {
    const at = variable.options.findIndex((option) => option.value === value);
    return (
      <select {...shared} value={String(at)} onChange={(event) => onChange(variable.options[Number(event.currentTarget.value)]?.value)}>
        {at < 0 && <option value="-1">{text}</option>}
        {variable.options.map((option, i) => <option key={i} value={String(i)}>{option.label}</option>)}
      </select>
    );
  }
  if (variable.type === "number") {
    const bounded = variable.min !== null && variable.max !== null;
    const range = { min: variable.min ?? undefined, max: variable.max ?? undefined, step: variable.step ?? "any" };
    const take = (event: { currentTarget: HTMLInputElement }) => {
      const number = event.currentTarget.valueAsNumber;
      if (Number.isFinite(number)) onChange(number);
    };
    return (
      <span class="pair">
        <input {...shared} type="number" {...range} value={text} onInput={take} />
        {bounded && <input type="range" aria-label={`${variable.label}, by slider`} {...range} value={text} onInput={take} />}
      </span>
    );
  }
  if (variable.type === "color") {
    return (
      <span class="pair">
        <input type="color" aria-label={`${variable.label}, from a palette`} value={/^#[0-9a-f]{6}$/i.test(text) ? text : "#000000"} onInput={(event) => onChange(event.currentTarget.value)} />
        <input {...shared} type="text" spellcheck={false} value={text} onInput={(event) => onChange(event.currentTarget.value)} />
      </span>
    );
  }
  if (text.length > 60) return <textarea {...shared} rows={3} value={text} onInput={(event) => onChange(event.currentTarget.value)} />;
  return <input {...shared} type="text" value={text} onInput={(event) => onChange(event.currentTarget.value)} />;
}

/** A value as it stands in a text field; fonts and images may be objects that carry one. */
function plain(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "object") {
    const { url, name } = value as { url?: unknown; name?: unknown };
    return String(url ?? name ?? JSON.stringify(value));
  }
  return String(value);
}
