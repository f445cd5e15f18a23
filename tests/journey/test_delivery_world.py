"""The same with every part real: `zegel run` in its own processes, NSD and unbound, Postfix, and two bad servers."""

from __future__ import annotations

import email.policy
import html
import re
import socket
import sqlite3
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from email.message import EmailMessage
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.journey.delivery_ground import dkimpy, everything_in, link_in, parsed, status_of, words
from tests.journey.delivery_peers import ScriptedMx, server_tls
from tests.needs import ONLY_SQLITE, needs
from tests.peers import until
from tests.peers.gateway import ORGANISATION, SENDER, SENDING_DOMAIN
from tests.peers.postfix import Postfix
from tests.peers.world import GUEST_DOMAIN, OPEN_DOMAIN, World, world

pytestmark = ONLY_SQLITE
FICKLE: Final = "kwijt.test"  # listed; its server can lose TLS
STRICT: Final = "streng.test"  # a Postfix that refuses one mailbox
SHAKY: Final = "wankel.test"  # its name server fails until it is mended
NULL: Final = "niets.test"
PHONE: Final = "+31612345678"
SENTENCE: Final = "De uitslag is goed, Merkteken7f3a."
SUBJECT: Final = "Uitslag Merkteken7f3a"
DIRECT: Final = {"zivver-direct-delivery": "tls tls1.2 auth certificate-validation"}
TO_EMAIL: Final = {"zivver-minimum-recipient-verification": "email-verification"}
PATIENCE: Final = 60.0
ZONE: Final = f"""
{FICKLE}. IN MX 10 mx.{FICKLE}.
mx.{FICKLE}. IN A 127.0.0.14
{STRICT}. IN MX 10 mx.{STRICT}.
mx.{STRICT}. IN A 127.0.0.15
{NULL}. IN MX 0 .
"""


class ShakyDns:
    """A name server on UDP that fails until it is mended; then the domain has one host."""

    def __init__(self) -> None:
        self.is_mended = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                octets, client = self._socket.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(octets)
            self._socket.sendto(self._answer(query).to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        known = {"MX": f"10 mx.{SHAKY}.", "A": "127.0.0.14", "SOA": f"ns.{SHAKY}. host.{SHAKY}. 1 60 60 60 1"}
        if not self.is_mended:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif kind in known:
            response.answer.append(dns.rrset.from_text(question.name, 1, "IN", kind, known[kind]))
        return response

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Scene:
    """The world, and who else is in it."""

    world: World
    fickle: ScriptedMx
    strict: Postfix
    shaky: ShakyDns

    def submit(
        self,
        *recipients: str,
        fields: dict[str, str] | None = None,
        sender: str = SENDER,
        options: Sequence[str] = (),
        identity: str,
    ) -> None:
        """Straight to the gateway, signed in."""
        message = EmailMessage(policy=email.policy.SMTP)
        message["From"] = f"Afzender Voorbeeld <{SENDER}>"
        message["To"] = ", ".join(recipients)
        message["Subject"] = SUBJECT
        message["Message-ID"] = f"<{identity}@{SENDING_DOMAIN}>"
        for name, value in (fields or {}).items():
            message[name] = value
        message.set_content(SENTENCE + "\n")
        with closing(self.world.gateway.client()) as client:
            client.sendmail(sender, recipients, message.as_bytes(), (), options)

    def state(self, address: str) -> str | None:
        found = self.rows("SELECT state FROM custody_recipient WHERE address = ?", address)
        return found[0][0] if found else None

    def reaches(self, address: str, state: str) -> None:
        until(lambda: self.state(address) == state, PATIENCE)

    def told(self, mentions: str) -> list[EmailMessage]:
        """Mails to the sender that name something."""
        return [one for one in map(parsed, self.world.sender.mailbox(SENDER)) if mentions in everything_in(one)]

    def wait_told(self, mentions: str) -> EmailMessage:
        until(lambda: bool(self.told(mentions)), PATIENCE)
        return self.told(mentions)[0]

    def database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.world.gateway.state / "zegel.sqlite3", timeout=20, isolation_level=None)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(self.database()) as found:
            return found.execute(statement, values).fetchall()

    def attempts(self, address: str, columns: str) -> list[tuple[Any, ...]]:
        """Of what each attempt at an address left, some columns."""
        return self.rows(
            f"SELECT {columns} FROM custody_attempt JOIN custody_transmission AS made ON made.id = transmission_id "
            "WHERE made.address = ? ORDER BY custody_attempt.id",
            address,
        )


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        shaky = ShakyDns()
        stack.callback(shaky.close)
        running = stack.enter_context(world(zone=ZONE, stubs={f"{SHAKY}.": shaky.address}))
        port = running.secure.port
        running.gateway.command("policy", "direct-delivery", FICKLE, "--organisation", ORGANISATION)
        chain = running.authority.issue([f"mx.{FICKLE}"], running.folder / "fickle")
        fickle = stack.enter_context(ScriptedMx(ip="127.0.0.14", port=port, tls=server_tls(chain)))
        strict = Postfix(
            running.folder / "strict",
            name=f"mx.{STRICT}",
            inet="127.0.0.15",
            port=port,
            accepts=(STRICT,),
            settings={
                "smtpd_recipient_restrictions": "check_recipient_access "
                f"inline:{{{{weg@{STRICT} = 550 5.1.1 Deze mailbox is opgeheven}}}}, permit",
            },
        )
        stack.enter_context(strict)
        yield Scene(running, fickle, strict, shaky)


# --- in the order of its happening: what waits is begun first ------------------------------------------------------


def test_a_name_server_that_fails_leaves_the_message_waiting(scene: Scene) -> None:
    address = f"gast@{SHAKY}"
    scene.submit(address, identity="wankel")
    until(lambda: len(scene.attempts(address, "outcome")) > 1, PATIENCE)
    assert set(scene.attempts(address, "outcome")) == {("DnsTrouble",)}
    assert scene.state(address) == "decided"
    assert scene.told(address) == []


def test_a_listed_domain_gets_readable_mail_while_its_server_is_safe(scene: Scene) -> None:
    scene.submit(f"lezer@{FICKLE}", identity="veilig")
    scene.reaches(f"lezer@{FICKLE}", "delivered")
    (taken,) = scene.fickle.taken
    assert taken.over == "TLSv1.3"
    assert SENTENCE in everything_in(taken.content)


def test_and_a_notification_once_the_server_has_lost_its_tls(scene: Scene) -> None:
    address = f"later@{FICKLE}"
    kept, scene.fickle.tls = scene.fickle.tls, None
    time.sleep(5.5)  # the kept connection of the mail before, which is as safe as it was, ends after four seconds
    try:
        scene.submit(address, identity="verloren")
        scene.reaches(address, "notified")
    finally:
        scene.fickle.tls = kept
    taken = scene.fickle.taken[-1]
    assert taken.rcpt == f"TO:<{address}>"
    assert SENTENCE not in everything_in(taken.content)
    assert scene.world.gateway.recipients()[address]["method"] == "email"
    assert scene.told(address) == []


def test_a_mailbox_that_postfix_refuses_is_reported_with_its_words(scene: Scene) -> None:
    address = f"weg@{STRICT}"
    scene.submit(address, f"blijft@{STRICT}", identity="geweigerd")
    report = scene.wait_told(address)
    fields = status_of(report)
    assert f"Final-Recipient: rfc822; {address}" in fields
    assert "Status: 5.1.1" in fields
    assert "Deze mailbox is opgeheven" in fields.replace("\n ", " ").replace("\r", "")
    assert f"Remote-MTA: dns; mx.{STRICT}" in fields
    assert f"blijft@{STRICT}" not in fields
    scene.reaches(f"blijft@{STRICT}", "notified")


def test_greylisting_costs_a_second_try_and_no_second_copy(scene: Scene) -> None:
    address = f"grijs@{FICKLE}"
    scene.fickle.answers["RCPT"] = [b"451 4.7.1 greylisted, try again\r\n"]
    before = len(scene.fickle.taken)
    scene.submit(address, identity="grijs")
    scene.reaches(address, "delivered")
    assert [one.rcpt for one in scene.fickle.taken[before:]] == [f"TO:<{address}>"]
    assert scene.attempts(address, "outcome") == [("Deferred",), ("Accepted",)]


def test_what_can_never_arrive_is_reported_within_a_minute(scene: Scene) -> None:
    begun = time.monotonic()
    for address, status in (("iemand@bestaat-niet.test", "5.1.2"), (f"iemand@{NULL}", "5.1.10")):
        scene.submit(address, identity=status)
        fields = status_of(scene.wait_told(address))
        assert f"Final-Recipient: rfc822; {address}" in fields
        assert f"Status: {status}\n" in fields
    assert time.monotonic() - begun < 60  # P7; it takes a second or two


def test_who_wants_no_report_gets_none(scene: Scene) -> None:
    scene.submit("nul@bestaat-niet.test", sender="", identity="nul")
    scene.submit("nooit@bestaat-niet.test", options=["NOTIFY=NEVER"], identity="nooit")
    scene.reaches("nul@bestaat-niet.test", "undeliverable")
    scene.reaches("nooit@bestaat-niet.test", "undeliverable")
    until(lambda: scene.rows("SELECT count(*) FROM custody_job WHERE kind = 'report'") == [(0,)], PATIENCE)
    assert scene.told("nul@") == scene.told("nooit@") == []
    kinds = "SELECT count(*) FROM custody_transmission WHERE kind = 'report' AND address <> ?"
    assert scene.rows(kinds, SENDER) == [(0,)]


def test_a_server_without_tls_gets_a_notification_where_the_message_lifts_the_demand(scene: Scene) -> None:
    address = f"open@{OPEN_DOMAIN}"
    scene.submit(address, fields={**DIRECT, **TO_EMAIL}, identity="gelicht")
    scene.reaches(address, "notified")
    octets = scene.world.open.wait_for_message(address)
    assert SENTENCE not in everything_in(octets)
    Guest(scene).ask_for_a_code(link_in(octets))
    code = scene.world.open.wait_for_message(address, lambda one: b"X-Zegel-Conversation" not in one, PATIENCE)
    assert re.search(r"\b\d{3} ?\d{3}\b", words(code))


def test_and_one_by_text_message_where_the_message_names_a_number(scene: Scene) -> None:
    address = f"sms@{OPEN_DOMAIN}"
    scene.submit(address, fields={**DIRECT, "zivver-access-right": f"{address} sms {PHONE}"}, identity="beide")
    scene.reaches(address, "notified")
    guest = Guest(scene)
    guest.ask_for_a_code(link_in(scene.world.open.wait_for_message(address)))
    until(lambda: bool(scene.world.gateway.texts()), PATIENCE)
    text = scene.world.gateway.texts()[-1]
    assert text["to"] == PHONE
    code = re.search(r"\b\d{6}\b", text["text"])
    assert code is not None
    assert SUBJECT in guest.enter(code[0])
    scene.reaches(address, "opened")


def test_what_is_odd_about_the_fields_is_told_once_the_other_half_can_no_more_come(scene: Scene) -> None:
    """Ten minutes are made short by setting back the hour at which the job is due; the gateway finds it by itself."""
    scene.submit(
        f"half@{GUEST_DOMAIN}",
        fields={"zivver-access-right": f"vreemd@{GUEST_DOMAIN} sms {PHONE}", "zivver-direct-delivery": "tls"},
        identity="vreemd",
    )
    until(lambda: bool(scene.rows("SELECT 1 FROM custody_job WHERE kind = 'warn'")), PATIENCE)
    time.sleep(2)
    assert scene.told("vreemd@") == []
    ((due,),) = scene.rows("SELECT due_at FROM custody_job WHERE kind = 'warn'")
    scene.rows("UPDATE custody_job SET due_at = ? WHERE kind = 'warn'", re.sub(r"^\d{4}", "2001", due))
    notice = scene.wait_told("vreemd@")
    assert "direct-delivery" in words(notice)
    assert PHONE not in everything_in(notice)
    until(lambda: scene.rows("SELECT count(*) FROM custody_job WHERE kind = 'warn'") == [(0,)], PATIENCE)
    assert len(scene.told("vreemd@")) == 1
    readable = scene.world.secure.wait_for_message(f"half@{GUEST_DOMAIN}", timeout=PATIENCE)
    assert SENTENCE in everything_in(readable)  # at the level that an invalid value stands for
    (evidence,) = scene.attempts(f"half@{GUEST_DOMAIN}", "protocol, authentication, cipher, certificate")
    assert evidence[:2] == ("TLSv1.3", 1)
    assert evidence[2].startswith("TLS_")
    assert evidence[3].startswith("mx.veilig.test; issued by ")


def test_the_name_server_is_mended_and_the_message_comes_once(scene: Scene) -> None:
    address = f"gast@{SHAKY}"
    scene.shaky.is_mended = True

    def arrived() -> bool:  # the resolver remembers the failure for some seconds
        time.sleep(1)
        scene.rows("UPDATE custody_job SET due_at = '2001' || substr(due_at, 5) WHERE kind = 'transmit'")
        return scene.state(address) == "notified"

    until(arrived, PATIENCE)
    assert [one.rcpt for one in scene.fickle.taken].count(f"TO:<{address}>") == 1
    assert scene.told(address) == []


def test_every_mail_that_left_is_signed_for_the_domain_that_it_is_from(scene: Scene) -> None:
    """P24; the record is the one in the zone. What a receiving Postfix put before the mail is not part of it."""
    needs("python3-dkim")
    running = scene.world
    stored = [
        path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        for peer in (running.secure, running.open, running.sender, scene.strict)
        for path in (peer.folder / "mail" / "inbox" / "new").iterdir()
    ]
    mails = [one[one.index(b"DKIM-Signature:") :] for one in stored] + scene.fickle.messages()
    assert len(mails) >= 12
    kinds = {_kind(parsed(one)) for one in mails}
    assert kinds == {"readable", "notification", "code", "report", "notice"}
    zone = (running.folder / "nsd" / "0.zone").read_text()
    records = {}
    for line in zone.splitlines():
        name, _, text = line.partition(" IN TXT ")
        if "v=DKIM1" in text:
            records[name.rstrip(".")] = "".join(re.findall(r'"([^"]*)"', text))
    assert len(records) == 2  # RSA and Ed25519
    assert dkimpy(mails, records) == [[True, SENDING_DOMAIN]] * len(mails)
    for one in mails:
        assert str(parsed(one)["From"]).rstrip(">").endswith(f"@{SENDING_DOMAIN}")


def _kind(mail: EmailMessage) -> str:
    if mail.get_content_type() == "multipart/report":
        return "report"
    if mail["X-Zegel-Conversation"]:
        return "notification"
    if SENTENCE in everything_in(mail):
        return "readable"
    return "code" if re.search(r"\b\d{3} ?\d{3}\b", words(mail).replace("\u00a0", " ")) else "notice"


def test_no_log_line_names_anybody_or_what_a_server_said(scene: Scene) -> None:
    lines = scene.world.gateway.log()
    assert lines.count('"event": "attempted"') > 10
    found = re.findall(r"[^\s\"]+@[^\s\"]+", lines)
    assert found == []
    for hidden in (SUBJECT, "Merkteken", PHONE, PHONE[1:], "opgeheven", "greylisted", "/m/"):
        assert hidden not in lines


def test_every_recipient_has_come_to_an_end(scene: Scene) -> None:
    """P7: the sums agree."""
    states = [one["state"] for found in scene.world.gateway.evidence() for one in found["recipients"]]
    assert len(states) >= 13
    assert set(states) <= {"delivered", "notified", "opened", "undeliverable"}
    reported = scene.rows("SELECT count(*) FROM custody_transmission WHERE kind = 'report' AND state = 'sent'")
    assert reported == [(states.count("undeliverable") - 2,)]  # two wanted none
    until(lambda: scene.rows("SELECT count(*) FROM custody_job WHERE kind = 'transmit'") == [(0,)], PATIENCE)
    assert scene.rows("SELECT count(*) FROM custody_transmission WHERE sealed IS NOT NULL") == [(0,)]


class Guest:
    """Somebody with a browser that shows nothing, but keeps cookies."""

    def __init__(self, scene: Scene) -> None:
        self._url = scene.world.gateway.url
        policy = DefaultCookiePolicy(secure_protocols=("http", "https"))  # as browsers do on localhost
        cookies = urllib.request.HTTPCookieProcessor(CookieJar(policy))
        self._opener = urllib.request.build_opener(cookies)

    def ask_for_a_code(self, token: str) -> None:
        page, where = self._get(f"{self._url}/m/{token}")
        self._page, self._where = self._post(where, page, "code")

    def enter(self, code: str) -> str:
        """The page that follows."""
        return self._post(self._where, self._page, "verify", code=code)[0]

    def _post(self, where: str, page: str, action: str, **values: str) -> tuple[str, str]:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found is not None, page
        values["csrfmiddlewaretoken"] = found[1]
        here = re.sub(r"(/r/[0-9a-f-]+/).*", r"\1", where)
        request = urllib.request.Request(here + action, urllib.parse.urlencode(values).encode())
        request.add_header("Origin", self._url)
        return self._read(self._opener.open(request, timeout=30))

    def _get(self, url: str) -> tuple[str, str]:
        return self._read(self._opener.open(url, timeout=30))

    @staticmethod
    def _read(response: Any) -> tuple[str, str]:
        with response:
            return html.unescape(response.read().decode()), response.url
