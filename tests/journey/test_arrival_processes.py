"""Arrival as its own processes, as `zegel run` starts them: memory, two of them at once, and the end."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.ground import Prepared, closing, prepared, role_of
from tests.peers import until
from tests.peers.gateway import SENDER, Gateway

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    with prepared(tmp_path_factory.mktemp("prepared")) as found:
        yield found


@pytest.fixture(scope="module")
def gateway(ready: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with ready.gateway(tmp_path_factory.mktemp("gateway"), processes=2) as running:
        yield running


def header(identity: str, *more: str) -> bytes:
    lines = [f"From: {SENDER}", "To: balie@ontvanger.test", f"Message-ID: <{identity}@voorbeeld.test>", *more, "", ""]
    return "\r\n".join(lines).encode()


def stream(client: smtplib.SMTP, first: bytes, pieces: Iterator[bytes]) -> tuple[int, bytes]:
    """One submission whose content is nowhere in memory as a whole; the last reply."""
    client.ehlo_or_helo_if_needed()
    assert client.mail(SENDER)[0] == client.rcpt("balie@ontvanger.test")[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.send(first)
    for piece in pieces:
        client.send(piece)
    client.send(b"\r\n.\r\n")
    return client.getreply()


def submission_processes(gateway: Gateway) -> list[int]:
    return [pid for pid in gateway.processes() if role_of(pid) == "submission"]


def memory(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


LINE = b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n"
SHAPES: dict[str, tuple[bytes, Callable[[], Iterator[bytes]]]] = {
    "an attachment in base64": (
        header(
            "base64",
            "Content-Type: multipart/mixed; boundary=grens",
            "",
            "--grens",
            "Content-Type: application/pdf",
            "Content-Transfer-Encoding: base64",
        ),
        lambda: (LINE * 1000 for _ in range(380)),
    ),
    "one line": (header("line"), lambda: (b"x" * 65_536 for _ in range(460))),
    "one line of white space": (header("white"), lambda: (b" " * 65_536 for _ in range(460))),
    "empty lines": (header("empty"), lambda: (b"\r\n" * 32_768 for _ in range(460))),
    "dots": (header("dots"), lambda: (b"\r\n..x." * 10_000 for _ in range(500))),
    "quoted-printable": (
        header("quoted", "Content-Transfer-Encoding: quoted-printable"),
        lambda: (b"=\r\n" * 20_000 for _ in range(500)),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_message_needs_little_memory(gateway: Gateway, shape: str) -> None:
    first, pieces = SHAPES[shape]
    with closing(gateway.client()) as client:
        assert stream(client, header(f"small-{shape.replace(' ', '-')}"), iter([b"x\r\n"]))[0] == 250
        before = {}
        for pid in submission_processes(gateway):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
            before[pid] = memory(pid, "VmRSS")
        code, text = stream(client, first, pieces())
        assert code == 250, text
    grown = max(memory(pid, "VmHWM") - before[pid] for pid in before)
    assert grown < 40 * MEGABYTE


def test_two_processes_recognise_the_same_message(gateway: Gateway) -> None:
    clients = [gateway.client() for _ in range(12)]
    content = header("tweemaal") + b"inhoud\r\n"
    for client in clients:
        client.ehlo_or_helo_if_needed()
        client.mail(SENDER)
        client.rcpt("balie@ontvanger.test")
        assert client.docmd("DATA")[0] == 354
        client.send(content)
    serving = {_served_by(gateway, client) for client in clients}
    barrier, codes = threading.Barrier(len(clients)), []

    def end(client: smtplib.SMTP) -> None:
        barrier.wait()
        client.send(b".\r\n")
        codes.append(client.getreply()[0])

    threads = [threading.Thread(target=end, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [250] * len(clients)
    assert serving == set(submission_processes(gateway)), "the kernel gave all connections to one process"
    assert [one["message_id"] for one in gateway.evidence()].count("<tweemaal@voorbeeld.test>") == 1
    for client in clients:
        client.close()


def test_the_recorder_may_die_at_any_moment(gateway: Gateway) -> None:
    """Every 250 was kept and every refusal was for now; who tries again has each message accepted once."""
    accepted, refused = list[str](), list[str]()
    is_over = threading.Event()

    def submit(number: int) -> None:
        with closing(gateway.client()) as client:
            for count in range(1000):
                if is_over.is_set():
                    return
                identity = f"recorder-{number}-{count}"
                for _ in range(100):
                    code, _text = stream(client, header(identity), iter([b"inhoud\r\n"]))
                    if code == 250:
                        accepted.append(f"<{identity}@voorbeeld.test>")
                        break
                    refused.append(f"{code}")

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for wanted in (20, 60, 100):
        until(lambda wanted=wanted: len(accepted) >= wanted, 60)  # type: ignore[misc]
        os.kill(recorder(gateway), signal.SIGKILL)
    until(lambda: len(accepted) >= 200, 60)
    is_over.set()
    for thread in threads:
        thread.join(60)
    assert set(refused) <= {"451"}
    kept = [one["message_id"] for one in gateway.evidence() if one["message_id"].startswith("<recorder-")]
    assert sorted(kept) == sorted(accepted)
    assert recorder(gateway)


def test_what_was_accepted_soon_stands_in_the_database_file_itself(gateway: Gateway) -> None:
    """Not in its log alone, which would be moved by some commit for which others wait."""
    with closing(gateway.client()) as client:
        assert stream(client, header("verplaatst"), iter([b"x\r\n"]))[0] == 250
    until(lambda: b"<verplaatst@voorbeeld.test>" in (gateway.state / "zegel.sqlite3").read_bytes(), 30)


def recorder(gateway: Gateway) -> int:
    """Its process, once it runs again."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [pid for pid in gateway.processes() if role_of(pid) == "recorder"]
        return bool(found)

    until(is_there, 60)
    return found[0]


def _served_by(gateway: Gateway, client: smtplib.SMTP) -> int:
    """Which process has the other end of this connection."""
    assert client.sock is not None
    ours, theirs = client.sock.getsockname(), client.sock.getpeername()
    inode = next(
        fields[9]
        for fields in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[1] == _hex(theirs) and fields[2] == _hex(ours)
    )
    for pid in submission_processes(gateway):
        if any(_target(one) == f"socket:[{inode}]" for one in Path(f"/proc/{pid}/fd").iterdir()):
            return pid
    raise AssertionError("nobody has it")


def _hex(address: tuple[str, int]) -> str:
    return f"{int.from_bytes(socket.inet_aton(address[0]), 'little'):08X}:{address[1]:04X}"


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_sigterm_says_goodbye_and_ends_in_good_order(ready: Prepared, tmp_path: Path) -> None:
    gateway = ready.gateway(tmp_path).start()
    client = gateway.client()
    with closing(gateway.client()) as other:
        assert stream(other, header("op-de-valreep"), iter([b"x\r\n"]))[0] == 250
    process = gateway._process
    assert process is not None
    process.terminate()
    code, text = client.getreply()
    assert (code, text) == (421, b"4.3.2 This server is being restarted; try again")
    assert process.wait(20) == 0
    gateway.stop()
    assert "broken" not in gateway.log()
    assert "<op-de-valreep@voorbeeld.test>" in {one["message_id"] for one in gateway.evidence()}
