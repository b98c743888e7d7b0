/** Sends a file to the farm: in one request where it is small, straight to storage where it is not. */

import { ApiError, headers, keyWanted, onceKey, post, refusalOf, url } from "./api";
import type { UploadBegun } from "./types";

/** Largest file that one request takes. */
const SMALL = 32 * 1024 * 1024;

/** The id of the asset that `file` has become. */
export async function upload(file: File, progress: (part: number) => void): Promise<string> {
  const [, name = "", ending = ""] = /^(.*?)(\.\w+)?$/s.exec(file.name) ?? [];
  const filename = `${name.replace(/[^\w.-]+/g, "-").slice(0, 80) || "file"}${ending}`;
  if (file.size <= SMALL) {
    const form = new FormData();
    form.append("file", file, filename);
    const sent = await send("POST", url("v3/assets"), form, { ...headers(), "idempotency-key": onceKey() }, progress);
    return (JSON.parse(sent) as { data: { asset_id: string } }).data.asset_id;
  }
  const begun = await post<UploadBegun>("v3/assets/direct-uploads", {
    body: { filename, content_type: file.type || "application/octet-stream", size_bytes: file.size },
    idempotencyKey: onceKey(),
  });
  await send("PUT", begun.upload_url, file, begun.upload_headers, progress);
  await post(`v3/assets/${begun.asset_id}/complete`, { body: {} });
  return begun.asset_id;
}

/** A request that tells how far it is, which fetch does not. */
function send(method: string, to: string, body: Blob | FormData, sent: Record<string, string>, progress: (part: number) => void): Promise<string> {
  return new Promise((good, bad) => {
    const request = new XMLHttpRequest();
    request.open(method, to);
    for (const [name, value] of Object.entries(sent)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) return good(request.responseText);
      const error = refusalOf(request.status, request.responseText, request.getResponseHeader("x-request-id"));
      if (error.status === 401) keyWanted.value = error.message;
      bad(error);
    };
    request.onerror = () => bad(new ApiError("The upload broke off. If storage is elsewhere, it must allow uploads from this page (CORS).", 0, "network"));
    request.send(body);
  });
}
