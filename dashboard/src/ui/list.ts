import { useEffect, useState } from "preact/hooks";
import { type ApiError, isAbort, type Options, page } from "../api";

/** Items of a page. */
const AT_ONCE = 20;

/** A list that is read page by page, and anew with another path or query. */
export function useList<T>(path: string, query: NonNullable<Options["query"]> = {}) {
  const [rows, setRows] = useState<T[] | null>(null);
  const [next, setNext] = useState<string | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const read = async (token: string | null, signal?: AbortSignal) => {
    try {
      const got = await page<T>(path, { query: { ...query, limit: AT_ONCE, token }, ...(signal && { signal }) });
      setRows((before) => (token === null ? got.data : [...(before ?? []), ...got.data]));
      setNext(got.next_token);
      setError(null);
    } catch (failure) {
      if (!isAbort(failure)) setError(failure as ApiError);
    }
  };
  useEffect(() => {
    const stop = new AbortController();
    void read(null, stop.signal);
    return () => stop.abort();
  }, [path, JSON.stringify(query)]);
  return { rows, setRows, next, error, read };
}
