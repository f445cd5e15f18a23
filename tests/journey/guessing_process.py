"""A web process of its own that tries codes, or asks for them, with many threads at the same moment.

What to do comes on standard input, a line each time: the database, the clock, the recipient, and for each thread its
browser and the code (none: it asks for one). Says ``ready``, waits for a second line, and prints what came of each.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zegel.web.settings")


def main() -> None:
    """Until standard input ends."""
    django.setup()
    for line in sys.stdin:
        _do(json.loads(line))


def _do(given: dict[str, Any]) -> None:
    from django.db import connections

    from zegel.core.secret import Secret
    from zegel.edge.blobs import Blobs
    from zegel.edge.keyring import opening_keys
    from zegel.journey.custody.models import Recipient
    from zegel.journey.custody.unseal import Unsealer
    from zegel.journey.portal import codes
    from zegel.journey.portal.setup import Portal, configure

    connections.settings["default"]["NAME"] = given["database"]
    folder = Path(os.environ["ZEGEL_FOLDER"])
    keys, blobs, now = opening_keys(folder / "keys"), Blobs(folder / "blobs"), datetime.fromisoformat(given["now"])
    configure(Portal(Unsealer(keys, blobs), blobs, keys, "http://localhost", lambda: None, lambda: now))
    recipient = Recipient.objects.select_related("conversation__organisation", "conversation__author").get(
        id=uuid.UUID(given["recipient"])
    )
    connections.close_all()  # the test empties the database between two tasks
    tasks: list[dict[str, str]] = given["tasks"]
    found: list[str] = []
    start = threading.Barrier(len(tasks) + 1)

    def attempt(browser: bytes, code: str) -> None:
        start.wait()
        try:
            came: Any = codes.judge(recipient, browser, Secret(code)) if code else codes.send(recipient, browser, "nl")
            found.append(type(came).__name__)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=attempt, args=(bytes.fromhex(one["browser"]), one["code"])) for one in tasks]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    start.wait()
    for thread in threads:
        thread.join()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
