"""Certificates of a real authority (Pebble): the first, the next, and what happens when it doesn't give one."""

from __future__ import annotations

import asyncio
import http.server
import signal
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.edge.test_tls import meet
from tests.local.running import Loop
from tests.needs import needs
from tests.peers import PATIENCE, free_port, until
from tests.peers.pebble import Pebble
from zegel.core.clock import Duration, Instant
from zegel.edge import acme
from zegel.edge.acme import FIRST_PAUSE, Answers, Authority, Issued, Keeper, NotIssued, Told, Wanted, last_try
from zegel.edge.certificates import LiveCertificate, Loaded, acme_files, examine, self_signed
from zegel.local import dns
from zegel.local.authority import LocalAuthority

NAME = "zegel.test"
LIFE = timedelta(days=1826)  # of Pebble's certificates


@dataclass
class Surroundings:
    """An authority that can be asked, names, and a port 80 that it looks at."""

    folder: Path
    loop: Loop
    stack: ExitStack
    ahead: Duration = timedelta(0)
    told: list[Told] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.authority = LocalAuthority.load_or_create(self.folder / "ca")
        self.zone = {(name, "A"): ["127.0.0.1"] for name in (NAME, f"mx.{NAME}")}
        self.dns = self.loop.run(dns.serve(self.zone, "127.0.0.1", 0))
        self.stack.callback(self.loop.call, self.dns.close)
        self.http_port = free_port()
        self.place = self.folder / "keys" / "acme" / "pebble"
        self.file = acme_files(self.place)[0]
        self.answers = Answers()
        self.stack.callback(self.loop.call, self.answers.close)

    def now(self) -> Instant:
        return datetime.now(UTC) + self.ahead

    def pebble(self, **chosen: Any) -> Pebble:
        """Not started."""
        pebble = Pebble(
            self.folder / "pebble",
            authority=self.authority,
            dns=("127.0.0.1", self.dns.port),
            http_port=self.http_port,
            **chosen,
        )
        self.stack.callback(pebble.stop)
        return pebble

    def wanted(self, pebble: Pebble, *names: str, contact: str = "") -> Wanted:
        return Wanted(pebble.directory, names or (NAME,), contact, self.authority.certificate_path)

    def keeper(self, wanted: Wanted) -> Keeper:
        return Keeper(
            wanted, self.place, Authority(wanted, self.place), self.answers, now=self.now, tell=self.told.append
        )

    def listen(self) -> None:
        """On the port that the authority looks at."""
        self.loop.run(self.answers.open([("127.0.0.1", self.http_port)]))

    def round(self, keeper: Keeper) -> Told:
        """One order; what came of it."""
        heard = len(self.told)
        asyncio.run_coroutine_threadsafe(keeper.round(), self.loop._loop).result(90)
        assert len(self.told) == heard + 1, "it was no time for an order"
        return self.told[-1]


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Surroundings]:
    needs("pebble")
    loop = Loop(uvloop.new_event_loop())
    with ExitStack() as stack:
        stack.callback(loop.stop)
        yield Surroundings(tmp_path, loop, stack)
    assert loop.complaints == []


def trouble(told: Told) -> str:
    assert isinstance(told, NotIssued), told
    return told.what


def leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


# What an authority gives


def test_the_first_certificate_comes_by_itself_and_listeners_show_it(around: Surroundings, tmp_path: Path) -> None:
    pebble = around.pebble().start()
    live = LiveCertificate(
        [acme_files(around.place), self_signed(NAME, tmp_path / "keys")], names=[NAME], now=around.now
    )
    seen: list[object] = []
    watching = asyncio.run_coroutine_threadsafe(live.watch(seen.append, every=0.1), around.loop._loop)
    stop = asyncio.Event()
    keeping = asyncio.run_coroutine_threadsafe(
        acme.keep(
            around.wanted(pebble, contact="beheer@zegel.test"),
            around.place,
            listen=[("127.0.0.1", around.http_port)],
            now=around.now,
            stop=stop,
            tell=around.told.append,
        ),
        around.loop._loop,
    )
    until(lambda: len(seen) == 2, patience=60)
    around.loop.call(stop.set)
    keeping.result(PATIENCE)
    watching.cancel()
    assert isinstance(seen[1], Loaded)
    assert around.told == [Issued(seen[1].names, seen[1].ends)]
    client = ssl.create_default_context(cadata=pebble.root().decode())
    assert meet(live.context, client, NAME).version() == "TLSv1.3"
    for path in around.place.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name for path in around.place.iterdir()} == {"account.key", "certificate.pem", "last-try.json"}


def test_it_is_for_all_names_and_has_a_strong_key(around: Surroundings) -> None:
    pebble = around.pebble().start()
    around.listen()
    told = around.round(around.keeper(around.wanted(pebble, NAME, f"mx.{NAME}")))
    assert isinstance(told, Issued), told
    assert sorted(told.names) == sorted([NAME, f"mx.{NAME}"])
    public = leaf(around.file).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)


def test_it_is_renewed_for_the_same_account_with_another_key(around: Surroundings) -> None:
    pebble = around.pebble().start()
    around.listen()
    keeper = around.keeper(around.wanted(pebble))
    around.round(keeper)
    before, account = leaf(around.file), (around.place / "account.key").read_bytes()
    around.ahead = 2 * LIFE / 3 + timedelta(hours=1)
    assert isinstance(around.round(keeper), Issued)
    after = leaf(around.file)
    assert after.serial_number != before.serial_number
    assert after.public_key() != before.public_key()
    assert (around.place / "account.key").read_bytes() == account
    assert "There are now 2 accounts" not in pebble.log()


def test_nothing_is_ordered_before_its_time(around: Surroundings) -> None:
    pebble = around.pebble().start()
    around.listen()
    keeper = around.keeper(around.wanted(pebble))
    around.round(keeper)
    around.ahead = LIFE / 2
    asyncio.run_coroutine_threadsafe(keeper.round(), around.loop._loop).result(PATIENCE)
    assert len(around.told) == 1
    assert pebble.log().count("POST /order-plz") == 1


def test_nonces_that_are_refused_are_no_trouble(around: Surroundings) -> None:
    pebble = around.pebble(nonces_refused=30).start()
    around.listen()
    assert isinstance(around.round(around.keeper(around.wanted(pebble))), Issued)


def test_what_was_shown_before_need_not_be_shown_again(around: Surroundings) -> None:
    pebble = around.pebble(environment={"PEBBLE_AUTHZREUSE": "100"}).start()
    around.listen()
    keeper = around.keeper(around.wanted(pebble))
    around.round(keeper)
    around.ahead = LIFE - timedelta(days=1)
    assert isinstance(around.round(keeper), Issued)
    assert pebble.log().count("POST /chalZ/") == 1


# What it does not give


def test_an_authority_that_is_away_and_comes_back(around: Surroundings) -> None:
    """It has forgotten the account by then."""
    pebble = around.pebble().start()
    around.listen()
    keeper = around.keeper(around.wanted(pebble))
    around.round(keeper)
    before = around.file.read_bytes()
    pebble.stop()
    around.ahead = LIFE - timedelta(days=10)
    assert "can't be reached" in trouble(around.round(keeper))
    assert around.file.read_bytes() == before
    pebble.start()
    around.ahead += 2 * FIRST_PAUSE
    assert isinstance(around.round(keeper), Issued)
    assert around.file.read_bytes() != before


@contextmanager
def nobody(around: Surroundings) -> Iterator[None]:
    """On port 80."""
    yield


@contextmanager
def somebody_else(around: Surroundings) -> Iterator[None]:
    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"It works!")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", around.http_port), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def no_name(around: Surroundings) -> Iterator[None]:
    around.listen()
    around.loop.call(lambda: around.dns.update({("elders.test", "A"): ["127.0.0.1"]}))
    yield


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (nobody, f"The authority can't reach {NAME} on port 80"),
        (somebody_else, f"Something else than Zegel answers for {NAME} on port 80"),
        (no_name, f"The authority can't reach {NAME} on port 80"),  # so Pebble says; others say that it has no address
    ],
    ids=["nobody answers", "somebody else answers", "no address"],
)
def test_a_name_that_can_not_be_shown_to_be_ours_leaves_the_old_certificate(
    around: Surroundings, reason: Callable[[Surroundings], Any], said: str
) -> None:
    pebble = around.pebble().start()
    around.listen()
    keeper = around.keeper(around.wanted(pebble))
    around.round(keeper)
    before = around.file.read_bytes()
    around.loop.call(around.answers.close)
    around.answers.servers.clear()
    pebble.stop()
    pebble.start()  # it has forgotten that the name was shown to be ours
    around.ahead = LIFE - timedelta(days=10)
    with reason(around):
        assert said in trouble(around.round(keeper))
    assert around.file.read_bytes() == before
    tried = last_try(around.place)
    assert tried is not None and tried.trouble is not None and said in tried.trouble


def test_a_contact_that_the_authority_does_not_take_is_said(around: Surroundings) -> None:
    pebble = around.pebble().start()
    around.listen()
    told = around.round(around.keeper(around.wanted(pebble, contact="beheer")))
    assert trouble(told) == "The authority does not take acme.contact."


def test_an_authority_that_wants_an_account_of_its_own_is_said(around: Surroundings) -> None:
    pebble = around.pebble(settings={"externalAccountBindingRequired": True, "externalAccountMACKeys": {}}).start()
    around.listen()
    told = around.round(around.keeper(around.wanted(pebble)))
    assert trouble(told).startswith("The authority wants an account that was made with it beforehand")


# Killed

KEEPING = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from zegel.edge import acme

folder, directory, extra_ca, port = sys.argv[1:]
asyncio.run(
    acme.keep(
        acme.Wanted(directory, ("zegel.test",), "", Path(extra_ca)),
        Path(folder),
        listen=[("127.0.0.1", int(port))],
        now=lambda: datetime.now(UTC),
        stop=asyncio.Event(),
        tell=print,
        ready=lambda: print("ready", flush=True),
    )
)
"""


def test_a_process_that_is_killed_during_an_order_is_followed_by_one_that_succeeds(around: Surroundings) -> None:
    pebble = around.pebble(environment={"PEBBLE_VA_NOSLEEP": "0", "PEBBLE_VA_SLEEPTIME": "600"}).start()
    arguments = [str(around.place), pebble.directory, str(around.authority.certificate_path), str(around.http_port)]
    with subprocess.Popen([sys.executable, "-c", KEEPING, *arguments], stdout=subprocess.PIPE) as process:
        until(lambda: "POST /chalZ/" in pebble.log(), patience=60)
        process.send_signal(signal.SIGKILL)
    assert not around.file.exists()
    pebble.stop()
    pebble = around.pebble().start()
    around.listen()
    around.ahead = 2 * FIRST_PAUSE
    assert isinstance(around.round(around.keeper(around.wanted(pebble))), Issued)
    assert examine(acme_files(around.place)).names == (NAME,)
