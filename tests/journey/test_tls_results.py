"""TLS results (RFC 8460): what a session with a real server is counted as, and that counts outlive a process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import OperationalError

from tests.journey.delivery_ground import PROVEN_FIELD, SENDER, SENTENCE, Post, a_post, certificates
from tests.journey.delivery_peers import NAME, Hangup, ScriptedMx, server_tls
from tests.journey.nta_ground import CARE, decide_over_nta, nta_host, publish_sender, record, tlsa_of
from tests.journey.portal_ground import Clock
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.policy.carriage import Accepted
from zegel.core.policy.transport import NO_DEMAND
from zegel.core.smtp.tls_report import Applied, PolicyType, Reporter, Session, as_json, report
from zegel.edge.database import Writer
from zegel.edge.dns import Found, Trouble
from zegel.edge.fetch import Failed, Fetched, NotFetched
from zegel.journey.custody.models import TlsResult
from zegel.journey.delivery.connection import Mail
from zegel.journey.delivery.mx import Asked, NextHop
from zegel.journey.delivery.tls_results import KEEP, MOST_HELD, TOGETHER, TlsResults, counted_on, forget_old

pytestmark = pytest.mark.django_db(transaction=True)

DOMAIN: Final = "veilig.test"
READER: Final = f"lezer@{DOMAIN}"
URL: Final = f"https://mta-sts.{DOMAIN}/.well-known/mta-sts.txt"
CONTENT: Final = b"Subject: geheim\r\n\r\nMerkteken7f3a\r\n"
BY: Final = Reporter("Zegel", "postmaster@zegel.test", "zegel.test")


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


@pytest.fixture
def results(post: Post) -> TlsResults:
    return observe(post)


def observe(post: Post) -> TlsResults:
    """As a process does."""
    results = TlsResults(post.writer, post.clock, post.delivery.policies.missed)
    post.dialler.tell, post.delivery.passed_over = results.ended, results.passed_over
    return results


def send(post: Post, *fields: tuple[str, str], number: int = 1) -> None:
    post.submit(READER, fields=fields, message_id=f"<{number}@voorbeeld.test>", text=f"{SENTENCE} {number}")
    post.settle()


def day(post: Post) -> date:
    return post.clock.at.date()


def found(post: Post, results: TlsResults, domain: str = DOMAIN) -> list[tuple[Session, int]]:
    """What the database knows of today, once all is written."""
    post.run(results.write())
    return counted_on(day(post), Domain.parse(domain)).get(domain, [])


def the_one(post: Post, results: TlsResults) -> tuple[Session, int]:
    (one,) = found(post, results)
    return one


def told(post: Post, results: TlsResults) -> dict[str, Any]:
    """The report about today, by way of its JSON."""
    made: dict[str, Any] = json.loads(as_json(report(DOMAIN, day(post), found(post, results), by=BY)))
    return made


def counts(post: Post, results: TlsResults) -> dict[tuple[str, str], int]:
    """By policy type and result."""
    return {
        (one.policy.kind.value, one.failure.result.value if one.failure is not None else ""): count
        for one, count in found(post, results)
    }


def publish(post: Post, mode: str = "enforce", mx: str = "mx.veilig.test", *, identity: str = "1") -> None:
    post.zone.records[f"_mta-sts.{DOMAIN}", "TXT"] = Found((f"v=STSv1; id={identity};",))
    post.web[URL] = Fetched(f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 604800\n".encode(), "")


def sign(post: Post, server: ScriptedMx, *tlsa: str) -> None:
    """The zone is signed, and has these TLSA records."""
    post.zone.records[DOMAIN, "MX"] = Found((f"10 {NAME}.",), secure=True)
    post.zone.records[NAME, "A"] = Found((server.ip,), secure=True)
    if tlsa:
        post.zone.records[f"_25._tcp.{NAME}", "TLSA"] = Found(tlsa, secure=True)


def a_mail() -> Mail:
    return Mail(Mailbox.parse(SENDER), Mailbox.parse(READER), len(CONTENT), (CONTENT,))


# --- no policy ----------------------------------------------------------------------------------------------------

SPOILT: Final = {
    "wrong_name": ("certificate-host-mismatch", "X509_V_ERR_HOSTNAME_MISMATCH"),
    "wildcard_of_another": ("certificate-host-mismatch", "X509_V_ERR_HOSTNAME_MISMATCH"),
    "common_name_only": ("certificate-host-mismatch", "X509_V_ERR_HOSTNAME_MISMATCH"),
    "expired": ("certificate-expired", "X509_V_ERR_CERT_HAS_EXPIRED"),
    "not_yet_valid": ("certificate-not-trusted", "X509_V_ERR_CERT_NOT_YET_VALID"),
    "unknown_authority": ("certificate-not-trusted", "X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN"),
    "self_signed": ("certificate-not-trusted", "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT"),
}


@pytest.mark.parametrize("fields", [(), (PROVEN_FIELD,)], ids=["notification", "readable"])
@pytest.mark.parametrize("chain", SPOILT)
def test_a_certificate_that_proves_nothing_is_told_by_its_fault(
    post: Post, results: TlsResults, chain: str, fields: tuple[tuple[str, str], ...]
) -> None:
    """Once, although a notification goes over a second connection that looks less closely."""
    server = post.mx(DOMAIN, host=NAME, tls=server_tls(getattr(certificates(), chain)))
    send(post, *fields)
    session, count = the_one(post, results)
    assert count == 1
    assert len(server.heard) == (1 if fields else 2)
    assert session.failure is not None
    assert (session.failure.result.value, session.failure.reason) == SPOILT[chain]
    assert session.policy.kind is PolicyType.NONE
    assert (session.policy.domain, session.host, session.address) == (DOMAIN, NAME, server.ip)
    assert session.sent_from.startswith("127.")


def test_no_starttls_is_told_and_so_is_one_that_is_refused(post: Post, results: TlsResults) -> None:
    server = post.mx(DOMAIN, host=NAME)
    send(post)
    assert server.messages() != []
    assert counts(post, results) == {("no-policy-found", "starttls-not-supported"): 1}
    server.tls, server.starttls = server_tls(certificates().good), b"454 4.7.0 not now\r\n"
    send(post, number=2)
    reasons = {one.failure.reason: count for one, count in found(post, results) if one.failure is not None}
    assert reasons == {"": 1, "STARTTLS was answered by 454": 1}


@pytest.mark.parametrize("handshake", [Hangup, b"250 2.0.0 no handshake\r\n" * 20], ids=["hangs up", "garbage"])
def test_a_handshake_that_comes_to_nothing_is_a_failure_of_its_own(
    post: Post, results: TlsResults, handshake: Any
) -> None:
    post.mx(DOMAIN, host=NAME, tls=server_tls(certificates().good), handshake=handshake)
    send(post)
    session, count = the_one(post, results)
    assert session.failure is not None
    assert (session.failure.result.value, count) == ("validation-failure", 1)
    assert session.failure.reason


def test_a_server_that_is_not_there_is_no_tls_session(post: Post, results: TlsResults) -> None:
    """RFC 8460 §4.3.4."""
    server = post.proven()
    post.zone.records["mx.veilig.test", "A"] = Found(("127.0.0.29",))
    send(post)
    assert server.heard == []
    assert post.outcomes(READER) == ["NetworkFailure"]
    assert found(post, results) == []


def test_a_session_as_it_should_be_is_counted_too(post: Post, results: TlsResults) -> None:
    server = post.proven()
    send(post, PROVEN_FIELD)
    session, count = the_one(post, results)
    assert (session.failure, session.policy.kind, count) == (None, PolicyType.NONE, 1)
    assert (session.domain, session.host, session.address) == (DOMAIN, NAME, server.ip)
    assert told(post, results)["policies"][0]["summary"] == {
        "total-successful-session-count": 1,
        "total-failure-session-count": 0,
    }


# --- DANE ---------------------------------------------------------------------------------------------------------


def test_a_server_that_matches_its_tlsa_record_is_a_success_of_that_policy(post: Post, results: TlsResults) -> None:
    tlsa = tlsa_of(certificates().self_signed[0])
    sign(post, post.mx(DOMAIN, host=NAME, tls=server_tls(certificates().self_signed)), tlsa)
    send(post)
    assert told(post, results)["policies"] == [
        {
            "policy": {"policy-type": "tlsa", "policy-string": [tlsa], "policy-domain": NAME},
            "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
        }
    ]


def test_a_mismatch_is_told_and_nothing_was_sent(post: Post, results: TlsResults) -> None:
    server = post.mx(DOMAIN, host=NAME, tls=server_tls(certificates().good))
    sign(post, server, tlsa_of(certificates().self_signed[0]))
    send(post)
    assert not server.mail_was_begun()
    (detail,) = told(post, results)["policies"][0]["failure-details"]
    assert detail == {
        "result-type": "tlsa-invalid",
        "sending-mta-ip": detail["sending-mta-ip"],
        "receiving-mx-hostname": NAME,
        "receiving-ip": server.ip,
        "failed-session-count": 1,
        "failure-reason-code": "DANE: no record matches",
    }


def test_a_server_with_a_tlsa_record_and_no_starttls_fails_by_that(post: Post, results: TlsResults) -> None:
    sign(post, post.mx(DOMAIN, host=NAME), tlsa_of(certificates().good[0]))
    send(post)
    assert counts(post, results) == {("tlsa", "starttls-not-supported"): 1}


def test_records_that_are_no_use_are_told_although_the_mail_went(post: Post, results: TlsResults) -> None:
    server = post.mx(DOMAIN, host=NAME, tls=server_tls(certificates().good))
    sign(post, server, "0 1 1 " + "ab" * 32)
    send(post)
    assert len(server.messages()) == 1
    assert counts(post, results) == {("tlsa", "tlsa-invalid"): 1}


def test_records_that_are_not_to_be_known_are_told_without_a_session(post: Post, results: TlsResults) -> None:
    server = post.mx(DOMAIN, host=NAME, tls=server_tls(certificates().good))
    sign(post, server)
    post.zone.records[f"_25._tcp.{NAME}", "TLSA"] = Trouble("SERVFAIL")
    send(post)
    assert server.heard == []
    session, count = the_one(post, results)
    assert session.failure is not None
    assert (session.failure.result.value, session.failure.reason) == ("dnssec-invalid", f"TLSA of {NAME}: SERVFAIL")
    assert (session.policy.kind, session.policy.domain, count) == (PolicyType.TLSA, NAME, 1)
    assert (session.host, session.address, session.sent_from) == (NAME, "", "")


def test_dane_that_is_demanded_and_not_offered_is_told(post: Post, results: TlsResults) -> None:
    server = post.proven()
    send(post, ("zivver-direct-delivery", "tls tls1.2 auth dane"))
    assert SENTENCE.encode() not in b"".join(server.messages())
    assert ("no-policy-found", "dane-required") in counts(post, results)


# --- MTA-STS ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["enforce", "testing"])
def test_a_policy_that_is_met_is_told_with_its_lines(post: Post, results: TlsResults, mode: str) -> None:
    post.proven()
    publish(post, mode)
    send(post, PROVEN_FIELD)
    assert told(post, results)["policies"] == [
        {
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", f"mode: {mode}", "mx: mx.veilig.test", "max_age: 604800"],
                "policy-domain": DOMAIN,
                "mx-host": ["mx.veilig.test"],
            },
            "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
        }
    ]


def test_a_policy_of_mode_none_is_no_policy(post: Post, results: TlsResults) -> None:
    post.proven()
    publish(post, "none")
    send(post, PROVEN_FIELD)
    assert counts(post, results) == {("no-policy-found", ""): 1}


@pytest.mark.parametrize("mode", ["enforce", "testing"])
def test_a_certificate_that_a_policy_forbids_fails_under_it(post: Post, results: TlsResults, mode: str) -> None:
    """While it is tested the mail goes all the same, and is told all the same (RFC 8461 §5)."""
    server = post.mx(DOMAIN, host=NAME, tls=server_tls(certificates().expired))
    publish(post, mode)
    send(post)
    assert server.mail_was_begun() is (mode == "testing")
    assert counts(post, results) == {("sts", "certificate-expired"): 1}


@pytest.mark.parametrize("mode", ["enforce", "testing"])
def test_a_host_that_a_policy_does_not_name_fails_under_it(post: Post, results: TlsResults, mode: str) -> None:
    server = post.proven()
    publish(post, mode, mx="mx.ander.test")
    send(post)
    assert (server.heard == []) is (mode == "enforce")
    session, count = the_one(post, results)
    assert session.failure is not None
    assert (session.policy.kind, session.failure.result.value, count) == (PolicyType.STS, "validation-failure", 1)
    assert (session.policy.hosts, session.host) == (("mx.ander.test",), NAME)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Failed(NotFetched.NO_CONNECTION), "sts-policy-fetch-error"),
        (Failed(NotFetched.STATUS, 404), "sts-policy-fetch-error"),
        (Failed(NotFetched.NO_CERTIFICATE), "sts-webpki-invalid"),
        (Fetched(b"<html>", ""), "sts-policy-invalid"),
    ],
)
def test_a_policy_that_is_announced_and_not_to_be_had_is_told(
    post: Post, results: TlsResults, answer: Failed | Fetched, result: str
) -> None:
    """Beside what became of the session itself, which went by no policy."""
    post.proven()
    publish(post)
    post.web[URL] = answer
    send(post)
    assert counts(post, results) == {("no-policy-found", ""): 1, ("sts", result): 1}
    publish(post, identity="2")
    post.clock.forward(minutes=5)
    send(post, number=2)
    assert counts(post, results) == {("no-policy-found", ""): 1, ("sts", result): 1, ("sts", ""): 1}


def test_a_policy_that_is_kept_is_what_a_session_goes_by_though_it_can_t_be_fetched_anew(
    post: Post, results: TlsResults
) -> None:
    post.proven()
    publish(post)
    send(post)
    publish(post, identity="2")
    post.web[URL] = Failed(NotFetched.NO_CONNECTION)
    post.clock.forward(minutes=5)
    send(post, number=2)
    assert counts(post, results) == {("sts", ""): 2}


# --- what a session is --------------------------------------------------------------------------------------------


def a_hop(server: ScriptedMx, domain: str = DOMAIN) -> NextHop:
    return NextHop(NAME, server.ip, asked=Asked(Domain.parse(domain)))


def test_two_mails_over_one_connection_are_one_session_also_for_two_domains(post: Post, results: TlsResults) -> None:
    server = post.proven()

    async def story() -> list[object]:
        sent = [
            await post.dialler.send(a_hop(server, domain), a_mail(), needs=NO_DEMAND)
            for domain in (DOMAIN, DOMAIN, "ander.test")
        ]
        await post.dialler.close()
        return [one.outcome for one in sent]

    assert post.run(story()) == [Accepted()] * 3
    assert len(server.heard) == 1
    assert the_one(post, results)[1] == 1
    assert found(post, results, "ander.test") == []


def test_two_connections_are_two_sessions(post: Post, results: TlsResults) -> None:
    server = post.proven()

    async def story() -> None:
        for _ in range(2):
            await post.dialler.send(a_hop(server), a_mail(), needs=NO_DEMAND)
            await post.dialler.close()

    post.run(story())
    assert len(server.heard) == 2
    assert the_one(post, results)[1] == 2


def test_a_probe_is_a_session(post: Post, results: TlsResults) -> None:
    server = post.proven()
    post.run(post.dialler.probe(a_hop(server), needs=NO_DEMAND))
    assert the_one(post, results)[1] == 1


def test_a_domain_s_reports_tell_nothing_of_who_wrote_to_whom(post: Post, results: TlsResults) -> None:
    post.proven()
    send(post, PROVEN_FIELD)
    written = json.dumps([list(row) for row in found_rows(post, results)], default=str)
    for secret in ("lezer", "balie", "Merkteken", "voorbeeld.test"):
        assert secret not in written


def found_rows(post: Post, results: TlsResults) -> list[tuple[Any, ...]]:
    post.run(results.write())
    return list(TlsResult.objects.filter(domain=DOMAIN).values_list())


def test_the_hosts_of_nta_7516_are_told_of_as_well(post: Post, results: TlsResults) -> None:
    host = f"nta.{CARE}"
    server = nta_host(post, certificates().self_signed, host=host)
    publish_sender(post)
    post.zone.records[CARE, "TXT"] = Found((record(f"10 {host}"),), secure=True)
    post.submit(f"lezer@{CARE}")
    decide_over_nta(post)
    post.settle()
    assert len(server.taken) == 1
    ((session, count),) = found(post, results, CARE)
    tlsa = (tlsa_of(certificates().self_signed[0]),)
    assert session.policy == Applied(PolicyType.TLSA, host, tlsa)
    assert (session.failure, session.host, count) == (None, host, 1)


def test_a_connection_that_is_for_no_domain_is_counted_for_none(post: Post, results: TlsResults) -> None:
    server = post.proven()
    post.run(post.dialler.probe(NextHop(NAME, server.ip), needs=NO_DEMAND))
    post.run(results.write())
    assert counted_on(day(post)) == {}


# --- what is kept -------------------------------------------------------------------------------------------------


def count_some(results: TlsResults, *, hosts: int = 1, times: int = 1) -> None:
    for number in range(hosts):
        for _ in range(times):
            results.ended(NextHop(f"mx{number}.veilig.test", "192.0.2.1", asked=Asked(Domain.parse(DOMAIN))), None, "")


def test_a_process_that_starts_anew_adds_to_what_is_there(post: Post, results: TlsResults) -> None:
    count_some(results, times=2)
    post.run(results.write())
    other = observe(post)
    count_some(other, times=3)
    assert the_one(post, other)[1] == 5
    assert the_one(post, other)[1] == 5  # what was written is not written again


def test_what_was_not_written_is_lost_with_the_process_and_no_more_than_that(post: Post, results: TlsResults) -> None:
    count_some(results, times=2)
    post.run(results.write())
    count_some(results, times=7)
    assert the_one(post, observe(post))[1] == 2


def test_a_process_that_ends_writes_what_it_counted(post: Post, results: TlsResults) -> None:
    async def life() -> None:
        writing = asyncio.create_task(results.keep_writing())
        await asyncio.sleep(0)
        count_some(results)
        results.stop()
        await writing

    post.run(life())
    assert counted_on(day(post))[DOMAIN][0][1] == 1


def test_days_are_those_of_utc(post: Post, results: TlsResults) -> None:
    post.clock.at = post.clock.at.replace(hour=23, minute=59, second=59)
    count_some(results)
    first = day(post)
    post.clock.forward(seconds=1)
    count_some(results, times=2)
    post.run(results.write())
    assert [counted_on(one)[DOMAIN][0][1] for one in (first, day(post))] == [1, 2]


class Counting(Writer):
    """A writer that knows how often it was asked, and may be away."""

    asked = 0
    is_away = False

    async def write(self, work: Any) -> Any:
        if self.is_away:
            raise OperationalError("disk I/O error")
        self.asked += 1
        return await super().write(work)


@pytest.fixture
def counting(results: TlsResults) -> Iterator[Counting]:
    results.writer = found = Counting()
    yield found
    found.close()


def test_many_results_are_written_together(post: Post, results: TlsResults, counting: Counting) -> None:
    count_some(results, hosts=2 * TOGETHER + 1, times=2)
    assert counting.asked == 0
    post.run(results.write())
    assert counting.asked == 3
    assert sum(count for _, count in counted_on(day(post))[DOMAIN]) == 2 * (2 * TOGETHER + 1)


def test_a_database_that_is_away_costs_nothing_but_time(post: Post, results: TlsResults, counting: Counting) -> None:
    counting.is_away = True
    count_some(results, hosts=2)
    post.run(results.write())
    assert [one["where"] for one in post.logged if one["event"] == "broken"] == ["tls results"]
    post.logged.clear()
    count_some(results, hosts=3)
    counting.is_away = False
    assert sorted(count for _, count in found(post, results)) == [1, 2, 2]


def test_strangers_can_t_fill_the_memory(post: Post, results: TlsResults) -> None:
    count_some(results, hosts=MOST_HELD + 10)
    count_some(results)
    post.run(results.write())
    assert TlsResult.objects.count() == MOST_HELD
    assert TlsResult.objects.filter(host="mx0.veilig.test").get().sessions == 2


def test_old_days_are_forgotten(post: Post, results: TlsResults) -> None:
    count_some(results)
    post.run(results.write())
    assert forget_old(post.clock.at + KEEP) == 0
    assert forget_old(post.clock.at + KEEP + timedelta(days=1)) == 1
    assert counted_on(day(post)) == {}
