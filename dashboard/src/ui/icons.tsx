/** The few pictures in buttons, as strokes of 16 by 16. */

const PATHS = {
  check: "M3 8.5l3.2 3.2L13 5",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5V3h7.5v7.5h-2.5M3 5.5h7.5V13H3z",
  download: "M8 2.5v7.5M4.8 7L8 10.2 11.2 7M3 13.2h10",
  edit: "M3 13l.6-2.9 7.3-7.3 2.3 2.3-7.3 7.3zM9.4 4.3l2.3 2.3",
  film: "M2.5 3.5h11v9h-11zM5 3.5v9M11 3.5v9M2.5 8h2.5M11 8h2.5",
  folder: "M2 4h4l1.5 1.7H14V13H2z",
  help: "M8 14.2A6.2 6.2 0 108 1.8a6.2 6.2 0 000 12.4zM6.2 6.2a1.9 1.9 0 113 1.6c-.8.5-1.2.8-1.2 1.7M8 11.6v.1",
  left: "M10 3.5L5.5 8l4.5 4.5",
  minus: "M3.5 8h9",
  moon: "M13.2 9.7A5.6 5.6 0 016.3 2.8a5.6 5.6 0 106.9 6.9z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  person: "M8 8.2a2.9 2.9 0 100-5.8 2.9 2.9 0 000 5.8zM2.8 13.8c.5-2.6 2.6-3.9 5.2-3.9s4.7 1.3 5.2 3.9",
  play: "M5 3.2v9.6L12.6 8z",
  plus: "M8 3v10M3 8h10",
  retry: "M13 8a5 5 0 11-1.6-3.7M13 2.2v2.9h-2.9",
  right: "M6 3.5L10.5 8 6 12.5",
  search: "M7 12A5 5 0 107 2a5 5 0 000 10zM10.7 10.7L14 14",
  sound: "M2.5 6v4h2.7L9 13V3L5.2 6zM11.2 5.6a3.4 3.4 0 010 4.8M12.8 3.8a6 6 0 010 8.4",
  stop: "M4 4h8v8H4z",
  sun: "M8 10.8a2.8 2.8 0 100-5.6 2.8 2.8 0 000 5.6zM8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9",
  trash: "M3 4.5h10M6.2 4.5V2.8h3.6v1.7M4.3 4.5l.6 8.7h6.2l.6-8.7",
  warning: "M8 2.2L14.3 13H1.7zM8 6.3v3.2M8 11.3v.1",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
