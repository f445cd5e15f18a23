"""Real DNS on loopback: NSD serves the zones of a test, unbound resolves and validates them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.dnssec
import dns.dnssectypes
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from tests.peers import Peer, PeerDidNotStart

NSD: Final = "/usr/sbin/nsd"
NSD_CHECKZONE: Final = "/usr/sbin/nsd-checkzone"
UNBOUND: Final = "/usr/sbin/unbound"
_ANSWER_WITHIN: Final = 1.0  # seconds per question, on loopback


class Nsd(Peer):
    """An authoritative server for ``zones``: their names, each with its text in the form of RFC 1035 §5.

    Other names get REFUSED. With a zone that can't be read it does not start.
    """

    def __init__(self, zones: Mapping[str, str], folder: Path, ip: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(folder.absolute(), ip, port)
        self.zones = dict(zones)

    def start(self) -> Nsd:
        """As every peer. The zones are written anew: a change in ``zones`` is served after the next start."""
        for number, (zone, text) in enumerate(self.zones.items()):
            file = self.folder / f"{number}.zone"
            file.write_text(text if text.endswith("\n") else text + "\n")
            check = subprocess.run([NSD_CHECKZONE, zone, file], check=False, capture_output=True, text=True)
            if check.returncode != 0:
                raise PeerDidNotStart(check.stdout + check.stderr)
        (self.folder / "nsd.conf").write_text(self._configuration())
        return super().start()

    def _configuration(self) -> str:
        zones = "".join(
            f'zone:\n  name: "{zone}"\n  zonefile: "{number}.zone"\n' for number, zone in enumerate(self.zones)
        )
        return f"""server:
  ip-address: {self.ip}@{self.port}
  server-count: 1
  username: ""
  zonesdir: "{self.folder}"
  database: ""
  logfile: "{self.folder}/log"
  pidfile: "{self.folder}/pid"
  xfrdfile: "{self.folder}/xfrd.state"
  xfrdir: "{self.folder}"
  zonelistfile: "{self.folder}/zone.list"
  cookie-secret-file: ""
  rrl-ratelimit: 0
remote-control:
  control-enable: no
{zones}"""

    def _command(self) -> list[str]:
        return [NSD, "-d", "-c", str(self.folder / "nsd.conf")]

    def _answers(self) -> bool:
        def serves(zone: str) -> bool:
            answer = _ask(self, dns.message.make_query(zone, "SOA"))
            return answer is not None and bool(answer.flags & dns.flags.AA) and bool(answer.answer)

        return all(serves(zone) for zone in self.zones)

    def log(self) -> str:
        return _read(self.folder / "log")


class Unbound(Peer):
    """A resolver that asks for each name of ``stubs``, and all below it, the server there; other names are REFUSED.

    So nothing leaves the machine. ``trust_anchor`` holds DS or DNSKEY records in text, one per line: what is below
    them is validated (and answered with AD, or SERVFAIL when it is bogus); all other stubs are insecure.
    """

    def __init__(
        self,
        folder: Path,
        ip: str = "127.0.0.1",
        port: int = 0,
        *,
        stubs: Mapping[str, Nsd | tuple[str, int]],
        trust_anchor: str | None = None,
    ) -> None:
        super().__init__(folder.absolute(), ip, port)
        self._servers = {
            zone: (server.ip, server.port) if isinstance(server, Nsd) else server for zone, server in stubs.items()
        }
        self._anchors = [line for line in (trust_anchor or "").splitlines() if line.strip()]
        (self.folder / "unbound.conf").write_text(self._configuration())

    def _configuration(self) -> str:
        anchored = [dns.name.from_text(line.split()[0]) for line in self._anchors]
        lines = [f"  trust-anchor: '{line}'" for line in self._anchors]
        for zone in self._servers:
            lines.append(f'  local-zone: "{zone}" transparent')
            if not any(dns.name.from_text(zone).is_subdomain(anchor) for anchor in anchored):
                lines.append(f'  domain-insecure: "{zone}"')
        stubs = "".join(
            f'stub-zone:\n  name: "{zone}"\n  stub-addr: {ip}@{port}\n  stub-no-cache: no\n'
            for zone, (ip, port) in self._servers.items()
        )
        return f"""server:
  interface: {self.ip}
  port: {self.port}
  access-control: 127.0.0.0/8 allow
  do-ip6: no
  do-not-query-localhost: no
  outgoing-interface: 127.0.0.1
  module-config: "validator iterator"
  qname-minimisation: no
  num-threads: 1
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{self.folder}"
  pidfile: ""
  use-syslog: no
  logfile: "{self.folder}/log"
  log-servfail: yes
  val-log-level: 2
  hide-identity: yes
  local-zone: "." refuse
{chr(10).join(lines)}
remote-control:
  control-enable: no
{stubs}"""

    def _command(self) -> list[str]:
        return [UNBOUND, "-d", "-p", "-c", str(self.folder / "unbound.conf")]

    def _answers(self) -> bool:
        # Refused by itself: it listens, and no server behind it was asked.
        return _ask(self, dns.message.make_query("invalid.", "SOA")) is not None

    def log(self) -> str:
        return _read(self.folder / "log")


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed zone, and the DS record in text by which a parent or a resolver trusts it."""

    text: str
    trust_anchor: str


def signed(zone: str, text: str) -> Signed:
    """The zone signed with a fresh ECDSA P-256 key (RFC 6605), with NSEC, valid from an hour ago for a week."""
    parsed = dns.zone.from_text(text, origin=zone, relativize=False)
    private = ec.generate_private_key(ec.SECP256R1())
    public = dns.dnssec.make_dnskey(private.public_key(), dns.dnssectypes.Algorithm.ECDSAP256SHA256, flags=257)
    now = int(time.time())
    dns.dnssec.sign_zone(parsed, keys=[(private, public)], dnskey_ttl=60, inception=now - 3600, expiration=now + 604800)
    origin = dns.name.from_text(zone)
    return Signed(parsed.to_text(), f"{origin} IN DS {dns.dnssec.make_ds(origin, public, 'SHA256').to_text()}")


def _ask(server: Peer, question: dns.message.Message) -> dns.message.Message | None:
    try:
        # Not UDP: what is sent before anyone listens is lost in silence.
        return dns.query.tcp(question, server.ip, port=server.port, timeout=_ANSWER_WITHIN)
    except (OSError, dns.exception.DNSException):
        return None


def _read(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""
