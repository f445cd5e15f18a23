"""The hatch: all that wait are answered at once, and who asks always learns whether it may have been done."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.needs import not_here
from zegel.edge.hatch import _FRAME, LARGEST, MOST_AT_ONCE, AnswerLost, Hatch, NobodyThere, Serving, Settle, _Frames

PATIENCE = 20.0


def shouted(asked: Sequence[bytes]) -> list[bytes]:
    return [one.upper() for one in asked]


@contextmanager
def served(path: Path, settle: Settle = shouted, *, most: int = MOST_AT_ONCE) -> Iterator[list[int]]:
    """By a thread, until the block ends; the sizes of its rounds."""
    serving, rounds, over = Serving(path), list[int](), threading.Event()

    def run() -> None:
        while not over.is_set():
            if count := serving.round(settle, most=most):
                rounds.append(count)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield rounds
    finally:
        over.set()
        thread.join(PATIENCE)
        serving.close()


def test_nobody_is_there(tmp_path: Path) -> None:
    async def story() -> None:
        hatch = Hatch(tmp_path / "hatch")
        with pytest.raises(NobodyThere):
            await hatch.ask(b"a")
        with served(tmp_path / "hatch"):
            assert await hatch.ask(b"a") == b"A"
        for _ in range(200):  # until it was noticed that the other side closed
            try:
                await hatch.ask(b"b")
            except AnswerLost:
                await asyncio.sleep(0.05)
            except NobodyThere:
                break
        else:
            raise AssertionError("somebody is there")
        with served(tmp_path / "hatch"):
            assert await hatch.ask(b"c") == b"C"
            hatch.close()

    asyncio.run(story())


def test_a_socket_that_nobody_listens_at_is_nobody(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "hatch"))
    left.close()  # its name stays, as after kill -9
    with pytest.raises(NobodyThere):
        asyncio.run(Hatch(tmp_path / "hatch").ask(b"a"))
    with served(tmp_path / "hatch"):
        assert asyncio.run(Hatch(tmp_path / "hatch").ask(b"a")) == b"A"


def test_who_goes_away_with_a_question_leaves_it_open(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "hatch"))
    listener.listen(1)

    def take_and_go() -> None:
        came, _ = listener.accept()
        came.recv(100)
        came.close()

    thread = threading.Thread(target=take_and_go)
    thread.start()
    with pytest.raises(AnswerLost):
        asyncio.run(Hatch(tmp_path / "hatch").ask(b"a"))
    thread.join(PATIENCE)
    listener.close()


def _has_sent(hatch: Hatch, questions: int) -> bool:
    """They lie in the socket; one more may wait for its answer since before."""
    channel = hatch._channel
    return channel is not None and len(channel._waiting) >= questions and not channel._outgoing


def test_what_comes_meanwhile_is_one_round_and_everybody_gets_their_own_answer(tmp_path: Path) -> None:
    is_busy, may_go_on = threading.Event(), threading.Event()

    def slowly(asked: Sequence[bytes]) -> list[bytes]:
        is_busy.set()
        assert may_go_on.wait(PATIENCE)
        return shouted(asked)

    async def story() -> None:
        hatches = [Hatch(tmp_path / "hatch") for _ in range(3)]
        first = asyncio.create_task(hatches[0].ask(b"first"))
        await asyncio.to_thread(is_busy.wait, PATIENCE)
        others = [asyncio.create_task(hatches[number % 3].ask(b"q%d" % number)) for number in range(90)]
        while not all(_has_sent(hatch, 30) for hatch in hatches):
            await asyncio.sleep(0.01)
        may_go_on.set()
        assert await first == b"FIRST"
        assert await asyncio.gather(*others) == [b"Q%d" % number for number in range(90)]
        for hatch in hatches:
            hatch.close()

    with served(tmp_path / "hatch", slowly) as rounds:
        asyncio.run(story())
    assert rounds[0] == 1 and sum(rounds) == 91 and len(rounds) <= 4


def test_what_is_too_much_for_one_round_is_for_the_next(tmp_path: Path) -> None:
    async def story() -> None:
        hatches = [Hatch(tmp_path / "hatch") for _ in range(3)]
        asked = [hatches[number % 3].ask(b"q%d" % number) for number in range(50)]
        assert await asyncio.gather(*asked) == [b"Q%d" % number for number in range(50)]
        for hatch in hatches:
            hatch.close()

    with served(tmp_path / "hatch", most=4) as rounds:
        asyncio.run(story())
    assert max(rounds) == 4 and sum(rounds) == 50


def test_large_questions_come_whole(tmp_path: Path) -> None:
    async def story() -> None:
        hatch = Hatch(tmp_path / "hatch")
        asked = [bytes([number]) * 3_000_000 for number in range(4)]
        assert await asyncio.gather(*map(hatch.ask, asked)) == shouted(asked)
        hatch.close()

    with served(tmp_path / "hatch"):
        asyncio.run(story())


def test_who_takes_no_answers_is_shown_out_and_the_others_stay(tmp_path: Path) -> None:
    async def story() -> None:
        hatch = Hatch(tmp_path / "hatch")
        with socket.socket(socket.AF_UNIX) as stopped:
            stopped.connect(str(tmp_path / "hatch"))
            await asyncio.to_thread(stopped.sendall, _FRAME.pack(8_000_000, 1) + bytes(8_000_000))
            assert await hatch.ask(b"a") == b"A"
        hatch.close()

    with served(tmp_path / "hatch"):
        asyncio.run(story())


def test_who_talks_nonsense_is_shown_out_and_the_others_stay(tmp_path: Path) -> None:
    async def story() -> None:
        hatch = Hatch(tmp_path / "hatch")
        assert await hatch.ask(b"a") == b"A"
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(PATIENCE)
            stranger.connect(str(tmp_path / "hatch"))
            stranger.sendall(_FRAME.pack(LARGEST + 1, 1))
            assert await asyncio.to_thread(stranger.recv, 1) == b""
        assert await hatch.ask(b"b") == b"B"
        hatch.close()

    with served(tmp_path / "hatch"):
        asyncio.run(story())


ANOTHER_ACCOUNT = """
import os, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.settimeout(20)
os._exit(0 if client.recv(1) == b"" else 1)
"""


def test_another_account_is_not_let_in() -> None:
    if os.geteuid() != 0:
        not_here("only root becomes somebody else")
    path = Path(f"/tmp/zegel-hatch-{os.getpid()}")  # every folder above it may be passed through
    try:
        with served(path):
            path.chmod(0o666)
            command = ["/usr/bin/python3", "-c", ANOTHER_ACCOUNT, str(path)]
            assert subprocess.run(command, user=65534, group=65534, timeout=60, check=False).returncode == 0
    finally:
        path.unlink(missing_ok=True)


@given(st.lists(st.binary(max_size=200), max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_any_cut_gives_the_same_frames(pieces: list[bytes], cuts: list[int]) -> None:
    frames, octets = _Frames(), b"".join(_FRAME.pack(len(one), number) + one for number, one in enumerate(pieces))
    found = []
    at = turn = 0
    while at < len(octets):
        cut = cuts[turn % len(cuts)]
        assert frames.feed(octets[at : at + cut])
        at, turn = at + cut, turn + 1
        while (one := frames.take()) is not None:
            found.append(one)
    assert found == list(enumerate(pieces))


def test_where_a_name_would_be_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with served(deep / "hatch"):
        assert asyncio.run(Hatch(deep / "hatch").ask(b"a")) == b"A"
