import { setShortcuts, shortcutsOn } from "./keyboard";
import { farm } from "./store";
import { Dialog } from "./ui/dialog";

const GROUPS: [string, [string, string][]][] = [
  ["Everywhere", [
    ["g f", "Farm"], ["g r", "Renders"], ["g m", "Videos"], ["g p", "Avatars"], ["g v", "Voices"], ["g a", "Account"], ["n", "New render"], ["t", "Light or dark"], ["?", "This help"],
  ]],
  ["Renders", [
    ["/", "Search"], ["j / k", "Next / previous render"], ["Enter", "Open it"], ["x", "Select it"], ["Esc", "Select none"],
  ]],
  ["One render", [
    ["p", "Play or pause the preview"], ["← →", "Chunk before, after"], ["s", "Show the chunk in the preview"], ["d", "Download"], ["u", "Back to the list"],
  ]],
  ["Videos and avatars", [
    ["m", "New video, new avatar"], ["/", "Search videos"], ["p", "Play or pause the video"], ["d", "Download it"], ["u", "Back to the videos"],
  ]],
  ["Timeline, when focused", [
    ["+ −", "Zoom"], ["← →", "Move"], ["0", "Show all"],
  ]],
];

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Shortcuts" onClose={onClose}>
      <div class="help">
        {GROUPS.map(([title, keys]) => (
          <section key={title}>
            <h3>{title}</h3>
            <dl>
              {keys.map(([key, what]) => (
                <div key={key}>
                  <dt>{key.split(" / ").map((part, i) => <span key={part}>{i > 0 && " / "}{part.split(" ").map((k) => <kbd key={k}>{k}</kbd>)}</span>)}</dt>
                  <dd>{what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <label class="check">
        <input type="checkbox" checked={shortcutsOn.value} onChange={(event) => setShortcuts(event.currentTarget.checked)} />
        <span>Letters are shortcuts</span>
      </label>
      <p class="faint">
        hyperfarm {farm.value?.version ?? ""} · <a href="assets/dashboard/licences.txt" target="_blank" rel="noopener">Licences of what this page is made of</a>
      </p>
    </Dialog>
  );
}
