"""A list of domains that a web server gives, as the running gateway keeps it fresh."""

from __future__ import annotations

import http.server
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from tests.peers import free_port, until
from tests.peers.gateway import ORGANISATION, Gateway
from tests.peers.site import NAME, Site, gives, names, site
from zegel.local.authority import LocalAuthority

HOST: Final = "127.0.0.1"


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[tuple[Site, LocalAuthority]]:
    authority = LocalAuthority.load_or_create(tmp_path / "authority")
    with site(*authority.issue([NAME, HOST], tmp_path)) as running:
        running.answers["/lijst"] = gives(b"een.test\n", ETag='"1"')
        yield running, authority


@pytest.fixture
def gateway(tmp_path: Path, keeper: tuple[Site, LocalAuthority]) -> Iterator[Gateway]:
    """Not started; two processes dispatch."""
    running, authority = keeper
    with names({(NAME, "A"): [HOST]}) as port:
        found = Gateway(
            tmp_path / "gateway", authority=authority, resolver=(HOST, port), mx_port=free_port(), processes=2
        )
        found.command("organisation", "add", ORGANISATION)
        found.command("lists", "add", "koepel", "--organisation", ORGANISATION, "--url", running.url())
        yield found
        found.stop()


def put_off(gateway: Gateway) -> None:
    """The list was last tried long ago, so it is due."""
    with closing(sqlite3.connect(gateway.state / "zegel.sqlite3")) as database, database:
        database.execute("UPDATE accounts_directdeliverylist SET tried_at = '2026-01-01 00:00:00'")


def said(gateway: Gateway, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_dispatch_reads_a_list_that_is_due_once_and_tells(
    gateway: Gateway, keeper: tuple[Site, LocalAuthority]
) -> None:
    running, _ = keeper
    put_off(gateway)
    running.answers["/lijst"] = gives(b"twee.test\ndrie.test dane\n")
    before = len(running.asked)
    with gateway:
        until(lambda: bool(said(gateway, "list_read")))
        assert "drie.test tls1.2 dane" in gateway.command("lists", "show", "koepel")
    assert [one["domains"] for one in said(gateway, "list_read")] == [2]
    assert [headers.get("if-none-match") for _, headers in running.asked[before:]] == ['"1"']
    assert said(gateway, "broken") == []


def test_a_server_that_is_silent_holds_up_no_end_and_changes_nothing(
    gateway: Gateway, keeper: tuple[Site, LocalAuthority]
) -> None:
    running, _ = keeper
    put_off(gateway)
    asked, end = threading.Event(), threading.Event()

    def silent(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.set()
        end.wait(60)

    running.answers["/lijst"] = silent
    try:
        with gateway:
            assert asked.wait(20)
    finally:
        end.set()
    stopped = [one["role"] for one in said(gateway, "stopped")]
    assert stopped.count("dispatch") == 2
    assert said(gateway, "list_read") == said(gateway, "list_not_read") == said(gateway, "broken") == []
    assert "een.test tls1.2 certificate-validation" in gateway.command("lists", "show", "koepel")
