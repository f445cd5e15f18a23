"""Getting certificates by ACME, without an authority: when, what is kept, what port 80 says, what trouble is called.

With a real one: ``tests/interop/test_acme.py``.
"""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.local.running import Loop
from tests.peers import PATIENCE, free_port, until
from zegel.core.clock import Duration, Instant
from zegel.edge import acme
from zegel.edge.acme import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Answers,
    Authority,
    Issued,
    Keeper,
    NotIssued,
    Refused,
    Told,
    Tried,
    Wanted,
    last_try,
)
from zegel.edge.certificates import acme_files, examine
from zegel.edge.tls import CertificateTrouble
from zegel.local.authority import LocalAuthority

NAMES: Final = ("zegel.test", "mx.zegel.test")
WANTED: Final = Wanted("https://ca.test/dir", NAMES)
MONTHS: Final = timedelta(days=90)
HOUR: Final = timedelta(hours=1)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> Instant:
        return self.time


class Ca:
    """An authority that gives what it is asked for, unless it shall not."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.orders: list[Instant] = []
        self.refusal: Exception | None = None
        self.names: tuple[str, ...] = NAMES
        self.begins = -HOUR
        self.life = MONTHS
        self.suggestion: Callable[[], Instant | None] = lambda: None
        self.suggestions = 0
        self.spoil: Callable[[bytes], bytes] = lambda chain: chain
        self.other_key = False
        self.held = threading.Event()
        self.held.set()

    def issue(self, key: bytes, answers: Answers) -> bytes:
        self.orders.append(self.clock())
        assert len(self.orders) < 100, "a storm"
        self.held.wait(PATIENCE)
        if self.refusal is not None:
            raise self.refusal
        private = load_pem_private_key(key, None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        about = ec.generate_private_key(ec.SECP256R1()) if self.other_key else private
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
        begins = self.clock() + self.begins
        return self.spoil(
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(name)
            .public_key(about.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + self.life)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in self.names]), critical=True)
            .sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
            .public_bytes(Encoding.PEM)
        )

    def suggested(self, chain: bytes) -> tuple[Instant | None, Duration]:
        self.suggestions += 1
        return self.suggestion(), timedelta(hours=6)


class Ground:
    """A keeper and what is around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "keys" / "acme" / "ca.test"
        self.file = acme_files(self.folder)[0]
        self.clock = Clock()
        self.ca = Ca(self.clock)
        self.told: list[Told] = []
        self.wanted = WANTED
        self.chance = 0.0
        self.start()

    def start(self) -> None:
        """As a process that starts again: nothing in memory."""
        self.keeper = Keeper(
            self.wanted,
            self.folder,
            self.ca,
            Answers(),
            now=self.clock,
            tell=self.told.append,
            chance=lambda: self.chance,
        )

    def round(self) -> Instant:
        return asyncio.run(self.keeper.round())

    def live(self, span: Duration) -> None:
        """So much time goes by, as :func:`acme.keep` lets it; only that looks every hour."""
        end = self.clock.time + span
        while self.clock.time < end:
            again = self.round()
            pause = min(max(again - self.clock.time, timedelta(seconds=1)), timedelta(hours=6))
            self.clock.time = min(self.clock.time + pause, end)

    def trouble(self) -> str:
        told = self.told[-1]
        assert isinstance(told, NotIssued), told
        return told.what


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


# When an order fails


def test_a_refusal_is_told_and_leaves_no_certificate(ground: Ground) -> None:
    ground.ca.refusal = Refused("Not today.")
    ground.round()
    assert ground.told == [NotIssued("Not today.", ground.clock.time + FIRST_PAUSE)]
    assert not ground.file.exists()


def test_a_refusal_leaves_the_certificate_that_is_there(ground: Ground) -> None:
    ground.round()
    before = ground.file.read_bytes()
    ground.ca.refusal = Refused("Not today.")
    ground.clock.time += 2 * MONTHS / 3
    ground.live(timedelta(days=3))
    assert ground.trouble() == "Not today."
    assert ground.file.read_bytes() == before


def test_an_authority_that_refuses_is_left_alone_longer_and_longer(ground: Ground) -> None:
    ground.ca.refusal = Refused("Not today.")
    ground.live(timedelta(days=10))
    orders = ground.ca.orders
    pauses = [later - earlier for earlier, later in pairwise(orders)]
    assert pauses[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert len(orders) < 18


@pytest.mark.parametrize("chance", [0.0, 0.4, 0.999])
def test_not_all_gateways_come_back_at_the_same_moment(ground: Ground, chance: float) -> None:
    ground.ca.refusal = Refused("Not today.")
    ground.chance = chance
    assert ground.round() == ground.clock.time + FIRST_PAUSE * (1 + chance / 2)


def test_the_authority_is_left_alone_for_as_long_as_it_asks(ground: Ground) -> None:
    ground.ca.refusal = Refused("Too often.", timedelta(days=2))
    assert ground.round() == ground.clock.time + timedelta(days=2)
    ground.live(timedelta(days=1, hours=23))
    assert len(ground.ca.orders) == 1


def test_but_not_for_ever(ground: Ground) -> None:
    ground.ca.refusal = Refused("Too often.", timedelta(days=4000))
    assert ground.round() == ground.clock.time + timedelta(days=7)


def test_starting_again_and_again_does_not_hammer_the_authority(ground: Ground) -> None:
    ground.ca.refusal = Refused("Not today.")
    for _ in range(60):
        ground.start()
        ground.round()
        ground.clock.time += timedelta(minutes=1)
    assert len(ground.ca.orders) == 4


def test_dying_during_an_order_again_and_again_does_not_either(ground: Ground) -> None:
    for _ in range(60):
        ground.start()
        asyncio.run(cut_off(ground))
        ground.clock.time += timedelta(minutes=1)
    assert len(ground.ca.orders) == 4
    said = last_try(ground.folder)
    assert said is not None
    assert said.trouble == "The last try was cut off."


async def cut_off(ground: Ground) -> None:
    """A round that ends while the authority is at work, if it gets so far."""
    ordered, ground.ca.held = len(ground.ca.orders), threading.Event()
    rounds = asyncio.ensure_future(ground.keeper.round())
    while len(ground.ca.orders) == ordered and not rounds.done():
        await asyncio.sleep(0)
    rounds.cancel()
    ground.ca.held.set()


def test_other_names_are_a_reason_to_try_at_once(ground: Ground) -> None:
    ground.ca.refusal = Refused("Not today.")
    ground.round()
    ground.wanted = Wanted(WANTED.directory, ("elders.test",))
    ground.start()
    ground.round()
    assert len(ground.ca.orders) == 2


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"at": 1}', '{"at": "x", "names": [], "trouble": null}', "\0"])
def test_a_memory_that_is_damaged_is_none(ground: Ground, said: str) -> None:
    ground.ca.refusal = Refused("Not today.")
    ground.round()
    (ground.folder / "last-try.json").write_text(said)
    assert last_try(ground.folder) is None
    ground.start()
    ground.round()
    assert len(ground.ca.orders) == 2


def test_a_try_that_lies_ahead_is_of_a_clock_that_was_wrong(ground: Ground) -> None:
    ground.ca.refusal = Refused("Not today.")
    ground.clock.time += timedelta(days=300)
    ground.round()
    ground.clock.time -= timedelta(days=300)
    ground.start()
    ground.round()
    assert len(ground.ca.orders) == 2


def test_a_pause_that_a_wrong_clock_decided_on_does_not_last(ground: Ground) -> None:
    ground.ca.refusal = Refused("Not today.")
    ground.clock.time += timedelta(days=300)
    ground.round()
    ground.clock.time -= timedelta(days=300)
    ground.round()
    assert len(ground.ca.orders) == 2


def test_what_was_tried_last_can_be_looked_up(ground: Ground) -> None:
    assert last_try(ground.folder) is None
    ground.ca.refusal = Refused("Not today.")
    ground.round()
    assert last_try(ground.folder) == Tried(ground.clock.time, NAMES, "Not today.")
    ground.ca.refusal = None
    ground.clock.time += HOUR
    ground.round()
    assert last_try(ground.folder) == Tried(ground.clock.time, NAMES, None)


@pytest.mark.parametrize("octets", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_not_kept(ground: Ground, octets: bytes) -> None:
    ground.round()
    before = ground.file.read_bytes()
    ground.ca.spoil = lambda chain: octets
    ground.clock.time += MONTHS
    ground.round()
    assert ground.trouble() == "What the authority gave is no certificate for the key that was asked for."
    assert ground.file.read_bytes() == before
    assert {path.name for path in ground.folder.iterdir()} == {"certificate.pem", "last-try.json"}


def test_a_certificate_for_another_key_is_not_kept(ground: Ground) -> None:
    ground.ca.other_key = True
    ground.round()
    assert ground.trouble() == "What the authority gave is no certificate for the key that was asked for."
    assert not ground.file.exists()


def test_a_certificate_for_fewer_names_is_not_kept(ground: Ground) -> None:
    ground.ca.names = NAMES[:1]
    ground.round()
    assert ground.trouble() == "What the authority gave is for other names than those that were asked for."
    assert not ground.file.exists()


def test_a_certificate_that_has_expired_is_not_kept(ground: Ground) -> None:
    ground.ca.life = timedelta(minutes=30)
    ground.round()
    assert ground.trouble() == "What the authority gave has expired: is the clock of this machine right?"
    assert not ground.file.exists()


def test_a_certificate_whose_day_has_not_come_is_not_kept(ground: Ground) -> None:
    ground.ca.begins = timedelta(days=1)
    ground.round()
    assert ground.trouble() == "What the authority gave is not valid yet: is the clock of this machine right?"
    assert not ground.file.exists()


def test_a_disk_that_can_not_be_written_is_told(ground: Ground) -> None:
    ground.folder.parent.mkdir(parents=True)
    ground.folder.write_text("a file where the folder should be")
    ground.round()
    assert ground.trouble().startswith(f"{ground.folder} can't be written (")
    ground.folder.unlink()
    ground.clock.time += HOUR
    ground.round()
    assert isinstance(ground.told[-1], Issued)


def test_a_defect_is_told_and_is_not_the_end(ground: Ground) -> None:
    ground.ca.refusal = ZeroDivisionError("voorbeeld")
    ground.round()
    assert ground.trouble() == "A defect of Zegel; see the log."
    ground.ca.refusal = None
    ground.clock.time += HOUR
    ground.round()
    assert isinstance(ground.told[-1], Issued)


# When it is renewed


def test_what_is_issued_is_in_its_place_and_told(ground: Ground) -> None:
    ground.round()
    held = examine(acme_files(ground.folder))
    assert held.names == NAMES
    assert ground.told == [Issued(NAMES, held.ends)]


def test_nobody_else_can_read_what_is_written(ground: Ground) -> None:
    before = os.umask(0)
    try:
        ground.round()
    finally:
        os.umask(before)
    for path in (ground.folder, ground.folder.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in ground.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_renewed_after_two_thirds_of_its_life_with_a_new_key(ground: Ground) -> None:
    ground.round()
    before = ground.file.read_bytes()
    begun = ground.clock.time - HOUR
    ground.live(timedelta(days=59))
    assert len(ground.ca.orders) == 1
    ground.live(timedelta(days=1))
    assert len(ground.ca.orders) == 2
    assert ground.ca.orders[1] - begun >= 2 * MONTHS / 3
    after = ground.file.read_bytes()
    assert {before.partition(b"-----END")[0]}.isdisjoint({after.partition(b"-----END")[0]})


@pytest.mark.parametrize("reason", ["gone", "damaged", "expired", "other names"])
def test_one_that_is_no_good_is_replaced_at_once(ground: Ground, reason: str) -> None:
    ground.round()
    if reason == "gone":
        ground.file.unlink()
    if reason == "damaged":
        ground.file.write_bytes(b"garbage")
    if reason == "expired":
        ground.clock.time += MONTHS + HOUR
    if reason == "other names":
        ground.wanted = Wanted(WANTED.directory, (*NAMES, "nog.zegel.test"))
        ground.ca.names = ground.wanted.names
    ground.start()
    ground.round()
    assert len(ground.ca.orders) == 2
    assert isinstance(ground.told[-1], Issued)


def test_one_whose_day_has_not_come_by_our_clock_is_left(ground: Ground) -> None:
    """It is the clock that is wrong, and an authority can't set it right."""
    ground.round()
    ground.clock.time -= timedelta(days=2)
    ground.start()
    ground.round()
    assert len(ground.ca.orders) == 1


def test_the_authority_may_suggest_an_earlier_moment(ground: Ground) -> None:
    ground.round()
    moment = ground.clock.time + timedelta(days=20)
    ground.ca.suggestion = lambda: moment
    ground.live(timedelta(days=19, hours=23))
    assert len(ground.ca.orders) == 1
    ground.live(timedelta(hours=2))
    assert len(ground.ca.orders) == 2


def test_the_authority_may_suggest_a_later_moment_within_reason(ground: Ground) -> None:
    ground.round()
    ground.ca.suggestion = lambda: ground.clock.time + timedelta(days=365)
    ground.live(timedelta(days=74))
    assert len(ground.ca.orders) == 1
    ground.live(timedelta(days=1))
    assert len(ground.ca.orders) == 2


def test_an_authority_that_always_says_now_gets_one_order_a_day(ground: Ground) -> None:
    ground.ca.suggestion = lambda: ground.clock.time - HOUR
    ground.live(timedelta(days=5))
    assert len(ground.ca.orders) <= 6


def test_its_suggestion_is_asked_for_no_more_often_than_it_holds(ground: Ground) -> None:
    ground.live(timedelta(days=1))
    assert ground.ca.suggestions == 4


def test_an_authority_without_suggestions_is_no_trouble(ground: Ground) -> None:
    def silent() -> Instant | None:
        raise Refused("Nothing.")

    ground.ca.suggestion = silent
    ground.live(timedelta(days=61))
    assert len(ground.ca.orders) == 2
    assert all(isinstance(told, Issued) for told in ground.told)


# Killed

KILLED = """
import os, sys
from pathlib import Path
from zegel.edge import acme
from zegel.edge.certificates import acme_files, examine
from tests.edge.test_acme import Ground

ground = Ground(Path(sys.argv[1]))
ground.round()
old = ground.file.read_bytes()
ground.clock.time += 2 * ground.ca.life / 3

def dying(call, die_after):
    def called(*arguments, **named):
        if die_after[0] == 0:
            os._exit(9)
        die_after[0] -= 1
        result = call(*arguments, **named)
        if die_after[0] == 0:
            os._exit(9)
        die_after[0] -= 1
        return result
    return called

steps = 0
while True:
    child = os.fork()
    if child == 0:
        left = [steps]
        for name in ("open", "fsync", "rename", "unlink", "write", "close"):
            setattr(os, name, dying(getattr(os, name), left))
        ground.round()
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    held = examine(acme_files(ground.folder))
    is_old = ground.file.read_bytes() == old
    modes = {path.stat().st_mode & 0o77 for path in ground.folder.iterdir()}
    print(ended, "old" if is_old else "new", len(held.names), modes)
    if ended == 0:
        break
    assert ended == 9
    steps += 1
"""


def test_a_kill_at_any_step_leaves_a_pair_that_can_be_used(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert len(lines) > 15
    assert {line.partition(" ")[2] for line in lines} == {"old 2 {0}", "new 2 {0}"}
    assert lines[0] == "9 old 2 {0}"
    assert lines[-1] == "0 new 2 {0}"
    changes = [line.split()[1] for line in lines]
    assert changes == sorted(changes, reverse=True)  # old until a step, new from it on


# Port 80


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(uvloop.new_event_loop())
    yield loop
    assert loop.complaints == []
    loop.stop()


@contextmanager
def listening(loop: Loop, answers: Answers) -> Iterator[int]:
    loop.run(answers.open([("127.0.0.1", 0)]))
    try:
        yield answers.servers[0].sockets[0].getsockname()[1]
    finally:
        loop.call(answers.close)


def ask(port: int, *octets: bytes) -> bytes:
    """All that comes back."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as asking:
        for one in octets:
            asking.sendall(one)
        return heard(asking)


def heard(asking: socket.socket) -> bytes:
    said = b""
    with suppress(ConnectionError):
        while octets := asking.recv(65536):
            said += octets
    return said


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: zegel.test\r\nUser-Agent: test\r\n\r\n".encode()


TOKEN = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"


@pytest.fixture
def answers(loop: Loop) -> Iterator[Answers]:
    answers = Answers()
    with answers.published() as publish:
        publish(TOKEN, f"{TOKEN}.thumbprint")
        yield answers


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (get("/"), "404 Not Found"),
        (get("/.well-known/acme-challenge/"), "404 Not Found"),
        (get("/.well-known/acme-challenge/elders"), "404 Not Found"),
        (get(f"/.well-known/acme-challenge/{TOKEN}/"), "404 Not Found"),
        (get(f"/.well-known/acme-challenge/{TOKEN}?x"), "404 Not Found"),
        (get(f"/.well-known/acme-challenge/../acme-challenge/{TOKEN}"), "404 Not Found"),
        (get("/.well-known/acme-challenge/../../../../etc/passwd"), "404 Not Found"),
        (get(f"/.well-known/acme-challenge/{TOKEN}", "POST"), "400 Bad Request"),
        (get(f"http://zegel.test/.well-known/acme-challenge/{TOKEN}"), "400 Bad Request"),
        (get("/é"), "400 Bad Request"),
        (b"EHLO zegel.test\r\n\r\n", "400 Bad Request"),
        (b"\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", "400 Bad Request"),
    ],
)
def test_port_80_knows_nothing_but_challenges(loop: Loop, answers: Answers, octets: bytes, status: str) -> None:
    with listening(loop, answers) as port:
        head, _, body = ask(port, octets).partition(b"\r\n\r\n")
    assert head.splitlines()[0] == f"HTTP/1.1 {status}".encode()
    assert b"Content-Length: 0" in head.splitlines()
    assert body == b""


def test_a_challenge_that_is_under_way_is_answered(loop: Loop, answers: Answers) -> None:
    with listening(loop, answers) as port:
        head, _, body = ask(port, get(f"/.well-known/acme-challenge/{TOKEN}")).partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"HTTP/1.1 200 OK"
    assert b"Content-Type: application/octet-stream" in head.splitlines()
    assert body == f"{TOKEN}.thumbprint".encode()


def test_a_head_has_no_body(loop: Loop, answers: Answers) -> None:
    with listening(loop, answers) as port:
        head, _, body = ask(port, get(f"/.well-known/acme-challenge/{TOKEN}", "HEAD")).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(TOKEN) + 11}".encode() in head.splitlines()
    assert body == b""


def test_how_the_network_cuts_a_request_makes_no_difference(loop: Loop, answers: Answers) -> None:
    octets = get(f"/.well-known/acme-challenge/{TOKEN}")
    with listening(loop, answers) as port:
        whole = ask(port, octets)
        assert ask(port, *(octets[at : at + 1] for at in range(len(octets)))) == whole


def test_a_challenge_that_is_over_is_forgotten(loop: Loop) -> None:
    answers = Answers()
    with listening(loop, answers) as port:
        with pytest.raises(ZeroDivisionError), answers.published() as publish:
            publish(TOKEN, "answer")
            raise ZeroDivisionError
        assert ask(port, get(f"/.well-known/acme-challenge/{TOKEN}")).startswith(b"HTTP/1.1 404 ")


def test_people_are_sent_elsewhere_and_challenges_are_not(loop: Loop, answers: Answers) -> None:
    answers.elsewhere = "https://portaal.test"
    with listening(loop, answers) as port:
        for path in ("/", "/c/abc?x=y", "//evil.test/"):
            head = ask(port, get(path)).splitlines()
            assert head[0] == b"HTTP/1.1 302 Found"
            assert b"Location: https://portaal.test" in head
        assert ask(port, get("/.well-known/acme-challenge/x")).startswith(b"HTTP/1.1 404 ")
        assert ask(port, get("/", "POST")).startswith(b"HTTP/1.1 400 ")
        assert b" 200 OK" in ask(port, get(f"/.well-known/acme-challenge/{TOKEN}"))


def test_a_request_without_end_is_not_listened_to(loop: Loop, answers: Answers) -> None:
    with listening(loop, answers) as port:
        assert ask(port, b"GET /" + b"a" * 10_000) == b""


def test_who_is_slow_is_cut_off(loop: Loop, answers: Answers) -> None:
    answers.within = 0.2
    with listening(loop, answers) as port:
        assert ask(port, b"GET / HTTP/1.1\r\n") == b""


def test_who_says_nothing_makes_room_for_who_does(loop: Loop, answers: Answers) -> None:
    """Else a handful of silent connections would keep the authority out."""
    answers.most_connections = 3
    with listening(loop, answers) as port:
        silent = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(10)]
        until(lambda: loop.call(lambda: len(answers._connections)) == 3)
        assert b" 200 OK" in ask(port, get(f"/.well-known/acme-challenge/{TOKEN}"))
        for one in silent[:8]:
            assert heard(one) == b""
        for one in silent:
            one.close()


def test_who_hangs_up_is_forgotten(loop: Loop, answers: Answers) -> None:
    with listening(loop, answers) as port:
        for _ in range(5):
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        until(lambda: loop.call(lambda: len(answers._connections)) == 0)


@given(st.binary(max_size=200))
def test_whatever_is_said_nothing_is_given_away(octets: bytes) -> None:
    answers = Answers("https://portaal.test")
    with answers.published() as publish:
        publish(TOKEN, "answer")
        said = answers._to(octets)
    assert said.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ", b"HTTP/1.1 302 "))
    assert said.count(b"\r\n\r\n") == 1
    assert b"answer" not in said


def test_an_address_that_is_taken_is_raised_and_none_is_kept(loop: Loop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free = free_port()
        with pytest.raises(OSError, match="in use"):
            loop.run(Answers().open([("127.0.0.1", free), taken.getsockname()]))
        until(lambda: _refuses(free))


def _refuses(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) != 0


# What trouble is called


class Server(http.server.BaseHTTPRequestHandler):
    """Says one thing to everybody."""

    said: Mapping[str, tuple[int, dict[str, str], bytes]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, fields, body = self.said.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | fields).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


Said = Mapping[str, tuple[int, dict[str, str], bytes]]


@contextmanager
def serving(said: Said, tls: ssl.SSLContext | None) -> Iterator[tuple[int, list[str]]]:
    handler = type("Said", (Server,), {"said": said, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1], handler.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def local(tmp_path: Path) -> LocalAuthority:
    return LocalAuthority.load_or_create(tmp_path / "ca")


@pytest.fixture
def tls(local: LocalAuthority, tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*local.issue(["localhost"], tmp_path / "certificates"))
    return context


def authority(port: int, tmp_path: Path, *, ca: Path | None, scheme: str = "https") -> Authority:
    return Authority(Wanted(f"{scheme}://localhost:{port}/dir", NAMES, extra_ca=ca), tmp_path / "acme")


def refusal(asked: Authority) -> Refused:
    with pytest.raises(Refused) as caught:
        asked.issue(acme._new_key(), Answers())
    return caught.value


PROBLEM = {"Content-Type": "application/problem+json"}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, {}, b"<html>Hello</html>"), "The answers of {host} are not those of an ACME server."),
        ((200, {}, b"[]"), "The answers of {host} are not those of an ACME server."),
        ((200, {}, b"{}"), "The answers of {host} are not those of an ACME server."),
        ((200, {}, b'{"newNonce": 1, "newAccount": []}'), "The answers of {host} are not those of an ACME server."),
        ((200, {"Content-Length": "x"}, b""), "The answers of {host} are not those of an ACME server."),
        ((503, {}, b"busy"), "The answers of {host} are not those of an ACME server."),
        ((500, PROBLEM, b"[]"), "The authority refused (unknown)."),
        (
            (500, PROBLEM, b'{"type": "urn:ietf:params:acme:error:serverInternal", "detail": "oeps"}'),
            "The authority refused (serverInternal).",
        ),
        (
            (403, PROBLEM, b'{"type": "urn:ietf:params:acme:error:rejectedIdentifier"}'),
            "The authority gives no certificates for zegel.test, mx.zegel.test.",
        ),
        ((403, PROBLEM, b'{"type": "zeer geheim"}'), "The authority refused (unknown)."),
        (
            (403, PROBLEM, b'{"type": "urn:ietf:params:acme:error:zeer geheim"}'),
            "The authority refused (unknown).",
        ),
    ],
)
def test_whatever_an_authority_answers_is_told_in_a_sentence_of_ours(
    tmp_path: Path,
    local: LocalAuthority,
    tls: ssl.SSLContext,
    answer: tuple[int, dict[str, str], bytes],
    sentence: str,
) -> None:
    with serving({"/dir": answer}, tls) as (port, _):
        said = str(refusal(authority(port, tmp_path, ca=local.certificate_path)))
    assert said == sentence.format(host=f"localhost:{port}")


def test_how_long_it_wants_to_be_left_alone_is_heard(
    tmp_path: Path, local: LocalAuthority, tls: ssl.SSLContext
) -> None:
    body = b'{"type": "urn:ietf:params:acme:error:rateLimited"}'
    for said, wait in (("7200", 2 * HOUR), ("-1", timedelta(0)), ("soon", timedelta(0)), ("9" * 30, 7 * 24 * HOUR)):
        with serving({"/dir": (429, PROBLEM | {"Retry-After": said}, body)}, tls) as (port, _):
            heard = refusal(authority(port, tmp_path, ca=local.certificate_path))
        assert str(heard).startswith("The authority takes no more requests for zegel.test, mx.zegel.test")
        assert heard.wait == wait


def test_an_authority_that_this_machine_does_not_trust_is_not_asked(tmp_path: Path, tls: ssl.SSLContext) -> None:
    with serving({}, tls) as (port, asked):
        said = str(refusal(authority(port, tmp_path, ca=None)))
    assert said == f"localhost:{port} has no certificate that this machine trusts."
    assert asked == []


def test_an_authority_that_is_away_is_told(tmp_path: Path, local: LocalAuthority) -> None:
    port = free_port()
    assert str(refusal(authority(port, tmp_path, ca=local.certificate_path))) == (
        f"localhost:{port} can't be reached: may this machine go out to port 443, and does its resolver work?"
    )


def test_an_authority_that_does_not_answer_is_told(
    tmp_path: Path, local: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acme, "REQUEST_WITHIN", 0.3)
    with silent() as port:
        said = str(refusal(authority(port, tmp_path, ca=local.certificate_path)))
    assert said == f"localhost:{port} does not answer."


@contextmanager
def silent() -> Iterator[int]:
    """A server that takes connections and says nothing on them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_nothing_is_ever_asked_in_clear(tmp_path: Path, local: LocalAuthority, tls: ssl.SSLContext) -> None:
    with serving({}, None) as (clear, asked):
        refusal(authority(clear, tmp_path, ca=local.certificate_path, scheme="http"))
        elsewhere = {"/dir": (302, {"Location": f"http://localhost:{clear}/dir"}, b"")}
        with serving(elsewhere, tls) as (port, _):
            refusal(authority(port, tmp_path, ca=local.certificate_path))
    assert asked == []


@pytest.mark.parametrize("octets", [b"", b"garbage"])
def test_an_account_key_that_is_damaged_is_told_and_kept(tmp_path: Path, local: LocalAuthority, octets: bytes) -> None:
    asked = authority(free_port(), tmp_path, ca=local.certificate_path)
    (tmp_path / "acme").mkdir()
    path = tmp_path / "acme" / "account.key"
    path.write_bytes(octets)
    assert str(refusal(asked)) == f"{path} is damaged: remove it, and another account is made."
    assert path.read_bytes() == octets


def test_an_extra_authority_that_is_none_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CertificateTrouble, match=r"^acme\.extra_ca: "):
        authority(1, tmp_path, ca=tmp_path / "nothing.pem")


def renewal_identifier(chain: bytes) -> str:
    """RFC 9773 §4.1: key identifier of the authority and serial number, as in the certificate, each in base64url."""
    leaf = x509.load_pem_x509_certificate(chain)
    above = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    assert above is not None
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (above, serial))


def test_the_moment_that_an_authority_suggests_is_heard(
    tmp_path: Path, local: LocalAuthority, tls: ssl.SSLContext
) -> None:
    chain = local.issue(["zegel.test"], tmp_path / "own")[0].read_bytes()
    window = {"start": "2031-01-02T00:00:00Z", "end": "2031-01-03T00:00:00Z"}
    said: dict[str, tuple[int, dict[str, str], bytes]] = {}
    with serving(said, tls) as (port, asked):
        where = f"https://localhost:{port}/renewal"
        said["/dir"] = 200, {}, json.dumps({"renewalInfo": where}).encode()
        identifier = renewal_identifier(chain)
        info = json.dumps({"suggestedWindow": window}).encode()
        said[f"/renewal/{identifier}"] = 200, {"Retry-After": "21600", "Content-Type": "application/json"}, info
        moment, holds = authority(port, tmp_path, ca=local.certificate_path).suggested(chain)
    assert moment is not None
    assert datetime(2031, 1, 2, tzinfo=UTC) <= moment <= datetime(2031, 1, 3, tzinfo=UTC)
    assert abs(holds - timedelta(hours=6)) < timedelta(minutes=1)
    assert asked == ["/dir", f"/renewal/{identifier}"]


def test_an_authority_without_suggestions_has_none(tmp_path: Path, local: LocalAuthority, tls: ssl.SSLContext) -> None:
    chain = local.issue(["zegel.test"], tmp_path / "own")[0].read_bytes()
    with serving({"/dir": (200, {}, b"{}")}, tls) as (port, _):
        moment, holds = authority(port, tmp_path, ca=local.certificate_path).suggested(chain)
    assert moment is None
    assert abs(holds - timedelta(hours=6)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "answer", [(500, {}, b""), (200, {}, b"{}"), (200, {}, b'{"suggestedWindow": {"start": "x"}}')]
)
def test_a_suggestion_that_makes_no_sense_is_none(
    tmp_path: Path, local: LocalAuthority, tls: ssl.SSLContext, answer: tuple[int, dict[str, str], bytes]
) -> None:
    chain = local.issue(["zegel.test"], tmp_path / "own")[0].read_bytes()
    identifier = renewal_identifier(chain)
    said: dict[str, tuple[int, dict[str, str], bytes]] = {f"/renewal/{identifier}": answer}
    with serving(said, tls) as (port, _):
        said["/dir"] = 200, {}, json.dumps({"renewalInfo": f"https://localhost:{port}/renewal"}).encode()
        with pytest.raises(Refused):
            authority(port, tmp_path, ca=local.certificate_path).suggested(chain)


# The end


def test_an_authority_that_does_not_answer_holds_up_no_end(loop: Loop, tmp_path: Path) -> None:
    stop, told = asyncio.Event(), list[Told]()
    with silent() as port:
        wanted = Wanted(f"https://127.0.0.1:{port}/dir", NAMES)
        keeping = asyncio.run_coroutine_threadsafe(
            acme.keep(
                wanted,
                tmp_path / "acme",
                listen=[("127.0.0.1", 0)],
                now=lambda: datetime.now(UTC),
                stop=stop,
                tell=told.append,
            ),
            loop._loop,
        )
        until(lambda: last_try(tmp_path / "acme") is not None)
        loop.call(stop.set)
        keeping.result(PATIENCE)
    assert told == []
