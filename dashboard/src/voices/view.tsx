/** The voices of the farm: filter, listen, and try a text. */

import { useEffect, useState } from "preact/hooks";
import { messageOf, onceKey, post } from "../api";
import { count, duration } from "../format";
import { canRender } from "../store";
import type { SpeechCreated, Voice } from "../types";
import { Button, Empty, Failure, Loading, Panel } from "../ui/basics";
import { usePageTitle } from "../ui/hooks";
import { say } from "../ui/toast";
import { useListening, useVoices } from "./voices";

/** Rows that are drawn at first, and with each click for more. */
const AT_ONCE = 100;

const SAMPLE = "This is how I sound. One, two, three.";

export function VoicesView() {
  usePageTitle("Voices");
  const { voices, error, again } = useVoices();
  const { audio, playing, listen } = useListening();
  const [filter, setFilter] = useState({ text: "", language: "", gender: "", engine: "" });
  const [chosen, setChosen] = useState<Voice | null>(null);
  const [most, setMost] = useState(AT_ONCE);

  if (error?.code === "engine_not_configured") {
    return (
      <>
        <div class="view-head"><h1>Voices</h1></div>
        <Empty title="This farm has no speech engine"><p>{error.message}.</p></Empty>
      </>
    );
  }
  if (error) return <Failure what="The voices could not be read" error={error} again={again} />;
  if (!voices) return <Loading rows={8} />;
  const set = (name: keyof typeof filter) => (event: { currentTarget: HTMLInputElement | HTMLSelectElement }) => setFilter({ ...filter, [name]: event.currentTarget.value });
  const choice = (name: "language" | "gender" | "engine", every: string) => {
    const values = [...new Set(voices.map((voice) => voice[name]))].sort();
    return values.length > 1 && (
      <select aria-label={name[0]?.toUpperCase() + name.slice(1)} value={filter[name]} onChange={set(name)}>
        <option value="">{every}</option>
        {values.map((value) => <option key={value} value={value}>{value}</option>)}
      </select>
    );
  };
  const text = filter.text.toLowerCase();
  const shown = voices.filter((voice) =>
    (!filter.language || voice.language === filter.language) && (!filter.gender || voice.gender === filter.gender) && (!filter.engine || voice.engine === filter.engine)
    && (!text || [voice.name, voice.voice_id, voice.language, voice.locale].some((field) => field.toLowerCase().includes(text))));
  return (
    <>
      <div class="view-head">
        <h1>Voices</h1>
        <input class="voice-search" type="search" placeholder="Name, id, language or locale" aria-label="Search voices" value={filter.text} onInput={set("text")} />
        <div class="list-order">{choice("language", "Every language")}{choice("gender", "Every gender")}{choice("engine", "Every engine")}</div>
      </div>
      <audio {...audio} />
      {chosen && <Try voice={chosen} onClose={() => setChosen(null)} />}
      <Panel title={count(shown.length, "voice")} id="voices" flush>
        {shown.length === 0 ? <Empty title={voices.length === 0 ? "The speech engines have no voice" : "No voice matches"} /> : (
          <table class="stack voices">
            <thead><tr><th scope="col">Voice</th><th scope="col">Language</th><th scope="col">Gender</th><th scope="col">Engine</th><th scope="col">Can do</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
            <tbody>
              {shown.slice(0, most).map((voice) => (
                <tr key={voice.voice_id}>
                  <th scope="row">{voice.name}<span class="sub"><code>{voice.voice_id}</code></span></th>
                  <td data-name="Language">{voice.language}<span class="sub">{voice.locale}</span></td>
                  <td data-name="Gender">{voice.gender}</td>
                  <td data-name="Engine">{voice.engine}</td>
                  <td data-name="Can do">{abilities(voice)}</td>
                  <td class="row-actions">
                    {playing?.id === voice.voice_id && playing.problem && <span class="bad-text">{playing.problem} </span>}
                    {voice.preview_audio_url !== null && (
                      <Button icon={playing?.id === voice.voice_id && !playing.problem ? "stop" : "play"} title={`Listen to ${voice.name}`} onClick={() => listen(voice)}>
                        {playing?.id === voice.voice_id && !playing.problem ? "Stop" : "Listen"}
                      </Button>
                    )}
                    {canRender() && <Button title={`Speak a text with ${voice.name}`} onClick={() => { setChosen(voice); scrollTo(0, 0); }}>Try a text</Button>}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        {shown.length > most && <p class="list-end"><Button onClick={() => setMost(most + AT_ONCE)}>Show more</Button></p>}
      </Panel>
    </>
  );
}

function abilities(voice: Voice): string {
  const found = [voice.support_pause && "SSML and pauses", voice.support_locale && "other languages"].filter(Boolean);
  return found.length > 0 ? found.join(", ") : "plain text";
}

function Try({ voice, onClose }: { voice: Voice; onClose: () => void }) {
  const [text, setText] = useState(SAMPLE);
  const [speed, setSpeed] = useState(1);
  const [busy, setBusy] = useState(false);
  const [made, setMade] = useState<SpeechCreated | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => setMade(null), [voice.voice_id]);
  const speak = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      setMade(await post<SpeechCreated>("v3/voices/speech", { body: { voice_id: voice.voice_id, text, speed }, idempotencyKey: onceKey() }));
    } catch (error) {
      setProblem(messageOf(error));
    }
    setBusy(false);
  };
  const copy = (id: string) => navigator.clipboard.writeText(id).then(() => say("The id is in the clipboard"), () => setProblem("The id was not copied."));
  return (
    <Panel title={`Try ${voice.name}`} id="try" aside={<Button icon="close" kind="quiet" label="Close" onClick={onClose} />}>
      <form class="try" onSubmit={speak}>
        <label class="field"><span>Text</span><textarea rows={3} maxLength={5000} required value={text} onInput={(event) => setText(event.currentTarget.value)} /></label>
        <div class="try-end">
          <label class="check"><span>Speed</span> <input type="range" min={0.5} max={2} step={0.05} value={speed} onInput={(event) => setSpeed(event.currentTarget.valueAsNumber)} /> <span class="tab">{speed.toFixed(2)}</span></label>
          <Button type="submit" kind="primary" busy={busy}>Speak it</Button>
        </div>
        {problem && <p class="problem" role="alert">{problem}</p>}
        {made && (
          <div class="spoken" role="status">
            <audio controls src={made.audio_url} aria-label={`${voice.name} speaks the text`} />
            <p class="faint">{duration(made.duration)}. The sound is stored as the asset <code>{made.asset_id}</code>. <Button icon="copy" kind="quiet" label="Copy the id" onClick={() => void copy(made.asset_id)} /></p>
          </div>
        )}
      </form>
    </Panel>
  );
}
