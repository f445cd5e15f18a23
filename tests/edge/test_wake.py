"""Wake-ups: whoever listens is woken, and nothing that lies in the folder can stop who rings."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zegel.edge.wake import CROWD_LASTS, Bell, Crowd, Rope, ring

LONG = 30.0  # seconds; who waits so long was not woken


async def woken(bell: Bell) -> bool:
    begun = time.monotonic()
    await bell.wait(LONG)
    return time.monotonic() - begun < LONG


def test_who_listens_is_woken(tmp_path: Path) -> None:
    async def story() -> None:
        bell = Bell(tmp_path)
        waiting = asyncio.create_task(woken(bell))
        await asyncio.sleep(0.05)
        ring(tmp_path)
        assert await waiting
        bell.close()

    asyncio.run(story())


def test_a_ring_before_the_wait_is_not_lost(tmp_path: Path) -> None:
    async def story() -> None:
        bell = Bell(tmp_path)
        ring(tmp_path)
        assert await woken(bell)
        bell.ring()
        assert await woken(bell)
        bell.close()

    asyncio.run(story())


def test_without_a_ring_the_wait_ends_by_itself(tmp_path: Path) -> None:
    async def story() -> None:
        bell = Bell(tmp_path)
        await asyncio.wait_for(bell.wait(0.05), LONG)
        bell.close()

    asyncio.run(story())


def test_a_ring_wakes_once(tmp_path: Path) -> None:
    async def story() -> None:
        bell = Bell(tmp_path)
        for _ in range(50):
            ring(tmp_path)
        assert await woken(bell)
        begun = time.monotonic()
        await bell.wait(0.2)
        assert time.monotonic() - begun >= 0.19
        bell.close()

    asyncio.run(story())


LISTENER = """
import asyncio, pathlib, sys
from zegel.edge.wake import Bell
async def story():
    bell = Bell(pathlib.Path(sys.argv[1]))
    print("listening", flush=True)
    await bell.wait(30)
    print("woken", flush=True)
    sys.stdin.read()
asyncio.run(story())
"""


@contextmanager
def listener(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            yield process
        finally:
            process.kill()


def test_every_process_is_woken(tmp_path: Path) -> None:
    with listener(tmp_path) as one, listener(tmp_path) as other:
        ring(tmp_path)
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == "woken\n"


def test_the_bell_of_a_killed_process_is_taken_away(tmp_path: Path) -> None:
    with listener(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(list(tmp_path.iterdir())) == 1
    ring(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_listener_that_is_stuck_does_not_hold_up_who_rings(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stuck:
        stuck.bind(str(tmp_path / "1.bell"))
        for _ in range(10_000):
            ring(tmp_path)
        assert (tmp_path / "1.bell").exists()


@pytest.mark.parametrize("odd", ["a file", "a folder", "a dangling link"])
def test_what_is_no_bell_does_no_harm(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "0.bell"
    match odd:
        case "a file":
            path.write_text("x")
        case "a folder":
            path.mkdir()
        case _:
            path.symlink_to("nowhere")

    async def story() -> None:
        bell = Bell(tmp_path)
        ring(tmp_path)
        assert await woken(bell)
        bell.close()

    asyncio.run(story())


def test_a_folder_that_is_not_there_does_no_harm(tmp_path: Path) -> None:
    ring(tmp_path / "nothing")


def test_ringing_never_raises_even_without_a_file_descriptor(tmp_path: Path) -> None:
    """Behind it lies a message that was accepted; nothing that goes wrong here may undo that."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(one.name) for one in Path("/proc/self/fd").iterdir())
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    try:
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        ring(tmp_path)
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_deep_folder_is_as_good_as_another(tmp_path: Path) -> None:
    """The name of a socket has room for 107 octets."""
    deep = tmp_path / ("d" * 100) / "run"

    async def story() -> None:
        bell = Bell(deep)
        ring(deep)
        assert await woken(bell)
        bell.close()
        assert list(deep.iterdir()) == []

    asyncio.run(story())


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        bell = Bell(tmp_path)
        bell.close()

    asyncio.run(story())
    assert list(tmp_path.iterdir()) == []


def test_a_bell_of_an_earlier_process_with_the_same_id_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as earlier:
        earlier.bind(str(tmp_path / f"{os.getpid()}.bell"))

    async def story() -> None:
        bell = Bell(tmp_path)
        ring(tmp_path)
        assert await woken(bell)
        bell.close()

    asyncio.run(story())


# The rope, and the crowd


def test_many_who_pull_at_once_ring_at_once_and_once_more(tmp_path: Path) -> None:
    async def story() -> int:
        bell = Bell(tmp_path)
        rings = 0
        rope = Rope(tmp_path, pause=0.05)
        for _ in range(50):
            rope.pull()
        end = time.monotonic() + LONG
        while rings < 2 and time.monotonic() < end:
            rings += await woken(bell)
        rope.pull()  # and who comes later is heard as well
        assert await woken(bell)
        bell.close()
        return rings

    assert asyncio.run(story()) == 2


def test_a_rope_without_a_bell_is_no_trouble(tmp_path: Path) -> None:
    async def story() -> None:
        Rope(tmp_path / "nowhere").pull()

    asyncio.run(story())


def test_a_crowd_is_there_for_a_moment_and_other_processes_see_it(tmp_path: Path) -> None:
    now = [1000.0]
    door, dispatch = (Crowd(tmp_path, clock=lambda: now[0]) for _ in range(2))
    assert not dispatch.is_there()
    door.tell()
    assert dispatch.is_there()
    now[0] += CROWD_LASTS + 0.01
    assert not dispatch.is_there()
    door.tell()
    assert dispatch.is_there()


def test_a_crowd_of_the_future_is_none_and_a_lost_folder_is_no_trouble(tmp_path: Path) -> None:
    now = [1000.0]
    crowd = Crowd(tmp_path, clock=lambda: now[0])
    crowd.tell()
    now[0] -= 3600  # the clock went back
    assert not crowd.is_there()
    crowd.tell()
    assert crowd.is_there()
    nowhere = Crowd(tmp_path / "nowhere")
    nowhere.tell()
    assert not nowhere.is_there()
