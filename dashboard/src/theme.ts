/** Light, dark, or as the machine has it. */

import { effect, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

const STORED = "hyperfarm.theme";
const machine = matchMedia("(prefers-color-scheme: dark)");

function stored(): Theme {
  try {
    const value = localStorage.getItem(STORED);
    return value === "light" || value === "dark" ? value : "auto";
  } catch {
    return "auto";
  }
}

export const theme = signal<Theme>(stored());
const machineDark = signal(machine.matches);
machine.addEventListener("change", () => (machineDark.value = machine.matches));

export function isDark(): boolean {
  return theme.value === "auto" ? machineDark.value : theme.value === "dark";
}

effect(() => {
  if (theme.value === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
  try {
    localStorage.setItem(STORED, theme.value);
  } catch {}
});

export function toggleTheme(): void {
  theme.value = isDark() ? "light" : "dark";
}

/** The colours of these custom properties as canvases take them. Read `isDark()` beside it, to be called again after a change. */
export function colours<Name extends string>(...names: Name[]): Record<Name, string> {
  const probe = document.createElement("i");
  document.body.append(probe);
  const found = {} as Record<Name, string>;
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}
