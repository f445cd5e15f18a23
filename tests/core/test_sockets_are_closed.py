"""What the tests of the core may not do, tried."""

from __future__ import annotations

import _socket
import socket
import urllib.request
from collections.abc import Callable

import pytest

from tests.core.conftest import SocketsAreClosed

WAYS: list[Callable[[], object]] = [
    socket.socket,
    _socket.socket,
    socket.socketpair,
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: socket.getaddrinfo("example.org", 25),
    lambda: socket.gethostbyname("example.org"),
    lambda: urllib.request.urlopen("http://127.0.0.1:9/"),
]


@pytest.mark.parametrize("way", WAYS)
def test_no_test_of_the_core_touches_a_socket(way: Callable[[], object]) -> None:
    with pytest.raises(SocketsAreClosed):
        way()
