"""What docs/connecting.md tells a mail administrator, done: its examples run in real mail servers before a real Zegel.

In each example the right messages come to Zegel, over a connection that the sender verified, and the others go where
they went before. Before a false Zegel nothing is shown, the password neither.
"""

from __future__ import annotations

import email
import email.policy
import itertools
import os
import re
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.header import Header
from email.message import EmailMessage, Message
from pathlib import Path
from typing import Final

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.interop.snippets import NotMarked, filled, snippets
from tests.needs import needs
from tests.peers import Peer, PeerDidNotStart, free_port, until
from tests.peers.exim import Exim
from tests.peers.gateway import HOST, ORGANISATION, SENDER, SENDING_DOMAIN, Credentials
from tests.peers.opensmtpd import OpenSmtpd
from tests.peers.postfix import Postfix
from tests.peers.world import GUEST_DOMAIN, World, world
from zegel.local.authority import LocalAuthority

PAGE: Final = Path(__file__).parents[2] / "docs" / "connecting.md"
README: Final = Path(__file__).parents[2] / "README.md"
CHOSEN: Final = GUEST_DOMAIN  # what is care.example.net on the page
OTHER: Final = "elders.test"
BELOW: Final = f"afdeling.{CHOSEN}"
OWN_IP: Final = "127.0.0.21"  # of a sender that would take 127.0.0.1, where Zegel is, for itself
OTHER_IP: Final = "127.0.0.22"  # where other mail goes: OpenSMTPD waits between connections to one address
TAGGED: Final = "Uitslag [Secure]"
LOCAL_NAME: Final = "localhost"  # the name of Zegel for senders that read the machine's own /etc/hosts


# --- the page -----------------------------------------------------------------------------------------------------


def test_an_example_that_says_neither_that_it_is_tested_nor_that_it_is_not_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_text("<!-- tested: first -->\n```\na\n```\n\n```\nb\n```\n")
    with pytest.raises(NotMarked, match="page:6"):
        snippets(page)


def test_two_examples_of_one_name_are_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_text("<!-- tested: first -->\n```\na\n```\n" * 2)
    with pytest.raises(NotMarked, match="page:6"):
        snippets(page)


def test_a_placeholder_is_filled_in_where_it_stands_as_a_word() -> None:
    values = {"example.org": "a.test", "zegel.example.org": "b.test", "587": "25", "username": "example.org"}
    assert filled("[zegel.example.org]:587 username@example.org 5877", values) == "[b.test]:25 example.org@a.test 5877"


def test_every_example_of_the_page_is_used_here() -> None:
    source = Path(__file__).read_text()
    assert [name for name in snippets(PAGE) if f'"{name}"' not in source] == []


def test_the_page_and_the_readme_say_the_same_of_postfix() -> None:
    page = snippets(PAGE)
    for name in ("postfix-everything", "postfix-password"):
        assert page[name] in README.read_text()


# --- who is there -------------------------------------------------------------------------------------------------


@dataclass  # no slots: before Python 3.11.3 nobody can look at the members of such a one, as aiosmtpd does
class Elsewhere:
    """Where mail goes that doesn't go to Zegel."""

    port: int = field(default_factory=lambda: free_port(OTHER_IP))
    received: list[Envelope] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.received.append(envelope)
        return "250 2.0.0 Ok"

    def message_ids(self) -> set[str]:
        return {_parsed(envelope.original_content or b"")["Message-ID"] for envelope in self.received}

    @contextmanager
    def listening(self) -> Iterator[Elsewhere]:
        controller = Controller(self, hostname=OTHER_IP, port=self.port)
        controller.start()
        try:
            yield self
        finally:
            controller.stop()


@dataclass
class FalseZegel:
    """Listens where Zegel is expected, offers to take passwords and mail from anybody, and keeps what it is shown."""

    identity: tuple[Path, Path] | None  # chain and key; without, it offers no TLS
    kind: str  # what gives it away
    port: int = field(default_factory=free_port)
    connections: int = 0
    shown: list[str] = field(default_factory=list)

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, host: str, replies: list[str]
    ) -> list[str]:
        session.host_name = host
        self.connections += 1
        return replies

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.shown.append(f"MAIL {address}")
        envelope.mail_from = address
        return "250 2.1.0 Ok"

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, shown: LoginPassword
    ) -> AuthResult:
        self.shown.append(f"AUTH {shown.login!r}")
        return AuthResult(success=True)

    @contextmanager
    def listening(self) -> Iterator[FalseZegel]:
        context = None
        if self.identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.identity)
        controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=context,
            auth_require_tls=False,
            authenticator=self._authenticate,
        )
        controller.start()
        try:
            yield self
        finally:
            controller.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    needs("postfix", "exim4-daemon-light", "opensmtpd", "util-linux", "swaks", "libnet-ssleay-perl")
    with world() as found:
        yield found


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere().listening() as listening:
        yield listening


@dataclass(frozen=True, slots=True)
class Zegel:
    """What a sender must know of Zegel, or of who pretends to be it."""

    port: int
    credentials: Credentials
    authority: Path

    def values(self, name: str, **more: str) -> dict[str, str]:
        """What to fill in on the page, for a sender to whom Zegel is known by this name."""
        return {
            "zegel.example.org": name,
            "587": str(self.port),
            "username": self.credentials.username,
            "password": self.credentials.password,
            "office@example.org": SENDER,
            "example.org": SENDING_DOMAIN,
            "care.example.net": CHOSEN,
            **more,
        }


@pytest.fixture
def zegel(running: World) -> Zegel:
    assert running.gateway.credentials is not None
    return Zegel(running.gateway.port, running.gateway.credentials, running.authority.certificate_path)


def example(name: str, values: Mapping[str, str]) -> str:
    return filled(snippets(PAGE)[name], values)


MailServer = Postfix | Exim | OpenSmtpd

# --- senders, as the page sets them up ----------------------------------------------------------------------------

_number: Final = itertools.count(1)


def _folder(running: World, name: str) -> Path:
    return running.folder / f"{name}-{next(_number)}"


def postfix(running: World, zegel: Zegel, elsewhere: Elsewhere, *ways: str, submission: int = 0) -> Postfix:
    """A Postfix that sent all mail elsewhere, until the page's lines were added.

    At the port ``submission`` its users hand in their mail, which passes the page's checks; at its own port mail
    comes in from others too.
    """
    folder = _folder(running, "postfix")
    values = zegel.values(
        LOCAL_NAME,
        **{"/etc/postfix": str(folder / "etc"), "/etc/ssl/certs/ca-certificates.crt": str(zegel.authority)},
    )
    before = {"relayhost": f"[{OTHER_IP}]:{elsewhere.port}", "default_transport": "smtp"}
    whole = {"relayhost": ""} if "postfix-everything-but-bounces" in ways else {}
    lines = [line for way in ways for line in example(way, values).splitlines()]
    added = dict(line.split(" = ", 1) for line in lines)
    settings = {**before, **whole, **added, "smtp_tls_loglevel": "1"}
    sender = Postfix(folder, name=f"mail.{SENDING_DOMAIN}", accepts=(SENDING_DOMAIN,), settings=settings)
    for file, name in (
        ("zegel", "postfix-password"),
        ("zegel_domains", "postfix-domains"),
        ("zegel_headers", "postfix-headers"),
    ):
        written = folder / "etc" / file
        written.write_text(example(name, values))
        written.chmod(0o600 if file == "zegel" else 0o644)
        os.utime(written, (0, 0))  # Postfix waits until a file is two seconds old
    master = folder / "etc" / "master.cf"
    text = master.read_text() + example("postfix-transport", values)
    if submission:
        checked = f"127.0.0.1:{submission} inet n - n - - smtpd\n" + example("postfix-checks-for", values)
        text += checked + example("postfix-checks", values)
    master.write_text(text)
    return sender


def exim_of_one_file(running: World, zegel: Zegel, elsewhere: Elsewhere, way: str) -> Exim:
    """An Exim that sent all mail elsewhere, until the page's router, transport and authenticator were added."""
    values = zegel.values(HOST)
    return _exim(
        running,
        zegel,
        {
            "exim4/exim4.conf": f"""
primary_hostname = mail.{SENDING_DOMAIN}
domainlist local_domains = {SENDING_DOMAIN}
local_interfaces = {OWN_IP}
acl_smtp_rcpt = accept
tls_advertise_hosts =
begin routers
{example(way, values)}
elsewhere:
  driver = manualroute
  route_list = * {OTHER_IP}::{elsewhere.port}
  transport = elsewhere
begin transports
elsewhere:
  driver = smtp
{example("exim-transport", values)}
begin retry
* * F,1h,1h
begin authenticators
{example("exim-authenticator", values)}
"""
        },
        secret="exim4/exim4.conf",
    )


def exim_of_debian(running: World, zegel: Zegel, elsewhere: Elsewhere, way: str) -> Exim:
    """Debian's Exim with a smarthost elsewhere, until the page's files were added."""
    values = zegel.values(HOST)
    return _exim(
        running,
        zegel,
        {
            "exim4/update-exim4.conf.conf": f"""
dc_eximconfig_configtype='smarthost'
dc_other_hostnames='{SENDING_DOMAIN}'
dc_local_interfaces='{OWN_IP}'
dc_readhost=''
dc_relay_domains=''
dc_minimaldns='true'
dc_relay_nets=''
dc_smarthost='{OTHER_IP}::{elsewhere.port}'
CFILEMODE='644'
dc_use_split_config='true'
dc_hide_mailname='false'
dc_mailname_in_oh='true'
dc_localdelivery='mail_spool'
""",
            "exim4/conf.d/transport/40_local_zegel": example("exim-transport", values),
            "exim4/conf.d/router/180_local_zegel": example(way, values),
            "exim4/passwd.client": example("exim-debian-password", values),
        },
        secret="exim4/passwd.client",
    )


def _exim(running: World, zegel: Zegel, files: Mapping[str, str], *, secret: str) -> Exim:
    return Exim(
        _folder(running, "exim"),
        files,
        secrets=(secret,),
        name=f"mail.{SENDING_DOMAIN}",
        ip=OWN_IP,
        hosts={HOST: "127.0.0.1"},
        trusts=zegel.authority,
    )


def opensmtpd(running: World, zegel: Zegel, elsewhere: Elsewhere, way: str, port: int = 0) -> OpenSmtpd:
    """An OpenSMTPD with actions for its own mail and for other mail, and the page's action and rules."""
    values = zegel.values(HOST, **{"2587": str(port)})
    own = free_port()
    files = {
        "smtpd.conf": f"""
listen on 127.0.0.1 port {own}
action "local" relay host smtp+notls://{OTHER_IP}:{elsewhere.port}
action "outbound" relay host smtp+notls://{OTHER_IP}:{elsewhere.port}
{example("opensmtpd-action", values)}
{example(way, values)}
""",
        "smtpd.secrets": example("opensmtpd-password", values),
    }
    return OpenSmtpd(
        _folder(running, "opensmtpd"),
        files,
        secrets=("smtpd.secrets",),
        name=f"mail.{SENDING_DOMAIN}",
        port=own,
        hosts={HOST: "127.0.0.1"},
        trusts=zegel.authority,
    )


def by_domain(server: str, running: World, zegel: Zegel, elsewhere: Elsewhere) -> MailServer:
    """A server of this kind that sends mail for the chosen domain to Zegel."""
    match server:
        case "postfix":
            return postfix(running, zegel, elsewhere, "postfix-by-domain")
        case "exim":
            return exim_of_debian(running, zegel, elsewhere, "exim-by-domain")
        case _:
            return opensmtpd(running, zegel, elsewhere, "opensmtpd-by-domain")


# --- sending, and seeing where it went ----------------------------------------------------------------------------


def hand_over(
    to: Peer,
    recipient: str,
    *,
    subject: str = "Uitslag",
    reverse_path: str = SENDER,
    author: str = SENDER,
    port: int = 0,
    **fields: str,
) -> str:
    """One message into a mail server, as its user would; returns its Message-ID. A subject outside ASCII is encoded
    as a whole (RFC 2047), as many mail programs do."""
    message = Message()
    message["From"] = author
    message["To"] = recipient
    message["Subject"] = subject if subject.isascii() else Header(subject, "utf-8").encode()
    message["Message-ID"] = f"<bericht{next(_number)}@{SENDING_DOMAIN}>"
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    message.set_payload("De uitslag is goed.\n", "utf-8")
    with smtplib.SMTP(to.ip, port or to.port, timeout=30) as client:
        client.send_message(message, reverse_path, [recipient])
    return str(message["Message-ID"])


def _parsed(octets: bytes) -> EmailMessage:
    return email.message_from_bytes(octets, policy=email.policy.default)


def number_accepted(running: World) -> int:
    return running.gateway.log().count('"submission_accepted"')


@dataclass(slots=True)
class Ways:
    """Message-IDs: of what shall come to Zegel, and of what shall go where it went before."""

    secured: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def everything() -> Ways:
    """All that the tests of this module sent, for the last look at the evidence."""
    return Ways()


@contextmanager
def sorted_out(
    running: World, sender: MailServer, elsewhere: Elsewhere, everything: Ways, *, verified: str
) -> Iterator[Ways]:
    """After the block every message has gone its way and no other: so much was accepted by Zegel, and no more, over
    connections of which the sender's log says ``verified``; these went elsewhere, and none is left."""
    before, ways = number_accepted(running), Ways()
    yield ways
    until(lambda: number_accepted(running) >= before + len(ways.secured), 60)
    until(lambda: elsewhere.message_ids() >= ways.others, 60)
    until(sender.queue_empty, 60)
    assert number_accepted(running) == before + len(ways.secured)
    assert elsewhere.message_ids() == ways.others
    assert re.search(verified, sender.log())
    everything.secured |= ways.secured
    everything.others |= ways.others


# --- servers in places of their own ---


def test_a_server_is_told_what_is_wrong_with_its_configuration(running: World) -> None:
    with pytest.raises(PeerDidNotStart, match="no such dispatcher: nowhere"):
        OpenSmtpd(_folder(running, "opensmtpd"), {"smtpd.conf": 'match for any action "nowhere"\n'}).start()
    with pytest.raises(PeerDidNotStart, match="nosuchoption"):
        Exim(_folder(running, "exim"), {"exim4/exim4.conf": "nosuchoption = yes\n"}).start()


@pytest.mark.parametrize(("server", "program"), [("exim", "/usr/sbin/exim4"), ("opensmtpd", "/usr/sbin/smtpd")])
def test_a_server_leaves_the_machine_as_it_was(
    running: World, zegel: Zegel, elsewhere: Elsewhere, server: str, program: str
) -> None:
    def machine() -> list[object]:
        passwd, hosts, mounts = (Path(path).read_text() for path in ("/etc/passwd", "/etc/hosts", "/proc/mounts"))
        return [Path(program).exists(), passwd, hosts, mounts, socket.gethostname()]

    before = machine()
    with by_domain(server, running, zegel, elsewhere) as sender:
        assert machine() == before
        assert inhabitants(sender.folder)
    assert machine() == before
    assert inhabitants(sender.folder) == []


def inhabitants(folder: Path) -> list[str]:
    """The processes that live where this folder is mounted as theirs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{folder}/etc" in (process / "mounts").read_text():
                found.append(process.name)
    return found


# --- Postfix ------------------------------------------------------------------------------------------------------

BY_POSTFIX: Final = f"Verified TLS connection established to {LOCAL_NAME}"


def test_postfix_sends_everything_the_short_way_and_reports_what_zegel_refuses(
    running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways
) -> None:
    with (
        postfix(running, zegel, elsewhere, "postfix-everything") as sender,
        sorted_out(running, sender, elsewhere, everything, verified=BY_POSTFIX) as ways,
    ):
        ways.secured = {hand_over(sender, f"balie@{CHOSEN}"), hand_over(sender, f"balie@{OTHER}")}
        own = hand_over(sender, SENDER)
        refused = hand_over(sender, f"balie@{CHOSEN}", author=f"vreemd@{SENDING_DOMAIN}")
        sender.wait_for_message(SENDER, lambda octets: own.encode() in octets)
        sender.wait_for_message(SENDER, lambda octets: b"\nStatus: 5.7.1" in octets and refused.encode() in octets)
        everything.others |= {own, refused}


def test_postfix_sends_bounces_past_zegel(running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways) -> None:
    with postfix(running, zegel, elsewhere, "postfix-everything-but-bounces") as sender:
        with sorted_out(running, sender, elsewhere, everything, verified=BY_POSTFIX) as ways:
            ways.secured = {hand_over(sender, f"balie@{CHOSEN}"), hand_over(sender, f"balie@{OTHER}")}
        everything.others.add(hand_over(sender, f"balie@{OTHER}", reverse_path="<>"))
        # There is no DNS: it is seen how Postfix tried.
        until(lambda: re.search(rf"postfix/smtp\[\d+\]: .*to=<balie@{OTHER}>, relay=none", sender.log()) is not None)


def test_postfix_chooses_by_recipient_domain(
    running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways
) -> None:
    with (
        postfix(running, zegel, elsewhere, "postfix-by-domain") as sender,
        sorted_out(running, sender, elsewhere, everything, verified=BY_POSTFIX) as ways,
    ):
        ways.secured = {hand_over(sender, f"balie@{CHOSEN}"), hand_over(sender, f"balie@{BELOW}")}
        ways.others = {hand_over(sender, f"balie@{OTHER}")}


def test_postfix_chooses_by_header_field_or_subject_of_what_its_users_send(
    running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways
) -> None:
    port = free_port()
    with (
        postfix(running, zegel, elsewhere, submission=port) as sender,
        sorted_out(running, sender, elsewhere, everything, verified=BY_POSTFIX) as ways,
    ):
        ways.secured = {
            hand_over(sender, f"balie@{OTHER}", subject=TAGGED, port=port),
            hand_over(sender, f"balie@{OTHER}", subject="Überweisung [secure]", port=port),
            hand_over(sender, f"balie@{OTHER}", Zegel_Message_Expiration="delete P30D", port=port),
        }
        ways.others = {
            hand_over(sender, f"balie@{OTHER}", port=port),
            hand_over(sender, f"balie@{OTHER}", subject=TAGGED),  # came in, not from a user
        }


# --- Exim ---------------------------------------------------------------------------------------------------------

EximSetUp = Callable[[World, Zegel, Elsewhere, str], Exim]
BY_EXIM: Final = rf" R=zegel T=zegel H={HOST} .* X=TLS1\.[23]:.* CV=yes A="


@pytest.fixture(params=["one file", "Debian's split configuration"])
def exim(request: pytest.FixtureRequest) -> EximSetUp:
    return exim_of_one_file if request.param == "one file" else exim_of_debian


def test_exim_sends_everything_but_bounces(
    running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways, exim: EximSetUp
) -> None:
    with (
        exim(running, zegel, elsewhere, "exim-everything") as sender,
        sorted_out(running, sender, elsewhere, everything, verified=BY_EXIM) as ways,
    ):
        ways.secured = {hand_over(sender, f"balie@{CHOSEN}"), hand_over(sender, f"balie@{OTHER}")}
        ways.others = {hand_over(sender, f"balie@{OTHER}", reverse_path="<>")}


def test_exim_chooses_by_recipient_domain(
    running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways, exim: EximSetUp
) -> None:
    with (
        exim(running, zegel, elsewhere, "exim-by-domain") as sender,
        sorted_out(running, sender, elsewhere, everything, verified=BY_EXIM) as ways,
    ):
        ways.secured = {hand_over(sender, f"balie@{CHOSEN}"), hand_over(sender, f"balie@{BELOW}")}
        ways.others = {hand_over(sender, f"balie@{OTHER}")}


def test_exim_chooses_by_header_field_or_subject(
    running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways, exim: EximSetUp
) -> None:
    with (
        exim(running, zegel, elsewhere, "exim-by-header") as sender,
        sorted_out(running, sender, elsewhere, everything, verified=BY_EXIM) as ways,
    ):
        ways.secured = {
            hand_over(sender, f"balie@{OTHER}", subject=TAGGED),
            hand_over(sender, f"balie@{OTHER}", subject="Überweisung [secure]"),
            hand_over(sender, f"balie@{OTHER}", Zegel_Message_Expiration="delete P30D"),
        }
        ways.others = {
            hand_over(sender, f"balie@{CHOSEN}"),
            hand_over(sender, f"balie@{OTHER}", subject="Überweisung"),
        }


# --- OpenSMTPD ----------------------------------------------------------------------------------------------------

BY_OPENSMTPD: Final = 'mta server-cert-check result="success"'


def test_opensmtpd_sends_everything_but_what_is_its_own(
    running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways
) -> None:
    with (
        opensmtpd(running, zegel, elsewhere, "opensmtpd-everything") as sender,
        sorted_out(running, sender, elsewhere, everything, verified=BY_OPENSMTPD) as ways,
    ):
        ways.secured = {hand_over(sender, f"balie@{CHOSEN}"), hand_over(sender, f"balie@{OTHER}")}
        ways.others = {hand_over(sender, SENDER)}


def test_opensmtpd_chooses_by_recipient_domain(
    running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways
) -> None:
    with (
        opensmtpd(running, zegel, elsewhere, "opensmtpd-by-domain") as sender,
        sorted_out(running, sender, elsewhere, everything, verified=BY_OPENSMTPD) as ways,
    ):
        ways.secured = {hand_over(sender, f"balie@{CHOSEN}"), hand_over(sender, f"balie@{BELOW}")}
        ways.others = {hand_over(sender, f"balie@{OTHER}"), hand_over(sender, SENDER)}


def test_opensmtpd_chooses_by_port_or_sender(
    running: World, zegel: Zegel, elsewhere: Elsewhere, everything: Ways
) -> None:
    port, another = free_port(), f"info@{SENDING_DOMAIN}"
    with (
        opensmtpd(running, zegel, elsewhere, "opensmtpd-by-port", port) as sender,
        sorted_out(running, sender, elsewhere, everything, verified=BY_OPENSMTPD) as ways,
    ):
        ways.secured = {
            hand_over(sender, f"balie@{OTHER}", port=port, reverse_path=another),
            hand_over(sender, f"balie@{OTHER}", reverse_path=SENDER),
        }
        ways.others = {hand_over(sender, f"balie@{OTHER}", reverse_path=another, subject=TAGGED)}


# --- applications -------------------------------------------------------------------------------------------------


def python_program(zegel: Zegel) -> subprocess.CompletedProcess[str]:
    """The page's program, run by an interpreter that trusts the authority as others trust the system's."""
    return subprocess.run(
        [sys.executable, "-c", example("python", zegel.values(LOCAL_NAME))],
        env={**os.environ, "SSL_CERT_FILE": str(zegel.authority)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def swaks(running: World, zegel: Zegel, *more: str) -> subprocess.CompletedProcess[str]:
    home = _folder(running, "swaks")
    home.mkdir()
    values = zegel.values(LOCAL_NAME, **{"/etc/ssl/certs/ca-certificates.crt": str(zegel.authority)})
    settings = home / ".swaksrc"
    settings.write_text(example("swaks", values))
    settings.chmod(0o600)
    return subprocess.run(
        [*example("swaks-command", values).split(), *more],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_python_program_sends(running: World, zegel: Zegel) -> None:
    before = number_accepted(running)
    done = python_program(zegel)
    assert done.returncode == 0, done.stderr
    until(lambda: number_accepted(running) == before + 1)
    until(lambda: running.gateway.recipients()[f"someone@{CHOSEN}"]["method"] == "sms")  # what its field asks


def test_swaks_sends_and_shows_no_password(running: World, zegel: Zegel, everything: Ways) -> None:
    message_id = f"<swaks@{SENDING_DOMAIN}>"
    before = number_accepted(running)
    done = swaks(running, zegel, "--header", f"Message-Id: {message_id}")
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: number_accepted(running) == before + 1)
    assert zegel.credentials.password not in done.stdout
    everything.secured.add(message_id)


# --- the evidence of all of the above -----------------------------------------------------------------------------


def test_zegel_holds_all_that_was_sent_through_it_and_nothing_else(running: World, everything: Ways) -> None:
    held = {found["message_id"]: found["author"] for found in running.gateway.evidence()}
    assert everything.secured <= held.keys()
    assert everything.others.isdisjoint(held)
    assert set(held.values()) == {SENDER}


# --- who is not Zegel gets nothing --------------------------------------------------------------------------------

FALSE: Final = ("of an unknown authority", "with another name", "without TLS")


@pytest.fixture(params=FALSE)
def false_zegel(request: pytest.FixtureRequest, running: World) -> Iterator[FalseZegel]:
    folder = _folder(running, "false")
    identity: tuple[Path, Path] | None
    match request.param:
        case "of an unknown authority":
            identity = LocalAuthority.load_or_create(folder / "ca").issue([HOST, LOCAL_NAME], folder)
        case "with another name":
            identity = running.authority.issue(["elders.test"], folder)
        case _:
            identity = None
    with FalseZegel(identity, request.param).listening() as listening:
        yield listening


@pytest.fixture
def trap(false_zegel: FalseZegel, zegel: Zegel) -> Zegel:
    """Zegel as its senders know it, where in truth another listens."""
    return Zegel(false_zegel.port, zegel.credentials, zegel.authority)


REFUSALS: Final = {
    "postfix": ("Server certificate not verified", "Server certificate not verified", "TLS is required, but was not"),
    "exim": ("certificate verification failed", "certificate verification failed", "a TLS session is required"),
    "opensmtpd": ("SSL certificate check failed", "ssl_check_name: no match", "TLS required but not supported"),
}


@pytest.mark.parametrize("server", REFUSALS)
def test_a_mail_server_shows_a_false_zegel_nothing_and_keeps_the_mail(
    running: World, trap: Zegel, false_zegel: FalseZegel, elsewhere: Elsewhere, server: str
) -> None:
    with by_domain(server, running, trap, elsewhere) as sender:
        hand_over(sender, f"balie@{CHOSEN}")
        said = REFUSALS[server][FALSE.index(false_zegel.kind)]
        until(lambda: said in sender.log())
        assert not sender.queue_empty()
    assert false_zegel.connections > 0
    assert false_zegel.shown == []
    assert elsewhere.received == []


def test_a_python_program_shows_a_false_zegel_nothing(trap: Zegel, false_zegel: FalseZegel) -> None:
    done = python_program(trap)
    assert done.returncode != 0
    assert ("CERTIFICATE_VERIFY_FAILED" in done.stderr) == (false_zegel.kind != "without TLS")
    assert false_zegel.connections > 0
    assert false_zegel.shown == []


@pytest.mark.parametrize("false_zegel", ["of an unknown authority", "without TLS"], indirect=True)
def test_swaks_shows_nothing_where_authority_or_tls_is_missing(
    running: World, trap: Zegel, false_zegel: FalseZegel
) -> None:
    done = swaks(running, trap)
    assert done.returncode == 29, done.stdout  # swaks(1): error negotiating TLS
    assert false_zegel.connections > 0
    assert false_zegel.shown == []


# --- removal: last, because failed sign-ins are remembered ----------------------------------------------------------


@pytest.fixture(scope="module")
def disabled(running: World) -> Credentials:
    """Credentials that are disabled (seed: Verwijder Encryption Gateway)."""
    printed = running.gateway.command("credentials", "add", "removed", "--organisation", ORGANISATION)
    made = dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
    running.gateway.command("credentials", "disable", made["username"])
    return Credentials(made["username"], made["password"])


def test_a_program_with_disabled_credentials_is_told(zegel: Zegel, disabled: Credentials) -> None:
    done = python_program(Zegel(zegel.port, disabled, zegel.authority))
    assert "SMTPAuthenticationError: (535," in done.stderr
    assert disabled.password not in done.stderr


# What each logs of mail that it will try again. After several wrong sign-ins from one address Zegel says 421.
_NOT_LET_IN: Final = r"(535[ -]5\.7\.8|421[ -]4\.7\.0)"
KEPT: Final = {
    "exim": r" R=zegel T=zegel defer \((-42\): authentication required|0\) .* 421 4\.7\.0)",
    "opensmtpd": rf"mta error reason=AUTH rejected: {_NOT_LET_IN}",
    "postfix": rf"status=deferred \(SASL authentication failed; .* said: {_NOT_LET_IN}",
}


@pytest.mark.parametrize("server", KEPT)
def test_a_mail_server_with_disabled_credentials_keeps_its_mail(
    running: World, zegel: Zegel, disabled: Credentials, elsewhere: Elsewhere, server: str
) -> None:
    removed = Zegel(zegel.port, disabled, zegel.authority)
    before = number_accepted(running)

    with by_domain(server, running, removed, elsewhere) as sender:
        hand_over(sender, f"balie@{CHOSEN}")
        until(lambda: re.search(KEPT[server], sender.log()) is not None)
        assert not sender.queue_empty()
    assert elsewhere.received == []
    assert number_accepted(running) == before
