"""A process of its own that notes things in an audit log, with many threads at the same moment.

What to do comes on standard input: the database, the organisation (null: the gateway's own log), how many threads and
how many entries for each. Says ``ready``, waits for a second line, and says ``done``.
"""

from __future__ import annotations

import json
import os
import sys
import threading

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zegel.web.settings")


def main() -> None:
    """Once."""
    django.setup()
    given = json.loads(sys.stdin.readline())
    from django.db import connections, transaction

    from zegel.accounts.audit import note
    from zegel.accounts.models import Organisation
    from zegel.core.policy.audit import Act
    from zegel.edge.log import configure

    configure("warning")
    connections.settings["default"]["NAME"] = given["database"]
    organisation = Organisation.objects.get(pk=given["organisation"]) if given["organisation"] else None
    connections.close_all()
    start = threading.Barrier(given["threads"] + 1)

    def work(thread: int) -> None:
        start.wait()
        for number in range(given["each"]):
            try:
                with transaction.atomic():
                    note(Act.POLICY_CHANGED, organisation, f"{os.getpid()} {thread} {number}")
                    if number % 3 == 2:
                        raise LookupError  # what was not done is not noted
            except LookupError:
                pass
        connections.close_all()

    threads = [threading.Thread(target=work, args=(one,)) for one in range(given["threads"])]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    start.wait()
    for thread in threads:
        thread.join()
    print("done", flush=True)


if __name__ == "__main__":
    main()
