"""P2: before the octets of a 250 leave, the message is on the disk; read from the kernel's side, with strace.

TLS hides what a write on the client's socket says. But the client tells when it sent the end of its message and when
it had its reply, and says nothing else meanwhile: the one write on its socket between is the reply. Every sync is made
a quarter of a second longer than it is, so that an order that only chance kept would break.
"""

from __future__ import annotations

import re
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.faults.ground import Prepared, accepted, closing, message, say, submission_alone
from tests.needs import needs
from tests.peers import until
from tests.peers.gateway import SENDER, Gateway

CALLS: Final = (
    "fsync,fdatasync,rename,renameat,renameat2,sendto,sendmsg,write,writev,pwrite64,pwritev,read,recvfrom,recvmsg"
)
WRITES: Final = frozenset({"write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg"})
READS: Final = frozenset({"read", "recvfrom", "recvmsg"})
SYNCS: Final = frozenset({"fsync", "fdatasync"})
SLOWER: Final = "inject=fsync,fdatasync:delay_enter=250000"
LARGE: Final = 300_000
CLIENTS: Final = 20
EACH: Final = 5

# Zegel with a defect, to see that the check below has teeth.
NOTHING_IS_SYNCED: Final = """
import os
from zegel.edge import sqlite
os.fsync = lambda descriptor: None
sqlite.OPTIONS["init_command"] = sqlite.OPTIONS["init_command"].replace("synchronous=FULL", "synchronous=OFF")
from zegel.__main__ import main
main()
"""
ANSWERS_BEFORE_COMMIT: Final = """
import threading
from zegel.edge.sqlite import use_current_sqlite
use_current_sqlite()
from django.db.backends.sqlite3.base import DatabaseWrapper
def later(real):
    def run(self, *arguments):
        if self.connection.in_transaction:
            threading.Timer(0.5, real, (self, *arguments)).start()
        else:
            real(self, *arguments)
    return run
DatabaseWrapper._commit = later(DatabaseWrapper._commit)
DatabaseWrapper._set_autocommit = later(DatabaseWrapper._set_autocommit)
from zegel.__main__ import main
main()
"""


@dataclass(slots=True)
class Call:
    """A system call; ``begun`` and ``ended`` are lines of the trace, which has them in the order of their happening."""

    name: str
    arguments: str
    at: float
    begun: int
    ended: int
    result: int

    @property
    def path(self) -> str:
        """What the first descriptor is open on."""
        found = re.match(r"\d+<((?:->|[^<>])*)>", self.arguments)
        return found[1] if found else ""

    def is_of(self, port: int) -> bool:
        """On the connection of the client with that port."""
        return self.path.startswith("TCP") and self.path.endswith(f":{port}]")


_LINE: Final = re.compile(r"(?P<pid>\d+) +(?P<at>\d+\.\d+) (?P<rest>.*)")
_RESUMED: Final = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_ENDED: Final = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+).*")


def read_trace(text: str) -> list[Call]:
    """The calls of a trace, in the order in which they began; what never ended is left out."""
    calls: list[Call] = []
    open_calls: dict[str, tuple[str, float, int]] = {}
    for number, line in enumerate(text.splitlines()):
        if (found := _LINE.fullmatch(line)) is None:
            continue
        pid, at, rest, begun = found["pid"], float(found["at"]), found["rest"], number
        if rest.endswith("<unfinished ...>"):
            open_calls[pid] = (rest.removesuffix("<unfinished ...>"), at, number)
            continue
        if (resumed := _RESUMED.fullmatch(rest)) is not None:
            beginning, at, begun = open_calls.pop(pid)
            rest = beginning + resumed["rest"]
        if (ended := _ENDED.fullmatch(rest)) is not None:
            calls.append(Call(ended["name"], ended["arguments"], at, begun, number, int(ended["result"])))
    return sorted(calls, key=lambda call: call.begun)


@dataclass(slots=True)
class Submitted:
    """A message as its client saw it."""

    port: int
    sent_from: float  # before the first octet of the content left the client
    answered_at: float
    code: int


@dataclass(slots=True)
class Traced:
    """A submission role under strace, and what its client did."""

    gateway: Gateway
    trace: Path
    calls: list[Call] = field(default_factory=list)

    def submit(self, client: smtplib.SMTP, identity: str, *, octets: int = 1_000) -> Submitted:
        assert client.sock is not None
        for command in (f"MAIL FROM:<{SENDER}>", "RCPT TO:<balie@ontvanger.test>"):
            assert client.docmd(command)[0] == 250
        assert client.docmd("DATA")[0] == 354
        port = client.sock.getsockname()[1]
        sent_from = time.time()
        client.send(message(identity, octets=octets) + b".\r\n")
        code, _ = client.getreply()
        answered_at = time.time()
        time.sleep(0.05)  # so that what is said next is not within a clock's grain of the reply
        return Submitted(port, sent_from, answered_at, code)


@contextmanager
def traced(prepared: Prepared, folder: Path, *more: str, program: Sequence[str] = ("-m", "zegel")) -> Iterator[Traced]:
    """Once the block is left, ``calls`` holds the whole trace."""
    needs("strace")
    gateway, trace = prepared.gateway(folder / "gateway"), folder / "trace"
    found = Traced(gateway, trace)
    options = ("-D", "-f", "-yy", "-e", f"trace={CALLS}", *more, "-s", "0", "-ttt", "-o", str(trace))
    with submission_alone(gateway, "strace", *options, program=program) as process:
        yield found
    until(lambda: re.search(rf"^{process.pid} .*\+\+\+ ", trace.read_text(), re.MULTILINE) is not None)
    found.calls = read_trace(trace.read_text())


def reply_of(calls: Sequence[Call], submitted: Submitted) -> Call:
    """The write that carries the reply to the final dot: nothing else was written on that connection meanwhile."""
    spoken = [
        call
        for call in calls
        if call.is_of(submitted.port)
        and submitted.sent_from <= call.at <= submitted.answered_at
        and call.result > 0
        and call.name in READS | WRITES
    ]
    kinds = ["read" if call.name in READS else "write" for call in spoken]
    assert kinds == ["read"] * (len(kinds) - 1) + ["write"] and len(kinds) > 1, kinds
    return spoken[-1]


def lacks(calls: Sequence[Call], submitted: Submitted, *, has_blob: bool) -> set[str]:
    """What was not durable when the reply left; empty when all is well."""
    reply = reply_of(calls, submitted)
    before = [call for call in calls if call.begun < reply.begun and submitted.sent_from <= call.at]
    written = [call for call in before if call.name in WRITES and call.path.endswith(".sqlite3-wal")]
    found = set() if written and _synced(before, written[-1].path, after=written[-1], until=reply) else {"the database"}
    return found | _lacks_of_blob(before, until=written[-1] if written else reply) if has_blob else found


def _lacks_of_blob(before: Sequence[Call], *, until: Call) -> set[str]:
    """File, then name, then folders; and all of that before the last octet of the rows that tell of it."""
    written = [call for call in before if call.name in WRITES and call.path.endswith(".part")]
    part = Path(written[-1].path)
    named = next(call for call in before if call.name.startswith("rename") and str(part) in call.arguments)
    assert f'"{part.with_suffix("")}"' in named.arguments and named.result == 0
    found = set()
    if not _synced(before, str(part), after=written[-1], until=named):
        found.add("the blob")
    for what, folder in (("the blob's name", part.parent), ("the blob's shelf", part.parent.parent)):
        if not _synced(before, str(folder), after=named, until=until):
            found.add(what)
    return found


def _synced(calls: Sequence[Call], path: str, *, after: Call, until: Call) -> bool:
    return any(
        call.name in SYNCS
        and call.path == path
        and call.result == 0
        and after.ended < call.begun
        and call.ended < until.begun
        for call in calls
    )


def test_both_kinds_of_message_are_on_the_disk_before_their_250_leaves(prepared: Prepared, tmp_path: Path) -> None:
    with traced(prepared, tmp_path, "-e", SLOWER) as found, closing(found.gateway.client()) as client:
        small = [found.submit(client, f"klein-{number}") for number in range(3)]
        large = [found.submit(client, f"groot-{number}", octets=LARGE) for number in range(3)]
    assert [one.code for one in small + large] == [250] * 6
    for one in small:
        assert lacks(found.calls, one, has_blob=False) == set()
    for one in large:
        assert lacks(found.calls, one, has_blob=True) == set()
    assert sorted(accepted(found.gateway)) == sorted(f"{kind}-{n}" for kind in ("klein", "groot") for n in range(3))


def test_the_check_fails_for_a_gateway_that_syncs_nothing(prepared: Prepared, tmp_path: Path) -> None:
    with (
        traced(prepared, tmp_path, program=("-c", NOTHING_IS_SYNCED)) as found,
        closing(found.gateway.client()) as client,
    ):
        small = found.submit(client, "klein")
        large = found.submit(client, "groot", octets=LARGE)
    assert (small.code, large.code) == (250, 250)
    assert lacks(found.calls, small, has_blob=False) == {"the database"}
    assert lacks(found.calls, large, has_blob=True) == {
        "the database",
        "the blob",
        "the blob's name",
        "the blob's shelf",
    }


def test_the_check_fails_for_a_gateway_that_answers_before_it_commits(prepared: Prepared, tmp_path: Path) -> None:
    program = ("-c", ANSWERS_BEFORE_COMMIT)
    with (
        traced(prepared, tmp_path, "-e", SLOWER, program=program) as found,
        closing(found.gateway.client()) as client,
    ):
        time.sleep(1)  # that the credentials were used is committed late, too
        submitted = found.submit(client, "klein")
    assert submitted.code == 250
    assert lacks(found.calls, submitted, has_blob=False) == {"the database"}


def test_one_commit_serves_many(prepared: Prepared, tmp_path: Path) -> None:
    codes: list[int] = []

    def send(client: smtplib.SMTP, who: int) -> None:
        for number in range(EACH):
            codes.append(say(client, f"van-{who}-{number}")[0])

    with traced(prepared, tmp_path) as found:
        clients = [found.gateway.client() for _ in range(CLIENTS)]
        began = time.time()
        threads = [threading.Thread(target=send, args=(client, who)) for who, client in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended = time.time()
        for client in clients:
            client.close()
    assert codes == [250] * CLIENTS * EACH
    syncs = [
        call
        for call in found.calls
        if call.name in SYNCS and call.path.endswith("-wal") and began <= call.at <= ended and call.result == 0
    ]
    print(f"{len(codes)} messages from {CLIENTS} clients, {len(syncs)} syncs of the WAL")
    assert 0 < len(syncs) < len(codes)
    assert len(accepted(found.gateway)) == CLIENTS * EACH


CONNECTION: Final = """
import threading
from zegel.compose import process
process.start_django()
from django.db import connection
from zegel.edge.database import Readers, Writer
def pragmas():
    names = ("journal_mode", "synchronous", "secure_delete")
    with connection.cursor() as cursor:
        return [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
import asyncio
async def main():
    writer, readers = Writer(), Readers(1)
    print(await writer.write(pragmas))
    print(await readers.read(pragmas))
    writer.close()
    readers.close()
asyncio.run(main())
print(pragmas())
connection.close()
print(pragmas())
"""


@pytest.mark.parametrize("role", ["submission", "dispatch", "web", ""])
def test_every_connection_is_set_to_survive_and_to_forget(prepared: Prepared, tmp_path: Path, role: str) -> None:
    """The writer's, a reader's, the main thread's, and that of a thread which lost its first one."""
    gateway = prepared.gateway(tmp_path / "gateway")
    environment = {
        **gateway._environment(),
        "ZEGEL_CONFIG": str(gateway.config),
        "ZEGEL_ROLE": role,
        "DJANGO_SETTINGS_MODULE": "zegel.web.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", CONNECTION], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["['wal', 2, 1]"] * 4, done.stderr


def test_nothing_opens_the_database_beside_django() -> None:
    sources = [path for path in Path("zegel").rglob("*.py") if re.search(r"sqlite3?\.connect\(", path.read_text())]
    assert sources == []
