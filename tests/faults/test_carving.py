"""After its expiry nothing opens a message: its keys are in no file any more, whoever carves them, and with every key
that the gateway has.

Real processes, a clock that is the machine's, and nobody who does anything at the moment of the expiry: the test itself
looks at nothing but files.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing as ending
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from pysqlite3 import dbapi2 as sqlite3

from tests.faults.ground import (
    GUEST,
    Copy,
    Prepared,
    Receiver,
    Visitor,
    closing,
    hidden_in,
    line_of,
    link_in,
    submit,
)
from tests.peers import free_port, until
from tests.peers.gateway import SENDER, Gateway
from zegel.core.seal.slot import disclose
from zegel.core.seal.wrap import _GROUP_HEAD, GROUP_VERSION, OpeningKey, unwrap
from zegel.core.secret import Secret
from zegel.edge.keyring import opening_keys
from zegel.edge.sqlite import OPTIONS, PASSES, empty_log, shorten_log
from zegel.journey.custody.seal import conversation_context, message_context

TAKEN: Final = "250 2.0.0 taken"
LATER: Final = "451 4.3.0 later"
EXPIRES: Final = "zegel-message-expiration: delete PT60S"
ACCESS_CODE: Final = "een-afgesproken-woord"
WITH_CODE: Final = f"zegel-access-right: {GUEST} sharedAccessCode {ACCESS_CODE}"
WITH_SMS: Final = f"zegel-access-right: {GUEST} sms +31612345678"
WINDOW: Final = 20  # octets; by chance none is found twice
STRIDE: Final = 300  # a long value is cut by the pages of the database, and each page holds several windows
OWN: Final = 60  # of a value that was wrapped with others, the end is its own: nonce, key, tag
PATIENCE: Final = 150.0  # seconds after which a test gives up; nothing is measured with it


# --- carving ------------------------------------------------------------------------------------------------------


def windows(secret: bytes) -> list[bytes]:
    """Pieces by which a value is recognised, also where only a part of it is left."""
    if secret[0] == GROUP_VERSION:  # before that stands what all values of the group have, and those that stay keep it
        secret = secret[_GROUP_HEAD:]
    own = secret if len(secret) > 8 * STRIDE else secret[-OWN:]
    step = STRIDE if len(secret) > 8 * STRIDE else WINDOW
    return [own[start : start + WINDOW] for start in range(0, len(own) - WINDOW + 1, step)]


def files_below(folder: Path) -> list[Path]:
    """Whatever the gateway may have written, its keys and the test's own certificates apart."""
    return [path for path in folder.rglob("*") if path.is_file() and "keys" not in path.relative_to(folder).parts]


def carve(folder: Path, secrets: Mapping[str, bytes]) -> dict[str, list[str]]:
    """The names of the secrets of which a piece is found, with the files."""
    found: dict[str, list[str]] = {}
    for path in files_below(folder):
        try:
            octets = path.read_bytes()
        except FileNotFoundError:  # it went meanwhile
            continue
        for name, secret in secrets.items():
            if any(piece in octets for piece in windows(secret)):
                found.setdefault(name, []).append(path.name)
    return found


# --- what is there before -----------------------------------------------------------------------------------------

_VALUES: Final = {
    "gateway slot": "SELECT gateway_slot FROM custody_conversation WHERE id = :conversation",
    "message key": "SELECT key FROM custody_message WHERE conversation_id = :conversation",
    "content": "SELECT c.sealed FROM custody_content c JOIN custody_message m ON m.content_id = c.id "
    "WHERE m.conversation_id = :conversation",
    "head": "SELECT c.head FROM custody_content c JOIN custody_message m ON m.content_id = c.id "
    "WHERE m.conversation_id = :conversation",
    "directives": "SELECT directives FROM custody_submission s JOIN custody_conversation c ON c.submission_id = s.id "
    "WHERE c.id = :conversation",
    "verification": "SELECT v.sealed FROM custody_sealedverification v "
    "JOIN custody_recipient r ON v.recipient_id = r.id WHERE r.conversation_id = :conversation",
    "link share": "SELECT l.share FROM custody_link l "
    "JOIN custody_recipient r ON l.recipient_id = r.id WHERE r.conversation_id = :conversation",
    "link slot": "SELECT l.slot FROM custody_link l "
    "JOIN custody_recipient r ON l.recipient_id = r.id WHERE r.conversation_id = :conversation",
    "mail in the queue": "SELECT t.sealed FROM custody_transmission t "
    "JOIN custody_recipient r ON t.recipient_id = r.id WHERE r.conversation_id = :conversation",
}


@contextmanager
def looking_into(gateway: Gateway) -> Iterator[Any]:
    """The database, as any other process of the gateway opens it."""
    with ending(sqlite3.connect(gateway.state / "zegel.sqlite3", timeout=30, isolation_level=None)) as database:
        database.executescript("PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;")
        yield database


def conversation_of(gateway: Gateway, identity: str) -> str:
    with looking_into(gateway) as database:
        found = database.execute(
            "SELECT c.id FROM custody_conversation c JOIN custody_submission s ON s.id = c.submission_id "
            "WHERE s.message_id LIKE ?",
            (f"<{identity}@%",),
        ).fetchone()
    return str(found[0])


def sealed_values(gateway: Gateway, identity: str) -> dict[str, bytes]:
    """All that is stored of a message and would help to open it; its blob, if it has one, in a piece."""
    conversation = conversation_of(gateway, identity)
    values: dict[str, bytes] = {}
    with looking_into(gateway) as database:
        for name, question in _VALUES.items():
            for (value,) in database.execute(question, {"conversation": conversation}):
                if value is not None and len(value) >= WINDOW:
                    values[f"{identity}: {name}"] = bytes(value)
        (content,) = database.execute(
            "SELECT content_id FROM custody_message WHERE conversation_id = ?", (conversation,)
        ).fetchone()
    blob = gateway.state / "blobs" / content[-2:] / content
    if blob.exists():
        values[f"{identity}: blob"] = blob.read_bytes()[:100_000]
    return values


def open_keys(gateway: Gateway, identity: str) -> dict[str, bytes]:
    """The keys themselves: they are written nowhere, before as little as after."""
    opening: OpeningKey = opening_keys(gateway.state / "keys").opening
    conversation = conversation_of(gateway, identity)
    with looking_into(gateway) as database:
        (slot,) = database.execute(_VALUES["gateway slot"], {"conversation": conversation}).fetchone()
        number, enclosed = database.execute(
            "SELECT id, key FROM custody_message WHERE conversation_id = ?", (conversation,)
        ).fetchone()
    key = unwrap(bytes(slot), with_key=opening, context=conversation_context(uuid.UUID(conversation)))
    inner: Secret[bytes] = disclose(bytes(enclosed), key, context=message_context(uuid.UUID(number)))
    return {f"{identity}: conversation key": key.reveal(), f"{identity}: message key, open": inner.reveal()}


# --- the story ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Mailed:
    """A running gateway with mail that will expire, and mail that won't."""

    gateway: Gateway
    receiver: Receiver
    expiring: dict[str, bytes] = field(default_factory=dict)
    by_policy: dict[str, bytes] = field(default_factory=dict)
    staying: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)


def with_attachment(identity: str) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"Afzender <{SENDER}>", GUEST, f"over {identity}"
    mail["Message-ID"], mail["Date"] = f"<{identity}@voorbeeld.test>", "Mon, 23 Nov 2026 12:00:00 +0000"
    name, _, value = EXPIRES.partition(": ")
    mail[name] = value
    mail.set_content(line_of(identity))
    mail.add_attachment(line_of(identity).encode() * 5_000, maintype="application", subtype="pdf", filename="u.pdf")
    return mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))


def notified(receiver: Receiver, since: int) -> Callable[[], bool]:
    """One more copy arrived."""
    return lambda: len(receiver.copies) > since


def send(mailed: Mailed, identity: str, *fields: str, octets: int = 1_000) -> None:
    """Submits, and waits for the notification."""
    since = len(mailed.receiver.copies)
    assert submit(mailed.gateway, identity, *fields, octets=octets)[0] == 250
    until(notified(mailed.receiver, since), 60)


def read_by_guest(mailed: Mailed) -> None:
    """The newest notification's message is opened with the access code."""
    visitor = Visitor(mailed.gateway.portal_port)
    status, page = visitor.get(link_in(mailed.receiver.copies[-1].octets))
    assert status == 200
    action = re.search(r'action="(/[^"]*verify[^"]*)"', page)
    assert action
    assert visitor.post(action[1], **hidden_in(page), code=ACCESS_CODE)[0] == 303


@pytest.fixture(scope="module")
def mailed(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailed]:
    """Small and large, in every method's dress, one opened by its guest, one that waits in the queue; recorded."""
    answers = {"now": TAKEN}

    def verdict(_: Copy) -> str:
        return answers["now"]

    folder = tmp_path_factory.mktemp("carving")
    with Receiver(free_port(), verdict).listening() as receiver:
        gateway = prepared.gateway(folder / "gateway", mx_port=receiver.port, processes=2)
        with gateway:
            found = Mailed(gateway, receiver)
            send(found, "blijft-voor")
            send(found, "met-woord", EXPIRES, WITH_CODE)
            read_by_guest(found)
            send(found, "klein", EXPIRES)
            send(found, "met-nummer", EXPIRES, WITH_SMS)
            send(found, "halfgroot", EXPIRES, octets=40_000)
            send(found, "groot", EXPIRES, octets=400_000)
            with closing(gateway.client()) as client:
                since = len(receiver.copies)
                client.sendmail(SENDER, [GUEST], with_attachment("bijlage"))
                until(notified(receiver, since), 60)
            by_policy(found)
            send(found, "blijft-na")
            answers["now"] = LATER
            send(found, "in-de-rij", EXPIRES, WITH_CODE)
            record(found)
            yield found


def by_policy(mailed: Mailed) -> None:
    """The organisation's own term counts days; so its job, and nothing else, is brought forward."""
    with looking_into(mailed.gateway) as database:
        database.execute("UPDATE accounts_organisation SET expires_after_days = 1")
    send(mailed, "beleid")
    conversation = conversation_of(mailed.gateway, "beleid")
    soon = (datetime.now(UTC) + timedelta(seconds=30)).replace(tzinfo=None).isoformat(" ")
    with looking_into(mailed.gateway) as database:
        database.execute("UPDATE accounts_organisation SET expires_after_days = NULL")
        (ends,) = database.execute(
            "SELECT expires_at FROM custody_conversation WHERE id = ?", (conversation,)
        ).fetchone()
        assert datetime.fromisoformat(ends).replace(tzinfo=UTC) > datetime.now(UTC) + timedelta(hours=23)
        database.execute("UPDATE custody_conversation SET expires_at = ? WHERE id = ?", (soon, conversation))
        moved = database.execute(
            "UPDATE custody_job SET due_at = ? WHERE kind = 'expire' AND subject = ?", (soon, conversation)
        )
        assert moved.rowcount == 1


EXPIRING: Final = ("met-woord", "klein", "met-nummer", "halfgroot", "groot", "bijlage", "in-de-rij")
STAYING: Final = ("blijft-voor", "blijft-na")


def record(mailed: Mailed) -> None:
    for identity in EXPIRING:
        mailed.expiring |= sealed_values(mailed.gateway, identity)
        mailed.keys |= open_keys(mailed.gateway, identity)
    mailed.by_policy = sealed_values(mailed.gateway, "beleid")
    for identity in STAYING:
        mailed.staying |= sealed_values(mailed.gateway, identity)


def test_before_the_expiry_the_same_search_finds_every_value(mailed: Mailed) -> None:
    values = mailed.expiring | mailed.by_policy | mailed.staying
    found = carve(mailed.gateway.folder, values)
    assert sorted(found) == sorted(values)
    kinds = {name.partition(": ")[2] for name in values}
    assert kinds >= {*_VALUES, "blob"}, "nothing of some kind was ever looked for"
    assert carve(mailed.gateway.folder, mailed.keys) == {}, "a key is written somewhere as it is"


def test_after_it_no_file_holds_a_piece_of_a_key_and_nobody_did_anything(mailed: Mailed) -> None:
    """The database, its write-ahead log, the blobs, the log, temporary files."""
    until(lambda: not carve(mailed.gateway.folder, mailed.expiring | mailed.by_policy), PATIENCE)
    assert carve(mailed.gateway.folder, mailed.keys) == {}
    assert sorted(carve(mailed.gateway.folder, mailed.staying)) == sorted(mailed.staying)


def test_the_gateway_says_so(mailed: Mailed) -> None:
    content = {str(one["message_id"]).partition("@")[0].strip("<"): one["content"] for one in mailed.gateway.evidence()}
    assert content == dict.fromkeys((*EXPIRING, "beleid"), "destroyed") | dict.fromkeys(STAYING, "sealed")
    assert '"event": "broken"' not in mailed.gateway.log()


def test_what_expired_while_the_gateway_was_down_is_destroyed_when_it_is_back(
    prepared: Prepared, tmp_path: Path
) -> None:
    with Receiver(free_port(), lambda _: TAKEN).listening() as receiver:
        gateway = prepared.gateway(tmp_path / "gateway", mx_port=receiver.port)
        with gateway:
            mailed = Mailed(gateway, receiver)
            send(mailed, "verslapen", EXPIRES.replace("60", "20"), octets=100_000)
            submitted = time.monotonic()
            values = sealed_values(gateway, "verslapen")
            gateway.kill_everything()
            assert sorted(carve(gateway.folder, values)) == sorted(values)
            time.sleep(max(0.0, 21 - (time.monotonic() - submitted)))
            assert sorted(carve(gateway.folder, values)) == sorted(values)
            gateway.start()
            until(lambda: not carve(gateway.folder, values), PATIENCE)


# --- that the search can find something ---------------------------------------------------------------------------


def database(folder: Path, **instead: str) -> Any:
    """A connection with the gateway's own options, or others in their place."""
    made = sqlite3.connect(folder / "zegel.sqlite3", isolation_level=None)
    for pragma in OPTIONS["init_command"].split(";"):
        name = pragma.strip().removeprefix("PRAGMA ").partition("=")[0]
        made.execute(f"PRAGMA {name}={instead[name]}" if name in instead else pragma)
    return made


def test_a_log_that_is_shortened_now_and_then_begins_anew(tmp_path: Path) -> None:
    """Beside somebody who reads, and beside what is written meanwhile."""
    with (
        ending(database(tmp_path)) as writing,
        ending(database(tmp_path)) as reading,
        ending(database(tmp_path)) as aside,
    ):
        writing.execute("CREATE TABLE kept (octets BLOB)")
        for _ in range(100):
            writing.execute("INSERT INTO kept VALUES (zeroblob(100000))")
            assert reading.execute("SELECT count(*) FROM kept").fetchone()[0]
            shorten_log(lambda pragma: aside.execute(pragma).fetchone())
        assert (tmp_path / "zegel.sqlite3").stat().st_size > 9_000_000
        assert (tmp_path / "zegel.sqlite3-wal").stat().st_size < 1_000_000


def test_shortening_a_log_does_not_wait_for_who_reads(tmp_path: Path) -> None:
    with (
        ending(database(tmp_path)) as writing,
        ending(database(tmp_path)) as reading,
        ending(database(tmp_path)) as aside,
    ):
        writing.execute("CREATE TABLE kept (octets BLOB)")
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM kept").fetchone()
        writing.execute("INSERT INTO kept VALUES (zeroblob(100000))")
        asked = []

        def ask(pragma: str) -> Any:
            asked.append(pragma)
            return aside.execute(pragma).fetchone()

        shorten_log(ask)
        assert 0 < len(asked) <= PASSES
        reading.execute("COMMIT")
        shorten_log(ask)
        _, frames, moved = ask("PRAGMA wal_checkpoint(PASSIVE)")
        assert frames == moved


def fill_and_destroy(connection: Any, empty: bool) -> dict[str, bytes]:
    """Values of the sizes that keys and small content have, every second one destroyed as retention does it."""
    chance = random.Random(20261125)
    connection.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, slot BLOB)")
    sizes = (61, 1_237, 3_000, 50_000)
    values = {number: chance.randbytes(sizes[number % 4]) for number in range(200)}
    connection.executemany("INSERT INTO kept VALUES (?, ?)", values.items())
    empty_log(lambda pragma: connection.execute(pragma).fetchone())
    gone = [number for number in values if number // 4 % 2]
    connection.executemany("UPDATE kept SET slot = NULL WHERE id = ?", [(number,) for number in gone])
    if empty:
        assert empty_log(lambda pragma: connection.execute(pragma).fetchone())
    return {f"{number}": values[number] for number in gone}


def test_with_the_gateways_options_nothing_is_left(tmp_path: Path) -> None:
    with ending(database(tmp_path)) as connection:
        destroyed = fill_and_destroy(connection, empty=True)
        assert carve(tmp_path, destroyed) == {}


def test_without_secure_delete_the_search_finds_what_was_destroyed(tmp_path: Path) -> None:
    with ending(database(tmp_path, secure_delete="OFF")) as connection:
        destroyed = fill_and_destroy(connection, empty=True)
        assert carve(tmp_path, destroyed)


def test_without_emptying_the_write_ahead_log_the_search_finds_what_was_destroyed(tmp_path: Path) -> None:
    with ending(database(tmp_path)) as connection:
        destroyed = fill_and_destroy(connection, empty=False)
        assert carve(tmp_path, destroyed)


def test_a_reader_of_old_pages_is_waited_for_and_told_of(tmp_path: Path) -> None:
    with ending(database(tmp_path)) as connection, ending(database(tmp_path)) as reader:
        connection.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, slot BLOB)")
        connection.execute("INSERT INTO kept VALUES (1, ?)", (b"geheim-" * 10,))
        reader.execute("BEGIN")
        reader.execute("SELECT slot FROM kept").fetchall()
        connection.execute("UPDATE kept SET slot = NULL")
        slept: list[float] = []
        ask = lambda pragma: connection.execute(pragma).fetchone()  # noqa: E731
        assert not empty_log(ask, sleep=slept.append)
        assert (tmp_path / "zegel.sqlite3-wal").stat().st_size > 0
        assert all(one <= other for one, other in pairwise(slept[:-1]))
        reader.execute("COMMIT")
        assert empty_log(ask)
        assert (tmp_path / "zegel.sqlite3-wal").stat().st_size == 0


def test_a_reader_that_goes_in_the_meantime_is_in_nobodys_way(tmp_path: Path) -> None:
    with ending(database(tmp_path)) as connection, ending(database(tmp_path)) as reader:
        connection.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, slot BLOB)")
        reader.execute("BEGIN")
        reader.execute("SELECT slot FROM kept").fetchall()
        connection.execute("INSERT INTO kept VALUES (1, x'00')")
        assert empty_log(
            lambda pragma: connection.execute(pragma).fetchone(),
            sleep=lambda _: reader.in_transaction and reader.execute("COMMIT"),
        )
