"""Renders a page with the generated Python client. Prints JSON. Arguments: the URL of the farm, a key, a wrong key."""

import json
import sys
import time

from hyperfarm_client import AuthenticatedClient
from hyperfarm_client.api.account import get_users_me
from hyperfarm_client.api.renders import get_hyperframes_renders_render_id, post_hyperframes_renders
from hyperfarm_client.models import Error, RenderRequest

url, key, wrong_key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key)
page = """<!doctype html><html><body style="margin:0"><div data-composition-id="main" data-width="320" data-height="180"
 data-start="0" data-duration="0.2" style="width:320px;height:180px;background:#123"></div></body></html>"""
request = RenderRequest(html=page, title="by Python")
created = post_hyperframes_renders.sync(client=client, body=request, idempotency_key="python")
again = post_hyperframes_renders.sync(client=client, body=request, idempotency_key="python")
while True:
    detail = get_hyperframes_renders_render_id.sync(created.data.render_id, client=client).data
    if detail.status in ("completed", "failed"):
        break
    time.sleep(0.2)
video = client.get_httpx_client().get(detail.video_url).content if detail.video_url else b""
refused = post_hyperframes_renders.sync(client=client, body=RenderRequest(html=page, crf=64))
wrong = get_users_me.sync(client=AuthenticatedClient(base_url=url, token=wrong_key))
assert isinstance(refused, Error) and isinstance(wrong, Error)
print(json.dumps({
    "is_once": created.data.render_id == again.data.render_id,
    "detail": detail.to_dict(),
    "video": video[4:8].decode("latin-1"),
    "refused": refused.to_dict(),
    "wrong": wrong.to_dict(),
}))
