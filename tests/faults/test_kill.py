"""P1, P5: kill -9 at any moment loses nothing that got its 250, and doubles nothing."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import smtplib
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.peers import until
from tests.peers.gateway import SENDER
from tests.peers.world import GUEST_DOMAIN, READABLE_DOMAIN, World, world

MESSAGES = 500
SENDERS = 5
KILLS = 4


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with world(processes=2) as found:
        yield found


def message(number: int) -> tuple[str, list[str], bytes]:
    """Message-ID, recipients, octets; some are large enough to be blobs, some have a guest beside the reader."""
    identity = f"<burst-{number}@voorbeeld.test>"
    recipients = [f"lezer@{READABLE_DOMAIN}"] + ([f"gast{number}@{GUEST_DOMAIN}"] if number % 5 == 0 else [])
    size = 200_000 if number % 20 == 0 else 2_000
    line = hashlib.sha256(identity.encode()).hexdigest()
    body = (line + "\r\n") * (size // 66)
    fields = [
        f"From: Afzender <{SENDER}>",
        f"To: {', '.join(recipients)}",
        f"Subject: bericht {number}",
        f"Message-ID: {identity}",
        "Date: Mon, 23 Nov 2026 12:00:00 +0000",
    ]
    return identity, recipients, ("\r\n".join(fields) + "\r\n\r\n" + body).encode()


class Burst:
    """Clients that send until every message has its 250, through whatever happens to the gateway."""

    def __init__(self, running: World) -> None:
        self._running = running
        self._left = list(range(MESSAGES))
        self._lock = threading.Lock()
        self.accepted: set[int] = set()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(240)
            assert not thread.is_alive(), "a client did not come to its end"

    def _send(self) -> None:
        client: smtplib.SMTP | None = None
        while (number := self._next()) is not None:
            try:
                client = client or self._running.gateway.client()
                _, recipients, octets = message(number)
                client.sendmail(SENDER, recipients, octets)
                self.accepted.add(number)
            except (OSError, smtplib.SMTPException):
                with self._lock:
                    self._left.append(number)
                client = None
                time.sleep(0.2)

    def _next(self) -> int | None:
        with self._lock:
            return self._left.pop(0) if self._left else None


def test_what_was_accepted_survives_kill_9_of_every_process(running: World) -> None:
    burst = Burst(running)
    burst.start()
    chance = random.Random(20261123)
    for _ in range(KILLS):
        sofar = len(burst.accepted)
        with suppress(TimeoutError):  # the moment is random; that it lies within the burst is not
            until(lambda sofar=sofar: len(burst.accepted) > sofar + 20 + chance.randrange(60), 60)  # type: ignore[misc]
        running.gateway.kill_everything()
        running.gateway.start()
    for name in ("submission", "dispatch"):  # one process alone: the supervisor starts it again
        os.kill(_process(running, name), signal.SIGKILL)
        time.sleep(0.5)
    burst.join()
    assert burst.accepted == set(range(MESSAGES))

    def settled() -> bool:
        states = [one["state"] for found in running.gateway.evidence() for one in found["recipients"]]
        return bool(states) and all(state in ("delivered", "notified") for state in states)

    until(settled, 180)
    by_id: dict[str, list[dict[str, object]]] = {}
    for found in running.gateway.evidence():
        by_id.setdefault(str(found["message_id"]), []).append(found)
    arrived = running.secure.mailbox(f"lezer@{READABLE_DOMAIN}")
    for number in range(MESSAGES):
        identity, recipients, octets = message(number)
        conversations = by_id.get(identity, [])
        assert len(conversations) == 1, f"{identity} became {len(conversations)} conversations"
        (conversation,) = conversations
        body = octets.partition(b"\r\n\r\n")[2]
        assert conversation["body_sha256"] == hashlib.sha256(body).hexdigest()
        assert [one["address"] for one in conversation["recipients"]] == sorted(recipients)  # type: ignore[attr-defined]
    for number in range(MESSAGES):
        identity, _, octets = message(number)
        body = octets.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")
        copies = [one for one in arrived if identity.encode() in one.partition(b"\n\n")[0]]
        assert copies, f"{identity} got its 250 and did not arrive"
        assert all(one.partition(b"\n\n")[2] == body for one in copies)


def _process(running: World, role: str) -> int:
    for pid in running.gateway.processes():
        with suppress(OSError):
            command = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")  # noqa: PTH123, SIM115
            if b"--role" in command and command[command.index(b"--role") + 1] == role.encode():
                return pid
    raise AssertionError(f"no process of {role}")
