/** The voices of the farm, and the sound of each. */

import { useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, isAbort, type Page, page } from "../api";
import type { Voice } from "../types";

async function readAll(signal: AbortSignal): Promise<Voice[]> {
  const all: Voice[] = [];
  let token: string | null = null;
  do {
    const got: Page<Voice> = await page<Voice>("v3/voices", { query: { limit: 100, token }, signal });
    all.push(...got.data);
    token = got.next_token;
  } while (token);
  return all;
}

/** Every voice; `null` until they are read. */
export function useVoices() {
  const [voices, setVoices] = useState<Voice[] | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    setError(null);
    readAll(stop.signal).then(setVoices, (failure: unknown) => isAbort(failure) || setError(failure as ApiError));
    return () => stop.abort();
  }, [tries]);
  return { voices, error, again: () => setTries(tries + 1) };
}

/** Plays the sample of one voice at a time in the element that `audio` is given to. */
export function useListening() {
  const element = useRef<HTMLAudioElement>(null);
  const [playing, setPlaying] = useState<{ id: string; problem: string | null } | null>(null);
  const listen = ({ voice_id: id, preview_audio_url: url }: Voice) => {
    const audio = element.current;
    if (!audio || url === null) return;
    if (playing?.id === id && playing.problem === null) {
      audio.pause();
      return setPlaying(null);
    }
    audio.src = url;
    setPlaying({ id, problem: null });
    audio.play().catch((failure: unknown) => isAbort(failure) || setPlaying({ id, problem: "The sound could not be played." }));
  };
  const audio = { ref: element, onEnded: () => setPlaying(null), onError: () => playing && setPlaying({ ...playing, problem: "The sound could not be loaded." }) };
  return { audio, playing, listen };
}
