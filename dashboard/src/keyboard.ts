/** Shortcuts of one or two letters. They are silent while something is typed, and while a dialog is open. */

import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";

const STORED = "hyperfarm.shortcuts";

function stored(): boolean {
  try {
    return localStorage.getItem(STORED) !== "off";
  } catch {
    return true;
  }
}

/** Whether letters do anything: who dictates to the machine switches them off. */
export const shortcutsOn = signal(stored());

export function setShortcuts(on: boolean): void {
  shortcutsOn.value = on;
  try {
    localStorage.setItem(STORED, on ? "on" : "off");
  } catch {}
}

type Actions = Record<string, (event: KeyboardEvent) => void>;

const layers: { current: Actions }[] = [];
let prefix = "";
let prefixTimer = 0;

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  const at = event.target;
  const typing = at instanceof HTMLElement && (at.isContentEditable || /^(TEXTAREA|SELECT)$/.test(at.tagName)
    || (at instanceof HTMLInputElement && !/^(checkbox|radio|button|submit)$/.test(at.type)));
  if (typing) {
    if (event.key === "Escape") (at as HTMLElement).blur();
    return;
  }
  // A player has keys of its own.
  if (at instanceof HTMLMediaElement && (event.key.length > 1 || event.key === " ")) return;
  if (!shortcutsOn.value && event.key.length === 1) return;
  const keys = prefix + event.key;
  clearTimeout(prefixTimer);
  prefix = "";
  for (let i = layers.length - 1; i >= 0; i -= 1) {
    const action = layers[i]?.current[keys];
    if (action) {
      event.preventDefault();
      action(event);
      return;
    }
  }
  if (layers.some((layer) => Object.keys(layer.current).some((name) => name.length > keys.length && name.startsWith(`${keys} `)))) {
    prefix = `${keys} `;
    prefixTimer = window.setTimeout(() => (prefix = ""), 1200);
  }
});

/** Has these keys do something while the component is shown; the one shown latest wins. */
export function useShortcuts(actions: Actions): void {
  // Of the latest drawing, not of the latest effect: two keys may come between two frames.
  const layer = useRef(actions);
  layer.current = actions;
  useLayoutEffect(() => {
    layers.push(layer);
    return () => {
      layers.splice(layers.indexOf(layer), 1);
    };
  }, []);
}
