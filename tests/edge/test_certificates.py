"""The certificate in force: what takes its place and what doesn't, what is said of it, and who notices the change."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from tests.edge.test_tls import DAY, NAME, Key, certificate, meet
from tests.local.running import Loop
from tests.peers import PATIENCE, until
from zegel.core.clock import Instant
from zegel.edge.certificates import (
    Fault,
    Files,
    LiveCertificate,
    Loaded,
    Told,
    TroubleSeen,
    acme_files,
    acme_folder,
    examine,
    self_signed,
)
from zegel.edge.tls import CertificateTrouble, opportunistic_context

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [uvloop.new_event_loop, asyncio.new_event_loop]
LONG = timedelta(days=200)


class Clock:
    """The wall clock, until it is moved."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> Instant:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


def put(folder: Path, *, ends: timedelta = LONG, **made: object) -> Files:
    """A new pair in place of the old one, as a program that renews puts it there."""
    fresh = certificate(folder / "fresh", ends=ends, **made)  # type: ignore[arg-type]
    return tuple(one.rename(folder / one.name) for one in fresh)  # type: ignore[return-value]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return put(tmp_path)


@pytest.fixture
def live(files: Files, clock: Clock) -> LiveCertificate:
    return LiveCertificate([files], names=[NAME], now=clock)


def seen(live: LiveCertificate, *, name: str | None = NAME, version: ssl.TLSVersion | None = None) -> bytes:
    """The certificate that a new connection sees."""
    client = opportunistic_context()
    if version is not None:
        client.minimum_version = client.maximum_version = version
    octets = meet(live.context, client, name).getpeercert(binary_form=True)
    assert octets is not None
    return octets


def of(files: Files) -> bytes:
    """The certificate in these files."""
    return x509.load_pem_x509_certificate(files[0].read_bytes()).public_bytes(Encoding.DER)


def trouble(told: Told | None) -> str:
    assert isinstance(told, TroubleSeen), told
    return told.what


# What doesn't take its place


def test_without_any_certificate_there_is_no_start(tmp_path: Path, clock: Clock) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    with pytest.raises(CertificateTrouble, match="There is no"):
        LiveCertificate([(chain, key)], names=[NAME], now=clock)


def test_a_certificate_that_can_not_be_read_is_no_reason_to_start_with_a_lesser_one(
    tmp_path: Path, clock: Clock
) -> None:
    """It would be served for months before anybody looked."""
    damaged, lesser = put(tmp_path / "damaged"), self_signed(NAME, tmp_path / "lesser")
    damaged[0].write_bytes(b"")
    with pytest.raises(CertificateTrouble, match="are not a readable PEM chain and its own key"):
        LiveCertificate([damaged, lesser], names=[NAME], now=clock)


@pytest.mark.parametrize("octets", [b"", b"garbage"])
@pytest.mark.parametrize("which", [0, 1])
def test_files_that_became_unreadable_change_nothing(
    live: LiveCertificate, files: Files, which: int, octets: bytes
) -> None:
    before = of(files)
    files[which].write_bytes(octets)
    assert trouble(live.look()) == (
        f"{files[0]} and {files[1]} are not a readable PEM chain and its own key. The certificate in force stays."
    )
    assert seen(live) == before


def test_half_of_a_change_is_not_taken_and_the_whole_is(live: LiveCertificate, files: Files, tmp_path: Path) -> None:
    before = of(files)
    chain, key = certificate(tmp_path / "fresh", ends=LONG)
    chain.rename(files[0])
    assert "are not a readable PEM chain and its own key" in trouble(live.look())
    assert seen(live) == before
    key.rename(files[1])
    assert isinstance(live.look(), Loaded)
    assert seen(live) == of(files) != before


@pytest.mark.parametrize("missing", [0, 1])
def test_files_that_are_gone_change_nothing(live: LiveCertificate, files: Files, missing: int) -> None:
    before = of(files)
    files[missing].unlink()
    assert trouble(live.look()).startswith("There is no ")
    assert seen(live) == before


def test_files_that_can_not_be_reached_change_nothing(live: LiveCertificate, files: Files) -> None:
    before = of(files)
    files[0].unlink()
    files[0].symlink_to(files[0])  # a circle: there is something, and nobody gets at it
    assert "are not a readable PEM chain and its own key" in trouble(live.look())
    assert seen(live) == before


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"begins": -2 * LONG, "ends": -DAY}, "expired on {ends}"),
        ({"begins": 2 * DAY}, "is valid from {begins} only (is the clock of this machine right?)"),
        ({"names": ("elders.test", "*.elders.test")}, f"is not for {NAME} but for elders.test, *.elders.test"),
        ({"names": (), "common_name": NAME}, f"is not for {NAME} but for no name"),
    ],
    ids=["expired", "not yet valid", "other names", "no names"],
)
def test_what_clients_that_verify_would_not_take_is_not_shown(
    live: LiveCertificate, files: Files, tmp_path: Path, made: dict[str, object], said: str
) -> None:
    before = of(files)
    put(tmp_path, **made)  # type: ignore[arg-type]
    now = datetime.now(UTC)
    said = said.format(ends=(now - DAY).strftime("%Y-%m-%d"), begins=(now + 2 * DAY).strftime("%Y-%m-%d"))
    assert trouble(live.look()) == f"The certificate {files[0]} {said}. The certificate in force stays."
    assert seen(live) == before


def test_a_weak_key_is_not_shown(live: LiveCertificate, files: Files, tmp_path: Path) -> None:
    before = of(files)
    put(tmp_path, key=rsa.generate_private_key(65537, 2048))
    assert "is too weak" in trouble(live.look())
    assert seen(live) == before


# What does


def test_a_new_certificate_is_shown(live: LiveCertificate, files: Files, tmp_path: Path) -> None:
    before = of(files)
    put(tmp_path, names=(NAME, "mx2.voorbeeld.test"))
    told = live.look()
    assert isinstance(told, Loaded)
    assert told.names == (NAME, "mx2.voorbeeld.test")
    assert seen(live) == of(files) != before


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [NAME, None], ids=["with a name", "without a name"])
@pytest.mark.parametrize("kinds", [("ecdsa", "rsa"), ("rsa", "ecdsa"), ("ecdsa", "ecdsa")])
def test_of_the_old_one_nothing_is_left_whatever_the_kinds_of_key(
    tmp_path: Path, clock: Clock, kinds: tuple[str, str], name: str | None, version: ssl.TLSVersion
) -> None:
    """A context keeps one certificate for each kind of key, so loading an RSA one does not remove an ECDSA one."""
    files = put(tmp_path, key=_key(kinds[0]))
    live = LiveCertificate([files], names=[NAME], now=clock)
    put(tmp_path, key=_key(kinds[1]))
    assert isinstance(live.look(), Loaded)
    assert seen(live, name=name, version=version) == of(files)


def _key(kind: str) -> Key:
    return rsa.generate_private_key(65537, 3072) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("above", [2048, 3072])
def test_the_chain_may_become_another(live: LiveCertificate, files: Files, tmp_path: Path, above: int) -> None:
    """Also one whose authority is weaker than what the first context allows."""
    put(tmp_path, signer=rsa.generate_private_key(65537, above))
    assert isinstance(live.look(), Loaded)
    assert seen(live) == of(files)


def test_files_that_did_not_change_are_not_read_again(live: LiveCertificate) -> None:
    assert live.look() is None
    assert live.look() is None


def test_a_certificate_whose_day_has_not_come_is_shown_when_it_comes(
    live: LiveCertificate, files: Files, tmp_path: Path, clock: Clock
) -> None:
    put(tmp_path, begins=2 * DAY)
    assert isinstance(live.look(), TroubleSeen)
    clock.ahead = 3 * DAY
    assert isinstance(live.look(), Loaded)
    assert seen(live) == of(files)


def test_one_that_is_no_worse_than_that_in_force_is_shown(tmp_path: Path, clock: Clock) -> None:
    """Who calls us by another name than we call ourselves must be able to renew as well."""
    files = put(tmp_path, names=("elders.test",))
    live = LiveCertificate([files], names=[NAME], now=clock)
    put(tmp_path, names=("elders.test",))
    assert isinstance(live.look(), Loaded)
    assert seen(live) == of(files)


def test_any_that_is_valid_takes_the_place_of_one_that_expired(tmp_path: Path, clock: Clock) -> None:
    files = put(tmp_path, begins=-LONG, ends=-DAY)
    live = LiveCertificate([files], names=[NAME], now=clock)
    put(tmp_path)
    assert isinstance(live.look(), Loaded)


# Where it comes from


def test_a_better_source_is_used_as_soon_as_it_is_there(tmp_path: Path, clock: Clock) -> None:
    lesser = self_signed(NAME, tmp_path / "lesser")
    better = acme_files(tmp_path / "better")
    live = LiveCertificate([better, lesser], names=[NAME], now=clock)
    assert seen(live) == of(lesser)
    assert live.look() is None
    chain, key = certificate(tmp_path / "fresh", ends=LONG)
    better[0].parent.mkdir()
    better[0].write_bytes(key.read_bytes() + chain.read_bytes())
    assert isinstance(live.look(), Loaded)
    assert seen(live) == of(better)


def test_there_is_no_way_back_to_a_lesser_source(tmp_path: Path, clock: Clock) -> None:
    lesser, better = self_signed(NAME, tmp_path / "lesser"), put(tmp_path / "better")
    live = LiveCertificate([better, lesser], names=[NAME], now=clock)
    before = of(better)
    better[0].unlink()
    assert isinstance(live.look(), TroubleSeen)
    assert seen(live) == before


@pytest.mark.parametrize(
    ("directory", "folder"),
    [
        ("https://acme-v02.api.letsencrypt.org/directory", "acme-v02.api.letsencrypt.org-directory"),
        ("https://acme-staging-v02.api.letsencrypt.org/directory", "acme-staging-v02.api.letsencrypt.org-directory"),
        ("https://localhost:14000/dir/", "localhost-14000-dir"),
        ("https://voorbeeld.test/../../etc", "voorbeeld.test-..-..-etc"),
    ],
)
def test_each_authority_has_a_folder_of_its_own(tmp_path: Path, directory: str, folder: str) -> None:
    assert acme_folder(tmp_path, directory) == tmp_path / "acme" / folder


# What is said


def test_the_same_trouble_is_said_once_a_day(live: LiveCertificate, files: Files, clock: Clock) -> None:
    files[0].write_bytes(b"")
    assert isinstance(live.look(), TroubleSeen)
    assert live.look() is None
    clock.ahead = timedelta(hours=23)
    assert live.look() is None
    clock.ahead = timedelta(hours=24)
    assert isinstance(live.look(), TroubleSeen)


def test_another_trouble_is_said_at_once(live: LiveCertificate, files: Files) -> None:
    files[0].write_bytes(b"")
    first = trouble(live.look())
    files[0].unlink()
    assert trouble(live.look()) != first


def test_trouble_that_was_over_is_said_when_it_comes_back(live: LiveCertificate, files: Files, tmp_path: Path) -> None:
    files[0].write_bytes(b"")
    first = trouble(live.look())
    put(tmp_path)
    assert isinstance(live.look(), Loaded)
    files[0].write_bytes(b"")
    assert trouble(live.look()) == first


def test_what_is_wrong_with_the_one_in_force_is_said(tmp_path: Path, clock: Clock) -> None:
    files = put(tmp_path, names=("elders.test",))
    live = LiveCertificate([files], names=[NAME], now=clock)
    assert trouble(live.look()) == (
        f"The certificate {files[0]} is not for {NAME} but for elders.test. No better one is in place."
    )


@pytest.mark.parametrize(
    ("life", "quiet", "loud"),
    [
        (timedelta(days=365), timedelta(days=350), timedelta(days=352)),
        (timedelta(days=90), timedelta(days=75), timedelta(days=77)),
        (timedelta(days=6), timedelta(days=4), timedelta(days=5)),
    ],
)
def test_an_end_that_is_near_is_said(
    tmp_path: Path, clock: Clock, life: timedelta, quiet: timedelta, loud: timedelta
) -> None:
    files = put(tmp_path, begins=timedelta(0), ends=life)
    live = LiveCertificate([files], names=[NAME], now=clock)
    clock.ahead = quiet
    assert live.look() is None
    clock.ahead = loud
    ends = examine(files).ends.strftime("%Y-%m-%d")
    assert trouble(live.look()) == f"The certificate {files[0]} ends on {ends}. No newer one is in place."


# Examined


@pytest.mark.parametrize(
    ("names", "wanted", "covered"),
    [
        (["mx.voorbeeld.test"], ["mx.voorbeeld.test"], True),
        (["MX.Voorbeeld.test"], ["mx.voorbeeld.TEST"], True),
        (["*.voorbeeld.test"], ["mx.voorbeeld.test"], True),
        (["a.test", "b.test"], ["b.test", "a.test"], True),
        (["a.test"], ["a.test", "b.test"], False),
        (["*.voorbeeld.test"], ["voorbeeld.test"], False),
        (["*.voorbeeld.test"], ["a.mx.voorbeeld.test"], False),
        (["*.test"], ["mx.voorbeeld.test"], False),
        (["m*.voorbeeld.test"], ["mx.voorbeeld.test"], False),
        (["voorbeeld.test"], ["mx.voorbeeld.test"], False),
        ([], ["mx.voorbeeld.test"], False),
    ],
)
def test_names_are_covered_as_clients_count_it(
    tmp_path: Path, names: Sequence[str], wanted: Sequence[str], covered: bool
) -> None:
    examined = examine(certificate(tmp_path, names=names))
    assert (Fault.OTHER_NAMES not in examined.faults(wanted, datetime.now(UTC))) is covered


def test_who_signed_it_is_told(tmp_path: Path) -> None:
    assert examine(self_signed("127.0.0.1", tmp_path)).is_self_signed
    assert examine(self_signed("127.0.0.1", tmp_path)).names == ("127.0.0.1",)


def test_those_who_only_look_at_files_load_nothing_that_talks_to_an_authority() -> None:
    """The processes with keys to mail don't hold an HTTP client for this."""
    script = (
        "import sys, zegel.compose.running, zegel.edge.certificates; print({'acme', 'requests'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "set()\n"


# Who notices


class Echo(asyncio.Protocol):
    """Says what it hears; ``STARTTLS`` makes it secure."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._upgrade: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if data == b"STARTTLS":
            self._transport.pause_reading()
            self._transport.write(b"220 ready")
            self._upgrade = asyncio.get_running_loop().create_task(self._start_tls())
        else:
            self._transport.write(data)

    async def _start_tls(self) -> None:
        with suppress(OSError):
            secure = await asyncio.get_running_loop().start_tls(self._transport, self, self._tls, server_side=True)
            assert secure is not None
            self._transport = secure


@pytest.fixture(params=LOOPS, ids=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    loop = Loop(request.param())
    yield loop
    loop.stop()


class Dialled:
    """A client that has seen a certificate and may say something."""

    def __init__(self, port: int, *, implicit: bool) -> None:
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        if not implicit:
            plain.sendall(b"STARTTLS")
            assert plain.recv(100) == b"220 ready"
        self.socket = opportunistic_context().wrap_socket(plain)
        octets = self.socket.getpeercert(binary_form=True)
        assert octets is not None
        self.certificate = octets

    def says(self, octets: bytes) -> bytes:
        self.socket.sendall(octets)
        return self.socket.recv(100)


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit TLS", "STARTTLS"])
def test_open_sessions_go_on_and_new_ones_see_the_new_certificate(
    loop: Loop, live: LiveCertificate, files: Files, tmp_path: Path, implicit: bool
) -> None:
    tls = live.context
    server = loop.run(_listen(tls, implicit=implicit))
    port = server.sockets[0].getsockname()[1]
    before = of(files)
    try:
        old = Dialled(port, implicit=implicit)
        assert old.certificate == before
        for _ in range(3):
            put(tmp_path)
            assert isinstance(live.look(), Loaded)
            fresh = Dialled(port, implicit=implicit)
            assert fresh.certificate == of(files) != before
            assert old.says(b"nog steeds") == b"nog steeds"
            assert fresh.says(b"nieuw") == b"nieuw"
            fresh.socket.close()
        old.socket.close()
    finally:
        loop.call(server.close)


async def _listen(tls: ssl.SSLContext, *, implicit: bool) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(
        lambda: Echo(tls), "127.0.0.1", 0, ssl=tls if implicit else None
    )


def test_the_files_are_watched_and_looked_at_at_once_when_told_to(
    loop: Loop, live: LiveCertificate, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Told] = []
    looks: list[Told | None] = []
    look = LiveCertificate.look

    def counted(self: LiveCertificate) -> Told | None:
        looks.append(look(self))
        return looks[-1]

    monkeypatch.setattr(LiveCertificate, "look", counted)
    watching = asyncio.run_coroutine_threadsafe(live.watch(told.append, every=3600), loop._loop)
    until(lambda: len(looks) == 1)  # or it would come between the two files that are put
    assert told == [live.loaded]
    put(tmp_path, names=(NAME, "mx2.voorbeeld.test"))
    loop.call(live.look_now)
    until(lambda: len(told) == 2)
    assert told[1] == live.loaded == Loaded((NAME, "mx2.voorbeeld.test"), examine(files).ends)
    watching.cancel()


def test_the_files_are_watched_without_being_told_to(
    loop: Loop, live: LiveCertificate, files: Files, tmp_path: Path
) -> None:
    told: list[Told] = []
    watching = asyncio.run_coroutine_threadsafe(live.watch(told.append, every=0.05), loop._loop)
    put(tmp_path)
    until(lambda: seen(live) == of(files))  # a look may come between the two files, and is told of as well
    assert told[-1] == live.loaded
    watching.cancel()


def test_a_look_that_breaks_does_not_end_the_watch(files: Files, tmp_path: Path, loop: Loop) -> None:
    breaks = [True]

    def now() -> Instant:
        if breaks:
            raise ArithmeticError
        return datetime.now(UTC)

    live = LiveCertificate([files], names=[NAME], now=now)
    told: list[Told] = []
    with capture_logs() as logged:
        watching = asyncio.run_coroutine_threadsafe(live.watch(told.append, every=0.05), loop._loop)
        until(lambda: bool(logged))
    assert {one["event"] for one in logged} == {"broken"}
    put(tmp_path)
    breaks.clear()
    until(lambda: len(told) == 2)
    assert seen(live) == of(files)
    watching.cancel()
