"""What others do to a gateway: servers that stall, hang up or are gone; operators who stop or kill it at any moment."""

from __future__ import annotations

import base64
import os
import select
import signal
import smtplib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.faults.ground import (
    MARKER,
    Copy,
    Prepared,
    Receiver,
    accepted,
    begin,
    blobs,
    closing,
    is_alive,
    message,
    processes_of,
    readable_in,
    role_of,
    submit,
    zone,
)
from tests.needs import needs
from tests.peers import free_port, is_free, until
from tests.peers.dns import Nsd, Unbound
from tests.peers.gateway import Gateway

TAKEN: Final = "250 2.0.0 taken"
STOPS_WITHIN: Final = 20.0  # seconds


@contextmanager
def meeting(
    prepared: Prepared, folder: Path, verdict: Callable[[Copy], str | None], *, processes: int = 1
) -> Iterator[tuple[Gateway, Receiver]]:
    """A running gateway, and the server that it delivers to."""
    port = free_port()
    with Receiver(port, verdict).listening() as receiver:
        gateway = prepared.gateway(folder / "gateway", mx_port=port, processes=processes)
        with gateway:
            yield gateway, receiver


def state_of(gateway: Gateway) -> str:
    """The state of the only recipient."""
    (found,) = gateway.evidence()
    (recipient,) = found["recipients"]
    return str(recipient["state"])


def events(gateway: Gateway, wanted: str) -> list[str]:
    """The lines of the log with an event of that name."""
    return [line for line in gateway.log().splitlines() if f'"event": "{wanted}"' in line]


# --- the receiving server -----------------------------------------------------------------------------------------


def test_a_server_that_hangs_up_before_its_reply_is_tried_again_with_the_same_mail(
    prepared: Prepared, tmp_path: Path
) -> None:
    replies: list[str | None] = [None, None, TAKEN]
    with meeting(prepared, tmp_path, lambda _: replies.pop(0)) as (gateway, receiver):
        assert submit(gateway, "opgehangen")[0] == 250
        until(lambda: state_of(gateway) == "notified", 60)
    assert replies == []
    assert len(receiver.copies) == 3
    assert len({copy.message_id for copy in receiver.copies}) == 1
    assert len({copy.octets.partition(b"\r\n\r\n")[2] for copy in receiver.copies}) == 1


@dataclass(slots=True)
class Stalled:
    """A gateway with two dispatch processes, one of which was killed while the server that it delivers to stalled."""

    gateway: Gateway
    receiver: Receiver
    killed: int


@pytest.fixture(scope="module")
def stalled(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stalled]:
    over = threading.Event()
    receivers: list[Receiver] = []

    def verdict(_: Copy) -> str:
        if len(receivers[0].copies) == 1:
            over.wait(300)
        return TAKEN

    with meeting(prepared, tmp_path_factory.mktemp("stalled"), verdict, processes=2) as (gateway, receiver):
        receivers.append(receiver)
        try:
            assert submit(gateway, "onderweg")[0] == 250
            until(lambda: len(receiver.copies) == 1, 30)
            at_work = _dispatch_connected_to(gateway, receiver.port)
            os.kill(at_work, signal.SIGKILL)
            yield Stalled(gateway, receiver, at_work)
        finally:
            over.set()


def test_a_dispatch_is_killed_in_the_middle_of_a_transmission(stalled: Stalled) -> None:
    """What becomes of it is told at the end of this file: until a lease ran out, there is nothing to see."""
    until(lambda: not is_alive(stalled.killed))
    assert state_of(stalled.gateway) == "decided"


def _dispatch_connected_to(gateway: Gateway, port: int) -> int:
    """The dispatch process that has a connection to that port."""
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01"
    }
    for pid in gateway.processes():
        if role_of(pid) != "dispatch":
            continue
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if descriptor.readlink().name.removeprefix("socket:[").removesuffix("]") in inodes:
                    return pid
    raise AssertionError("nobody is connected")


# --- the resolver -------------------------------------------------------------------------------------------------


def test_mail_waits_for_the_resolver_and_arrives_when_it_is_back(prepared: Prepared, tmp_path: Path) -> None:
    """First the resolver has no servers behind it and answers SERVFAIL, then it is gone altogether."""
    needs("nsd", "unbound")
    with ExitStack() as stack:
        records = "\n".join(
            f"{name}. {kind} {value}" + ("" if kind == "A" else ".")
            for (name, kind), values in zone(()).items()
            for value in values
        )
        soa = "$TTL 5\n@ IN SOA ns.test. host.test. 1 3600 600 86400 5\n@ IN NS ns.test.\nns.test. IN A 127.0.0.1\n"
        nsd = Nsd({"test": soa + records}, tmp_path / "nsd")
        unbound = stack.enter_context(Unbound(tmp_path / "unbound", stubs={"test.": nsd}))
        receiver = Receiver(free_port(), lambda _: TAKEN)
        gateway = prepared.gateway(tmp_path / "gateway", mx_port=receiver.port, resolver=(unbound.ip, unbound.port))
        stack.enter_context(gateway)
        stack.enter_context(receiver.listening())
        assert submit(gateway, "wacht")[0] == 250
        until(lambda: _troubles(gateway) >= 1, 40)
        unbound.stop()
        sofar = _troubles(gateway)
        said = gateway.command("doctor", succeeds=False)  # takes as long as a resolver is given to answer
        assert f"resolver 127.0.0.1:{unbound.port}: no answer" in said
        assert "Mail waits until it answers. Start it, or set delivery.resolver to another." in said
        until(lambda: _troubles(gateway) > sofar, 60)
        assert state_of(gateway) == "decided"
        assert receiver.copies == []
        stack.enter_context(nsd)
        unbound.start()
        until(lambda: state_of(gateway) == "notified", 90)
    assert len(receiver.copies) == 1


def _troubles(gateway: Gateway) -> int:
    attempts = events(gateway, "attempted")
    assert all('"outcome": "DnsTrouble"' in line for line in attempts), attempts
    return len(attempts)


# --- the operator -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_middle_of_a_message_accepts_nothing_of_it_and_loses_nothing_else(
    prepared: Prepared, tmp_path: Path, how: signal.Signals
) -> None:
    """Ctrl-C reaches the supervisor alone: the roles are sessions of their own. The next start goes on."""
    over = threading.Event()

    def verdict(_: Copy) -> str | None:
        return TAKEN if over.is_set() else "451 4.3.0 not now"

    with meeting(prepared, tmp_path, verdict) as (gateway, _):
        assert submit(gateway, "voor")[0] == 250
        until(lambda: len(events(gateway, "attempted")) >= 1, 30)
        everybody = processes_of(gateway)
        assert {role_of(pid) for pid in everybody} >= {"submission", "dispatch", "web"}
        whole = message("midden", octets=3_000_000)
        with closing(gateway.client()) as client:
            assert begin(client) is None
            client.send(whole[:1_500_000])
            until(lambda: blobs(gateway) != [])
            assert gateway.pid is not None
            os.kill(gateway.pid, how)
            assert _goodbye(client, whole[1_500_000:] + b".\r\n") in (None, 421)
        until(lambda: processes_of(gateway) == [], STOPS_WITHIN)
        assert gateway._process is not None
        assert gateway._process.wait(5) == 0
        gateway.stop()
        assert blobs(gateway) == []
        assert readable_in(gateway.folder) == []
        assert "Traceback" not in gateway.log()
        over.set()
        gateway.start()
        assert submit(gateway, "na", octets=100_000)[0] == 250
        until(lambda: {one["recipients"][0]["state"] for one in gateway.evidence()} == {"notified"}, 60)
        assert sorted(accepted(gateway)) == ["na", "voor"]
        assert len(blobs(gateway)) == 1
        assert not any(is_alive(pid) for pid in everybody)


def _goodbye(client: smtplib.SMTP, rest: bytes) -> int | None:
    """Goes on sending, slowly, until the server says something, or drops the connection (``None``)."""
    connection = client.sock
    assert connection is not None
    said = b""
    with suppress(OSError):
        for start in range(0, len(rest), 2_000):
            if select.select([connection], [], [], 0.1)[0]:
                break
            connection.sendall(rest[start : start + 2_000])
        said = connection.recv(4096)
    return int(said[:3]) if said else None


def test_roles_whose_supervisor_was_killed_end_by_themselves_and_a_new_start_works(
    prepared: Prepared, tmp_path: Path
) -> None:
    with meeting(prepared, tmp_path, lambda _: TAKEN, processes=2) as (gateway, receiver):
        assert submit(gateway, "voor")[0] == 250
        everybody = processes_of(gateway)
        assert len([pid for pid in everybody if role_of(pid)]) >= 5
        assert gateway.pid is not None and gateway._process is not None
        os.kill(gateway.pid, signal.SIGKILL)
        gateway._process.wait()
        gateway._process = None
        until(lambda: processes_of(gateway) == [], STOPS_WITHIN)
        until(lambda: is_free(gateway.ip, gateway.port) and is_free(gateway.ip, gateway.portal_port))
        assert "Traceback" not in gateway.log()
        gateway.start()
        assert submit(gateway, "na")[0] == 250
        until(lambda: {one["recipients"][0]["state"] for one in gateway.evidence()} == {"notified"}, 60)
        assert sorted(accepted(gateway)) == ["na", "voor"]
    assert 2 <= len(receiver.copies) <= 3  # at most one of them again, with the same Message-ID (P5)
    assert len({copy.message_id for copy in receiver.copies}) == 2


# --- and what became of the transmission --------------------------------------------------------------------------


def test_the_transmission_of_the_killed_dispatch_is_made_once_more_by_another(stalled: Stalled) -> None:
    """With the same Message-ID: who got both has one message twice, and not two (P5)."""
    until(lambda: state_of(stalled.gateway) == "notified", 60)
    first, second = stalled.receiver.copies
    assert first.message_id == second.message_id
    assert first.octets.partition(b"\r\n\r\n")[2] == second.octets.partition(b"\r\n\r\n")[2]
    assert stalled.killed not in stalled.gateway.processes()


def test_the_search_for_what_is_readable_would_find_it(tmp_path: Path) -> None:
    for number, octets in enumerate((message("x"), base64.b64encode(message("x")), MARKER.encode("utf-16-le"))):
        (tmp_path / str(number)).write_bytes(octets)
    assert len(readable_in(tmp_path)) == 3
