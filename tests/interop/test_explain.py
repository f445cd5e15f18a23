"""A dry run beside the real thing: what `zegel explain` and the API foresee is what becomes of the message.

Zegel under its supervisor, Postfix, NSD and unbound; the API behind granian; the examples of docs/explain.md as they
stand there.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.interop.story import submit
from tests.needs import needs
from tests.peers import until
from tests.peers.gateway import ORGANISATION, SENDER, SENDING_DOMAIN
from tests.peers.world import GUEST_DOMAIN, READABLE_DOMAIN, World, world

READER: Final = f"archief@{READABLE_DOMAIN}"
BY_SMS: Final = f"balie@{GUEST_DOMAIN}"
BLIND: Final = f"directie@{GUEST_DOMAIN}"
EVERYBODY: Final = (READER, BY_SMS, BLIND)
PHONE: Final = "+31612345678"
PAGE: Final = Path(__file__).parents[2] / "docs" / "explain.md"


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    needs("postfix")
    with world() as found:
        yield found


@pytest.fixture(scope="module")
def token(running: World) -> str:
    printed = running.gateway.command("token", "add", "tests", "--organisation", ORGANISATION, "--scope", "explain")
    return printed.split()[0]


def message() -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"Afzender <{SENDER}>"
    message["To"] = f"{READER}, {BY_SMS}"
    message["Subject"] = "Merkteken7f3a"
    message["Message-ID"] = f"<uitgelegd@{SENDING_DOMAIN}>"
    message["zivver-access-right"] = f"{BY_SMS} sms {PHONE}"
    message.set_content("De uitslag is goed.\n")
    return message


def call(running: World, token: str, body: Any) -> tuple[int, Any]:
    """`POST /api/v1/explain`, as a program does."""
    connection = http.client.HTTPConnection(urlsplit(running.gateway.url).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/api/v1/explain", json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def raw(running: World, octets: bytes) -> bytes:
    """What the web server says to octets that no library would send."""
    address = urlsplit(running.gateway.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
        connection.sendall(octets)
        found = b""
        while b"\r\n\r\n" not in found and (more := connection.recv(65536)):
            found += more
    return found


def head(token: str, *fields: str) -> bytes:
    lines = ("POST /api/v1/explain HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *fields, "", "")
    return "\r\n".join(lines).encode()


def examples() -> list[str]:
    return re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def shell(running: World, command: str, **variables: str) -> str:
    """What an operator's shell prints, with `zegel` on its path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
    here = Path(sys.executable).parent
    environment = (
        kept
        | variables
        | {
            "PATH": f"{here}:{os.environ['PATH']}",
            "ZEGEL_CONFIG": str(running.gateway.config),
        }
    )
    done = subprocess.run(
        ["sh", "-ec", command], cwd=running.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- the web server ----------------------------------------------------------------------------------------------


def test_a_body_of_unknown_length_is_refused(running: World, token: str) -> None:
    chunked = head(token, "Content-Type: application/json", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
    assert raw(running, chunked).startswith(b"HTTP/1.1 411 ")


def test_a_body_that_is_too_large_is_refused_before_it_came(running: World, token: str) -> None:
    announced = head(token, "Content-Type: application/json", "Content-Length: 1000001", "Expect: 100-continue")
    assert b"413 " in raw(running, announced + b"x" * 1_000_001)


def test_without_a_token_there_is_nothing_to_see(running: World) -> None:
    status, told = call(running, "zegel_000000000000_x", {})
    assert (status, told["errors"][0]["field"]) == (401, "Authorization")


# --- beside the real thing ---------------------------------------------------------------------------------------


def test_what_was_foreseen_is_what_becomes_of_the_message(running: World, token: str) -> None:
    gateway = running.gateway
    path = running.folder / "message.eml"
    path.write_bytes(message().as_bytes())
    to = [part for one in EVERYBODY for part in ("--to", one)]
    assert gateway.evidence() == []
    printed = json.loads(gateway.command("explain", str(path), "--from", SENDER, *to, "--json"))
    status, answered = call(running, token, {"from": SENDER, "to": list(EVERYBODY), "message": path.read_text()})
    assert (status, answered) == (200, printed)
    assert [one["plan"][0]["kind"] for one in printed["recipients"]] == ["readable", "notify", "notify"]
    assert gateway.evidence() == []
    assert running.secure.mailbox(READER) == running.secure.mailbox(BY_SMS) == []

    submit(running, message(), list(EVERYBODY))
    until(lambda: set(gateway.recipients()) == set(EVERYBODY), 60)
    submission = gateway.evidence()[0]["submission"]
    until(lambda: "Replayed" in gateway.command("explain", "--message", submission, succeeds=False), 60)
    stored = json.loads(gateway.command("explain", "--message", submission, "--json"))
    by_address = {one["recipient"]: one for one in stored["recipients"]}
    for one in printed["recipients"]:
        real = by_address[one["recipient"]]
        assert real["same"] is True
        assert {name: real[name] for name in ("plan", "rows", "case", "blind")} == {
            name: one[name] for name in ("plan", "rows", "case", "blind")
        }
    assert PHONE[4:] not in json.dumps(stored) + json.dumps(printed)
    assert "Merkteken" not in json.dumps(stored) + json.dumps(printed)


def test_nothing_of_it_is_in_the_log(running: World, token: str) -> None:
    call(running, token, {"from": SENDER, "to": [BY_SMS], "message": message().as_string()})
    log = running.gateway.log()
    assert "Merkteken7f3a" not in log and PHONE[3:] not in log and token not in log


# --- the page ----------------------------------------------------------------------------------------------------


def ours(text: str) -> str:
    """An example with the addresses of this small Internet."""
    return text.replace("office@example.org", SENDER).replace("reader@example.net", READER)


def test_the_examples_of_the_page_for_the_command_line_run(running: World) -> None:
    header = ours("From: office@example.org\nTo: reader@example.net\n\n")
    (running.folder / "message.eml").write_text(header)
    commands = [one.replace("\\\n", " ") for one in examples() if "zegel explain" in one]
    assert len(commands) == 2
    for command in commands:
        done = shell(running, ours(command))
        assert "The plan" in done


def test_the_example_of_the_page_for_programs_runs(running: World, token: str) -> None:
    (curl,) = (one for one in examples() if one.startswith("curl "))
    done = shell(running, ours(curl).replace("https://zegel.example.org", running.gateway.url), TOKEN=token)
    told = json.loads(done)
    assert told["all_served"] is True
    assert [one["blind"] for one in told["recipients"]] == [False, True]
    document = http.client.HTTPConnection(urlsplit(running.gateway.url).netloc, timeout=60)
    document.request("GET", "/api/v1/openapi.json")
    assert json.loads(document.getresponse().read())["openapi"].startswith("3.1.")
    document.close()


def test_the_examples_of_the_page_for_tokens_run(running: World) -> None:
    (commands,) = (one for one in examples() if "zegel token add" in one)
    add, listed, disable = commands.replace('"Example"', f'"{ORGANISATION}"').splitlines()
    name = shell(running, add).split("_")[1]
    assert f"{name}  in force" in shell(running, listed)
    shell(running, disable.replace("NAME", name))
    assert f"{name}  disabled" in shell(running, listed)
