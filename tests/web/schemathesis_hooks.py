"""What schemathesis is told by its command line: how a message is written into a request."""

from __future__ import annotations

import json
from typing import Any

import schemathesis


@schemathesis.serializer("message/rfc822", "text/csv")
def message(context: Any, value: Any) -> Any:
    """Octets as they are; what is no text, as JSON has it."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")
