"""Sending domains: added, what to publish for them, looked up."""

from __future__ import annotations

import asyncio
from datetime import datetime
from http import HTTPStatus
from typing import Final, Self

from django.shortcuts import get_object_or_404
from pydantic import Field

from zegel.accounts import domains
from zegel.accounts.models import Organisation, SendingDomain
from zegel.accounts.tokens import Scope
from zegel.api.answers import Fault, refused
from zegel.api.fields import Name, cant_be, domain_of
from zegel.api.operation import Call, Done, Form, Keyed, Link, Operation, Paged, Told
from zegel.api.paging import part
from zegel.api.setup import api
from zegel.core.mail.address import Domain as Name_
from zegel.core.mail.address import NotADomain

WITHIN: Final = 15.0  # seconds for all records of one domain; what isn't answered by then is not known


class DomainForm(Form):
    """A domain to send for."""

    name: Name = Field(examples=["example.org"])


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


class SendingDomainTold(Told):
    """One domain."""

    name: str
    in_place: bool = Field(description="Messages From it are accepted.")
    checked_at: datetime | None = Field(description="The last look that was conclusive.")
    missing_since: datetime | None
    records: list[PublishedRecord]
    findings: list[RecordFinding]

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
    return Done(SendingDomainTold.of(_row(call.organisation, call.place["domain"])))


def added(call: Call) -> Done:
    """Claimed; it may send once its records are found."""
    try:
        row = domains.add(call.organisation, domain_of(call.body.name, "name"), sealing=api().sealing, now=call.now)
    except domains.TooLong as cause:
        raise cant_be("name", str(cause), "example.org") from None
    except domains.NotAdded as cause:
        fault = Fault(field="name", reason=str(cause), example="GET /api/v1/domains")
        raise refused(HTTPStatus.CONFLICT, "The domain was not added.", [fault]) from None
    return Done(SendingDomainTold.of(row), location=f"domains/{row.name}")


def checked(call: Call) -> Done:
    """Looked up now, and concluded about. The DNS is asked outside of any transaction."""
    row = _row(call.organisation, call.place["domain"])
    domains.complete(row, sealing=api().sealing)
    wanted = domains.all_records(row, api().hostname, now=call.now)

    async def look() -> tuple[domains.Finding, ...]:
        return await domains.look(wanted, dns=api().dns(), within=WITHIN)

    findings = asyncio.run(look())
    domains.conclude(row, findings, now=api().now(), looked_at=call.now)
    return Done(SendingDomainTold.of(_row(call.organisation, row.name)))


def _row(organisation: Organisation, name: str) -> SendingDomain:
    """Raises ``Http404`` for one of another organisation."""
    try:
        sought = Name_.parse(name).ascii
    except NotADomain:
        sought = ""
    return get_object_or_404(organisation.sending_domains.all(), name=sought)


_ONE: Final = "domains/{domain}"

ROWS: Final = (
    Operation(
        "list-domains", "GET", "domains", Scope.DOMAINS_READ, "Sending domains.", listed, DomainList, query=Paged
    ),
    Operation(
        "add-domain",
        "POST",
        "domains",
        Scope.DOMAINS_WRITE,
        "Claim a sending domain. The answer says what to publish in the DNS.",
        added,
        SendingDomainTold,
        asks=DomainForm,
        status=HTTPStatus.CREATED,
        links=tuple(Link(name, "domain", "/name") for name in ("get-domain", "check-domain")),
        keyed=Keyed.OPTIONAL,
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
    ),
    Operation(
        "check-domain",
        "POST",
        f"{_ONE}/check",
        Scope.DOMAINS_WRITE,
        "Look the records of a domain up, now.",
        checked,
        SendingDomainTold,
    ),
)
