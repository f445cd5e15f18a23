"""Sending domains are looked up again and again: who hears of what, whose a domain is, and what a restart changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_ground import PORTAL, Post, a_post
from tests.journey.portal_ground import Clock
from zegel.accounts import domain_watch, domains
from zegel.accounts.domain_watch import MOST, Watch
from zegel.accounts.models import Account, AuditEntry, Organisation, SendingDomain
from zegel.core.mail.address import Domain
from zegel.core.mail.dkim import Algorithm, SigningKey
from zegel.core.policy.sending_domain import LONGEST, PATIENCE
from zegel.core.seal.wrap import SealingKey
from zegel.edge.dns import Answer, Found, Trouble
from zegel.journey.delivery.signing import KEEP_KEY
from zegel.journey.report.domains import DomainMails

pytestmark = pytest.mark.django_db(transaction=True)

GATEWAY: Final = "zegel.test"
NEEDED: Final = ("ownership", "dkim", "return-path")
HOUR: Final = timedelta(hours=1)


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    """With an administrator who hears of things, and a colleague who doesn't."""
    with a_post(tmp_path, clock) as found:
        SendingDomain.objects.update(in_place=False, added_at=clock())
        found.ground.account("beheer@voorbeeld.test", role="administrator", language="en")
        found.ground.account("helpdesk@voorbeeld.test", role="support")
        yield found


def watch(post: Post, dns: object = None) -> Watch:
    unsealer = post.ground.unsealer
    mails = DomainMails(post.writer, post.readers, unsealer, url=PORTAL, now=post.clock)
    zone = dns or post.zone
    sealing = unsealer.keys.sealing
    return Watch(
        post.writer,
        post.readers,
        zone,  # type: ignore[arg-type]
        gateway=GATEWAY,
        sealing=sealing,
        now=post.clock,
        tell=mails.tell,
    )


def domain(name: str = "voorbeeld.test", **who: object) -> SendingDomain:
    return SendingDomain.objects.get(name=name, **who)


def publish(post: Post, of: SendingDomain, *lacks: str) -> None:
    for one in domains.records(of, GATEWAY):
        post.zone.records.pop((one.name, one.kind), None)
    for one in domains.records(of, GATEWAY):
        if one.purpose not in lacks:
            post.zone.records[one.name, one.kind] = Found((one.value,))


def look(post: Post, **later: float) -> SendingDomain:
    """What is due is checked, and what is to be told is told and delivered."""
    post.clock.forward(**later)
    post.run(watch(post).look())
    post.settle()
    return domain()


def subjects(post: Post, address: str = "beheer@voorbeeld.test") -> list[str]:
    return [str(one["Subject"]) for one in post.notices() if one["To"] == address]


def acts(organisation: Organisation) -> list[str]:
    return list(AuditEntry.objects.filter(organisation=organisation).order_by("number").values_list("act", flat=True))


# --- when it is looked --------------------------------------------------------------------------------------------


def test_a_new_domain_gets_in_place_without_anybody_pressing(post: Post) -> None:
    assert not look(post).in_place
    publish(post, domain())
    assert not look(post, minutes=30).in_place, "hourly, not all the time"
    assert look(post, minutes=33).in_place
    assert acts(post.ground.organisation)[-1] == "domain-in-place"
    assert subjects(post) == []


def test_a_domain_in_place_is_looked_at_daily_and_hourly_while_something_is_missing(post: Post) -> None:
    publish(post, domain())
    first = look(post).checked_at
    assert look(post, hours=23).checked_at == first
    publish(post, domain(), "dkim")
    missed = look(post, hours=2)
    assert missed.checked_at != first and missed.in_place
    again = look(post, minutes=65)
    assert again.misses == 2


def test_what_is_due_after_days_of_rest_is_spread_out(post: Post) -> None:
    for number in range(MOST + 5):
        SendingDomain.objects.create(organisation=post.ground.organisation, name=f"d{number}.test", dkim_key=b"")
    look(post)
    assert SendingDomain.objects.filter(tried_at=None).count() == 6
    look(post)
    assert SendingDomain.objects.filter(tried_at=None).count() == 0


def test_a_process_that_is_killed_during_a_check_delays_it_and_loses_nothing(post: Post) -> None:
    publish(post, domain())
    taken = post.run(post.writer.write(lambda: domains.claim(domain().pk, sealing=_sealing(post), now=post.clock())))
    assert taken is not None
    assert look(post).checked_at is None, "it is the other's"
    assert look(post, minutes=11).in_place


def test_two_processes_check_a_domain_once(post: Post) -> None:
    publish(post, domain())
    asked: list[str] = []

    class Counting:
        async def ask(self, name: str, kind: str) -> Answer:
            asked.append(f"{kind} {name}")
            return await post.zone.ask(name, kind)

    async def both() -> None:
        await asyncio.gather(watch(post, Counting()).look(), watch(post, Counting()).look())

    post.run(both())
    assert domain().in_place
    assert asked.count("TXT _zegel.voorbeeld.test") == 1


def test_clock_jumps_neither_stop_the_checks_nor_bring_a_burst(post: Post) -> None:
    publish(post, domain())
    look(post)
    look(post, days=30)
    assert domain().due_at is not None
    post.clock.forward(days=-30)
    before = domain().checked_at
    assert look(post, minutes=1).checked_at != before, "due a month ahead: the clock was set back"
    due_at = domain().due_at
    assert due_at is not None and due_at < post.clock() + LONGEST


def test_a_name_server_that_hangs_is_not_waited_for(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(post, domain())
    monkeypatch.setattr(domain_watch, "WITHIN", 0.05)

    class Hanging:
        async def ask(self, name: str, kind: str) -> Answer:
            if name.startswith("_zegel"):
                await asyncio.Event().wait()
            return await post.zone.ask(name, kind)

    post.run(watch(post, Hanging()).look())
    found = domain()
    assert (found.checked_at, found.tried_at, found.not_known) == (None, post.clock(), ["ownership"])
    assert look(post, minutes=65).in_place


# --- what is found ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", NEEDED)
def test_servfail_never_stops_a_domain(post: Post, purpose: str) -> None:
    publish(post, domain())
    look(post)
    lost = next(one for one in domains.records(domain(), GATEWAY) if one.purpose == purpose)
    post.zone.records[lost.name, lost.kind] = Trouble("SERVFAIL")
    for _ in range(8):
        found = look(post, days=1, hours=2)
        assert (found.in_place, found.missing_since, found.not_known) == (True, None, [purpose])
    assert subjects(post) == []
    publish(post, domain())
    assert look(post, hours=2).not_known == []


def test_servfail_of_what_is_only_advised_is_no_reason_to_conclude_nothing(post: Post) -> None:
    publish(post, domain())
    post.zone.records["_dmarc.voorbeeld.test", "TXT"] = Trouble("SERVFAIL")
    found = look(post)
    assert found.in_place and found.not_known == ["dmarc"]


def test_what_is_advised_is_judged_and_nothing_follows(post: Post) -> None:
    publish(post, domain())
    post.zone.records["zegel.test", "A"] = Found(("192.0.2.25",))
    post.zone.records["zegel.test", "TXT"] = Found(("v=spf1 a -all",))
    post.zone.records["voorbeeld.test", "TXT"] = Found(("v=spf1 +all", "geheim\x00van een ander"))
    post.zone.records["_dmarc.test", "TXT"] = Found(("v=DMARC1; p=none; sp=reject",))
    post.zone.records["_smtp._tls.voorbeeld.test", "TXT"] = Found(("v=TLSRPTv1; rua=mailto:tls@voorbeeld.test",))
    found = look(post)
    assert found.in_place
    judged = {one["purpose"]: (one["right"], one["reason"], one["found"]) for one in found.findings}
    assert judged["gateway-spf"] == (True, "", ["v=spf1 a -all"])
    assert judged["spf"] == (False, "spf-lets-everybody", ["v=spf1 +all"])
    assert judged["dmarc"] == (True, "", ["v=DMARC1; p=none; sp=reject"])
    assert judged["tls-rpt"][0] and judged["mta-sts"] == (False, "", []) and judged["nta7516"] == (False, "", [])


def test_what_strangers_publish_is_kept_short_and_legible(post: Post) -> None:
    ownership = domains.records(domain(), GATEWAY)[0]
    texts = tuple(f"{number}\x00\u202e" + "x" * 5000 for number in range(50))
    post.zone.records[ownership.name, "TXT"] = Found(texts)
    found = next(one for one in look(post).findings if one["purpose"] == "ownership")["found"]
    assert len(found) == 10 and all(len(one) < 700 and one.isprintable() for one in found)


# --- what is told -------------------------------------------------------------------------------------------------


def test_a_record_that_disappears_leads_to_a_warning_a_refusal_and_word_that_it_is_back(post: Post) -> None:
    publish(post, domain())
    look(post)
    publish(post, domain(), "return-path")
    look(post, days=1, hours=1)
    since = domain().missing_since
    assert since is not None and subjects(post) == [], "one check alone may have met a zone in the making"
    look(post, minutes=65)
    assert subjects(post) == ["DNS records of voorbeeld.test are missing"]
    (warning,) = post.notices()
    said = str(warning.get_body(("plain",)))
    assert "zegel-bounce.voorbeeld.test CNAME" in said and "_domainkey" not in said
    assert f"{PORTAL}/console/domains/{domain().pk}/" in said
    refused = since + PATIENCE + HOUR  # winter time in Amsterdam
    assert f"Refused from: {refused.day} {refused:%B} {refused.year}, {refused:%H:%M} (CET)" in said
    for _ in range(70):
        assert look(post, hours=1).in_place
    assert len(subjects(post)) == 1
    assert not look(post, hours=3).in_place
    publish(post, domain())
    assert look(post, hours=2).in_place
    assert subjects(post)[1:] == ["Mail of voorbeeld.test is refused", "DNS records of voorbeeld.test are back"]
    noted = [one for one in acts(post.ground.organisation) if one.startswith("domain-")]
    assert noted == ["domain-in-place", "domain-missing", "domain-refused", "domain-in-place"]
    logged = [one["event"] for one in post.logged if one["event"].startswith("domain_")]
    assert logged == ["domain_in_place", "domain_missing", "domain_missing", "domain_in_place"]


def test_who_may_not_look_after_domains_hears_nothing(post: Post) -> None:
    Account.objects.filter(email="beheer@voorbeeld.test").update(is_active=False)
    publish(post, domain())
    look(post)
    publish(post, domain(), "dkim")
    look(post, days=1, hours=1)
    look(post, minutes=65)
    assert post.notices() == []
    assert domain().told == "missing"


def test_flapping_tells_nobody_and_refuses_nothing(post: Post) -> None:
    publish(post, domain())
    look(post)
    for number in range(100):
        publish(post, domain(), *(["dkim"] if number % 2 else []))
        assert look(post, minutes=66).in_place
    assert subjects(post) == []


def test_the_word_goes_out_once_however_many_processes_there_are(post: Post) -> None:
    publish(post, domain())
    look(post)
    publish(post, domain(), "dkim")
    look(post, days=1, hours=1)
    post.clock.forward(minutes=65)

    async def both() -> None:
        await asyncio.gather(watch(post).look(), watch(post).look())

    post.run(both())
    post.run(both())
    post.settle()
    assert len(subjects(post)) == 1


# --- two checks at once -------------------------------------------------------------------------------------------


def test_a_check_that_a_later_one_overtook_changes_nothing(post: Post) -> None:
    publish(post, domain())
    before = post.clock()
    old = post.run(domains.look(domains.records(domain(), GATEWAY), dns=post.zone))
    publish(post, domain(), "dkim")
    post.clock.forward(seconds=1)
    new = post.run(domains.look(domains.records(domain(), GATEWAY), dns=post.zone))
    domains.conclude(domain(), new, now=post.clock(), looked_at=post.clock())
    domains.conclude(domain(), old, now=post.clock(), looked_at=before)
    assert not domain().in_place and domain().misses == 1


def test_a_check_of_a_domain_that_was_removed_meanwhile_brings_nothing_back(post: Post) -> None:
    publish(post, domain())
    findings = post.run(domains.look(domains.records(domain(), GATEWAY), dns=post.zone))
    held = domain()
    domains.remove(domain())
    assert not SendingDomain.objects.exists()
    domains.conclude(held, findings, now=post.clock())
    assert not SendingDomain.objects.exists()


def test_a_check_about_other_keys_changes_nothing(post: Post) -> None:
    publish(post, domain())
    findings = post.run(domains.look(domains.records(domain(), GATEWAY), dns=post.zone))
    other = SigningKey.generate(Domain("voorbeeld.test"), "zegel", Algorithm.RSA_SHA256)
    SendingDomain.objects.update(dkim_record=other.dns_record())
    domains.conclude(domain(), findings, now=post.clock())
    assert (domain().in_place, domain().checked_at) == (False, None)


# --- whose it is --------------------------------------------------------------------------------------------------


def _sealing(post: Post) -> SealingKey:
    return post.ground.keys.sealing


def squatter(post: Post) -> SendingDomain:
    other = Organisation.objects.create(name="Kraker")
    return domains.add(other, Domain("voorbeeld.test"), sealing=_sealing(post), now=post.clock())


def test_a_claim_keeps_nobody_from_the_domain(post: Post) -> None:
    """Who came first and proved nothing has nothing."""
    claim = squatter(post)
    publish(post, domain(organisation=post.ground.organisation))
    post.run(watch(post).look())
    assert domain(organisation=post.ground.organisation).in_place
    claim.refresh_from_db()
    assert not claim.in_place and claim.missing_since is not None


def test_who_has_it_keeps_it_while_its_records_are_there(post: Post) -> None:
    ours = domain()
    publish(post, ours)
    look(post)
    claim = squatter(post)
    # A selector of its own, so that all records can stand side by side.
    SendingDomain.objects.filter(pk=claim.pk).update(dkim_selector="anders", ed25519_selector="anders2")
    claim.refresh_from_db()
    for one in domains.records(claim, GATEWAY):
        known = post.zone.records.get((one.name, one.kind))
        others = known.records if isinstance(known, Found) and one.purpose == "ownership" else ()
        post.zone.records[one.name, one.kind] = Found((*others, one.value))
    post.run(watch(post).look())
    claim.refresh_from_db()
    assert claim.is_held_elsewhere and not claim.in_place
    ours.refresh_from_db()
    assert ours.in_place
    ownership = domains.records(ours, GATEWAY)[0]
    post.zone.records[ownership.name, "TXT"] = Found((f"zegel-domain={claim.ownership_token}",))
    post.clock.forward(minutes=70)
    post.run(watch(post).look())  # it is looked at once another proves the domain
    post.clock.forward(minutes=70)
    post.run(watch(post).look())
    claim.refresh_from_db()
    ours.refresh_from_db()
    assert (claim.in_place, ours.in_place) == (True, False), "the DNS says whose it is, and nobody waits for days"
    assert acts(claim.organisation)[-1] == "domain-in-place"
    assert acts(ours.organisation)[-1] == "domain-refused"


def test_claims_are_few(post: Post) -> None:
    other = Organisation.objects.create(name="Verzamelaar")
    for number in range(domains.MOST_CLAIMS):
        SendingDomain.objects.create(organisation=other, name=f"d{number}.test", dkim_key=b"")
    with pytest.raises(domains.TooManyClaims):
        domains.add(other, Domain("nog-een.test"), sealing=_sealing(post))
    SendingDomain.objects.filter(name="d0.test").update(in_place=True)
    domains.add(other, Domain("nog-een.test"), sealing=_sealing(post))
    with pytest.raises(domains.AlreadyThere):
        domains.add(other, Domain("nog-een.test"), sealing=_sealing(post))
    with pytest.raises(domains.TooLong):
        domains.add(other, Domain(".".join(["a" * 60] * 4)), sealing=_sealing(post))


def test_nothing_is_written_from_a_claim_or_from_what_another_has(post: Post) -> None:
    from zegel.accounts.addresses import own_address

    ours = post.ground.organisation
    assert own_address(ours) is None
    SendingDomain.objects.update(proved_at=post.clock())
    assert str(own_address(ours)) == "zegel@voorbeeld.test"
    SendingDomain.objects.filter(pk=squatter(post).pk).update(in_place=True)
    assert own_address(ours) is None


def test_the_last_domain_that_can_be_written_from_stays(post: Post) -> None:
    publish(post, domain())
    look(post)
    with pytest.raises(domains.LastOne):
        domains.remove(domain())
    other = domains.add(post.ground.organisation, Domain("tweede.test"), sealing=_sealing(post))
    with pytest.raises(domains.LastOne):
        domains.remove(domain())
    SendingDomain.objects.filter(pk=other.pk).update(in_place=True)
    domains.remove(domain())
    assert acts(post.ground.organisation)[-1] == "domain-removed"


def test_a_domain_that_another_organisation_has_by_now_can_be_removed(post: Post) -> None:
    publish(post, domain())
    look(post)
    ours = domain()
    SendingDomain.objects.filter(pk=ours.pk).update(in_place=False)
    SendingDomain.objects.filter(pk=squatter(post).pk).update(in_place=True)
    ours.refresh_from_db()
    assert domains.may_be_removed(ours)
    domains.remove(ours)
    assert not SendingDomain.objects.filter(pk=ours.pk).exists()


def test_a_domain_that_moved_is_signed_with_its_new_keys_though_their_selector_is_the_same(post: Post) -> None:
    name, delivery = Domain(domain().name), post.delivery
    SendingDomain.objects.update(in_place=True)
    (before,) = delivery.mails.keys.of(name)
    other = squatter(post)
    assert other.dkim_selector == before.selector
    SendingDomain.objects.exclude(pk=other.pk).update(in_place=False)
    SendingDomain.objects.filter(pk=other.pk).update(in_place=True)
    post.clock.forward(seconds=KEEP_KEY.total_seconds())
    (after,) = delivery.mails.keys.of(name)
    assert (before.dns_record() == after.dns_record(), after.dns_record()) == (False, other.dkim_record)


def test_nothing_is_signed_with_the_keys_of_a_claim(post: Post) -> None:
    other = squatter(post)
    SendingDomain.objects.exclude(pk=other.pk).delete()
    assert post.delivery.mails.keys.of(Domain(other.name)) == ()
