"""Every line of the matrix with real peers: what the recipient gets, what the sender learns, what the trace shows."""

from __future__ import annotations

import email.policy
import http.client
import json
import re
import smtplib
import sqlite3
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.message import EmailMessage
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest

import tests.journey.conftest  # noqa: F401  (the database is a file)
from tests.interop import matrix_ground as ground
from tests.interop.delivery_matrix import (
    FIELDS,
    MATRIX,
    NAMES_A_NUMBER,
    PAGE,
    SITUATIONS,
    By,
    Demand,
    Gets,
    Row,
    Says,
    Shows,
    Situation,
    Web,
    as_markdown,
)
from tests.interop.matrix_ground import HOME, Script, Server, World, domain_of, host_of, kind_of, serve
from tests.journey.delivery_ground import PHONE, SENTENCE, SUBJECT, Post, a_post, certificates, parsed, status_of
from tests.journey.delivery_peers import ScriptedMx
from tests.journey.nta_ground import decide_over_nta
from tests.journey.portal_ground import Clock
from tests.peers import free_port, until
from tests.peers.gateway import ORGANISATION, SENDER, Gateway
from zegel.compose.doers import policy_fetcher
from zegel.core.mail.address import Domain
from zegel.core.policy.mta_sts import Mode, policy_of
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.edge.dns import DnsResolver
from zegel.edge.nta import NtaLookup
from zegel.journey.delivery.sts import Policies
from zegel.settings import Settings

PATIENCE: Final = 60.0
SERIOUS: Final = [row for row in MATRIX if row.by_the_gateway]
STATES: Final = {
    Gets.READABLE: "delivered",
    Gets.NOTIFICATION: "notified",
    Gets.NOTHING: "undeliverable",
    Gets.NOTHING_YET: "decided",
}
MENDED: Final = frozenset(one for one in Says if one.value.endswith(", once"))

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # that is the point of some


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ground.world() as found:
        yield found


def names(rows: Sequence[Row]) -> list[str]:
    return [row.name for row in rows]


# --- what is sent and what is seen --------------------------------------------------------------------------------


def mailboxes(row: Row) -> list[str]:
    """All recipients of the message: the row's own first."""
    domain = domain_of(row.situation)
    others = ["lezer", "weg"] if row.situation.says is Says.REFUSES_ONE else []
    return [f"{name}@{domain}" for name in dict.fromkeys([row.mailbox, *others])]


def fields(row: Row) -> list[tuple[str, str]]:
    found = [("zivver-direct-delivery", FIELDS[row.demand])] if row.demand in FIELDS else []
    if row.demand in NAMES_A_NUMBER:
        found.append(("zivver-access-right", f"{mailboxes(row)[0]} sms {PHONE}"))
    return found


def a_message(row: Row, sender: str) -> EmailMessage:
    text, attached = ground.letter_of(row.situation)
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"] = f"Balie <{sender}>"
    message["To"] = ", ".join(mailboxes(row))
    message["Subject"] = SUBJECT
    message["Message-ID"] = f"<{row.name}@voorbeeld.test>"
    message["Date"] = "Mon, 23 Nov 2026 12:00:00 +0000"
    for name, value in fields(row):
        message[name] = value
    message.set_content(f"{SENTENCE}\n{text}")
    if attached:
        message.add_attachment(attached, maintype="application", subtype="pdf", filename="uitslag.pdf")
    return message


@dataclass(frozen=True, slots=True)
class Seen:
    """One attempt, as the trace has it."""

    kind: str
    outcome: str
    stage: str
    tls: int
    authentication: int
    host: str
    protocol: str
    cipher: str
    key_exchange: str
    certificate: str

    def __str__(self) -> str:
        level = TransportSecurity(Tls(self.tls), Authentication(self.authentication))
        stage = f" at {self.stage}" if self.stage and self.outcome != "Accepted" else ""
        return f"{self.kind}: {self.outcome}{stage}, {level}"

    @property
    def may_have_begun(self) -> bool:
        """A mail transaction: nothing of the kind where the level wasn't met."""
        return self.outcome == "Accepted" or self.stage in {"mail", "rcpt", "data", "end_of_data"}


def judge(row: Row, server: Server, seen: Sequence[Seen], reports: Sequence[EmailMessage]) -> None:
    """What is common to both ways of trying a row."""
    own = mailboxes(row)[0]
    assert [key for key, _ in groupby(map(str, seen))] == list(row.trace)
    assert sorted(set(map(kind_of, server.messages(own)))) == {
        Gets.READABLE: ["readable"],
        Gets.NOTIFICATION: ["notification"],
    }.get(row.gets, [])
    assert len(server.messages(own)) <= 1
    learnt = [_action(status_of(one)) for one in reports if own in status_of(one)]
    assert learnt == list(row.learns)
    assert server.contents() == row.saw
    for one in seen:
        assert one.host in {host_of(row.situation), ""}
        assert bool(one.protocol) is bool(one.cipher) is bool(one.certificate)
        assert one.key_exchange or one.protocol != "TLSv1.3"
        assert (one.outcome != "Accepted" or one.tls == Tls.NONE) or "sha256 " in one.certificate
        if one.authentication in {Authentication.CERTIFICATE, Authentication.SIGNED_MX} and one.outcome == "Accepted":
            assert domain_of(row.situation) in one.certificate.partition("; issued by ")[0]
        assert ("; tlsa " in one.certificate) is (one.authentication == Authentication.DANE)


def _action(fields: str) -> str:
    action, status = re.search(r"^Action: (\S+)", fields, re.M), re.search(r"^Status: (\S+)", fields, re.M)
    assert action is not None
    assert status is not None
    return f"{action[1]} {status[1]}"


# --- in this process, with a clock that is told the time ----------------------------------------------------------


def settings_of(world: World) -> Settings:
    host, port = world.validating
    authority = certificates().authority.certificate_path
    return Settings.model_validate({"testing": True, "delivery": {"resolver": f"{host}:{port}", "extra_ca": authority}})


def stand_in_the_world(post: Post, world: World, situation: Situation) -> None:
    """Names and policies are those of real servers from now on, as dispatch composes it."""
    dns = DnsResolver(world.validating if situation.is_validated else world.plain, trusted=True)
    post.delivery.dns = dns
    post.delivery.nta = NtaLookup(dns, "zegel.test", post.clock)
    fetch = policy_fetcher(settings_of(world))
    post.delivery.policies = Policies(dns, fetch, post.writer, post.readers, post.clock)


def keep_policy(post: Post, world: World, situation: Situation) -> None:
    """The domain's policy was fetched before; now its host is down, and the process another one."""
    host, domain = f"mta-sts.{domain_of(situation)}", Domain.parse(domain_of(situation))
    world.policies[host] = True
    assert post.run(post.delivery.policies.of(domain)) is not None
    world.policies[host] = False
    is_over = situation.web is Web.DOWN_AND_ENDED
    post.clock.at += timedelta(seconds=ground.KEPT_FOR if is_over else ground.KEPT_FOR / 2)
    stand_in_the_world(post, world, situation)


def watch(post: Post, row: Row, server: Server) -> None:
    """Until nothing more happens, or for five hours."""
    post.settle()
    if row.situation.says in MENDED:
        server.mend()
    if row.to_the_end:
        post.until_nothing_waits()
    elif post.recipient(mailboxes(row)[0]).state == "decided":
        post.later(hours=1)
        post.later(hours=4)


def seen_by(post: Post, address: str) -> list[Seen]:
    return [
        Seen(
            one.transmission.kind,
            one.outcome,
            one.stage,
            one.tls,
            one.authentication,
            one.host,
            one.protocol,
            one.cipher,
            one.key_exchange,
            one.certificate,
        )
        for one in post.attempts(address)
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("row", MATRIX, ids=names(MATRIX))
def test_a_line_of_the_matrix(row: Row, world: World, tmp_path: Path) -> None:
    with a_post(tmp_path, Clock()) as post, serve(row.situation, world, post.port, tmp_path) as server:
        stand_in_the_world(post, world, row.situation)
        if row.situation.web in {Web.DOWN_AND_KEPT, Web.DOWN_AND_ENDED}:
            keep_policy(post, world, row.situation)
        if row.demand is Demand.LISTED:
            post.list_domain(domain_of(row.situation))
        if row.situation.says is Says.SLOW:
            assert isinstance(server, Script)
            ground.held_back(server, lambda: threading.Event().wait(1))
        submit(post, row)
        watch(post, row, server)
        own = mailboxes(row)[0]
        assert post.recipient(own).state == STATES[row.gets]
        every = [one for address in mailboxes(row) for one in seen_by(post, address)]
        judge(row, server, seen_by(post, own), post.reports())
        assert server.transactions() <= sum(one.may_have_begun for one in every)
        assert SENTENCE not in "".join(map(str, post.reports()))
        assert "Merkteken7f3a" not in json.dumps(post.logged, default=str)


def submit(post: Post, row: Row) -> None:
    octets = a_message(row, "balie@voorbeeld.test").as_bytes()
    post.submit_octets(octets, ground.envelope(mailboxes(row)))
    if row.demand is Demand.NTA:
        decide_over_nta(post, mailboxes(row)[0])


# --- by `zegel run`, in its own processes --------------------------------------------------------------------------


@dataclass
class Running:
    """The gateway as an operator starts it, and the sender's own mail server."""

    world: World
    home: ScriptedMx
    listed: set[str] = field(default_factory=set)

    @property
    def gateway(self) -> Gateway:
        return self.world.gateway

    def list_domain(self, domain: str) -> None:
        if domain not in self.listed:
            self.gateway.command("policy", "direct-delivery", domain, "--organisation", ORGANISATION)
            self.listed.add(domain)

    def submit(self, row: Row) -> None:
        if row.demand is Demand.LISTED:
            self.list_domain(domain_of(row.situation))
        with closing(self.gateway.client()) as client:
            client.sendmail(SENDER, mailboxes(row), a_message(row, SENDER).as_bytes())

    def rows(self, statement: str, address: str) -> list[tuple[Any, ...]]:
        """Of what is stored about the last message to a recipient."""
        path = self.gateway.state / "zegel.sqlite3"
        with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
            return database.execute(statement, (address,)).fetchall()

    def state(self, row: Row) -> str:
        found = self.rows(
            "SELECT state FROM custody_recipient JOIN custody_submission AS brought "
            "ON brought.id = submission_id WHERE address = ? ORDER BY accepted_at DESC LIMIT 1",
            mailboxes(row)[0],
        )
        return str(found[0][0])

    def reaches(self, row: Row) -> None:
        until(lambda: self.state(row) == STATES[row.gets], PATIENCE)

    def settles(self, addresses: Sequence[str]) -> None:
        """Nothing waits for any of them."""
        waits = "SELECT 1 FROM custody_recipient WHERE address = ? AND state IN ('accepted', 'decided')"
        until(lambda: not any(self.rows(waits, one) for one in addresses), PATIENCE)

    def seen(self, row: Row, earlier: int = 0) -> list[Seen]:
        statement = (
            "SELECT made.kind, outcome, stage, tls, authentication, host, protocol, cipher, key_exchange, certificate "
            "FROM custody_attempt JOIN custody_transmission AS made ON made.id = transmission_id "
            "WHERE made.address = ? ORDER BY custody_attempt.id"
        )
        return [Seen(*one) for one in self.rows(statement, mailboxes(row)[0])][earlier:]

    def reports(self, row: Row) -> list[EmailMessage]:
        mails = map(parsed, self.home.messages())
        reports = [one for one in mails if one.get_content_type() == "multipart/report"]
        return [one for one in reports if f"<{row.name}@voorbeeld.test>" in one.as_string()]

    def said(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.gateway.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[Running]:
    with ScriptedMx(ip=HOME, port=world.mx_port) as home, world.gateway:
        found = Running(world, home)
        yield found
        assert found.said("broken") == []
        assert "Merkteken7f3a" not in world.gateway.log()


@pytest.mark.parametrize("row", SERIOUS, ids=names(SERIOUS))
def test_the_same_by_the_running_gateway(row: Row, running: Running, tmp_path: Path) -> None:
    with serve(row.situation, running.world, running.world.mx_port, tmp_path) as server:
        earlier = len(running.seen(row))
        running.submit(row)
        if row.situation.says in MENDED:
            until(lambda: len(running.seen(row)) > earlier, PATIENCE)
            server.mend()
        if row.gets is Gets.NOTHING_YET:
            until(lambda: len(running.seen(row, earlier)) > len(row.trace) + 1, PATIENCE)  # tried again, and again
            row = replace(row, learns=())  # four hours are not waited for
        else:
            running.reaches(row)
            until(lambda: len(running.reports(row)) >= len(row.learns), PATIENCE)
            running.settles(mailboxes(row))
        assert running.state(row) == STATES[row.gets]
        judge(row, server, running.seen(row, earlier), running.reports(row))


def test_a_server_that_takes_its_time_holds_up_nobody_else(running: Running, tmp_path: Path) -> None:
    """It answers the final dot only after somebody else's message has arrived."""
    slow = next(row for row in MATRIX if row.situation.says is Says.SLOW)
    other = next(row for row in SERIOUS if row.situation.key == "tls12")
    asked, may_answer = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        may_answer.wait(60)

    port = running.world.mx_port
    with (
        serve(slow.situation, running.world, port, tmp_path) as server,
        serve(other.situation, running.world, port, tmp_path) as quick,
    ):
        assert isinstance(server, Script)
        ground.held_back(server, wait)
        try:
            running.submit(slow)
            assert asked.wait(PATIENCE)
            other = replace(other, mailbox="later")
            running.submit(other)
            running.reaches(other)
            assert running.state(slow) == "decided"
        finally:
            may_answer.set()
        assert len(quick.messages(mailboxes(other)[0])) == 1
        running.reaches(slow)
        judge(slow, server, running.seen(slow), running.reports(slow))


# --- what the lines rest on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("web", [Web.SERVES, Web.WRONG_CERTIFICATE, Web.REDIRECTS])
def test_who_looks_away_gets_the_policy(web: Web, world: World) -> None:
    """So that nothing but the certificate, or the redirect, keeps the gateway from it."""
    situation = next(row.situation for row in MATRIX if row.situation.policy and row.situation.web is web)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    path = "/policy.txt" if web is Web.REDIRECTS else ground.POLICY
    with closing(http.client.HTTPSConnection(ground.WEB, context=trusting, timeout=20)) as connection:
        connection.request("GET", path, headers={"Host": f"mta-sts.{domain_of(situation)}"})
        policy = policy_of(connection.getresponse().read())
    assert policy.mode is Mode.ENFORCE
    assert policy.names(host_of(situation))


@pytest.mark.parametrize("key", ["tls10", "tls11"])
def test_who_speaks_old_versions_gets_through(key: str, world: World, tmp_path: Path) -> None:
    situation = next(row.situation for row in MATRIX if row.situation.key == key)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    port = free_port(ground.ip_of(situation))
    with serve(situation, world, port, tmp_path), smtplib.SMTP(ground.ip_of(situation), port, timeout=20) as client:
        client.starttls(context=old)
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.version() == f"TLSv{situation.tls}".removesuffix(".0")


# --- the table itself ---------------------------------------------------------------------------------------------


def test_no_line_is_there_twice_and_each_word_has_a_line() -> None:
    assert len(set(names(MATRIX))) == len(MATRIX)
    assert len({situation.key for situation in SITUATIONS}) == len(SITUATIONS)
    assert {row.demand for row in MATRIX} == set(Demand)
    assert {row.gets for row in MATRIX} == set(Gets)
    for words, used in (
        (Says, {one.says for one in SITUATIONS}),
        (Shows, {one.shows for one in SITUATIONS}),
        (Web, {one.web for one in SITUATIONS}),
        (By, {one.by for one in SITUATIONS}),
    ):
        assert used == set(words)


def test_a_line_by_the_running_gateway_is_one_of_each_kind() -> None:
    assert {row.gets for row in SERIOUS} == set(Gets)
    assert {row.situation.by for row in SERIOUS} == set(By)


def test_the_page_is_printed_from_the_matrix() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown()
