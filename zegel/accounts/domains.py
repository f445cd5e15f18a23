"""Sending domains: claimed, looked up, concluded about, removed; their DKIM keys, renewed.

A claim is anybody's to make. What the DNS says decides whose domain it is: one organisation at a time has it in place
(ADR 41). What a record is for and how it is judged stands in :mod:`zegel.core.policy.sending_domain`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, assert_never

from django.db import IntegrityError, transaction

from zegel.accounts.audit import note
from zegel.accounts.models import DkimPair, Organisation, SendingDomain
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain
from zegel.core.mail.dkim import Algorithm, SigningKey
from zegel.core.policy import dmarc
from zegel.core.policy.audit import Act
from zegel.core.policy.sending_domain import (
    PAIRS,
    PATIENCE,
    SOON,
    Keys,
    Purpose,
    Reason,
    Record,
    Seen,
    Standing,
    State,
    advice,
    due_next,
    every,
    follows,
    is_due,
    judge,
    next_selector,
    own_records,
    safe_to_end,
)
from zegel.core.policy.submitting import Spf
from zegel.core.seal.wrap import SealingKey, wrap
from zegel.core.smtp.tls_report import destinations
from zegel.edge.dns import Found, NotThere, Resolver, Trouble
from zegel.edge.log import DkimRenewed, DomainInPlace, DomainMissing, Event, log
from zegel.edge.spf import check_host

__all__ = ["PATIENCE", "Finding", "Record", "add", "complete", "conclude", "look", "records", "remove"]

MOST_CLAIMS: Final = 20  # of one organisation that are not in place: each of them is looked up again and again
LONGEST_NAME: Final = 200  # with the longest label that comes before it, still a name (RFC 1035 §2.3.4)
CLAIMED_FOR: Final[Duration] = timedelta(minutes=10)  # a process that ends during a check delays it by this much
_MOST_KEPT: Final = 10  # texts that stand at one name
_LONGEST_KEPT: Final = 600  # characters of each
_ILLEGIBLE: Final = "\ufffd"


class NotAdded(Exception):
    """One sentence: why the domain was not added."""


class AlreadyThere(NotAdded):
    """The organisation has this domain."""


class TooManyClaims(NotAdded):
    """The organisation has :data:`MOST_CLAIMS` that are not in place."""


class TooLong(NotAdded):
    """No name fits before it."""


class LastOne(Exception):
    """Without it nothing can be written for the organisation any more, not even a code for a message that waits."""


class StillRotating(Exception):
    """There is a next pair of keys, or a previous one that was not ended."""


class NothingToEnd(Exception):
    """There is no previous pair of keys."""


class NothingToWithdraw(Exception):
    """There is no next pair of keys: none was made, or mail is signed with it already."""


class TooEarly(Exception):
    """Mail that was signed with the previous keys may still be on its way."""

    def __init__(self, safe_at: Instant) -> None:
        super().__init__(f"safe from {safe_at:%Y-%m-%d %H:%M} UTC")
        self.safe_at: Final = safe_at


def dkim_context(domain: str) -> str:
    """What the wrapped DKIM key is bound to."""
    return f"dkim/{domain}"


def ed25519_context(domain: str) -> str:
    """What the wrapped second DKIM key is bound to; no domain has a slash in it."""
    return f"dkim/{domain}/ed25519"


# --- claimed, removed --------------------------------------------------------------------------------------------


def add(
    organisation: Organisation, domain: Domain, *, sealing: SealingKey, now: Instant | None = None
) -> SendingDomain:
    """A new sending domain with its own DKIM keys; it may send once a check found its records. Raises
    :class:`NotAdded`; never for what another organisation has."""
    if len(domain.ascii) > LONGEST_NAME:
        raise TooLong(f"{domain} is too long: no record fits before it.")
    key = SigningKey.generate(domain, "zegel", Algorithm.RSA_SHA256)
    added = SendingDomain(
        organisation=organisation,
        name=domain.ascii,
        added_at=now or datetime.now(UTC),
        ownership_token=secrets.token_hex(16),
        dkim_selector="zegel",
        dkim_key=wrap(key.to_pem(), to=sealing, context=dkim_context(domain.ascii)),
        dkim_record=key.dns_record(),
    )
    _make_second_key(added, sealing)
    with transaction.atomic():
        Organisation.objects.select_for_update().only("pk").get(pk=organisation.pk)
        ours = organisation.sending_domains
        if ours.filter(name=domain.ascii).exists():
            raise AlreadyThere(f"{domain} is a sending domain of {organisation} already.")
        if ours.filter(in_place=False).count() >= MOST_CLAIMS:
            raise TooManyClaims(f"{MOST_CLAIMS} domains are not in place yet. Remove one, or publish its records.")
        try:
            with transaction.atomic():
                added.save()
        except IntegrityError:
            raise AlreadyThere(f"{domain} is a sending domain of {organisation} already.") from None
        note(Act.DOMAIN_ADDED, organisation, added.name)
    return added


def complete(domain: SendingDomain, *, sealing: SealingKey) -> None:
    """Inside a transaction: a second DKIM key for a domain that was added before there were two."""
    if domain.ed25519_key is None:
        _make_second_key(domain, sealing)
        with transaction.atomic():
            domain.save(update_fields=["ed25519_key", "ed25519_record"])
            note(Act.DKIM_ADDED, domain.organisation, domain.name, {"selector": domain.ed25519_selector})


def _make_second_key(domain: SendingDomain, sealing: SealingKey) -> None:
    key = SigningKey.generate(Domain(domain.name), domain.ed25519_selector, Algorithm.ED25519_SHA256)
    domain.ed25519_key = wrap(key.to_pem(), to=sealing, context=ed25519_context(domain.name))
    domain.ed25519_record = key.dns_record()


def may_be_removed(domain: SendingDomain) -> bool:
    """Not the last one from which the gateway can write for the organisation: codes and reports come from there."""
    if domain.proved_at is None and not domain.in_place:
        return True
    if SendingDomain.objects.filter(name=domain.name, in_place=True).exclude(pk=domain.pk).exists():
        return True  # another organisation has it: nothing is written from it here
    others = SendingDomain.objects.filter(organisation=domain.organisation_id, in_place=True).exclude(pk=domain.pk)
    return others.exists()


def remove(domain: SendingDomain) -> None:
    """With its keys. Accounts stay, and can't send for it any more. Raises :class:`LastOne`."""
    with transaction.atomic():
        found = SendingDomain.objects.select_for_update().filter(pk=domain.pk).first()
        if found is None:
            return
        if not may_be_removed(found):
            raise LastOne
        found.delete()
        note(Act.DOMAIN_REMOVED, found.organisation, found.name)


# --- looked up ---------------------------------------------------------------------------------------------------


def records(domain: SendingDomain, gateway: str) -> tuple[Record, ...]:
    """What is to be published for a gateway with this host name, the needed ones first."""
    pairs = {one.stage: _published(one) for one in domain.dkim_pairs.all()}
    return own_records(
        Domain(domain.name),
        gateway,
        domain.ownership_token,
        _in_use(domain),
        following=pairs.get(DkimPair.Stage.NEXT),
        previous=pairs.get(DkimPair.Stage.PREVIOUS),
    )


def all_records(domain: SendingDomain, gateway: str, *, now: Instant) -> tuple[Record, ...]:
    """With those that are only advised."""
    return (*records(domain, gateway), *advice(Domain(domain.name), gateway, now.date()))


def _in_use(domain: SendingDomain) -> Keys:
    has_second = domain.ed25519_key is not None
    return Keys(
        domain.dkim_selector,
        domain.dkim_record,
        domain.ed25519_selector,
        domain.ed25519_record if has_second else "",
    )


def _published(pair: DkimPair) -> Keys:
    return Keys(pair.selector, pair.record, pair.ed25519_selector, pair.ed25519_record)


@dataclass(frozen=True, slots=True)
class Finding:
    """One record as it was found."""

    record: Record
    found: tuple[str, ...]
    is_right: bool
    is_conclusive: bool
    reason: Reason | None = None

    @property
    def state(self) -> State:
        """In one word."""
        if not self.is_conclusive:
            return State.UNKNOWN
        if self.is_right:
            return State.RIGHT
        return State.DIFFERENT if self.found else State.ABSENT


async def look(wanted: Sequence[Record], *, dns: Resolver, within: float | None = None) -> tuple[Finding, ...]:
    """Asks the DNS for each record, all at once. What isn't answered ``within`` so many seconds is not conclusive."""
    deadline = None if within is None else asyncio.get_running_loop().time() + within
    return tuple(await asyncio.gather(*(_look_for(record, dns, deadline) for record in wanted)))


async def _look_for(record: Record, dns: Resolver, deadline: float | None) -> Finding:
    try:
        async with asyncio.timeout_at(deadline):
            seen = await _seen(record, dns)
    except (TimeoutError, _NotKnown):
        return Finding(record, (), is_right=False, is_conclusive=False)
    verdict = judge(record, seen)
    found = tuple(_legible(text) for text in verdict.found[:_MOST_KEPT])
    is_known = verdict.state is not State.UNKNOWN
    return Finding(record, found, verdict.state is State.RIGHT, is_conclusive=is_known, reason=verdict.reason)


def _legible(text: str) -> str:
    """Somebody else wrote it, and it is stored and shown."""
    shown = text[:_LONGEST_KEPT] + ("…" if len(text) > _LONGEST_KEPT else "")
    return "".join(char if char.isprintable() else _ILLEGIBLE for char in shown)


class _NotKnown(Exception):
    """The DNS gave no usable answer."""


async def _seen(record: Record, dns: Resolver) -> Seen:
    match record.what:
        case Purpose.DMARC:
            return await _seen_dmarc(record, dns)
        case Purpose.GATEWAY_SPF:
            seen = await _asked(record.name, record.kind, dns)
            return replace(seen, spf=await _spf_of_gateway(record.name, dns))
        case Purpose.TLS_RPT:
            seen = await _asked(record.name, record.kind, dns)
            return replace(seen, reports_to=len(destinations(seen.texts)))
        case _:
            return await _asked(record.name, record.kind, dns)


async def _asked(name: str, kind: str, dns: Resolver) -> Seen:
    """Raises :class:`_NotKnown`."""
    answer = await dns.ask(name, kind)
    match answer:
        case Found(records=texts):
            return Seen(texts, name_exists=True)
        case NotThere(name_exists=name_exists):
            return Seen(name_exists=name_exists)
        case Trouble():
            raise _NotKnown
        case unreachable:
            assert_never(unreachable)


async def _seen_dmarc(record: Record, dns: Resolver) -> Seen:
    answered: list[dmarc.Answered] = []
    for name in dmarc.walk(Domain(record.name.removeprefix("_dmarc."))):
        answered.append(dmarc.Answered(name, (await _asked(f"_dmarc.{name}", "TXT", dns)).texts))
        if dmarc.is_answered(answered):
            break
    texts = tuple(text for one in answered for text in one.texts)
    return Seen(texts, dmarc=dmarc.policy_of(answered))


async def _spf_of_gateway(gateway: str, dns: Resolver) -> Spf:
    """The first of its addresses' verdicts that is no pass; what isn't known leaves it open."""
    addresses = [text for kind in ("A", "AAAA") for text in (await _asked(gateway, kind, dns)).texts]
    verdict = Spf.NONE
    for address in addresses:
        verdict = await check_host(
            address=address, domain=Domain(gateway), sender=f"bounce@{gateway}", helo=gateway, dns=dns
        )
        if verdict is not Spf.PASS:
            break
    return verdict


# --- concluded about ---------------------------------------------------------------------------------------------


def conclude(
    domain: SendingDomain, findings: Sequence[Finding], *, now: Instant, looked_at: Instant | None = None
) -> None:
    """Records a check that began at ``looked_at``, and what follows from it; ``domain`` is then as it is stored. Of one
    that was removed meanwhile nothing is recorded.

    One that was not conclusive (SERVFAIL) about a needed record changes nothing but the time of the next; nor does one
    that a later check overtook, or one about keys that are no longer the domain's. A record that disappeared stops the
    domain only after :data:`PATIENCE`. The second DKIM key is used from the check that found its record until the one
    that didn't; new keys from the check that found the first of them.
    """
    with transaction.atomic():
        same = list(SendingDomain.objects.select_for_update().filter(name=domain.name).order_by("pk"))
        held = next((one for one in same if one.pk == domain.pk), None)
        if held is None:
            return
        began = looked_at or now
        if held.checked_at is None or not began < held.checked_at <= now:
            _conclude(held, [one for one in same if one.pk != held.pk], findings, now)
    domain.refresh_from_db()


def _conclude(held: SendingDomain, others: Sequence[SendingDomain], findings: Sequence[Finding], now: Instant) -> None:
    current = _about_current(held, findings)
    held.tried_at = now
    held.not_known = [one.record.purpose for one in current if not one.is_conclusive]
    known = tuple(one for one in current if one.is_conclusive)
    if {one.record.what for one in known if one.record.is_needed} != _NEEDED:
        held.due_at = due_next(now, SOON, held.pk)
        held.save(update_fields=["tried_at", "not_known", "due_at"])
        return
    known = _gone_over(held, known, now)
    held.checked_at = now
    held.findings = [_stored(one) for one in known]
    for one in known:
        if one.record.what is Purpose.DKIM_ED25519:
            held.ed25519_published = one.is_right
    _stand(held, others, known, now)


_NEEDED: Final = {Purpose.OWNERSHIP, Purpose.DKIM, Purpose.RETURN_PATH}


def _about_current(held: SendingDomain, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Without those about keys that the domain has no longer: it was looked up before they were renewed."""
    wanted = {one.purpose: (one.name, one.value) for one in records(held, "")}
    return tuple(
        one
        for one in findings
        if one.record.what not in _OF_DOMAIN or wanted.get(one.record.purpose) == (one.record.name, one.record.value)
    )


_OF_DOMAIN: Final = {Purpose.OWNERSHIP, *(purpose for pair in PAIRS for purpose in pair)}


def _stored(one: Finding) -> Mapping[str, Any]:
    return {
        "purpose": one.record.purpose,
        "name": one.record.name,
        "expected": one.record.value,
        "found": list(one.found),
        "right": one.is_right,
        "reason": one.reason.value if one.reason is not None else "",
    }


def standing_of(domain: SendingDomain) -> Standing:
    """As it is stored."""
    return Standing(domain.in_place, domain.missing_since, domain.misses)


def _stand(held: SendingDomain, others: Sequence[SendingDomain], known: Sequence[Finding], now: Instant) -> None:
    """Whose the domain is, what the log says, and when it is looked at again."""
    wrong = [one.record.purpose for one in known if one.record.is_needed and not one.is_right]
    before = standing_of(held)
    may_hold = not wrong and _let_go(others)
    after = follows(before, is_right=not wrong, may_hold=may_hold, now=now)
    held.in_place, held.missing_since, held.misses = after.in_place, after.missing_since, after.misses
    if after.in_place and held.proved_at is None:
        held.proved_at = now
    rotates = held.dkim_pairs.filter(stage=DkimPair.Stage.NEXT).exists()
    wait = every(after, added_at=held.added_at, was_in_place=held.proved_at is not None, rotates=rotates, now=now)
    held.due_at = due_next(now, wait, held.pk)
    held.save()
    _tell(held, before, after, wrong)


def _let_go(others: Sequence[SendingDomain]) -> bool:
    """All that somebody else needs is published. Who had the domain until now keeps it as long as its own records are
    there; one that lacks some of them gives way at once: it is the domain's owner who says so."""
    for other in others:
        if not other.in_place:
            continue
        if other.missing_since is None:
            SendingDomain.objects.filter(pk=other.pk).update(due_at=None)  # perhaps it lacks some by now
            return False
        before = standing_of(other)
        other.in_place = False
        other.save(update_fields=["in_place"])
        _tell(other, before, standing_of(other), [], moved=True)
    return True


def _tell(held: SendingDomain, before: Standing, after: Standing, wrong: Sequence[str], *, moved: bool = False) -> None:
    act = _act(after)
    if act is _act(before):
        return
    details: dict[str, str | int | bool | list[str] | None] = {"records": list(wrong)} if wrong else {}
    if moved:
        details["moved"] = True
    note(act, held.organisation, held.name, details)
    event: Event = (
        DomainInPlace(held.organisation_id, held.pk)
        if act is Act.DOMAIN_IN_PLACE
        else DomainMissing(held.organisation_id, held.pk, "refused" if act is Act.DOMAIN_REFUSED else "missing")
    )
    transaction.on_commit(partial(log, event))


def _act(standing: Standing) -> Act:
    """What the log says once a domain has come to stand so."""
    if not standing.in_place:
        return Act.DOMAIN_REFUSED
    return Act.DOMAIN_IN_PLACE if standing.missing_since is None else Act.DOMAIN_MISSING


# --- looked up again ---------------------------------------------------------------------------------------------


def due(now: Instant, *, most: int) -> list[int]:
    """Numbers of the domains whose time has come, those that waited longest first."""
    rows = SendingDomain.objects.values_list("pk", "due_at").order_by("due_at", "pk")
    found = [(due_at is not None, pk) for pk, due_at in rows if is_due(due_at, now)]
    return [pk for _, pk in sorted(found, key=lambda one: one[0])[:most]]


def claim(number: int, *, sealing: SealingKey, now: Instant) -> SendingDomain | None:
    """Inside a transaction: the right to check it, for one process; if that ends meanwhile, it is due again soon."""
    domain = SendingDomain.objects.filter(pk=number).first()
    if domain is None or not is_due(domain.due_at, now):
        return None
    if not SendingDomain.objects.filter(pk=number, due_at=domain.due_at).update(due_at=now + CLAIMED_FOR):
        return None
    complete(domain, sealing=sealing)
    return domain


# --- DKIM keys, renewed ------------------------------------------------------------------------------------------


def rotate_dkim(domain: SendingDomain, *, sealing: SealingKey, now: Instant) -> DkimPair:
    """A new pair of keys, to be published. Mail is signed with it from the check that finds its first record. Raises
    :class:`StillRotating`."""
    name = Domain(domain.name)
    selector = next_selector(domain.dkim_selector, now.date())
    first = SigningKey.generate(name, selector, Algorithm.RSA_SHA256)
    second = SigningKey.generate(name, f"{selector}-ed25519", Algorithm.ED25519_SHA256)
    with transaction.atomic():
        held = SendingDomain.objects.select_for_update().get(pk=domain.pk)
        if held.dkim_pairs.exists() or held.dkim_selector != domain.dkim_selector:
            raise StillRotating
        made = DkimPair.objects.create(
            domain=held,
            stage=DkimPair.Stage.NEXT,
            selector=selector,
            key=wrap(first.to_pem(), to=sealing, context=dkim_context(held.name)),
            record=first.dns_record(),
            ed25519_selector=second.selector,
            ed25519_key=wrap(second.to_pem(), to=sealing, context=ed25519_context(held.name)),
            ed25519_record=second.dns_record(),
            at=now,
        )
        SendingDomain.objects.filter(pk=held.pk).update(due_at=now + SOON)
        note(Act.DKIM_ROTATED, held.organisation, held.name, {"selector": selector, "state": "made"})
    return made


def withdraw_next_dkim(domain: SendingDomain) -> str:
    """Destroys the pair of keys that waits for its records, with which nothing was ever signed; gives its selector,
    whose records can go. Mail is signed as before. A check that began earlier finds no keys to take into use. Raises
    :class:`NothingToWithdraw`."""
    with transaction.atomic():
        held = SendingDomain.objects.select_for_update().get(pk=domain.pk)
        pair = DkimPair.objects.filter(domain=held, stage=DkimPair.Stage.NEXT).first()
        if pair is None:
            raise NothingToWithdraw
        pair.delete()
        note(Act.DKIM_WITHDRAWN, held.organisation, held.name, {"selector": pair.selector})
    return pair.selector


def _gone_over(held: SendingDomain, known: tuple[Finding, ...], now: Instant) -> tuple[Finding, ...]:
    """Inside the transaction: the next keys take the place of those in use, if their record was found; the findings are
    then about keys in their new places."""
    following = held.dkim_pairs.filter(stage=DkimPair.Stage.NEXT).first()
    if following is None or not any(one.record.what is Purpose.NEXT_DKIM and one.is_right for one in known):
        return known
    DkimPair.objects.filter(pk=following.pk).delete()
    DkimPair.objects.create(
        domain=held,
        stage=DkimPair.Stage.PREVIOUS,
        selector=held.dkim_selector,
        key=held.dkim_key,
        record=held.dkim_record,
        ed25519_selector=held.ed25519_selector,
        ed25519_key=held.ed25519_key,
        ed25519_record=held.ed25519_record,
        at=now,
    )
    held.dkim_selector, held.dkim_key, held.dkim_record = following.selector, following.key, following.record
    held.ed25519_selector, held.ed25519_key = following.ed25519_selector, following.ed25519_key
    held.ed25519_record, held.ed25519_published = following.ed25519_record, False
    note(Act.DKIM_ROTATED, held.organisation, held.name, {"selector": held.dkim_selector, "state": "in use"})
    transaction.on_commit(partial(log, DkimRenewed(held.organisation_id, held.pk, held.dkim_selector)))
    current, following_purposes, previous = PAIRS
    moved = dict(zip((*current, *following_purposes), (*previous, *current), strict=True))
    return tuple(_as_purpose(one, moved.get(one.record.what, one.record.what)) for one in known)


def _as_purpose(one: Finding, purpose: Purpose) -> Finding:
    record = replace(one.record, purpose=purpose.value, is_needed=purpose in _NEEDED)
    return replace(one, record=record)


def end_previous_dkim(domain: SendingDomain, *, now: Instant, may_be_early: bool = False) -> str:
    """Destroys the previous keys; gives their selector, whose records can go. Raises :class:`NothingToEnd`, and
    :class:`TooEarly` unless that is meant."""
    with transaction.atomic():
        SendingDomain.objects.select_for_update().get(pk=domain.pk)
        pair = DkimPair.objects.filter(domain=domain, stage=DkimPair.Stage.PREVIOUS).first()
        if pair is None:
            raise NothingToEnd
        if now < safe_to_end(pair.at) and not may_be_early:
            raise TooEarly(safe_to_end(pair.at))
        pair.delete()
        note(Act.DKIM_PREVIOUS_ENDED, domain.organisation, domain.name, {"selector": pair.selector})
    return pair.selector
