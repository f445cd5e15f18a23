"""A hatch between processes of one machine: small questions go through, and all that wait are answered at once.

One process serves, without threads: while it works, questions gather in the sockets, and its next round takes all of
them. Who asks does so from an event loop. Only processes of the same account may come.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from zegel.edge.wake import within_reach

MOST_AT_ONCE: Final = 256  # questions
LARGEST: Final = 64 * 1024 * 1024  # octets of one question or answer
GATHER: Final = 0.0007  # seconds that a round waits for more questions, while there are many
PATIENCE: Final = 1.0  # seconds for who asked to take its answers; the others wait as long
LOOK: Final = 0.5  # seconds between looks whether it is time to stop
_FRAME: Final = struct.Struct("!IQ")  # octets that follow, number of the question
_PIECE: Final = 1 << 20
_PEER: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred, unix(7)


class NobodyThere(Exception):
    """Nobody serves; nothing was asked."""


class AnswerLost(Exception):
    """Who serves went away after the question was asked: it may have been carried out, or not."""


Settle = Callable[[Sequence[bytes]], Sequence[bytes]]


class Serving:
    """The side that answers. For one thread."""

    def __init__(self, path: Path) -> None:
        """Takes the place of who served there before. The folder is private (0700)."""
        self._path = path
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with within_reach(path.parent) as near:
            self._listener.bind(str(near / path.name))
        self._listener.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._asking: set[_Asking] = set()
        self._last = 0  # questions of the last round

    @property
    def is_asked(self) -> bool:
        """Somebody is connected."""
        return bool(self._asking)

    def round(self, settle: Settle, *, most: int = MOST_AT_ONCE) -> int:
        """Waits for questions, up to :data:`LOOK` seconds; has those that are there settled, and answers them: how many
        there were. ``settle`` gives an answer for each, in order, and doesn't raise."""
        for key, _ in self._ready():
            if key.fileobj is self._listener:
                self._let_in()
            else:
                self._read(cast(_Asking, key.data))
        asked: list[tuple[_Asking, int, bytes]] = []
        for one in self._asking:
            asked += [(one, *question) for question in one.questions(most - len(asked))]
        if asked:
            for (one, number, _), answer in zip(asked, settle([octets for *_, octets in asked]), strict=True):
                one.answer(number, answer)
            for one in {one for one, *_ in asked}:
                if not one.send():
                    self._drop(one)
        self._last = len(asked)
        return len(asked)

    def _ready(self) -> Sequence[tuple[selectors.SelectorKey, int]]:
        """Where several came together a moment ago, more are on their way; who is alone waits for nobody."""
        if any(one.has_questions for one in self._asking):
            return self._selector.select(0)
        ready = self._selector.select(LOOK)
        if ready and self._last > 1:
            time.sleep(GATHER)
            return self._selector.select(0)
        return ready

    def close(self) -> None:
        """Who still asks finds nobody there."""
        for one in tuple(self._asking):
            self._drop(one)
        self._selector.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _let_in(self) -> None:
        with suppress(BlockingIOError):
            came, _ = self._listener.accept()
            _, uid, _ = _PEER.unpack(came.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if uid != os.geteuid():
                came.close()
                return
            came.setblocking(False)
            asking = _Asking(came)
            self._asking.add(asking)
            self._selector.register(came, selectors.EVENT_READ, asking)

    def _read(self, one: _Asking) -> None:
        if not one.read():
            self._drop(one)

    def _drop(self, one: _Asking) -> None:
        if one in self._asking:
            self._asking.remove(one)
            self._selector.unregister(one.socket)
            one.socket.close()


class _Asking:
    """Who asks, as the serving side sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._frames = _Frames()
        self._answers: list[bytes] = []

    @property
    def has_questions(self) -> bool:
        return self._frames.has_whole

    def read(self) -> bool:
        """Takes what is there; ``False``: it went away, or talks nonsense."""
        with suppress(BlockingIOError):
            while True:
                try:
                    octets = self.socket.recv(_PIECE)
                except ConnectionError:
                    return False
                if not octets or not self._frames.feed(octets):
                    return False
                if len(octets) < _PIECE:
                    break
        return True

    def questions(self, most: int) -> Iterator[tuple[int, bytes]]:
        while most > 0 and (found := self._frames.take()) is not None:
            yield found
            most -= 1

    def answer(self, number: int, octets: bytes) -> None:
        self._answers.append(_FRAME.pack(len(octets), number) + octets)

    def send(self) -> bool:
        """All answers; ``False`` when nobody takes them any more. Answers are small: who asked has room for them."""
        octets, self._answers = b"".join(self._answers), []
        try:
            self.socket.settimeout(PATIENCE)
            self.socket.sendall(octets)
            self.socket.setblocking(False)
        except OSError:
            return False
        return True


class _Frames:
    """Octets as they come, taken as numbered pieces."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, octets: bytes) -> bool:
        """``False``: what comes is no frame of ours."""
        self._octets += octets
        return len(self._octets) < _FRAME.size or self._size() <= LARGEST

    @property
    def has_whole(self) -> bool:
        if len(self._octets) < _FRAME.size:
            return False
        return len(self._octets) >= _FRAME.size + self._size()

    def _size(self) -> int:
        size: int = _FRAME.unpack_from(self._octets)[0]
        return size

    def take(self) -> tuple[int, bytes] | None:
        if not self.has_whole:
            return None
        size, number = _FRAME.unpack_from(self._octets)
        end = _FRAME.size + size
        octets = bytes(memoryview(self._octets)[_FRAME.size : end])
        del self._octets[:end]
        return number, octets


class Hatch:
    """The side that asks. For one event loop; connects when it is asked first, and again after it was cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._channel: _Channel | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, octets: bytes) -> bytes:
        """The answer. Raises :class:`NobodyThere`, :class:`AnswerLost`."""
        channel = self._channel
        if channel is None or channel.is_closed:
            channel = await self._connected()
        return await channel.ask(octets)

    def close(self) -> None:
        """Answers that are still to come are lost."""
        if self._channel is not None:
            self._channel.close()

    async def _connected(self) -> _Channel:
        async with self._connecting:
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            try:
                with within_reach(self._path.parent) as near:
                    _, channel = await asyncio.get_running_loop().create_unix_connection(
                        _Channel, str(near / self._path.name)
                    )
            except OSError as cause:
                raise NobodyThere from cause
            self._channel = channel
            return channel


class _Channel(asyncio.Protocol):
    """One connection to who serves."""

    def __init__(self) -> None:
        self.is_closed = False
        self._transport: asyncio.Transport | None = None
        self._frames = _Frames()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._outgoing: list[bytes] = []

    async def ask(self, octets: bytes) -> bytes:
        if self.is_closed:
            raise NobodyThere
        loop = asyncio.get_running_loop()
        if not self._outgoing:
            loop.call_soon(self._flush)
        self._number += 1
        self._outgoing.append(_FRAME.pack(len(octets), self._number) + octets)
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting[self._number] = answer
        return await answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        while (found := self._frames.take()) is not None:
            number, octets = found
            answer = self._waiting.pop(number, None)
            if answer is not None and not answer.done():
                answer.set_result(octets)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(AnswerLost())

    def _flush(self) -> None:
        octets, self._outgoing = b"".join(self._outgoing), []
        if self._transport is not None and not self.is_closed:
            self._transport.write(octets)
