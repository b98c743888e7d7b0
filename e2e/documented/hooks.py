"""What the fuzzer of the API does to a request before it is sent."""

import re
import uuid

import schemathesis

GOOD = re.compile(r"[A-Za-z0-9_\-:.]{1,255}")


@schemathesis.hook
def before_call(context, case, kwargs):
    """A repeated idempotency key is answered with what was answered before, which says nothing about the request at hand.

    Malformed keys stay what they are: their refusal is part of the contract.
    """
    for name, value in list((case.headers or {}).items()):
        if name.lower() == "idempotency-key" and isinstance(value, str) and GOOD.fullmatch(value):
            case.headers[name] = uuid.uuid4().hex
