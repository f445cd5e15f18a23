"""What is measured, and what stands around it: Zegel with all its roles, Debian's Postfix, DNS, a receiving server.

Everything listens on loopback, works below one folder, and is gone afterwards.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import pwd
import re
import secrets
import shutil
import signal
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import processes
from bench.load import SMTPSINK, Door, LoadFailed
from tests.peers import Peer, debian, free_port, until
from tests.peers.dns import Nsd, Unbound
from tests.peers.gateway import HOST, ORGANISATION, SENDING_DOMAIN, Gateway
from tests.peers.opendkim import OpenDkim
from tests.peers.postfix import OWNER, Postfix
from zegel.compose.database import WRITERS
from zegel.edge.sqlite import use_current_sqlite
from zegel.local.authority import LocalAuthority
from zegel.settings import Delivery

RECEIVING_DOMAIN: Final = "ontvanger.test"
RECEIVING_HOST: Final = f"mx.{RECEIVING_DOMAIN}"
RECIPIENT: Final = f"ontvanger%d@{RECEIVING_DOMAIN}"  # a recipient of its own for each message
SINK_IP: Final = "127.0.0.12"
IN_MEMORY: Final = ("tmpfs", "ramfs", "devtmpfs", "hugetlbfs")
DRAINED_WITHIN: Final = 120.0  # seconds; nothing is measured with it
QUIET_WITHIN: Final = 60.0


class NotMeasurable(RuntimeError):
    """One sentence: what this machine lacks for a measurement that means something."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a receiving server saw since the last load began (smtpperf.h: sinkstat)."""

    connections: int
    handshakes: int
    resumed: int
    messages: int
    recipients: int
    octets: int
    errors: int
    first: float  # seconds since the epoch; 0: none
    last: float
    same: int  # as what was sent, octet by octet; where it compares
    different: int
    twice: int
    signatures: int
    tls: str


class Sink(Peer):
    """A receiving server: takes every message for anyone, counts it and forgets it. It listens on so many addresses,
    the first of which is ``ip``.

    With ``compares`` it compares so many messages with what was sent, and knows when each arrived. One that
    ``is_silent`` takes connections, and never says a word.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        certificate: tuple[Path, Path],
        *,
        ip: str = SINK_IP,
        addresses: int = 1,
        compares: int = 0,
        is_silent: bool = False,
    ) -> None:
        super().__init__(folder, ip, port)
        self.statistics = folder / "statistics"
        self.sent = folder / "sent" if compares else None
        self._certificate = certificate
        self._addresses = addresses
        self._is_silent = is_silent
        if self.sent is not None:
            with self.sent.open("wb") as file:
                file.truncate(_BODY + compares * _MAIL)

    def _command(self) -> list[str]:
        chain, key = self._certificate
        command = [
            str(SMTPSINK),
            f"--stats={self.statistics}",
            f"--host={self.ip}",
            f"--addresses={self._addresses}",
            f"--port={self.port}",
            f"--cert={chain}",
            f"--key={key}",
        ]
        if self.sent is not None:
            command.append(f"--sent={self.sent}")
        return [*command, "--silent"] if self._is_silent else command

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self.ip, self.port), timeout=1):
            return True
        return False

    def log(self) -> str:
        return ""

    def taken(self) -> Taken:
        """Since the last load began."""
        with self.statistics.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as counters:
            _magic, _pid, *found, tls = _COUNTERS.unpack_from(counters)
        connections, handshakes, resumed, messages, recipients, octets, errors, *found = found
        first, last, same, different, twice, signatures = found
        return Taken(
            connections=connections,
            handshakes=handshakes,
            resumed=resumed,
            messages=messages,
            recipients=recipients,
            octets=octets,
            errors=errors,
            first=first / 1_000_000,
            last=last / 1_000_000,
            same=same,
            different=different,
            twice=twice,
            signatures=signatures,
            tls=tls.partition(b"\0")[0].decode(),
        )

    def start_anew(self) -> None:
        """With nothing counted, and none of the connections that somebody kept."""
        self.stop()
        self.start()

    def recipients(self) -> int:
        """Recipients of messages taken since the last load began."""
        return self.taken().recipients

    def arrivals(self, messages: int) -> list[float]:
        """When each of the last load's messages arrived, by its number: seconds since the epoch; 0: not yet."""
        assert self.sent is not None
        with self.sent.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as kept:
            times = [_ARRIVED.unpack_from(kept, _BODY + number * _MAIL)[0] for number in range(messages)]
        return [time / 1_000_000 for time in times]


_COUNTERS: Final = struct.Struct("=15Q64s")  # smtpperf.h: sinkstat
_BODY: Final = 65536  # smtpperf.h: sentfile
_MAIL: Final = 1024  # sentmail
_ARRIVED: Final = struct.Struct("=8xQ")


class MeasuredGateway(Gateway):
    """Zegel as an operator runs it, all roles; with a file to trace to, what it makes durable is written there."""

    submission_processes = 1
    dispatch_processes = 1
    trace: Path | None = None

    def _environment(self) -> dict[str, str]:
        shipped = Delivery()  # where the tests' gateway has less patience than a real one
        return {
            **super()._environment(),
            "ZEGEL_DELIVERY__RETRY_FIRST": str(shipped.retry_first),
            "ZEGEL_DELIVERY__TIMEOUT": str(shipped.timeout),
            "ZEGEL_SUBMISSION__PROCESSES": str(self.submission_processes),
            "ZEGEL_DELIVERY__PROCESSES": str(self.dispatch_processes),
        }

    def _command(self) -> list[str]:
        return _traced(super()._command(), self.trace)

    def environment(self) -> Mapping[str, str]:
        """What its processes run in."""
        return self._environment()

    def door(self) -> Door:
        """Its submission server, and credentials for it."""
        assert self.credentials is not None
        return Door(self.port, self.credentials.username, self.credentials.password)

    def deliver_readable(self, domains: Sequence[str]) -> None:
        """Messages for these domains go out themselves, over TLS with a valid certificate (docs/direct-delivery.md)."""
        listed = self.folder / "readable"
        listed.write_text("".join(f"{domain}\n" for domain in domains))
        self.command("lists", "add", "meting", "--organisation", ORGANISATION, "--file", str(listed))

    def submission_pids(self) -> list[int]:
        """The processes of the submission role."""
        return self._pids("submission")

    def _pids(self, role: str) -> list[int]:
        assert self.pid is not None
        return [pid for pid in processes.tree(self.pid) if processes.role(pid) == role]

    @contextmanager
    def dispatch_halted(self) -> Iterator[None]:
        """While this lasts, dispatch does nothing, and keeps nobody from writing."""
        halted: list[int] = []
        try:
            with (self.state / "run" / WRITERS).open("ab") as turn:
                for pid in self._pids("dispatch"):
                    halted.append(pid)
                    until(lambda pid=pid: _halts(pid, turn.fileno()))  # type: ignore[misc]
            yield
        finally:
            for pid in halted:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def delivered_in_log(self) -> int:
        """Attempts at readable delivery that its log calls accepted."""
        return len(re.findall(r'"kind": "readable", "outcome": "Accepted".*"event": "attempted"', self.log()))

    def counts(self) -> Counts:
        """What the database holds now."""
        use_current_sqlite()
        import sqlite3

        with closing(sqlite3.connect(f"file:{self.state}/zegel.sqlite3?mode=ro", uri=True, timeout=30)) as database:

            def count(table: str, condition: str = "true") -> int:
                return int(database.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchone()[0])

            return Counts(
                submissions=count("custody_submission"),
                notified=count("custody_recipient", "state = 'notified'"),
                delivered=count("custody_recipient", "state = 'delivered'"),
                unfinished=count("custody_recipient", "state NOT IN ('notified', 'delivered', 'opened')"),
                jobs=count("custody_job", "kind IN ('decide', 'transmit', 'report', 'warn')"),
            )

    def drain(self) -> Counts:
        """Waits until everything accepted was decided and delivered. Raises :class:`LoadFailed`."""
        with suppress(TimeoutError):
            until(lambda: self.counts().is_done, DRAINED_WITHIN)
            return self.counts()
        raise LoadFailed(f"Zegel was not done after {DRAINED_WITHIN:.0f} seconds: {self.counts()}")


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of Zegel's database."""

    submissions: int
    notified: int
    delivered: int
    unfinished: int
    jobs: int

    @property
    def is_done(self) -> bool:
        """Everything accepted was decided and delivered."""
        return not self.jobs and not self.unfinished


def _halts(pid: int, turn: int) -> bool:
    """Stops a process between two of its transactions. One that was within one goes on, and is tried again."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.kill(pid, signal.SIGCONT)
        return False
    fcntl.flock(turn, fcntl.LOCK_UN)
    return True


class MeasuredPostfix(Postfix):
    """Debian's Postfix with its default durable queue: takes mail over STARTTLS and AUTH; what becomes of it says
    ``route``, settings of main.cf.

    Where the tests' Postfix is quicker to try again than a real one, this one is as Debian makes it. It looks up no
    name, writes its log to a file, and gives out no TLS session tickets, which all favours it.
    """

    trace: Path | None = None  # written to what it makes durable

    def __init__(
        self,
        folder: Path,
        *,
        certificate: tuple[Path, Path],
        process_limit: int,
        route: Mapping[str, str],
        relay: tuple[str, int] | None = None,
        relay_name: str = "",
        tls_ca: Path | None = None,
    ) -> None:
        self.process_limit = process_limit
        self._password = secrets.token_urlsafe(24)
        super().__init__(
            folder,
            name="mail.voorbeeld.test",
            certificate=certificate,
            relay=relay,
            relay_name=relay_name,
            tls_ca=tls_ca,
            settings={
                "default_process_limit": str(process_limit),
                "smtpd_tls_security_level": "encrypt",
                "smtpd_tls_auth_only": "yes",
                "smtpd_tls_session_cache_timeout": "0",
                "smtpd_sasl_auth_enable": "yes",
                "smtpd_sasl_path": "smtpd",
                "smtpd_sasl_local_domain": SENDING_DOMAIN,
                "smtpd_sasl_security_options": "noanonymous",
                "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
                "queue_run_delay": "300s",
                "minimal_backoff_time": "300s",
                "maximal_backoff_time": "4000s",
                "message_size_limit": "150000000",
                **route,
            },
        )
        self._wake_as_debian_does()
        self._add_account(self.folder / "etc" / "sasl")  # where Debian's Postfix looks

    def _answers(self) -> bool:
        """It also begins TLS: on a busy machine it says "454 4.3.0 Try again later" to everybody at first."""
        if not super()._answers():
            return False
        nobody_is_checked = ssl.create_default_context()
        nobody_is_checked.check_hostname, nobody_is_checked.verify_mode = False, ssl.CERT_NONE
        with suppress(OSError, smtplib.SMTPException), smtplib.SMTP(self.ip, self.port, timeout=10) as client:
            return client.starttls(context=nobody_is_checked)[0] == 220
        return False

    def _wake_as_debian_does(self) -> None:
        services = self.folder / "etc" / "master.cf"
        told = re.sub(r"^(qmgr\s+unix\s+n n n)\s+2\s", r"\1 300 ", services.read_text(), flags=re.MULTILINE)
        told = re.sub(r"^(pickup\s+unix\s+n n n)\s+1\?\s", r"\1 60 ", told, flags=re.MULTILINE)
        assert " 300 " in told and " 60 " in told
        services.write_text(told)

    def _add_account(self, sasl: Path) -> None:
        sasl.mkdir(exist_ok=True)
        accounts = sasl / "accounts"
        (sasl / "smtpd.conf").write_text(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n" + f"sasldb_path: {accounts}\n"
        )
        subprocess.run(
            [sys.executable, str(Path(__file__).parent / "sasl_account.py"), "meting", SENDING_DOMAIN],
            input=self._password,
            text=True,
            check=True,
            env={**self._environment(), "SASL_CONF_PATH": str(sasl), "SASL_PATH": self._sasl_plugins},
        )
        os.chown(accounts, pwd.getpwnam(OWNER).pw_uid, -1)

    def _command(self) -> list[str]:
        return _traced(super()._command(), self.trace)

    def version(self) -> str:
        """As postconf(1) says."""
        command = [str(self._commands / "postconf"), "-d", "-h", "mail_version"]
        return subprocess.run(
            command, check=True, env=dict(self._environment()), capture_output=True, text=True
        ).stdout.strip()

    def door(self) -> Door:
        """Its submission server, and credentials for it."""
        return Door(self.port, "meting", self._password)

    def drain(self) -> None:
        """Waits until its queue is empty. Raises :class:`LoadFailed`."""
        try:
            until(self.queue_empty, DRAINED_WITHIN)
        except TimeoutError as cause:
            raise LoadFailed(f"Postfix' queue was not empty after {DRAINED_WITHIN:.0f} seconds") from cause


class DiscardingPostfix(MeasuredPostfix):
    """Takes mail, and gives it to discard(8)."""

    def __init__(self, folder: Path, *, certificate: tuple[Path, Path], process_limit: int) -> None:
        route = {"default_transport": "discard:"}
        super().__init__(folder, certificate=certificate, process_limit=process_limit, route=route)

    def discarded(self) -> int:
        """Messages that it is done with."""
        return len(re.findall(r"relay=none, .*status=sent", self.log()))


@dataclass(frozen=True, slots=True)
class Tuning:
    """How Postfix relays."""

    process_limit: int  # of each service, and so of connections to one destination
    keeps_connections: bool  # tlsproxy(8) keeps TLS connections for the next mail (Postfix 3.4 and later)

    def __str__(self) -> str:
        return f"{self.process_limit} processes, TLS connections {'kept' if self.keeps_connections else 'not kept'}"


class RelayingPostfix(MeasuredPostfix):
    """Takes mail, has it signed by ``signer``, and relays it at the level ``secure`` to the host ``hop``, whose
    certificate must be for ``host``. What throttles it is off: ``in_flow_delay``, and the slow start of concurrency."""

    def __init__(
        self,
        folder: Path,
        tuning: Tuning,
        *,
        certificate: tuple[Path, Path],
        hop: tuple[str, int],
        host: str,
        authority: Path,
        signer: OpenDkim | None,
    ) -> None:
        limit = str(tuning.process_limit)
        route = {
            "in_flow_delay": "0",
            "initial_destination_concurrency": limit,
            "default_destination_concurrency_limit": limit,
            "smtp_tls_loglevel": "0",
            "smtp_tls_connection_reuse": "yes" if tuning.keeps_connections else "no",
            "smtp_connection_cache_destinations": f"[{hop[0]}]:{hop[1]}" if tuning.keeps_connections else "",
            "smtp_connection_cache_on_demand": "yes" if tuning.keeps_connections else "no",
        }
        if signer is not None:
            route |= {"smtpd_milters": signer.milter, "milter_default_action": "tempfail"}
        super().__init__(
            folder,
            certificate=certificate,
            process_limit=tuning.process_limit,
            route=route,
            relay=hop,
            relay_name=host,
            tls_ca=authority,
        )
        services = self.folder / "etc" / "master.cf"
        services.write_text(f"{services.read_text().rstrip()}\ntlsproxy unix - - n - 0 tlsproxy\n")

    def relayed(self) -> int:
        """Messages that the next host took."""
        return len(re.findall(r" relay=\S+\[\S+, .*status=sent", self.log()))


class Speaker(Peer):
    """A server that takes whatever comes (:mod:`bench.speaker`), with so many processes; one that ``keeps`` it commits
    it to a database first."""

    def __init__(self, folder: Path, *, certificate: tuple[Path, Path], processes: int, keeps: bool) -> None:
        super().__init__(folder, "127.0.0.1")
        self._certificate, self._processes, self._keeps = certificate, processes, keeps

    def _command(self) -> list[str]:
        chain, key = self._certificate
        command = [sys.executable, "-m", "bench.speaker", str(self.port), str(chain), str(key), str(self._processes)]
        return [*command, str(self.folder / "speaker.sqlite3")] if self._keeps else command

    def _answers(self) -> bool:
        with suppress(OSError, smtplib.SMTPException), smtplib.SMTP(self.ip, self.port, timeout=1):
            return True
        return False

    def door(self) -> Door:
        """Anybody may sign in."""
        return Door(self.port, "anybody", "anything")

    def log(self) -> str:
        return ""


def _traced(command: list[str], trace: Path | None) -> list[str]:
    return command if trace is None else [*processes.TRACED, f"--output={trace}", *command]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is there; the gateway and Postfix are not started yet."""

    folder: Path
    file_system: str
    authority: LocalAuthority
    certificate: tuple[Path, Path]  # of both
    gateway: MeasuredGateway
    sink: Sink

    def postfix(self, process_limit: int) -> DiscardingPostfix:
        """With this many processes for each service at most; one object for each limit and start."""
        return DiscardingPostfix(
            self._postfix_folder(process_limit), certificate=self.certificate, process_limit=process_limit
        )

    def relay(self, tuning: Tuning, signer: OpenDkim | None) -> RelayingPostfix:
        """To the sink; one object for each start."""
        return RelayingPostfix(
            self._postfix_folder(tuning.process_limit),
            tuning,
            certificate=self.certificate,
            hop=(self.sink.ip, self.sink.port),
            host=RECEIVING_HOST,
            authority=self.authority.certificate_path,
            signer=signer,
        )

    def speaker(self, processes: int, *, keeps: bool) -> Speaker:
        """One object for each start."""
        folder = self.folder / f"speaker-{secrets.token_hex(2)}"
        return Speaker(folder, certificate=self.certificate, processes=processes, keeps=keeps)

    def _postfix_folder(self, process_limit: int) -> Path:
        return self.folder / f"postfix-{process_limit}-{secrets.token_hex(2)}"


@contextmanager
def surroundings(beneath: Path, *, zone: str = "", compares: int = 0) -> Iterator[Surroundings]:
    """A folder of its own below ``beneath``, removed afterwards. ``zone`` are more lines of the zone ``test``; the sink
    ``compares`` so many messages of a load with what was sent. Raises :class:`NotMeasurable`."""
    require_programs()
    kind = file_system(beneath)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="zegel-bench-", dir=beneath))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o711)
        authority = LocalAuthority.load_or_create(folder / "ca")
        port = free_port(SINK_IP)
        resolver = free_port()
        gateway = MeasuredGateway(
            folder / "gateway", authority=authority, resolver=("127.0.0.1", resolver), mx_port=port
        )
        records = gateway.set_up()
        nsd = stack.enter_context(Nsd({"test": zone_of(records) + zone}, folder / "nsd"))
        stack.enter_context(Unbound(folder / "unbound", port=resolver, stubs={"test.": nsd}))
        gateway.check_domain()
        certificate = authority.issue([RECEIVING_HOST], folder / "certificates")
        sink = Sink(folder / "sink", port, certificate, compares=compares)
        yield Surroundings(
            folder=folder,
            file_system=kind,
            authority=authority,
            certificate=authority.issue([HOST, "localhost", "127.0.0.1"], folder / "gateway" / "certificates"),
            gateway=gateway,
            sink=stack.enter_context(sink),
        )


def require_programs() -> None:
    """Raises :class:`NotMeasurable` unless all that is started is there."""
    for program in (SMTPSINK, SMTPSINK.with_name("smtpload")):
        if not program.exists():
            raise NotMeasurable(f"There is no {program.name}: run make bench-submission or bench-delivery.")
    for package in ("postfix", "nsd", "unbound", "strace"):
        if (reason := debian.lacks(package)) is not None:
            raise NotMeasurable(f"{package}: {reason} (try: python -m tests.peers.debian)")


def file_system(folder: Path) -> str:
    """Its kind, as stat(1) calls it. One that lives in memory makes nothing durable, so it is refused."""
    found = subprocess.run(
        ["/usr/bin/stat", "-f", "-c", "%T", str(folder)], check=True, capture_output=True, text=True
    ).stdout.strip()
    if found in IN_MEMORY:
        raise NotMeasurable(f"{folder} is on {found}, where nothing is durable: name a folder on a disk with --folder.")
    return found


def zone_of(records: Sequence[str]) -> str:
    """The zone ``test``: sender, receiver, and the records that the gateway asked to publish."""
    return f"""$TTL 3600
@ IN SOA ns.test. host.test. 1 3600 600 86400 5
@ IN NS ns.test.
ns.test. IN A 127.0.0.1
{HOST}. IN A 127.0.0.1
{SENDING_DOMAIN}. IN MX 10 {RECEIVING_HOST}.
{RECEIVING_DOMAIN}. IN MX 10 {RECEIVING_HOST}.
{RECEIVING_HOST}. IN A {SINK_IP}
{chr(10).join(_published(record) for record in records if "k=ed25519" not in record)}
"""  # one signature on both sides: opendkim makes no second one for a message


def _published(record: str) -> str:
    """A TXT in strings of at most 255 octets (RFC 1035 §3.3)."""
    name, kind, value = record.split(" ", 2)
    if kind != "TXT":
        return f"{name} IN {kind} {value}"
    text = value.strip('"')
    strings = " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))
    return f"{name} IN TXT {strings}"


def settle(*peers: Peer) -> None:
    """Waits until all of them are at rest: less than a twentieth of a processor over half a second. Raises
    :class:`LoadFailed`."""
    pids = [peer.pid for peer in peers if peer.pid is not None]

    def is_quiet() -> bool:
        before = processes.total_time(*pids)
        time.sleep(0.5)
        return processes.total_time(*pids) - before < 0.025

    with suppress(TimeoutError):
        until(is_quiet, QUIET_WITHIN)
        return
    raise LoadFailed(f"no rest within {QUIET_WITHIN:.0f} seconds")
