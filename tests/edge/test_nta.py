"""How domains stand as to NTA 7516: unhappy answers of the DNS first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from zegel.core.mail.address import Domain
from zegel.core.policy.case import Nta7516Facts
from zegel.core.policy.nta7516 import Record, Standing
from zegel.edge.dns import Answer, Found, NotThere, Trouble
from zegel.edge.nta import AT_ONCE, KEEP, MOST_KEPT, NtaFound, NtaLookup

SENDER: Final = Domain("voorbeeld.test")
RECIPIENT: Final = Domain("zorg.test")
GATEWAY: Final = "gateway.test"
BOUNCE: Final = "zegel-bounce.voorbeeld.test"
RECORD: Final = "v=NTA7516-1;startdate=2025-01;enddate=2026-11;provider=Voorbeeld;ntamx=10 nta.zorg.test"
SPF: Final = "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"
NOON: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
SERVFAIL: Final = Trouble("NoNameservers")

Zone = dict[tuple[str, str], Answer]


def world() -> Zone:
    """Everything in order."""
    return {
        ("voorbeeld.test", "TXT"): Found(("v=spf1 -all", RECORD)),  # nobody asks that one's own is signed
        ("_dmarc.voorbeeld.test", "TXT"): Found(("v=DMARC1; p=quarantine",)),
        (BOUNCE, "TXT"): Found((SPF,)),
        (GATEWAY, "A"): Found(("192.0.2.1",)),
        (GATEWAY, "AAAA"): Found(("2001:db8::1",)),
        ("zorg.test", "TXT"): Found((RECORD,), secure=True),
    }


@dataclass
class Dns:
    """Keeps what it was asked."""

    zone: Zone
    asked: list[tuple[str, str]] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0

    async def ask(self, name: str, kind: str) -> Answer:
        self.asked.append((name, kind))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1
        return self.zone.get((name, kind), NotThere(name_exists=False))


class Bench:
    """A look-up whose DNS and clock a test can change."""

    def __init__(self, changes: Mapping[tuple[str, str], Answer | None] | None = None) -> None:
        self.dns = Dns(world())
        self.change(changes or {})
        self.at = NOON
        self.lookup = NtaLookup(self.dns, GATEWAY, lambda: self.at)

    def change(self, changes: Mapping[tuple[str, str], Answer | None]) -> None:
        for question, answer in changes.items():
            if answer is None:
                self.dns.zone.pop(question)
            else:
                self.dns.zone[question] = answer

    def sender(self) -> Standing:
        return asyncio.run(self.lookup.standing_of_sender(SENDER))

    def recipient(self) -> Standing:
        return asyncio.run(self.lookup.standing_of_recipient(RECIPIENT))


# --- the sender ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer", "standing"),
    [
        (("voorbeeld.test", "TXT"), SERVFAIL, Standing.NOT_KNOWN_NOW),
        (("voorbeeld.test", "TXT"), None, Standing.NO_RECORD),
        (("voorbeeld.test", "TXT"), Found(("v=spf1 -all", "v=NTA7516;version:1")), Standing.NO_RECORD),
        (("voorbeeld.test", "TXT"), Found((RECORD, RECORD)), Standing.INVALID_RECORD),
        (("voorbeeld.test", "TXT"), Found((RECORD.replace("2026-11", "2026-10"),)), Standing.OUT_OF_DATE),
        (("voorbeeld.test", "TXT"), Found((RECORD.replace("2025-01", "2026-12").replace("2026-11", "2027-01"),)),
         Standing.OUT_OF_DATE),
        (("_dmarc.voorbeeld.test", "TXT"), SERVFAIL, Standing.NOT_KNOWN_NOW),
        (("_dmarc.voorbeeld.test", "TXT"), None, Standing.DMARC_TOO_WEAK),
        (("_dmarc.voorbeeld.test", "TXT"), Found(("v=DMARC1; p=none",)), Standing.DMARC_TOO_WEAK),
        (("_dmarc.voorbeeld.test", "TXT"), Found(("v=DMARC1; p=reject",) * 2), Standing.DMARC_TOO_WEAK),
        (("_dmarc.voorbeeld.test", "TXT"), Found(("v=DMARC1; p=quarantine; t=y",)), Standing.DMARC_TOO_WEAK),
        ((BOUNCE, "TXT"), SERVFAIL, Standing.NOT_KNOWN_NOW),
        ((BOUNCE, "TXT"), None, Standing.SPF_DOES_NOT_PASS),
        ((BOUNCE, "TXT"), Found(("v=spf1 ip4:192.0.2.1 ~all",)), Standing.SPF_DOES_NOT_PASS),
        ((BOUNCE, "TXT"), Found(("v=spf1 ?all",)), Standing.SPF_DOES_NOT_PASS),
        ((BOUNCE, "TXT"), Found((SPF, SPF)), Standing.SPF_DOES_NOT_PASS),
        ((GATEWAY, "A"), SERVFAIL, Standing.NOT_KNOWN_NOW),
        ((GATEWAY, "AAAA"), SERVFAIL, Standing.NOT_KNOWN_NOW),
        ((GATEWAY, "AAAA"), Found(("2001:db8::2",)), Standing.SPF_DOES_NOT_PASS),
    ],
)  # fmt: skip
def test_a_sender_lacks_one_thing(question: tuple[str, str], answer: Answer | None, standing: Standing) -> None:
    assert Bench({question: answer}).sender() is standing


def test_a_gateway_whose_name_has_no_address_doesn_t_know() -> None:
    assert Bench({(GATEWAY, "A"): None, (GATEWAY, "AAAA"): None}).sender() is Standing.NOT_KNOWN_NOW


def test_an_error_above_the_domain_is_not_overlooked() -> None:
    assert Bench({("_dmarc.voorbeeld.test", "TXT"): None, ("_dmarc.test", "TXT"): SERVFAIL}).sender() is (
        Standing.NOT_KNOWN_NOW
    )


def test_a_sender_with_everything_complies() -> None:
    assert Bench().sender() is Standing.COMPLIES


def test_a_subdomain_s_dmarc_may_stand_above_it() -> None:
    above = {("_dmarc.voorbeeld.test", "TXT"): None, ("_dmarc.test", "TXT"): Found(("v=DMARC1; p=none; sp=reject",))}
    assert Bench(above).sender() is Standing.COMPLIES


# --- the recipient ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "standing"),
    [
        (SERVFAIL, Standing.NOT_KNOWN_NOW),
        (NotThere(name_exists=True), Standing.NO_RECORD),
        (NotThere(name_exists=False), Standing.NO_RECORD),
        (Found(("v=spf1 -all",), secure=True), Standing.NO_RECORD),
        (Found((RECORD,)), Standing.NOT_SIGNED),
        (Found((RECORD, RECORD), secure=True), Standing.INVALID_RECORD),
        (Found((RECORD + ";ntamx=10 192.0.2.1",), secure=True), Standing.INVALID_RECORD),
        (Found((RECORD.replace("2026-11", "2026-10"),), secure=True), Standing.OUT_OF_DATE),
    ],
)
def test_a_recipient_lacks_one_thing(answer: Answer, standing: Standing) -> None:
    bench = Bench({("zorg.test", "TXT"): answer})
    assert bench.recipient() is standing
    assert asyncio.run(bench.lookup.recipient_now(RECIPIENT)) is standing


def test_a_recipient_with_a_signed_record_in_date_complies_and_nothing_else_is_asked() -> None:
    bench = Bench()
    assert bench.recipient() is Standing.COMPLIES
    assert isinstance(asyncio.run(bench.lookup.recipient_now(RECIPIENT)), Record)
    assert set(bench.dns.asked) == {("zorg.test", "TXT")}


@pytest.mark.parametrize(
    ("at", "standing"),
    [
        (datetime(2026, 11, 30, 22, 59, tzinfo=UTC), Standing.COMPLIES),
        (datetime(2026, 11, 30, 23, 0, tzinfo=UTC), Standing.OUT_OF_DATE),
        (datetime(2024, 12, 31, 22, 59, tzinfo=UTC), Standing.OUT_OF_DATE),
        (datetime(2024, 12, 31, 23, 0, tzinfo=UTC), Standing.COMPLIES),
    ],
)
def test_days_are_those_of_amsterdam(at: datetime, standing: Standing) -> None:
    bench = Bench()
    bench.at = at
    assert bench.recipient() is standing


# --- what is remembered -------------------------------------------------------------------------------------------


def test_a_sender_without_a_record_costs_one_question_in_five_minutes() -> None:
    bench = Bench({("voorbeeld.test", "TXT"): None})
    for _ in range(3):
        assert bench.sender() is Standing.NO_RECORD
    bench.at += KEEP - timedelta(seconds=1)
    assert bench.sender() is Standing.NO_RECORD
    assert bench.dns.asked == [("voorbeeld.test", "TXT")]
    bench.at += timedelta(seconds=1)
    bench.sender()
    assert len(bench.dns.asked) == 2


def test_what_was_not_known_is_asked_again() -> None:
    bench = Bench({("voorbeeld.test", "TXT"): SERVFAIL})
    assert bench.sender() is Standing.NOT_KNOWN_NOW
    bench.change(world())
    assert bench.sender() is Standing.COMPLIES


def test_delivery_is_never_told_what_was_true_before() -> None:
    bench = Bench()
    assert bench.sender() is Standing.COMPLIES
    bench.change({("_dmarc.voorbeeld.test", "TXT"): SERVFAIL})
    assert bench.sender() is Standing.COMPLIES
    assert asyncio.run(bench.lookup.sender_now(SENDER)) is Standing.NOT_KNOWN_NOW
    assert bench.sender() is Standing.NOT_KNOWN_NOW, "nor is the decision, from then on"


def test_a_clock_that_went_back_makes_nothing_last_longer() -> None:
    bench = Bench()
    bench.sender()
    bench.at -= timedelta(days=1)
    asked = len(bench.dns.asked)
    bench.sender()
    assert len(bench.dns.asked) > asked


def test_recipients_are_not_remembered() -> None:
    bench = Bench()
    assert bench.recipient() is Standing.COMPLIES
    bench.change({("zorg.test", "TXT"): None})
    assert bench.recipient() is Standing.NO_RECORD


def test_no_more_senders_are_remembered_than_fit() -> None:
    bench = Bench()

    async def many() -> None:
        for number in range(MOST_KEPT + 10):
            await bench.lookup.standing_of_sender(Domain(f"d{number}.test"))
        bench.dns.asked.clear()
        await bench.lookup.standing_of_sender(Domain(f"d{MOST_KEPT + 9}.test"))
        assert bench.dns.asked == []
        await bench.lookup.standing_of_sender(Domain("d0.test"))
        assert bench.dns.asked == [("d0.test", "TXT")]

    asyncio.run(many())


# --- for a decision -----------------------------------------------------------------------------------------------


def facts(bench: Bench, *pairs: tuple[Domain, Domain]) -> dict[tuple[Domain, Domain], NtaFound]:
    return asyncio.run(bench.lookup.facts(pairs))


def test_recipients_are_looked_up_only_where_the_sender_complies() -> None:
    bench = Bench({("_dmarc.voorbeeld.test", "TXT"): None})
    found = facts(bench, (SENDER, RECIPIENT))
    assert found == {(SENDER, RECIPIENT): NtaFound(Standing.DMARC_TOO_WEAK, None)}
    assert found[SENDER, RECIPIENT].as_facts() == Nta7516Facts()
    assert ("zorg.test", "TXT") not in bench.dns.asked


def test_every_pair_gets_both_standings_and_each_domain_is_asked_once() -> None:
    bench, other, weak = Bench(), Domain("ander.test"), Domain("zwak.test")
    found = facts(bench, (SENDER, RECIPIENT), (SENDER, other), (weak, RECIPIENT), (SENDER, RECIPIENT))
    assert found == {
        (SENDER, RECIPIENT): NtaFound(Standing.COMPLIES, Standing.COMPLIES),
        (SENDER, other): NtaFound(Standing.COMPLIES, Standing.NO_RECORD),
        (weak, RECIPIENT): NtaFound(Standing.NO_RECORD, None),
    }
    assert [one.as_facts() for one in found.values()] == [
        Nta7516Facts(sender_complies=True, recipient_complies=True),
        Nta7516Facts(sender_complies=True),
        Nta7516Facts(),
    ]
    assert bench.dns.asked.count(("zorg.test", "TXT")) == bench.dns.asked.count(("voorbeeld.test", "TXT")) == 1


def test_nothing_asked_is_nothing_found() -> None:
    assert facts(Bench()) == {}


def test_a_message_to_many_domains_asks_a_few_at_a_time() -> None:
    bench = Bench()
    pairs = [(SENDER, Domain(f"d{number}.test")) for number in range(10 * AT_ONCE)]
    assert len(facts(bench, *pairs)) == 10 * AT_ONCE
    assert 1 < bench.dns.busiest <= AT_ONCE
