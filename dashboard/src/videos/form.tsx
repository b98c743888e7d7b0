/** The form of a new presenter video: who presents, what is said, what is behind, what comes out. */

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, get, isAbort, onceKey, post } from "../api";
import { PHOTO_NOTE } from "../avatars/new";
import { LookPicture } from "../avatars/view";
import { integer, sentence } from "../format";
import { go, links, route } from "../route";
import { account, canRender } from "../store";
import { Field } from "../submit/output";
import type { AvatarLook, VideoCreated, Voice } from "../types";
import { Button, Empty, Failure, Loading, Message, Panel, Problem, ProgressBar } from "../ui/basics";
import { FileField, inputOf, NO_SOURCE, type Source } from "../ui/file";
import { usePageTitle } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { useList } from "../ui/list";
import { useListening, useVoices } from "../voices/voices";
import { VIDEO_FIELDS } from "./fields";
import { type Form, placeOf, shown, videoRequest } from "./request";

const LABELS: Record<string, string> = {
  "background.value": "Colour", "voice_settings.speed": "Speed", "voice_settings.pitch": "Pitch", "voice_settings.locale": "Language as spoken",
  captions: "Captions in the picture", output_format: "Format", remove_background: "Leave out the photo's background",
};
const USUAL: Record<string, string> = {
  resolution: "1080p", aspect_ratio: "As the photo", output_format: "MP4", expressiveness: "Low", captions: "No", remove_background: "No",
  "voice_settings.speed": "1", "voice_settings.pitch": "0", "voice_settings.locale": "the voice's own", callback_url: "https://…", callback_id: "none", title: "none",
};
const CHOICES: Record<string, string> = { auto: "As the photo", low: "Low", medium: "Medium", high: "High" };

export function VideoForm() {
  usePageTitle("New video");
  const first = route.value.query.get("look") ?? "";
  const [form, setForm] = useState<Form>({ type: "avatar", speech: "script", background: "none", typed: { avatar_id: first, "background.value": "#1a2b3c" } });
  const [image, setImage] = useState(NO_SOURCE);
  const [sound, setSound] = useState(NO_SOURCE);
  const [behind, setBehind] = useState(NO_SOURCE);
  const [sending, setSending] = useState<{ what: string; part: number } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const voices = useVoices();
  const voice = voices.voices?.find(({ voice_id }) => voice_id === form.typed["voice_id"]);
  const hasLocales = voice?.support_locale ?? false;
  // The same for every try of the same form, so that a broken connection never makes two videos.
  const once = useRef(onceKey());
  const element = useRef<HTMLFormElement>(null);

  const param = error instanceof ApiError ? error.param : null;
  const place = placeOf(param, form, hasLocales);
  // What the error is about comes into sight.
  useEffect(() => {
    if (place === null) return;
    const find = (selector: string, within: HTMLElement | null | undefined = element.current) => within?.querySelector<HTMLElement>(selector);
    const wrong = find("[data-invalid], [aria-invalid=true]") ?? find("[role=alert]");
    wrong?.closest("details")?.setAttribute("open", "");
    wrong?.scrollIntoView({ block: "center" });
    const field = wrong?.matches("input, select, textarea") ? wrong : find("input:not(.hidden)", wrong) ?? find("button", wrong);
    field?.focus({ preventScroll: true });
  }, [error]);

  if (account.value && !canRender()) return <Empty title="This key may only read"><p>Making a video needs a key with the scope <code>render</code>.</p></Empty>;

  const touched = () => {
    once.current = onceKey();
    setError(null);
  };
  const change = (part: Partial<Form>) => {
    touched();
    setForm((old) => ({ ...old, ...part }));
  };
  const set = (name: string, value: string) => {
    touched();
    setForm((old) => ({ ...old, typed: { ...old.typed, [name]: value } }));
  };
  const source = (set: (source: Source) => void) => (source: Source) => {
    touched();
    set(source);
  };
  const problem = (name: string) => (place === name && error instanceof Error ? error.message : undefined);

  const submit = async (event: Event) => {
    event.preventDefault();
    setError(null);
    const progress = (what: string) => (part: number) => setSending({ what, part });
    try {
      progress("Uploading")(0);
      const files = {
        image: form.type === "image" ? await inputOf(image, "image", progress("Uploading the photo")) : null,
        sound: form.speech === "sound" ? await inputOf(sound, "audio_asset_id", progress("Uploading the sound")) : null,
        background: form.background === "image" || form.background === "video" ? await inputOf(behind, "background.asset_id", progress("Uploading the background")) : null,
      };
      progress("Submitting")(1);
      const made = await post<VideoCreated>("v3/videos", { body: videoRequest(form, hasLocales, files), idempotencyKey: once.current });
      go(links.video(made.video_id));
    } catch (failure) {
      if (failure instanceof ApiError && failure.code !== "network") once.current = onceKey();
      setError(failure);
      setSending(null);
    }
  };

  const field = (name: string, isExplained = true) => {
    const found = VIDEO_FIELDS.find((one) => one.name === name);
    if (!found || !shown(form, hasLocales).includes(name)) return null;
    return <Field key={name} field={found} {...(LABELS[name] && { label: LABELS[name] })} usual={USUAL[name]} choices={CHOICES} settings={form.typed} set={set} isExplained={isExplained} problem={problem(name)} />;
  };
  return (
    <>
      <div class="view-head">
        <div>
          <a class="back" href={links.videos}><Icon name="left" /> Videos</a>
          <h1>New video</h1>
        </div>
      </div>
      <form ref={element} class="make" onSubmit={submit}>
        <div class="columns even">
          <Panel title="Who presents" id="presenter">
            <Segments label="Who presents" value={form.type} options={[["avatar", "A look"], ["image", "A photo, used once"]]} onChange={(type) => change({ type })} />
            {form.type === "avatar" ? <Looks first={first} chosen={form.typed["avatar_id"] ?? ""} onChoose={(id) => set("avatar_id", id)} problem={problem("look")} />
              : <FileField id="image" label="Photo" kind="photo" note={PHOTO_NOTE} source={image} onChange={source(setImage)} problem={problem("image")} />}
          </Panel>
          <Panel title="What is said" id="speech">
            <Segments label="What is said" value={form.speech} options={[["script", "A script"], ["sound", "A sound file"]]} onChange={(speech) => change({ speech })} />
            {form.speech === "script" ? (
              <Script form={form} set={set} voices={voices} voice={voice} problem={problem}>
                <div class="fields">{["voice_settings.speed", "voice_settings.pitch", "voice_settings.locale", "captions"].map((name) => field(name))}</div>
              </Script>
            ) : (
              <FileField
                id="sound" label="Sound" kind="sound" note="A WAV or MP3 file of at most 50 MB and 600 s. The mouth follows the sound alone, and there are no captions."
                source={sound} onChange={source(setSound)} problem={problem("sound")}
              />
            )}
          </Panel>
        </div>
        <Panel title="Background" id="background">
          <Segments
            label="Background" value={form.background} options={[["none", "The photo's own"], ["color", "A colour"], ["image", "A picture"], ["video", "A video"]]}
            onChange={(background) => change({ background })}
          />
          {problem("background") && <Problem id="background-problem" text={problem("background") ?? ""} />}
          {form.background === "none" && <p class="faint note">The photo fills the picture, the face in sight.</p>}
          {form.background === "color" && (
            <div class="colour">
              <input
                type="color" aria-label="Colour, from a palette" value={/^#[0-9a-f]{6}$/i.test(form.typed["background.value"] ?? "") ? form.typed["background.value"] ?? "" : "#000000"}
                onInput={(event) => set("background.value", event.currentTarget.value)}
              />
              {field("background.value")}
            </div>
          )}
          {form.background === "image" && (
            <FileField id="behind" label="Picture behind the person" kind="photo" note="A PNG or JPEG file of at most 50 MB; it fills the output." source={behind} onChange={source(setBehind)} problem={problem("background.file")} />
          )}
          {form.background === "video" && (
            <FileField id="behind" label="Video behind the person" kind="video" note="An MP4 or WebM file of at most 50 MB; it fills the output, begins again when it ends, and is not heard." source={behind} onChange={source(setBehind)} problem={problem("background.file")} />
          )}
          {form.background !== "none" && <p class="faint note">The photo is shown as a whole before it. To show the person alone, leave out the photo's background below.</p>}
        </Panel>
        <Panel title="Output" id="output">
          <div class="fields">{["title", "resolution", "aspect_ratio", "output_format", "expressiveness", "remove_background"].map((name) => field(name))}</div>
        </Panel>
        <details class="panel more">
          <summary>Notice of the end</summary>
          <div class="fields">{["callback_url", "callback_id"].map((name) => field(name))}</div>
        </details>
        {error !== null && place === null && <Failure what="The video was not made" error={param ? new Error(`${(error as Error).message} (${param})`) : error} />}
        <div class="submit-end">
          {sending ? <span class="sending" role="status"><ProgressBar percent={sending.part * 100} label={sending.what} /> {sending.what}…</span>
            : place !== null && <span class="bad-text" role="status">The farm did not take it: see the field above.</span>}
          <Button type="submit" kind="primary" busy={sending !== null}>Make the video</Button>
        </div>
      </form>
    </>
  );
}

function Segments<T extends string>({ label, value, options, onChange }: { label: string; value: T; options: [T, string][]; onChange: (value: T) => void }) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {options.map(([one, text]) => <button key={one} type="button" aria-pressed={one === value} onClick={() => onChange(one)}>{text}</button>)}
    </div>
  );
}

interface LooksProps {
  /** Id of the look that the page was opened with; empty for none. */
  first: string;
  chosen: string;
  onChoose: (id: string) => void;
  problem: string | undefined;
}

/** The looks that can present, as pictures of which one is chosen. */
function Looks({ first, chosen, onChoose, problem }: LooksProps) {
  const { rows, next, error, read } = useList<AvatarLook>("v3/avatars/looks");
  const [asked, setAsked] = useState<AvatarLook | null>(null);
  const isMissing = first !== "" && rows !== null && !rows.some(({ id }) => id === first);
  useEffect(() => {
    if (!isMissing) return;
    const stop = new AbortController();
    get<AvatarLook>(`v3/avatars/looks/${encodeURIComponent(first)}`, { signal: stop.signal }).then(setAsked, (failure: unknown) => isAbort(failure) || setAsked(null));
    return () => stop.abort();
  }, [isMissing]);
  if (error && !rows) return <Failure what="The looks could not be read" error={error} again={() => void read(null)} />;
  if (!rows) return <Loading rows={2} />;
  const looks = (isMissing && asked ? [asked, ...rows] : rows).filter(({ status }) => status === "completed");
  if (looks.length === 0 && next === null) {
    return (
      <>
        <Empty title="No look can present yet"><p><a href={links.avatars}>Make an avatar</a> of a photo, or use a photo once.</p></Empty>
        {problem && <Problem id="look-problem" text={problem} />}
      </>
    );
  }
  return (
    <>
      <div class="choices" role="radiogroup" aria-label="Look" data-invalid={problem ? "" : undefined} aria-describedby={problem && "look-problem"}>
        {looks.map((look) => (
          <label key={look.id} class="choice">
            <input type="radio" name="avatar_id" value={look.id} checked={look.id === chosen} onChange={() => onChoose(look.id)} />
            <LookPicture look={look} />
            <span>{look.name}</span>
          </label>
        ))}
      </div>
      {problem && <Problem id="look-problem" text={problem} />}
      {next !== null && <p class="list-end"><Button onClick={() => void read(next)}>Show more</Button></p>}
    </>
  );
}

interface ScriptProps {
  form: Form;
  set: (name: string, value: string) => void;
  voices: ReturnType<typeof useVoices>;
  voice: Voice | undefined;
  problem: (name: string) => string | undefined;
  children: ComponentChildren;
}

function Script({ form, set, voices: { voices, error, again }, voice, problem, children }: ScriptProps) {
  const { audio, playing, listen } = useListening();
  const languages = useMemo(() => [...new Set((voices ?? []).map(({ language }) => language))].sort(), [voices]);
  const [chosen, setLanguage] = useState("");
  // The first one is of the browser's language, where the farm speaks it.
  const own = voices?.find(({ locale }) => locale === navigator.language.toLowerCase()) ?? voices?.find(({ locale }) => locale.split("-")[0] === navigator.language.split("-")[0]);
  const language = chosen || (voice ?? own)?.language || (languages[0] ?? "");
  const ofLanguage = voices?.filter((one) => one.language === language) ?? [];
  const usual = ofLanguage.find(({ voice_id }) => voice_id === own?.voice_id) ?? ofLanguage[0];
  useEffect(() => {
    if (usual && voice?.language !== language) set("voice_id", usual.voice_id);
  }, [usual?.voice_id, language]);

  const problems = { script: problem("script"), voice: problem("voice_id") };
  const none = (title: string, reason?: string) => (
    <>
      <Empty title={title}>
        {reason && <p><Message text={sentence(reason)} /></p>}
        <p>A sound file can be spoken without one.</p>
      </Empty>
      {problems.script && <Problem id="script-problem" text={problems.script} />}
      {problems.voice && <Problem id="voice-problem" text={problems.voice} />}
    </>
  );
  if (error?.code === "engine_not_configured") return none("This farm has no speech engine", error.message);
  if (error) return <Failure what="The voices could not be read" error={error} again={again} />;
  if (!voices) return <Loading rows={3} />;
  if (voices.length === 0) return none("The speech engines have no voice");
  const script = form.typed["script"] ?? "";
  const most = VIDEO_FIELDS.find(({ name }) => name === "script")?.maxLength ?? 0;
  const length = [...script].length;
  const isPlaying = voice !== undefined && playing?.id === voice.voice_id && playing.problem === null;
  return (
    <div class="script">
      <audio {...audio} />
      <div class="field">
        <label for="script">Script</label>
        <textarea
          id="script" rows={5} value={script} placeholder="What the person says" aria-invalid={problems.script ? true : undefined}
          aria-describedby={`script-note${problems.script ? " script-problem" : ""}`} onInput={(event) => set("script", event.currentTarget.value)}
        />
        {problems.script && <Problem id="script-problem" text={problems.script} />}
        <span id="script-note" class={`note tab ${length > most ? "bad-text" : "faint"}`}>{integer(length)} of {integer(most)} characters</span>
      </div>
      <div class="voice-choice">
        {languages.length > 1 && (
          <div class="field">
            <label for="language">Language</label>
            <select id="language" value={language} onChange={(event) => setLanguage(event.currentTarget.value)}>
              {languages.map((one) => <option key={one} value={one}>{one}</option>)}
            </select>
          </div>
        )}
        <div class="field">
          <label for="voice">Voice</label>
          <select
            id="voice" value={voice?.voice_id ?? ""} aria-invalid={problems.voice ? true : undefined} aria-describedby={problems.voice && "voice-problem"}
            onChange={(event) => set("voice_id", event.currentTarget.value)}
          >
            {ofLanguage.map(({ voice_id, name, gender }) => <option key={voice_id} value={voice_id}>{name.toLowerCase().includes(gender) ? name : `${name}, ${gender}`}</option>)}
          </select>
        </div>
        {voice && voice.preview_audio_url !== null && <Button icon={isPlaying ? "stop" : "play"} title={`Listen to ${voice.name}`} onClick={() => listen(voice)}>{isPlaying ? "Stop" : "Listen"}</Button>}
      </div>
      {problems.voice && <Problem id="voice-problem" text={problems.voice} />}
      {playing?.problem && <p class="bad-text note" role="alert">{playing.problem}</p>}
      <details class="more"><summary>How it is spoken, captions</summary>{children}</details>
    </div>
  );
}
