"""Renders with the Python SDK of inference.sh. Prints JSON: what it has seen.

Arguments: the URL of the farm, a key, a wrong key, the URL of a receiver of webhooks, a page and a sound as files.
"""

import asyncio
import base64
import json
import sys
import urllib.request
from pathlib import Path

from inferencesh import AsyncInference, UploadFileOptions, inference
from inferencesh.models.errors import APIError

APP = "infsh/hyperframes-render"
url, key, wrong_key, receiver, page, sound = sys.argv[1:]
client = inference(api_key=key, base_url=url)
html = Path(page).read_text()


def refused(call):
    try:
        return {"passed": str(call())}
    except APIError as error:
        return {"status": error.status_code, "code": error.code, "message": error.message}
    except RuntimeError as error:
        return {"failed": str(error)}


def fetched(address):
    with urllib.request.urlopen(address) as response:
        return response.read().decode("latin-1")


# Local paths are uploaded by the SDK.
updates = list(client.run({"app": f"{APP}@abc1", "input": {"html": page, "audio_url": sound, "fps": 10}}, stream=True))
streamed = updates[-1]

# An upload whose length the SDK does not tell, as that of JavaScript does.
project = client._request("post", "/files", data={"files": [{"filename": "page.html"}]}).data[0]
request = urllib.request.Request(project["upload_url"], data=html.encode(), method="PUT")
urllib.request.urlopen(request).close()
again = {"html": project["uri"], "fps": 10, "nonsense": 1}
messages = []
asynchronous = AsyncInference(api_key=key, base_url=url, on_message=messages.extend)
completed = asyncio.run(asynchronous.run({"app": APP, "input": again, "webhook": f"{receiver}/python"}))

long = html.replace('data-duration="0.3"', 'data-duration="600"')
cancelled = client.run({"app": APP, "input": {"html": long}, "webhook": f"{receiver}/cancelled"}, wait=False)
client.cancel(cancelled["id"])

print(json.dumps({
    "logs": [base64.b64decode(update["logs"][0]["content"]).decode() for update in updates],
    "streamed": streamed,
    "video": fetched(streamed["output"]["video"]),
    "completed": completed,
    "messages": messages,
    "cancelled": client.get_task(cancelled["id"]).data,
    "waited": refused(lambda: client.wait_for_completion(cancelled["id"])),
    "no_input": refused(lambda: client.run({"app": APP, "input": {}})),
    "no_file": refused(lambda: client.run({"app": APP, "input": {"html": f"{url}/v3/assets/asset_0"}})),
    "other_app": refused(lambda: client.run({"app": "okaris/flux@abc1", "input": {}})),
    "wrong_key": refused(lambda: inference(api_key=wrong_key, base_url=url).get_task(cancelled["id"])),
    "failed": refused(lambda: client.run({"app": APP, "input": {"html": "<p>no composition"}})),
    "unfinished": refused(lambda: client.run({"app": APP, "input": {"html": html, "audio_url": project["uri"]}})),
    "deleted": [client.tasks.delete(streamed["id"]), refused(lambda: client.get_task(streamed["id"]))],
    "uploaded": client.files.upload(b"\x89PNG\r\n\x1a\n", UploadFileOptions(filename="a.png", content_type="image/png")),
}))
