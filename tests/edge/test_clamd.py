"""The client of clamd, before the real one and before what is none."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.needs import needs
from tests.peers import free_port
from tests.peers.clamd import SIGNATURE, ClamAv, harmless_malware
from zegel.edge.clamd import Clamd, Clean, Infected, NotExamined, Why
from zegel.settings import Listen


@pytest.fixture(scope="module")
def clamav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClamAv]:
    needs("clamav-daemon")
    with ClamAv(tmp_path_factory.mktemp("clamav"), most=3_000_000) as peer:
        yield peer


@contextmanager
def impostor(reply: bytes) -> Iterator[Clamd]:
    """Something that listens, says ``reply``, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(reply)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(5)
                with suppress(OSError):  # what was not read would take the reply along
                    while connection.recv(65_536):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Clamd(Listen(host="127.0.0.1", port=server.getsockname()[1]), patience=5)
    thread.join(5)


def why(clamd: Clamd, octets: bytes = b"x") -> Why:
    with pytest.raises(NotExamined) as raised:
        clamd.examine(octets)
    return raised.value.why


def test_nobody_there_is_no_verdict(tmp_path: Path) -> None:
    assert why(Clamd(Listen(host="127.0.0.1", port=free_port()))) is Why.AWAY
    assert why(Clamd(tmp_path / "socket")) is Why.AWAY


def test_silence_is_no_verdict() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = Listen(host="127.0.0.1", port=server.getsockname()[1])
        assert why(Clamd(place, patience=0.2)) is Why.AWAY


def test_a_verdict_that_drips_is_none() -> None:
    """A thread of the portal waits for it: for the patience that was set, not for that long at each octet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                while not ended.wait(0.05):
                    connection.sendall(b"s")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        place = Listen(host="127.0.0.1", port=server.getsockname()[1])
        assert why(Clamd(place, patience=0.4)) is Why.AWAY
        ended.set()
        thread.join(5)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"", Why.AWAY),
        (b"\0", Why.AWAY),
        (b"stream: OK", Why.UNCLEAR),  # cut off
        (b"stream: OK\0", None),
        (b"stream: OKAY\0", Why.UNCLEAR),
        (b"OK\0", Why.UNCLEAR),
        (b"stream: \0OK", Why.UNCLEAR),
        (b"UNKNOWN COMMAND\0", Why.UNCLEAR),
        (b"stream: Can't allocate memory ERROR\0", Why.UNCLEAR),
        (b"INSTREAM size limit exceeded. ERROR\0", Why.TOO_LARGE),
        (b"220 mx.example.org ESMTP\r\n", Why.UNCLEAR),
        (b"x" * 10_000, Why.UNCLEAR),
    ],
)
def test_only_a_clear_word_is_a_verdict(reply: bytes, expected: Why | None) -> None:
    with impostor(reply) as clamd:
        if expected is None:
            assert clamd.examine(b"x") == Clean()
        else:
            assert why(clamd) is expected


def test_the_name_of_what_was_found_can_not_be_anything() -> None:
    with impostor(b"stream: Evil\nName {subject} FOUND\0") as clamd:
        assert clamd.examine(b"x") == Infected("Evil_Name__subject_")


def test_a_version_is_that_of_clamd_or_none() -> None:
    with impostor(b"220 mx.example.org ESMTP\r\n") as clamd, pytest.raises(NotExamined):
        clamd.version()


def test_the_real_one_says_its_version(clamav: ClamAv) -> None:
    for clamd in both(clamav):
        assert clamd.version().startswith("ClamAV 1.")


def both(clamav: ClamAv) -> tuple[Clamd, Clamd]:
    return Clamd(Listen(host=clamav.ip, port=clamav.port)), Clamd(clamav.socket)


def test_the_real_one_finds_what_it_knows_and_nothing_else(clamav: ClamAv) -> None:
    for clamd in both(clamav):
        assert clamd.examine(harmless_malware()) == Infected(SIGNATURE)
        assert clamd.examine(b"x" * 100_000 + harmless_malware()) == Infected(SIGNATURE)
        assert clamd.examine(b"Akkoord.") == Clean()
        assert clamd.examine(b"") == Clean()


def test_what_is_too_large_for_the_real_one_was_not_examined(clamav: ClamAv) -> None:
    for clamd in both(clamav):
        assert why(clamd, os.urandom(3_000_001)) is Why.TOO_LARGE
        assert clamd.examine(os.urandom(2_900_000)) == Clean()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 50), max_size=20))
def test_every_cut_is_the_same_stream(clamav: ClamAv, cuts: list[int]) -> None:
    octets = b"voor " + harmless_malware() + b" na"
    examination = both(clamav)[0].begin()
    for cut in cuts:
        examination.feed(octets[:cut])
        octets = octets[cut:]
    examination.feed(octets)
    assert examination.verdict() == Infected(SIGNATURE)


def test_what_is_given_up_leaves_the_next_alone(clamav: ClamAv) -> None:
    clamd = both(clamav)[1]
    examination = clamd.begin()
    examination.feed(harmless_malware())
    examination.abandon()
    assert clamd.examine(b"x") == Clean()
