"""NTA 7516 at delivery: what keeps a message from going that way, and what happens then; ordinary mail never does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_ground import SENTENCE, Post, a_post, certificates, dkimpy, everything_in, words
from tests.journey.delivery_peers import ScriptedMx, server_tls
from tests.journey.nta_ground import (
    BOTH,
    CARE,
    READER,
    TERM,
    asking_names,
    decide_over_nta,
    nta_host,
    publish_sender,
    record,
    tlsa_of,
)
from tests.journey.portal_ground import Clock
from tests.journey.zone import Zone
from zegel.accounts.models import SendingDomain
from zegel.core.mail.address import Domain
from zegel.core.policy.carriage import NTA_RECIPIENT, NTA_SENDER, Cause
from zegel.core.policy.case import Asked, Case, OrganisationPolicy
from zegel.core.policy.nta7516 import Standing
from zegel.core.policy.transport import PROVEN, Authentication, Tls
from zegel.edge.dns import Answer, Found, NotThere, Trouble
from zegel.edge.nta import NtaFound, NtaLookup
from zegel.journey.custody.models import Job
from zegel.journey.delivery import nta
from zegel.journey.delivery.mx import MOST_HOSTS, TakesNoMail
from zegel.journey.delivery.nta import NextHops, NoHost, NotAllowed, NotKnownNow

HOST: Final = f"nta.{CARE}"
TLSA: Final = "3 1 1 " + "ab" * 32
SERVFAIL: Final = Trouble("NoNameservers")
HARMLESS: Final = {"EHLO", "HELO", "STARTTLS", "QUIT"}
SENDER: Final = Domain("voorbeeld.test")

STANDINGS: Final = {one.value: one for one in Standing}

Changes = dict[tuple[str, str], Answer]


def signed(*records: str) -> Found:
    return Found(records, secure=True)


# --- which hosts --------------------------------------------------------------------------------------------------


def in_order(*hosts: str) -> Changes:
    """Everything that the way to these hosts needs."""
    return {
        ("voorbeeld.test", "TXT"): Found((record(),)),
        ("_dmarc.voorbeeld.test", "TXT"): Found(("v=DMARC1; p=reject",)),
        ("zegel-bounce.voorbeeld.test", "TXT"): Found(("v=spf1 ip4:127.0.0.1 -all",)),
        ("zegel.test", "A"): Found(("127.0.0.1",)),
        (CARE, "TXT"): signed(record(*hosts)),
        (CARE, "MX"): signed("10 mx.zorg.test."),
        **host(HOST),
    }


def host(name: str, address: str = "127.0.0.20", base: str | None = None) -> Changes:
    return {(name, "A"): signed(address), (f"_25._tcp.{base or name}", "TLSA"): signed(TLSA)}


def found(clock: Clock, *changes: Changes, hosts: tuple[str, ...] = (f"10 {HOST}",)) -> NextHops:
    zone = Zone(in_order(*hosts))
    for one in changes:
        zone.records |= one
    lookup = NtaLookup(zone, "zegel.test", clock)
    return asyncio.run(nta.next_hops(SENDER, Domain(CARE), lookup=lookup, dns=zone))


def names(hops: NextHops) -> list[str]:
    assert isinstance(hops, tuple), hops
    return [hop.host for hop in hops]


SENDERS: Final[dict[str, Changes]] = {
    "nta-no-record": {("voorbeeld.test", "TXT"): NotThere(name_exists=True)},
    "nta-invalid-record": {("voorbeeld.test", "TXT"): Found((record(), record()))},
    "nta-out-of-date": {("voorbeeld.test", "TXT"): Found((TERM.replace("2027-12", "2026-10"),))},
    "nta-dmarc-too-weak": {("_dmarc.voorbeeld.test", "TXT"): Found(("v=DMARC1; p=none",))},
    "nta-spf-does-not-pass": {("zegel-bounce.voorbeeld.test", "TXT"): Found(("v=spf1 -all",))},
}
RECIPIENTS: Final[dict[str, Changes]] = {
    "nta-no-record": {(CARE, "TXT"): NotThere(name_exists=True)},
    "nta-invalid-record": {(CARE, "TXT"): signed(record("10 192.0.2.1"))},
    "nta-out-of-date": {(CARE, "TXT"): signed(TERM.replace("2027-12", "2026-10") + f";ntamx=10 {HOST}")},
    "nta-not-signed": {(CARE, "TXT"): Found((record(f"10 {HOST}"),))},
}


@pytest.mark.parametrize("standing", SENDERS)
def test_a_sender_that_complies_no_more_sends_nothing_this_way(clock: Clock, standing: str) -> None:
    why = NTA_SENDER[STANDINGS[standing]]
    assert found(clock, SENDERS[standing]) == NotAllowed(f"NTA 7516, sender: {standing}", why)


@pytest.mark.parametrize("standing", RECIPIENTS)
def test_a_recipient_that_complies_no_more_gets_nothing_this_way(clock: Clock, standing: str) -> None:
    why = NTA_RECIPIENT[STANDINGS[standing]]
    assert found(clock, RECIPIENTS[standing]) == NotAllowed(f"NTA 7516, recipient: {standing}", why)


TROUBLE: Final = {
    "the sender's record": ("voorbeeld.test", "TXT"),
    "the sender's DMARC": ("_dmarc.voorbeeld.test", "TXT"),
    "the sender's SPF": ("zegel-bounce.voorbeeld.test", "TXT"),
    "the gateway's own address": ("zegel.test", "A"),
    "the recipient's record": (CARE, "TXT"),
    "the host's address": (HOST, "A"),
    "the host's aliases": (HOST, "CNAME"),
    "the host's TLSA": (f"_25._tcp.{HOST}", "TLSA"),
}


@pytest.mark.parametrize("question", TROUBLE.values(), ids=TROUBLE)
def test_what_is_not_known_now_is_waited_for(clock: Clock, question: tuple[str, str]) -> None:
    assert isinstance(found(clock, {question: SERVFAIL}), NotKnownNow)


@pytest.mark.parametrize(
    "changes",
    [
        {(HOST, "A"): Found(("127.0.0.20",))},
        {(f"_25._tcp.{HOST}", "TLSA"): Found((TLSA,))},
        {(f"_25._tcp.{HOST}", "TLSA"): NotThere(name_exists=False)},
        {(f"_25._tcp.{HOST}", "TLSA"): NotThere(name_exists=True)},
    ],
)
def test_a_host_without_secure_addresses_and_records_is_none(clock: Clock, changes: Changes) -> None:
    assert isinstance(found(clock, changes), NotAllowed)


def test_a_host_without_an_address_may_get_one(clock: Clock) -> None:
    assert isinstance(found(clock, {(HOST, "A"): NotThere(name_exists=True)}), NoHost)


def test_where_hosts_are_named_the_ordinary_mx_is_never_used(clock: Clock) -> None:
    ordinary = host("mx.zorg.test")
    assert isinstance(found(clock, ordinary, {(HOST, "A"): Found(("127.0.0.20",))}), NotAllowed)
    assert names(found(clock, ordinary)) == [HOST]


def test_hosts_come_lowest_number_first_and_what_is_not_safe_is_left_out(clock: Clock) -> None:
    hosts = (
        "30 c.zorg.test",
        "5 a.zorg.test",
        "20 b.zorg.test",
        "10 open.zorg.test",
        "7 weg.zorg.test",
        "40 a.zorg.test",
    )
    safe = (
        host("a.zorg.test") | host("b.zorg.test") | host("c.zorg.test") | host("open.zorg.test") | host("weg.zorg.test")
    )
    unsafe: Changes = {("open.zorg.test", "A"): Found(("127.0.0.9",)), ("_25._tcp.weg.zorg.test", "TLSA"): SERVFAIL}
    assert names(found(clock, safe, unsafe, hosts=hosts)) == ["a.zorg.test", "b.zorg.test", "c.zorg.test"]


def test_of_a_host_only_secure_addresses_are_used(clock: Clock) -> None:
    hops = found(clock, {(HOST, "AAAA"): Found(("::1",))})
    assert isinstance(hops, tuple)
    assert [hop.address for hop in hops] == ["127.0.0.20"]
    both = found(clock, {(HOST, "AAAA"): signed("::1")})
    assert isinstance(both, tuple)
    assert [hop.address for hop in both] == ["::1", "127.0.0.20"]


def test_equal_numbers_are_tried_in_any_order(clock: Clock) -> None:
    hosts = ("10 a.zorg.test", "10 b.zorg.test")
    both = host("a.zorg.test") | host("b.zorg.test")
    assert {tuple(names(found(clock, both, hosts=hosts))) for _ in range(60)} == {
        ("a.zorg.test", "b.zorg.test"),
        ("b.zorg.test", "a.zorg.test"),
    }


def test_of_very_many_hosts_the_first_ones_are_asked_about(clock: Clock) -> None:
    many = [f"h{number}.zorg.test" for number in range(3 * MOST_HOSTS)]
    changes: Changes = {}
    for one in many:
        changes |= host(one)
    named = tuple(f"{number} {one}" for number, one in enumerate(many))
    assert names(found(clock, changes, hosts=named)) == many[:MOST_HOSTS]


# the ordinary MX, where no host is named


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (SERVFAIL, NotKnownNow),
        (Found(("10 mx.zorg.test.",)), NotAllowed),
        (signed("0 ."), TakesNoMail),
        (signed("10 192.0.2.1."), NotAllowed),
    ],
)
def test_without_named_hosts_the_mx_must_be_secure(clock: Clock, answer: Answer, outcome: type) -> None:
    assert isinstance(found(clock, host("mx.zorg.test"), {(CARE, "MX"): answer}, hosts=()), outcome)


def test_without_named_hosts_the_secure_mx_is_used(clock: Clock) -> None:
    assert names(found(clock, host("mx.zorg.test"), hosts=())) == ["mx.zorg.test"]


def test_without_named_hosts_and_mx_the_domain_is_the_host(clock: Clock) -> None:
    nothing: Changes = {(CARE, "MX"): NotThere(name_exists=True)}
    assert names(found(clock, nothing, host(CARE), hosts=())) == [CARE]


# aliases


def test_records_stand_under_the_name_that_secure_aliases_lead_to(clock: Clock) -> None:
    alias: Changes = {(HOST, "CNAME"): signed("een.zorg.test."), ("een.zorg.test", "CNAME"): signed("Twee.Zorg.test.")}
    (hop,) = hops = found(clock, alias, host("twee.zorg.test"))  # type: ignore[misc]
    assert names(hops) == [HOST]
    assert hop.dane is not None
    assert (hop.dane.base, hop.dane.names) == ("twee.zorg.test", ("twee.zorg.test", CARE))


def test_without_records_there_the_host_s_own_name_is_asked(clock: Clock) -> None:
    (hop,) = found(clock, {(HOST, "CNAME"): signed("een.zorg.test.")})  # type: ignore[misc]
    assert hop.dane is not None
    assert (hop.dane.base, hop.dane.names) == (HOST, (HOST, CARE))


@pytest.mark.parametrize("second", [Found(("twee.zorg.test.",)), signed("192.0.2.1.")])
def test_an_alias_that_is_not_secure_leads_nowhere(clock: Clock, second: Answer) -> None:
    alias: Changes = {(HOST, "CNAME"): signed("een.zorg.test."), ("een.zorg.test", "CNAME"): second}
    (hop,) = found(clock, alias, host("twee.zorg.test"))  # type: ignore[misc]
    assert hop.dane is not None
    assert hop.dane.base == HOST


def test_aliases_in_a_circle_end(clock: Clock) -> None:
    circle: Changes = {(HOST, "CNAME"): signed("een.zorg.test."), ("een.zorg.test", "CNAME"): signed(f"{HOST}.")}
    assert isinstance(found(clock, circle), tuple)


# --- from the plan to the next step -------------------------------------------------------------------------------


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as made:
        publish_sender(made)
        made.zone.records[CARE, "TXT"] = signed(record(f"10 {HOST}"))
        yield made


def submitted(post: Post, case: Case | None = None) -> None:
    post.submit(READER)
    decide_over_nta(post, case=case)


def only_a_notification(server: ScriptedMx) -> bool:
    """No word of the message came."""
    return len(server.taken) == 1 and SENTENCE not in everything_in(server.taken[0].content)


def breaks(changes: Changes) -> Callable[[Post, ScriptedMx], None]:
    return lambda post, server: post.zone.records.update(changes)


def without_dkim(post: Post, server: ScriptedMx) -> None:
    SendingDomain.objects.all().delete()


def another_certificate(post: Post, server: ScriptedMx) -> None:
    server.tls = server_tls(certificates().good)


def no_tls(post: Post, server: ScriptedMx) -> None:
    server.tls = None


NO_MORE: Final[dict[str, Callable[[Post, ScriptedMx], None]]] = {
    **{f"sender: {name}": breaks(changes) for name, changes in SENDERS.items()},
    **{f"recipient: {name}": breaks(changes) for name, changes in RECIPIENTS.items()},
    "address not signed": breaks({(HOST, "A"): Found(("127.0.0.20",))}),
    "TLSA not signed": breaks({(f"_25._tcp.{HOST}", "TLSA"): Found((TLSA,))}),
    "no TLSA": breaks({(f"_25._tcp.{HOST}", "TLSA"): NotThere(name_exists=True)}),
    "TLSA of another": breaks({(f"_25._tcp.{HOST}", "TLSA"): signed(TLSA)}),
    "TLSA not usable": breaks({(f"_25._tcp.{HOST}", "TLSA"): signed("1 1 1 " + "ab" * 32)}),
    "another certificate": another_certificate,
    "no TLS": no_tls,
    "no DKIM key": without_dkim,
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("happens", NO_MORE.values(), ids=NO_MORE)
def test_what_is_met_no_more_at_delivery_leads_to_the_next_step(
    post: Post, happens: Callable[[Post, ScriptedMx], None]
) -> None:
    """Decided when everything was in order; the ordinary MX gets a notification, and no octet of the message."""
    server, ordinary = nta_host(post, certificates().self_signed), post.mx(CARE)
    submitted(post)
    pair = SENDER, Domain(CARE)
    assert post.run(post.delivery.nta.facts([pair]))[pair] == NtaFound(Standing.COMPLIES, Standing.COMPLIES)
    happens(post, server)
    post.settle()
    assert not server.mail_was_begun()
    assert server.only_heard() <= HARMLESS
    assert only_a_notification(ordinary)
    recipient = post.recipient(READER)
    assert (recipient.state, recipient.method, recipient.step) == ("notified", "email", 1)
    first, second = post.attempts(READER)
    assert (first.outcome, first.transmission.kind, second.outcome) == ("InsufficientSecurity", "readable", "Accepted")
    assert "NTA 7516" in first.reply or "DANE" in first.reply or "STARTTLS" in first.reply
    assert post.heard() == []
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("question", TROUBLE.values(), ids=TROUBLE)
def test_what_is_not_known_at_delivery_is_tried_again(post: Post, question: tuple[str, str]) -> None:
    server, ordinary = nta_host(post, certificates().self_signed), post.mx(CARE)
    submitted(post)
    before = post.zone.records.get(question)
    post.zone.records[question] = SERVFAIL
    post.settle()
    assert post.outcomes(READER) == ["DnsTrouble"]
    assert server.heard == []
    assert ordinary.heard == []
    if before is None:
        del post.zone.records[question]
    else:
        post.zone.records[question] = before
    post.later(hours=1)
    assert post.outcomes(READER) == ["DnsTrouble", "Accepted"]
    assert [SENTENCE in everything_in(one) for one in server.messages()] == [True]
    assert ordinary.heard == []


@pytest.mark.django_db(transaction=True)
def test_what_is_never_known_leads_to_the_next_step_in_the_end(post: Post) -> None:
    server, ordinary = nta_host(post, certificates().self_signed), post.mx(CARE)
    submitted(post)
    post.zone.records[CARE, "TXT"] = SERVFAIL
    post.until_nothing_waits()
    assert server.heard == []
    assert only_a_notification(ordinary)
    assert set(post.outcomes(READER)) == {"DnsTrouble", "Accepted"}


@pytest.mark.django_db(transaction=True)
def test_a_plan_that_ends_there_becomes_a_report(post: Post) -> None:
    server, ordinary = nta_host(post, certificates().self_signed, tlsa=[TLSA]), post.mx(CARE)
    submitted(post, Case(nta=BOTH, asked=Asked(never_email=True)))
    post.settle()
    assert not server.mail_was_begun()
    assert ordinary.heard == []
    assert post.recipient(READER).state == "undeliverable"
    assert len(post.reports()) == 1


WHY: Final[dict[str, Cause]] = {
    "sender: nta-no-record": Cause.NTA_SENDER_RECORD,
    "recipient: nta-out-of-date": Cause.NTA_RECIPIENT_OUT_OF_DATE,
    "address not signed": Cause.NTA_NO_PROVEN_HOST,
    "no TLSA": Cause.NTA_NO_PROVEN_HOST,
    "TLSA of another": Cause.NTA_NO_PROVEN_HOST,
    "no TLS": Cause.NTA_NO_PROVEN_HOST,
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("happens", WHY)
def test_the_report_says_what_of_nta_7516_was_not_met(post: Post, happens: str) -> None:
    server, _ = nta_host(post, certificates().self_signed), post.mx(CARE)
    submitted(post, Case(nta=BOTH, asked=Asked(never_email=True)))
    NO_MORE[happens](post, server)
    post.settle()
    assert post.recipient(READER).reason == WHY[happens].value
    (report,) = post.reports()
    said = " ".join(words(report).split())
    assert WHY[happens].nl in said
    assert WHY[happens].en in said


@pytest.mark.django_db(transaction=True)
def test_what_nta_hosts_reached_says_nothing_of_the_ordinary_mx(post: Post) -> None:
    """The code may go only over proven transport; the failed attempt was at other servers, so a probe tells."""
    nta_host(post, certificates().self_signed, tlsa=[TLSA])
    ordinary = post.mx(CARE, host="mx.veilig.test", tls=server_tls(certificates().good))
    submitted(post, Case(Asked(transport=PROVEN), OrganisationPolicy(allows_transport=False), nta=BOTH))
    post.settle()
    assert post.recipient(READER).state == "notified"
    assert [one.reply for one in post.attempts(READER)][:2] == ["DANE: no record matches", "probe"]
    assert only_a_notification(ordinary)


@pytest.mark.django_db(transaction=True)
def test_the_next_host_is_tried_before_the_next_step(post: Post) -> None:
    first = nta_host(post, certificates().self_signed, tlsa=[TLSA])
    second = nta_host(post, certificates().expired, host="twee.zorg.test", ip="127.0.0.21")
    ordinary = post.mx(CARE)
    post.zone.records[CARE, "TXT"] = signed(record("20 twee.zorg.test", f"10 {HOST}"))
    submitted(post)
    post.settle()
    assert post.outcomes(READER) == ["InsufficientSecurity", "Accepted"]
    assert [one.host for one in post.attempts(READER)] == [HOST, "twee.zorg.test"]
    assert not first.mail_was_begun()
    assert len(second.taken) == 1
    assert ordinary.heard == []


@pytest.mark.django_db(transaction=True)
def test_a_host_that_is_busy_is_waited_for(post: Post) -> None:
    server, ordinary = nta_host(post, certificates().self_signed), post.mx(CARE)
    server.answers["MAIL"] = [b"451 4.3.2 later\r\n"]
    submitted(post)
    post.settle()
    assert ordinary.heard == []
    post.later(hours=1)
    assert post.outcomes(READER) == ["Deferred", "Accepted"]
    assert ordinary.heard == []


@pytest.mark.django_db(transaction=True)
def test_both_comply_and_the_message_itself_goes_to_the_named_host_alone(post: Post) -> None:
    asked: list[str | None] = []
    server, ordinary = nta_host(post, certificates().self_signed), post.mx(CARE)
    server.tls = asking_names(certificates().self_signed, asked)
    submitted(post)
    post.settle()
    (taken,) = server.taken
    assert (taken.over, asked) == ("TLSv1.3", [HOST])
    assert SENTENCE in everything_in(taken.content)
    assert "@zegel-bounce.voorbeeld.test>" in taken.mail
    keys = {"zegel._domainkey.voorbeeld.test": SendingDomain.objects.get().dkim_record}
    assert dkimpy([taken.content], keys) == [[True, "voorbeeld.test"]]
    assert ordinary.heard == []
    assert post.recipient(READER).state == "delivered"
    (attempt,) = post.attempts(READER)
    assert (attempt.outcome, attempt.host, attempt.tls) == ("Accepted", HOST, Tls.TLS_1_3)
    assert attempt.authentication == Authentication.DANE
    assert attempt.certificate.endswith("; tlsa 3 1 1")
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_the_records_say_is_decided_and_delivered(post: Post) -> None:
    """Nobody but the DNS says that this recipient is reached by NTA 7516."""
    server, ordinary = nta_host(post, certificates().self_signed), post.mx(CARE)
    post.submit(READER)
    post.settle()
    assert [SENTENCE in everything_in(one) for one in server.messages()] == [True]
    assert ordinary.heard == []
    assert (post.recipient(READER).state, post.recipient(READER).step) == ("delivered", 0)


@pytest.mark.django_db(transaction=True)
def test_a_certificate_rolls_over_without_a_pause(post: Post) -> None:
    old, new = certificates().self_signed, certificates().expired
    server = nta_host(post, old, tlsa=[tlsa_of(old[0]), tlsa_of(new[0])])
    for number, chain in enumerate((old, new)):
        server.tls = server_tls(chain)
        post.submit(READER, message_id=f"<nummer{number}@voorbeeld.test>", text=f"{SENTENCE} {number}")
        decide_over_nta(post)
        post.settle()
    assert len(server.taken) == 2


@pytest.mark.django_db(transaction=True)
def test_a_record_that_ends_this_month_is_over_in_the_next(post: Post) -> None:
    """Deferred on the last evening of the term, as Amsterdam counts; the next try comes too late."""
    server, ordinary = nta_host(post, certificates().self_signed), post.mx(CARE)
    post.zone.records[CARE, "TXT"] = signed(TERM.replace("2027-12", "2026-11") + f";ntamx=10 {HOST}")
    post.clock.at = post.clock.at.replace(day=30, hour=22, minute=50)
    server.answers["MAIL"] = [b"451 4.3.2 later\r\n"]
    submitted(post)
    post.settle()
    assert post.outcomes(READER) == ["Deferred"]
    post.clock.at += timedelta(minutes=30)
    post.settle()
    assert post.outcomes(READER) == ["Deferred", "InsufficientSecurity", "Accepted"]
    assert server.taken == []
    assert only_a_notification(ordinary)
