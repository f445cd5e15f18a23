"""A program that hears of things from the running gateway, over HTTPS, also when the gateway is killed meanwhile."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.peers import free_port, until
from tests.peers.gateway import ORGANISATION, Gateway
from tests.peers.site import NAME, Site, gives, names, site
from zegel.local.authority import LocalAuthority

HOST: Final = "127.0.0.1"
PATH: Final = "/hoort"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[Site, LocalAuthority]]:
    authority = LocalAuthority.load_or_create(tmp_path / "authority")
    with site(*authority.issue([NAME, HOST], tmp_path)) as running:
        running.answers[PATH] = gives(b"", status=204)
        yield running, authority


@pytest.fixture
def gateway(tmp_path: Path, program: tuple[Site, LocalAuthority]) -> Iterator[Gateway]:
    """Not started; two processes dispatch."""
    with names({(NAME, "A"): [HOST]}) as port:
        found = Gateway(
            tmp_path / "gateway",
            authority=program[1],
            resolver=(HOST, port),
            mx_port=free_port(),
            processes=2,
            settings='[webhooks]\nnetworks = ["127.0.0.0/8"]\n',
        )
        found.command("organisation", "add", ORGANISATION)
        yield found
        found.stop()


def added(gateway: Gateway, url: str) -> tuple[str, bytes]:
    """The webhook's name, and its secret."""
    gateway.command("webhooks", "add", url, "--organisation", ORGANISATION, "--description", "dossier")
    webhook = gateway.command("webhooks", "list").split()[0]
    printed = gateway.command("webhooks", "renew", webhook)
    secret = next(line for line in printed.splitlines() if line.startswith("whsec_"))
    gateway.command("webhooks", "end-previous", webhook)
    return webhook, base64.b64decode(secret.removeprefix("whsec_"))


def requests(gateway: Gateway, webhook: str) -> list[str]:
    """What became of each, the newest first; a log line may stand between them."""
    return [line for line in gateway.command("webhooks", "requests", webhook).splitlines() if "webhook.test" in line]


def is_signed(headers: dict[str, str], body: bytes, secret: bytes) -> bool:
    """As the program checks it."""
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode()
    return f"v1,{wanted}" in headers["webhook-signature"].split()


def test_the_running_gateway_tells_a_program_once_and_signs_it(
    gateway: Gateway, program: tuple[Site, LocalAuthority]
) -> None:
    running, _ = program
    webhook, secret = added(gateway, running.url(PATH))
    with gateway:
        gateway.command("webhooks", "test", webhook)
        until(lambda: " taken " in " ".join(requests(gateway, webhook)))
    (body,) = running.bodies
    ((path, headers),) = running.asked
    assert path == PATH and is_signed(headers, body, secret)
    assert not is_signed(headers, body + b" ", secret)
    assert json.loads(body)["type"] == "webhook.test"
    said = [json.loads(line)["event"] for line in gateway.log().splitlines() if line.startswith("{")]
    assert "webhook_told" in said and "broken" not in said


def test_who_is_killed_while_a_program_answers_tells_it_again_under_the_same_id(
    gateway: Gateway, program: tuple[Site, LocalAuthority]
) -> None:
    running, _ = program
    webhook, secret = added(gateway, running.url(PATH))
    heard, end = threading.Event(), threading.Event()

    def silent(request: http.server.BaseHTTPRequestHandler) -> None:
        heard.set()
        end.wait(60)

    running.answers[PATH] = silent
    try:
        gateway.start()
        gateway.command("webhooks", "test", webhook)
        until(heard.is_set)
        gateway.kill_everything()
    finally:
        end.set()
    running.answers[PATH] = gives(b"", status=204)
    with closing(sqlite3.connect(gateway.state / "zegel.sqlite3")) as database, database:
        database.execute("UPDATE custody_webhookrequest SET due_at = '2026-01-01 00:00:00'")  # its lease is over
    with gateway:
        until(lambda: " taken " in " ".join(requests(gateway, webhook)))
    (first, once_more) = [headers for _, headers in running.asked]
    assert first["webhook-id"] == once_more["webhook-id"]
    assert running.bodies[0] == running.bodies[1] and is_signed(once_more, running.bodies[1], secret)
