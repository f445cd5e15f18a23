"""The core does no I/O, so neither do its tests: while one runs, nothing may touch a socket."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest


class SocketsAreClosed(RuntimeError):
    """A test of the core, or what it called, tried to use the network."""


class Gate:
    """Refuses whatever the interpreter says of sockets, below every library; open until it is closed."""

    def __init__(self) -> None:
        self.is_closed = False

    def __call__(self, event: str, _: tuple[Any, ...]) -> None:
        if self.is_closed and event.startswith("socket."):
            raise SocketsAreClosed(event)


GATE: Final = Gate()
sys.addaudithook(GATE)  # an audit hook stays for good; the gate is what opens and closes


@pytest.fixture(scope="module", autouse=True)
def _sockets_are_closed() -> Iterator[None]:
    GATE.is_closed = True
    yield
    GATE.is_closed = False
