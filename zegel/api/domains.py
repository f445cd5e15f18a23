"""Sending domains: added, what to publish for them, looked up, removed; their DKIM keys, renewed."""

from __future__ import annotations

import asyncio
from datetime import datetime
from http import HTTPStatus
from typing import Final, Self

from django.db import transaction
from django.shortcuts import get_object_or_404
from pydantic import Field

from zegel.accounts import domains
from zegel.accounts.models import DkimPair, Organisation, SendingDomain
from zegel.accounts.tokens import Scope
from zegel.api.answers import Fault, Refused, refused
from zegel.api.fields import Name, cant_be, domain_of
from zegel.api.operation import Call, Done, Form, Keyed, Link, Operation, Paged, Told
from zegel.api.paging import part
from zegel.api.setup import api
from zegel.api.versions import must_match, tag_of
from zegel.core.mail.address import Domain as Name_
from zegel.core.mail.address import NotADomain
from zegel.core.policy.sending_domain import safe_to_end

WITHIN: Final = 15.0  # seconds for all records of one domain; what isn't answered by then is not known


class DomainForm(Form):
    """A domain to send for."""

    name: Name = Field(examples=["example.org"])


class EndForm(Form):
    """Of the previous keys."""

    early: bool = Field(default=False, description="Also while mail that was signed with them may be on its way.")


class PublishedRecord(Told):
    """A record that the domain's owner publishes, or may."""

    purpose: str = Field(examples=["ownership"])
    name: str = Field(examples=["_zegel.example.org"])
    type: str = Field(examples=["TXT"])
    value: str
    needed: bool = Field(description="The domain may not send without it.")


class RecordFinding(Told):
    """What the last conclusive look found in the place of one."""

    purpose: str
    name: str
    expected: str
    found: list[str]
    right: bool
    reason: str = ""


class DkimTold(Told):
    """The keys that mail is signed with, and those before and after them."""

    selector: str = Field(examples=["zegel202611"])
    next_selector: str | None = Field(description="Of new keys that are used once their record is found.")
    previous_selector: str | None = Field(description="Of keys that were used before; mail on its way needs them.")
    previous_safe_at: datetime | None = Field(description="From when the previous keys can be ended.")

    @classmethod
    def of(cls, row: SendingDomain) -> Self:
        """As they are."""
        pairs = {one.stage: one for one in row.dkim_pairs.all()}
        following, previous = pairs.get(DkimPair.Stage.NEXT), pairs.get(DkimPair.Stage.PREVIOUS)
        return cls(
            selector=row.dkim_selector,
            next_selector=following.selector if following is not None else None,
            previous_selector=previous.selector if previous is not None else None,
            previous_safe_at=safe_to_end(previous.at) if previous is not None else None,
        )


class RemovalTold(Told):
    """What removing the domain would do: mail From it is refused from then on, its DKIM keys are destroyed, and what
    still waits to be delivered leaves without a signature."""

    possible: bool = Field(description="False: nothing can be written for the organisation without this domain.")
    accounts: int = Field(description="With an address in it: they stay, and can't send any more.")

    @classmethod
    def of(cls, row: SendingDomain) -> Self:
        """As it would be now."""
        accounts = row.organisation.accounts.filter(key__endswith=f"@{row.name}").count()
        return cls(possible=domains.may_be_removed(row), accounts=accounts)


class SendingDomainTold(Told):
    """One domain."""

    name: str
    in_place: bool = Field(description="Messages From it are accepted.")
    checked_at: datetime | None = Field(description="The last look that was conclusive.")
    missing_since: datetime | None
    records: list[PublishedRecord]
    findings: list[RecordFinding]
    dkim: DkimTold
    removal: RemovalTold

    @classmethod
    def of(cls, row: SendingDomain) -> Self:
        """As it stands."""
        wanted = domains.all_records(row, api().hostname, now=api().now())
        return cls(
            name=row.name,
            in_place=row.in_place,
            checked_at=row.checked_at,
            missing_since=row.missing_since,
            records=[
                PublishedRecord(
                    purpose=one.purpose, name=one.name, type=one.kind, value=one.value, needed=one.is_needed
                )
                for one in wanted
            ],
            findings=[
                RecordFinding(**{name: one[name] for name in RecordFinding.model_fields if name in one})
                for one in row.findings
            ],
            dkim=DkimTold.of(row),
            removal=RemovalTold.of(row),
        )


class DomainList(Told):
    """In the order of their names."""

    items: list[SendingDomainTold]
    next: str | None


def listed(call: Call) -> Done:
    """All of the organisation."""
    found = call.organisation.sending_domains.all()
    rows, following = part(found, "name", limit=call.query.limit, after=call.query.after)
    return Done(DomainList(items=[SendingDomainTold.of(row) for row in rows], next=following))


def got(call: Call) -> Done:
    """One."""
    return _told(_row(call.organisation, call.place["domain"]))


def added(call: Call) -> Done:
    """Claimed; it may send once its records are found."""
    try:
        row = domains.add(call.organisation, domain_of(call.body.name, "name"), sealing=api().sealing, now=call.now)
    except domains.TooLong as cause:
        raise cant_be("name", str(cause), "example.org") from None
    except domains.NotAdded as cause:
        fault = Fault(field="name", reason=str(cause), example="GET /api/v1/domains")
        raise refused(HTTPStatus.CONFLICT, "The domain was not added.", [fault]) from None
    return Done(SendingDomainTold.of(row), tag=_tag(row), location=f"domains/{row.name}")


def checked(call: Call) -> Done:
    """Looked up now, and concluded about. The DNS is asked outside of any transaction."""
    row = _row(call.organisation, call.place["domain"])
    domains.complete(row, sealing=api().sealing)
    wanted = domains.all_records(row, api().hostname, now=call.now)

    async def look() -> tuple[domains.Finding, ...]:
        return await domains.look(wanted, dns=api().dns(), within=WITHIN)

    findings = asyncio.run(look())
    domains.conclude(row, findings, now=api().now(), looked_at=call.now)
    return _told(_row(call.organisation, row.name))


def renewed(call: Call) -> Done:
    """Two new keys, to be published beside those in use."""
    row = _row(call.organisation, call.place["domain"])
    try:
        domains.rotate_dkim(row, sealing=api().sealing, now=call.now)
    except domains.StillRotating:
        raise _conflict("Keys are being renewed already.", "Withdraw the new ones, or end the previous ones.") from None
    return _told(_row(call.organisation, row.name))


def withdrawn(call: Call) -> Done:
    """The new keys are destroyed; mail is signed as before."""
    with transaction.atomic():
        row = _meant(call)
        try:
            domains.withdraw_next_dkim(row)
        except domains.NothingToWithdraw:
            raise _conflict("No new keys wait.", "None were made, or mail is signed with them already.") from None
    return _told(_row(call.organisation, row.name))


def previous_ended(call: Call) -> Done:
    """The previous keys are destroyed; not while mail that was signed with them may be on its way, unless that is
    meant."""
    with transaction.atomic():
        row = _meant(call)
        try:
            domains.end_previous_dkim(row, now=call.now, may_be_early=call.body.early)
        except domains.NothingToEnd:
            raise _conflict("There are no previous keys.", "Nothing is to be ended.") from None
        except domains.TooEarly as cause:
            safe = cause.safe_at.isoformat(timespec="minutes")
            reason = f"Mail that was signed with them may still be on its way; it is safe from {safe}."
            fault = Fault(field="early", reason=reason, example='{"early": true}')
            raise refused(HTTPStatus.CONFLICT, "It is too early.", [fault]) from None
    return _told(_row(call.organisation, row.name))


def removed(call: Call) -> Done:
    """With its keys, as :class:`RemovalTold` says."""
    with transaction.atomic():
        row = _meant(call)
        try:
            domains.remove(row)
        except domains.LastOne:
            reason = "Codes, reports and notifications are written from it. Put another domain in place first."
            raise _conflict("It is the only domain that the gateway can write from.", reason) from None
    return Done(None)


def _told(row: SendingDomain) -> Done:
    return Done(SendingDomainTold.of(row), tag=_tag(row))


def _tag(row: SendingDomain) -> str:
    """Of what is decided about it, and of the keys that there are; being looked up changes nothing."""
    pairs = sorted((one.stage, one.selector) for one in row.dkim_pairs.all())
    return tag_of(row.pk, row.ownership_token, row.dkim_selector, pairs)


def _conflict(title: str, reason: str) -> Refused:
    return refused(HTTPStatus.CONFLICT, title, [Fault(field="", reason=reason, example="GET /api/v1/domains")])


def _row(organisation: Organisation, name: str, *, for_update: bool = False) -> SendingDomain:
    """Raises ``Http404`` for one of another organisation."""
    try:
        sought = Name_.parse(name).ascii
    except NotADomain:
        sought = ""
    found = organisation.sending_domains.all()
    return get_object_or_404(found.select_for_update() if for_update else found, name=sought)


def _meant(call: Call) -> SendingDomain:
    """Inside a transaction: as it is, if that is what the change was made of."""
    row = _row(call.organisation, call.place["domain"], for_update=True)
    must_match(call.request, _tag(row))
    return row


_ONE: Final = "domains/{domain}"
_WRITE: Final = Scope.DOMAINS_WRITE
_NEXT: Final = ("get-domain", "check-domain", "renew-dkim", "withdraw-dkim", "end-previous-dkim", "remove-domain")

ROWS: Final = (
    Operation(
        "list-domains", "GET", "domains", Scope.DOMAINS_READ, "Sending domains.", listed, DomainList, query=Paged
    ),
    Operation(
        "add-domain",
        "POST",
        "domains",
        _WRITE,
        "Claim a sending domain. The answer says what to publish in the DNS.",
        added,
        SendingDomainTold,
        asks=DomainForm,
        status=HTTPStatus.CREATED,
        links=tuple(Link(name, "domain", "/name") for name in _NEXT),
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
        refusals={HTTPStatus.CONFLICT: "The organisation has it already, or too many that are not in place."},
    ),
    Operation(
        "get-domain",
        "GET",
        _ONE,
        Scope.DOMAINS_READ,
        "One sending domain: what to publish, and what was found.",
        got,
        SendingDomainTold,
        is_tagged=True,
    ),
    Operation(
        "check-domain",
        "POST",
        f"{_ONE}/check",
        _WRITE,
        "Look the records of a domain up, now.",
        checked,
        SendingDomainTold,
        is_tagged=True,
    ),
    Operation(
        "remove-domain",
        "DELETE",
        _ONE,
        _WRITE,
        "Remove a domain with its keys, as `removal` says: mail From it is refused from then on.",
        removed,
        None,
        status=HTTPStatus.NO_CONTENT,
        changes=True,
        refusals={HTTPStatus.CONFLICT: "It is the only domain that the gateway can write from."},
    ),
    Operation(
        "renew-dkim",
        "POST",
        f"{_ONE}/renew-dkim",
        _WRITE,
        "Make new DKIM keys. The answer says what to publish; they are used once that is found.",
        renewed,
        SendingDomainTold,
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
        refusals={HTTPStatus.CONFLICT: "Keys are being renewed already."},
    ),
    Operation(
        "withdraw-dkim",
        "POST",
        f"{_ONE}/withdraw-dkim",
        _WRITE,
        "Destroy the new DKIM keys, before any mail is signed with them.",
        withdrawn,
        SendingDomainTold,
        is_tagged=True,
        changes=True,
        refusals={HTTPStatus.CONFLICT: "No new keys wait."},
    ),
    Operation(
        "end-previous-dkim",
        "POST",
        f"{_ONE}/end-previous-dkim",
        _WRITE,
        "Destroy the DKIM keys that were in use before the present ones.",
        previous_ended,
        SendingDomainTold,
        asks=EndForm,
        is_tagged=True,
        changes=True,
        refusals={HTTPStatus.CONFLICT: "There are none, or mail that was signed with them may be on its way."},
    ),
)
