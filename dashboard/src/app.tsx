/** The frame around every view: navigation, the state of the connection, the prompts. */

import { signal } from "@preact/signals";
import { Component, type ComponentChildren } from "preact";
import { keyEpoch, keyWanted } from "./api";
import { AccountView } from "./account/view";
import { AvatarsView } from "./avatars/view";
import { CompareView } from "./compare/view";
import { FarmView } from "./farm/view";
import { Help } from "./help";
import { KeyPrompt } from "./key";
import { useShortcuts } from "./keyboard";
import { RenderView } from "./render/view";
import { RendersView } from "./renders/view";
import { go, links, route } from "./route";
import { account, farm, live } from "./store";
import { SubmitView } from "./submit/view";
import { isDark, toggleTheme } from "./theme";
import { Button, Empty, Failure } from "./ui/basics";
import { Asking } from "./ui/dialog";
import { useTicks } from "./ui/hooks";
import { Icon } from "./ui/icons";
import { Toasts } from "./ui/toast";
import { VideoForm } from "./videos/form";
import { VideosView } from "./videos/list";
import { VideoView } from "./videos/view";
import { VoicesView } from "./voices/view";

const helpOpen = signal(false);

export function App() {
  useShortcuts({
    "g f": () => go(links.farm),
    "g r": () => go(links.renders),
    "g m": () => go(links.videos),
    "g p": () => go(links.avatars),
    "g v": () => go(links.voices),
    "g a": () => go(links.account),
    "n": () => go(links.submit),
    "t": toggleTheme,
    "?": () => (helpOpen.value = true),
  });
  const { parts } = route.value;
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>Skip to content</a>
      <TopBar />
      <Connection />
      <main id="main" tabIndex={-1}>
        <Boundary key={parts.join("/")}>
          {/* With a new key everything is another's. */}
          <View key={keyEpoch.value} />
        </Boundary>
      </main>
      <Toasts />
      <Asking />
      {helpOpen.value && <Help onClose={() => (helpOpen.value = false)} />}
      {keyWanted.value !== null && <KeyPrompt reason={keyWanted.value} />}
    </>
  );
}

function skip(event: MouseEvent): void {
  // The hash is the route; only the focus moves.
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function View() {
  const [first, second, third] = route.value.parts;
  if (first === undefined) return <FarmView />;
  if (first === "renders" && second === undefined) return <RendersView />;
  if (first === "renders" && second !== undefined) return <RenderView key={second} id={second} />;
  if (first === "new") return <SubmitView />;
  if (first === "account") return <AccountView />;
  if (first === "videos" && second === undefined) return <VideosView />;
  if (first === "videos" && second === "new") return <VideoForm key={route.value.query.get("look") ?? ""} />;
  if (first === "videos" && second !== undefined) return <VideoView key={second} id={second} />;
  if (first === "avatars") return <AvatarsView />;
  if (first === "voices") return <VoicesView />;
  if (first === "compare" && second !== undefined && third !== undefined) return <CompareView key={`${second} ${third}`} ids={[second, third]} />;
  return (
    <Empty title="There is no such page">
      <p><a href={links.farm}>Go to the farm</a></p>
    </Empty>
  );
}

function TopBar() {
  const [first] = route.value.parts;
  const item = (href: string, text: string, on: boolean) => (
    <a href={href} aria-current={on ? "page" : undefined}>{text}</a>
  );
  const version = farm.value?.version;
  return (
    <header class="top">
      <div class="top-inner">
        <a class="brand" href={links.farm} aria-label="hyperfarm, the farm">
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="7" class="brand-ground" />
            <g class="brand-mark">
              <rect x="7" y="7" width="5" height="18" rx="1.5" />
              <rect x="20" y="7" width="5" height="18" rx="1.5" />
              <rect x="13.5" y="13.5" width="5" height="5" rx="1.5" opacity=".75" />
            </g>
          </svg>
          <span title={version ? `version ${version}` : undefined}>hyperfarm</span>
        </a>
        <nav aria-label="Views">
          {item(links.farm, "Farm", first === undefined)}
          {item(links.renders, "Renders", first === "renders" || first === "compare")}
          {item(links.videos, "Videos", first === "videos")}
          {item(links.avatars, "Avatars", first === "avatars")}
          {item(links.voices, "Voices", first === "voices")}
        </nav>
        <div class="top-end">
          <LiveDot />
          <a class="button primary" href={links.submit} aria-label="New render"><Icon name="plus" /><span class="wide">New render</span></a>
          <Button icon={isDark() ? "sun" : "moon"} kind="quiet" label={isDark() ? "Light colours" : "Dark colours"} onClick={toggleTheme} />
          {/* A phone has no keys for shortcuts. */}
          <span class="wide"><Button icon="help" kind="quiet" label="Help and shortcuts" onClick={() => (helpOpen.value = true)} /></span>
          {account.value && (
            <a class="button quiet who" href={links.account} aria-label={`Account: ${account.value.username}`} aria-current={first === "account" ? "page" : undefined} title={`Key ${account.value.key_id}, space ${account.value.space}`}>
              <Icon name="person" /><span class="wide">{account.value.username}</span>
            </a>
          )}
        </div>
      </div>
    </header>
  );
}

function LiveDot() {
  const { state } = live.value;
  const text = { live: "Live", connecting: "Connecting", waiting: "Not connected", stopped: "Not live" }[state];
  return <span class={`live ${state}`} title="Whether the page follows the farm as it works"><i aria-hidden="true" /><span>{text}</span></span>;
}

function Connection() {
  const { state, retryAt } = live.value;
  useTicks(1, state === "waiting");
  if (state !== "waiting" || keyWanted.value !== null) return null;
  const left = Math.max(0, Math.ceil(((retryAt ?? 0) - Date.now()) / 1000));
  return (
    <div class="banner" role="status">
      <Icon name="warning" /> The connection to the farm is broken; what is shown may be old. Next try in {left} s.
    </div>
  );
}

/** A view that throws takes only itself down. */
class Boundary extends Component<{ children: ComponentChildren }, { error: unknown }> {
  override state = { error: null as unknown };
  static override getDerivedStateFromError(error: unknown) {
    return { error };
  }
  render() {
    if (this.state.error === null) return this.props.children;
    return <Failure what="This page has failed" error={this.state.error} again={() => this.setState({ error: null })} />;
  }
}
