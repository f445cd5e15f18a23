"""The world of the matrix: its zones, its web host, and a server for each situation that says what it was sent."""

from __future__ import annotations

import http.server
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.core.test_dane import NOW, Made, make
from tests.core.test_dane import server as server_certificate
from tests.interop.delivery_matrix import SITUATIONS, By, Letter, Nta, Says, Shows, Situation, Tlsa, Web, Zone
from tests.journey.delivery_ground import SENTENCE, certificates, parsed
from tests.journey.delivery_peers import Answer, Chain, Hangup, ScriptedMx, Silence, Taken, server_tls
from tests.journey.nta_ground import TERM, record, tlsa_of
from tests.journey.test_delivery_dane import pem
from tests.journey.test_delivery_nta_world import PLAIN, SOA
from tests.needs import needs
from tests.peers import free_port, reachable_folder, until
from tests.peers.dns import Nsd, Unbound, signed
from tests.peers.exim import ACCOUNT, Exim
from tests.peers.gateway import Gateway
from tests.peers.opensmtpd import OpenSmtpd
from tests.peers.postfix import Postfix
from tests.peers.site import gives, refers, site
from tests.peers.world import in_strings
from zegel.core.mail.address import Mailbox, parse_reverse_path
from zegel.journey.arrival.intake import Envelope
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.local.authority import AUTHORITY_KEY, LocalAuthority, self_signed

HOME: Final = "127.0.0.31"  # the sender's own mail server
WEB, NOWHERE = "127.0.0.29", "127.0.0.28"  # the policies' host; nobody listens at the other one
POLICY: Final = "/.well-known/mta-sts.txt"
KEPT_FOR: Final = 86_400  # seconds
MARK: Final = SENTENCE.encode()
ZONES: Final[Mapping[Zone, str]] = {
    Zone.OPEN: "open.test",
    Zone.SIGNED: "dicht.test",
    Zone.HOST_IS_BOGUS: "dicht.test",
    Zone.BOGUS: "bogus.test",
}
VERSIONS: Final = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


def domain_of(situation: Situation) -> str:
    return f"{situation.key}.{ZONES[situation.zone]}"


def host_of(situation: Situation) -> str:
    zone = "bogus.test" if situation.zone is Zone.HOST_IS_BOGUS else ZONES[situation.zone]
    return f"mx.{situation.key}.{zone}"


def ip_of(situation: Situation) -> str:
    return f"127.1.0.{SITUATIONS.index(situation) + 1}"


# --- certificates -------------------------------------------------------------------------------------------------


@dataclass
class Papers:
    """The certificates of all servers; ``anchor`` is the authority that DANE-TA records name."""

    folder: Path
    chains: dict[Situation, Chain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._today = (datetime.now(UTC) - NOW).days  # `make` counts days from a moment of its own
        self.anchor = make("wortel van de matrix", begins=self._today - 10, ends=self._today + 300)
        for situation in SITUATIONS:
            if situation.shows is not Shows.NONE:
                self.chains[situation] = self._chain(situation, self.folder / situation.key)

    def _chain(self, situation: Situation, folder: Path) -> Chain:
        authority, host = certificates().authority, host_of(situation)
        match situation.shows:
            case Shows.WILDCARD:
                return authority.issue([f"*.{domain_of(situation)}"], folder)
            case Shows.WRONG_NAME:
                return authority.issue(["mx.elders.test"], folder)
            case Shows.SELF_SIGNED:
                return self_signed([host], folder)
            case Shows.UNKNOWN_AUTHORITY:
                return LocalAuthority.load_or_create(self.folder / "stranger").issue([host], folder)
            case Shows.EXPIRED:
                days = {"begins": self._today - 9, "ends": self._today - 1}
                return pem(folder, server_certificate(_known_authority(), sans=[host], **days))
            case Shows.ANCHORED | Shows.ANCHORED_WRONG_NAME:
                name = host if situation.shows is Shows.ANCHORED else "mx.elders.test"
                days = {"begins": self._today - 9, "ends": self._today + 100}
                return pem(folder, server_certificate(self.anchor, sans=[name], **days), self.anchor)
            case _:
                return authority.issue([host], folder)

    def tlsa(self, situation: Situation, which: Tlsa) -> str:
        match which:
            case Tlsa.OWN:
                return tlsa_of(self.chains[situation][0])
            case Tlsa.OTHER:
                return tlsa_of(certificates().good[0])
            case Tlsa.ANCHOR:
                return tlsa_of(pem(self.folder / "anchor", self.anchor)[0], usage=2)
            case Tlsa.UNUSABLE:
                return "0 1 1 " + "ab" * 32


def _known_authority() -> Made:
    authority = certificates().authority
    key = serialization.load_pem_private_key((authority.certificate_path.parent / AUTHORITY_KEY).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Made(authority.certificate, key)


# --- names --------------------------------------------------------------------------------------------------------


def _zones(papers: Papers, sender: Sequence[str]) -> dict[str, list[str]]:
    """The lines of each zone, with what the sender's domain publishes."""
    lines: dict[str, list[str]] = {
        "test": [f"voorbeeld.test. IN MX 10 mail.voorbeeld.test.\nmail.voorbeeld.test. IN A {HOME}", *sender],
        "dicht.test": [],
        "bogus.test": [],
    }
    for situation in SITUATIONS:
        domain, host = domain_of(situation), host_of(situation)
        lines[_zone_of(domain)] += [f"{domain}. IN MX 10 {host}.", *_texts(situation, domain)]
        lines[_zone_of(host)].append(f"{host}. IN A {ip_of(situation)}")
        lines[_zone_of(host)] += [f"_25._tcp.{host}. IN TLSA {papers.tlsa(situation, one)}" for one in situation.tlsa]
    return lines


def _zone_of(name: str) -> str:
    return next((zone for zone in ("dicht.test", "bogus.test") if name.endswith(zone)), "test")


def _texts(situation: Situation, domain: str) -> list[str]:
    found = []
    if situation.policy:
        web = NOWHERE if situation.web is Web.DOWN else WEB
        found += [f'_mta-sts.{domain}. IN TXT "v=STSv1; id=1;"', f"mta-sts.{domain}. IN A {web}"]
    ntamx = f"10 {host_of(situation)}"
    match situation.nta:
        case Nta.NAMES_THE_HOST:
            found.append(f'{domain}. IN TXT "{record(ntamx)}"')
        case Nta.NAMES_NONE:
            found.append(f'{domain}. IN TXT "{record()}"')
        case Nta.EXPIRED:
            found.append(f'{domain}. IN TXT "{TERM.replace("2027-12", "2026-01")};ntamx={ntamx}"')
        case None:
            pass
    return found


@dataclass(frozen=True, slots=True)
class World:
    """What is there for all rows; the gateway is set up and not started."""

    folder: Path
    papers: Papers
    validating: tuple[str, int]
    plain: tuple[str, int]  # asks the same servers and validates nothing
    policies: dict[str, bool]  # the web hosts, and whether each gives its policy
    gateway: Gateway
    mx_port: int


@contextmanager
def world() -> Iterator[World]:
    needs("nsd", "unbound", "postfix", "exim4-daemon-light", "opensmtpd")
    with ExitStack() as stack:
        folder = stack.enter_context(reachable_folder())
        papers = Papers(folder / "papers")
        policies = stack.enter_context(_web(papers))
        mx_port, port = free_port(HOME), free_port()
        gateway = Gateway(
            folder / "gateway", authority=certificates().authority, resolver=("127.0.0.1", port), mx_port=mx_port
        )
        lines = _zones(papers, [in_strings(one) for one in gateway.set_up()])
        zones = {"test": PLAIN + "\n".join(lines["test"]) + "\n"}
        anchors = []
        for zone in ("dicht.test", "bogus.test"):
            text = SOA + "\n".join(lines[zone]) + "\n"
            made = signed(zone, text)
            zones[zone] = made.text
            anchors.append((signed(zone, text) if zone == "bogus.test" else made).trust_anchor)  # or of another key
        nsd = stack.enter_context(Nsd(zones, folder / "nsd"))
        stubs = {f"{zone}.": nsd for zone in zones}
        anchor = "\n".join(anchors)
        stack.enter_context(Unbound(folder / "validating", port=port, stubs=stubs, trust_anchor=anchor))
        plain = stack.enter_context(Unbound(folder / "plain", stubs=stubs))
        gateway.check_domain()
        yield World(folder, papers, ("127.0.0.1", port), (plain.ip, plain.port), policies, gateway, mx_port)


@contextmanager
def _web(papers: Papers) -> Iterator[dict[str, bool]]:
    """The policies of all domains, at one address and port 443. Its certificate is for all names but one."""
    found = {f"mta-sts.{domain_of(one)}": one for one in SITUATIONS if one.policy}
    serves = dict.fromkeys(found, True)
    names = [name for name, one in found.items() if one.web is not Web.WRONG_CERTIFICATE]
    chain, key = certificates().authority.issue(names, papers.folder / "web")

    def policy(request: http.server.BaseHTTPRequestHandler) -> None:
        name = request.headers["Host"]
        one = found[name]
        host = host_of(one) if one.names_the_host else "mx.elders.test"
        text = f"version: STSv1\nmode: {one.policy}\nmx: {host}\nmax_age: {KEPT_FOR}\n"
        if not serves[name]:
            gives(b"", status=503)(request)
        elif one.web is Web.REDIRECTS and request.path == POLICY:
            refers(f"https://{name}/policy.txt")(request)
        else:
            gives(text.encode(), Content_Type="text/plain")(request)

    with site(chain, key, ip=WEB, port=443) as running:
        running.answers = {POLICY: policy, "/policy.txt": policy}
        yield serves


# --- servers ------------------------------------------------------------------------------------------------------


class Server(Protocol):
    """A receiving server that can tell what came."""

    def messages(self, mailbox: str) -> list[bytes]:
        """What it took for this mailbox."""

    def contents(self) -> int:
        """How often the content of the message was sent to it, whether it took it or not."""

    def transactions(self) -> int:
        """How many mail transactions were begun, as far as it tells."""

    def mend(self) -> None:
        """From now on it does everything right."""


@contextmanager
def serve(situation: Situation, world: World, port: int, folder: Path) -> Iterator[Server]:
    """The server of this situation, running."""
    chain = world.papers.chains.get(situation)
    with ExitStack() as stack:
        match situation.by:
            case By.SCRIPT:
                yield Script(stack.enter_context(_scripted(situation, chain, port)))
            case By.POSTFIX:
                folder = stack.enter_context(reachable_folder())
                yield RealPostfix(stack.enter_context(_postfix(situation, chain, port, folder)))
            case By.EXIM:
                yield RealExim(stack.enter_context(_exim(situation, chain, port, folder / "exim")))
            case By.OPENSMTPD:
                sink = stack.enter_context(ScriptedMx(ip="127.2.0.1"))
                relay = stack.enter_context(_opensmtpd(situation, port, folder / "opensmtpd", sink))
                yield Relay(relay, sink)


@dataclass
class Script:
    """A scripted server: it knows every octet."""

    server: ScriptedMx

    def messages(self, mailbox: str) -> list[bytes]:
        return [one.content for one in self.server.taken if f"<{mailbox}>" in one.rcpt]

    def contents(self) -> int:
        return sum((heard.clear + heard.secure + heard.raw).count(MARK) for heard in self.server.heard)

    def transactions(self) -> int:
        return sum(heard.commands.count("MAIL") for heard in self.server.heard)

    def mend(self) -> None:
        self.server.greeting, self.server.answers = b"220 mx ESMTP\r\n", {}


_ALWAYS: Final[Mapping[Says, tuple[str, Answer]]] = {
    Says.EHLO_421: ("EHLO", b"421 4.3.2 busy\r\n"),
    Says.DATA_5YZ: ("DATA", b"554 5.6.0 no\r\n"),
    Says.ALWAYS_LATER: ("RCPT", b"451 4.3.2 later\r\n"),
    Says.STRIPPED: ("EHLO", b"250-mx\r\n250-PIPELINING\r\n250 XXXXXXXA\r\n"),
    Says.HANGS_UP: ("END", Hangup),
}
_GREETINGS: Final[Mapping[Says, Answer]] = {
    Says.GREETING_421: b"421 4.3.2 busy\r\n",
    Says.GREETING_554: b"554 5.3.2 no\r\n",
    Says.SILENT: Silence,
}
_STARTTLS: Final = {Says.STARTTLS_454: b"454 4.7.0 not now\r\n", Says.STARTTLS_554: b"554 5.7.0 no\r\n"}


def _scripted(situation: Situation, chain: Chain | None, port: int) -> ScriptedMx:
    assert chain is not None
    lowest, highest = VERSIONS[situation.tls or "1.2"], VERSIONS[situation.tls or "1.3"]
    server = ScriptedMx(ip=ip_of(situation), port=port, tls=server_tls(chain, minimum=lowest, maximum=highest))
    server.greeting = _GREETINGS.get(situation.says, server.greeting)
    server.starttls = _STARTTLS.get(situation.says, server.starttls)
    if situation.says in _ALWAYS:
        verb, answer = _ALWAYS[situation.says]
        server.answers[verb] = answer
    return server


def held_back(server: Script, until_then: Callable[[], object]) -> None:
    """Its answer to the final dot waits for something."""

    def wait(_: Taken) -> None:
        until_then()

    server.server.at_end = wait


@dataclass
class RealPostfix:
    """Counts by its log: it writes down the commands of each connection when it ends."""

    server: Postfix

    def messages(self, mailbox: str) -> list[bytes]:
        self._stored()
        return self.server.mailbox(mailbox)

    def contents(self) -> int:
        """It takes whatever it says 354 to."""
        return sum(MARK in one for one in self._stored())

    def transactions(self) -> int:
        return self._counted("mail", refused=True)

    def mend(self) -> None:
        raise NotImplementedError("there is nothing to mend")

    def _stored(self) -> list[bytes]:
        box, taken = self.server.folder / "mail/inbox/new", self._counted("data")
        until(lambda: len(list(box.glob("*"))) == taken)
        return [path.read_bytes() for path in box.glob("*")]

    def _counted(self, command: str, *, refused: bool = False) -> int:
        def log() -> str:
            return self.server.log()

        until(lambda: len(re.findall(r"smtpd\[\d+\]: connect from", log())) == log().count(" disconnect from"))
        ended = [line for line in log().splitlines() if " disconnect from" in line]
        counts = (re.search(rf" {command}=(\d+)(?:/(\d+))?", line) for line in ended)
        return sum(int(one[2] if refused and one[2] else one[1]) for one in counts if one)


def _postfix(situation: Situation, chain: Chain | None, port: int, folder: Path) -> Postfix:
    settings = {}
    if situation.tls:
        settings["smtpd_tls_protocols"] = f">=TLSv{situation.tls}, <=TLSv{situation.tls}"
    match situation.says:
        case Says.REFUSES_ONE:
            refused = f"weg@{domain_of(situation)} = 550 5.1.1 Deze mailbox is opgeheven"
            settings["smtpd_recipient_restrictions"] = f"check_recipient_access inline:{{{{{refused}}}}}, permit"
        case Says.SMALL_SIZE:
            settings["message_size_limit"] = "40000"
        case Says.TINY_SIZE:
            settings["message_size_limit"] = "400"
        case _:
            pass
    return Postfix(
        folder / "postfix",
        name=host_of(situation),
        inet=ip_of(situation),
        port=port,
        accepts=(domain_of(situation),),
        certificate=chain,
        settings=settings,
    )


class ReceivingExim(Exim):
    """Keeps what it takes below ``var/box``."""

    def __init__(self, situation: Situation, chain: Chain, port: int, folder: Path) -> None:
        files = {
            "exim4/exim4.conf": _exim_configuration(situation),
            "exim4/chain.pem": chain[0].read_text(),
            "exim4/key.pem": chain[1].read_text(),
        }
        name, ip = host_of(situation), ip_of(situation)
        super().__init__(folder, files, secrets=("exim4/key.pem",), name=name, ip=ip, port=port)
        self.box = self._place("var/box", ACCOUNT)
        self.mended = self._place("var/state") / "mended"


_ACLS: Final[Mapping[Says, tuple[str, str]]] = {
    Says.EHLO_5YZ: ("helo", "deny message = 5.7.1 no"),
    Says.MAIL_4YZ: ("mail", "defer message = 4.3.2 later"),
    Says.MAIL_5YZ: ("mail", "deny message = 5.7.1 no"),
    Says.RCPT_4YZ: ("rcpt", "defer message = 4.7.1 greylisted"),
    Says.RCPT_5YZ: ("rcpt", "deny message = 5.7.1 no"),
    Says.DATA_4YZ: ("predata", "defer message = 4.3.2 later"),
    Says.DOT_4YZ: ("data", "defer message = 4.3.2 later"),
    Says.DOT_5YZ: ("data", "deny message = 5.7.1 no"),
}


def _exim_configuration(situation: Situation) -> str:
    stage, refusal = _ACLS.get(situation.says, ("vrfy", ""))
    take = "" if stage == "rcpt" else "acl_smtp_rcpt = take\n"
    return f"""primary_hostname = {host_of(situation)}
tls_advertise_hosts = *
tls_certificate = /etc/exim4/chain.pem
tls_privatekey = /etc/exim4/key.pem
log_selector = +smtp_no_mail
host_lookup =
acl_smtp_{stage} = refuse
{take}
begin acl
take:
  accept
refuse:
  accept condition = ${{if exists{{/var/state/mended}}}}
  {refusal}

begin routers
all:
  driver = accept
  transport = box

begin transports
box:
  driver = appendfile
  directory = /var/box
  envelope_to_add
  user = {ACCOUNT.name}
"""


@dataclass
class RealExim:
    """Counts by its log: what it refuses stands there with the command."""

    server: ReceivingExim

    def messages(self, mailbox: str) -> list[bytes]:
        until(self.server.queue_empty)
        wanted = f"Envelope-to: {mailbox}".encode()
        return [one for one in self._stored() if wanted in one]

    def contents(self) -> int:
        until(self.server.queue_empty)
        log = self.server.log()
        refused = log.count("rejected after DATA")
        return refused + sum(MARK in one for one in self._stored())

    def transactions(self) -> int:
        return len(re.findall(r" <= | F=<[^>]*> (?:temporarily )?rejected", self.server.log()))

    def mend(self) -> None:
        self.server.mended.touch()

    def _stored(self) -> list[bytes]:
        return [path.read_bytes() for path in self.server.box.iterdir() if path.is_file()]


def _exim(situation: Situation, chain: Chain | None, port: int, folder: Path) -> ReceivingExim:
    assert chain is not None
    return ReceivingExim(situation, chain, port, folder)


@dataclass
class Relay:
    """What it takes it passes on at once; its log has each command that it took."""

    server: OpenSmtpd
    sink: ScriptedMx

    def messages(self, mailbox: str) -> list[bytes]:
        until(self.server.queue_empty)
        return [one.content for one in self.sink.taken if f"<{mailbox}>" in one.rcpt]

    def contents(self) -> int:
        until(self.server.queue_empty)
        return sum(MARK in one.content for one in self.sink.taken)

    def transactions(self) -> int:
        return self.server.log().count("smtp message msgid=")

    def mend(self) -> None:
        raise NotImplementedError("there is nothing to mend")


def _opensmtpd(situation: Situation, port: int, folder: Path, sink: ScriptedMx) -> OpenSmtpd:
    """Passes everything on: it would deliver to accounts of its machine only. Debian 12's makes no handshake as a
    server (its keys are apart from its connections, which OpenSSL 3 does not take part in)."""
    assert situation.shows is Shows.NONE
    rules = f"""listen on {ip_of(situation)} port {port}
action "on" relay host smtp+notls://{sink.ip}:{sink.port}
match from any for any action "on"
"""
    return OpenSmtpd(folder, {"smtpd.conf": rules}, name=host_of(situation), ip=ip_of(situation), port=port)


# --- messages -----------------------------------------------------------------------------------------------------


def kind_of(octets: bytes) -> str:
    """``readable`` or ``notification``."""
    mail = parsed(octets)
    assert (mail["X-Zegel-Conversation"] is None) == (MARK in octets)
    return "readable" if MARK in octets else "notification"


def letter_of(situation: Situation) -> tuple[str, bytes]:
    """What stands below the sentence, and what is attached."""
    match situation.letter:
        case Letter.SHORT:
            return "", b""
        case Letter.LONG:
            return "Een lange regel van zestig octetten, meer is het niet.\n" * 1800, b""
        case Letter.ATTACHED:
            return "", b"bijlage" * 14_000


def envelope(mailboxes: Sequence[str]) -> Envelope:
    """Of a message by the sender."""
    recipients = [AcceptedRecipient(Mailbox.parse(one), frozenset(), "") for one in mailboxes]
    return Envelope(parse_reverse_path("balie@voorbeeld.test"), recipients=recipients)
