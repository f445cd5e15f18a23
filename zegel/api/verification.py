"""Verification data. Numbers and codes go in and never come out: of a number its end is shown, of a code nothing."""

from __future__ import annotations

import uuid
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final, Literal, Self

from django.db import transaction
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from pydantic import ConfigDict, Field, model_validator

from zegel.accounts.models import Organisation
from zegel.accounts.tokens import Scope
from zegel.api.answers import Fault, refused
from zegel.api.fields import Address, Phone, cant_be, either, mailbox_of
from zegel.api.operation import Call, Done, Form, Keyed, Link, Operation, Paged, Told
from zegel.api.paging import part
from zegel.api.releasing import decide_again
from zegel.api.setup import api
from zegel.api.versions import must_match, tag_of
from zegel.core.policy.access_code import (
    LONGEST,
    LONGEST_HINT,
    SHORTEST,
    NotAnAccessCode,
    parse_access_code,
    parse_hint,
)
from zegel.core.policy.phone import NotAMobileNumber, example_mobile, parse_mobile
from zegel.core.policy.verification import AccessCode, SmsCode, method_of
from zegel.core.secret import Secret
from zegel.journey.custody import memory
from zegel.journey.custody.models import VerificationData

MOST_FOUND: Final = 100
Code = Annotated[str, Field(min_length=SHORTEST, max_length=LONGEST, pattern=r"^[^\x00-\x1F\x7F-\x9F]*$")]
Hint = Annotated[str, Field(max_length=LONGEST_HINT, pattern=r"^[^\x00-\x1F\x7F-\x9F]*$")]


class ValueForm(Form):
    """A number, or a code: one of the two."""

    model_config = ConfigDict(json_schema_extra=either("phone", "access_code", beside_other=("hint",)))
    phone: Phone | None = Field(default=None, examples=["+31612345678"])
    access_code: Code | None = Field(default=None, examples=["regenjas 42"])
    hint: Hint | None = Field(default=None, description="What recalls the code to who knows it.", examples=["het weer"])

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.phone is None) == (self.access_code is None):
            raise ValueError("Give either phone or access_code")
        if self.hint is not None and self.access_code is None:
            raise ValueError("A hint goes with an access_code")
        return self


class EntryForm(ValueForm):
    """Of a recipient, for messages of everybody in the organisation."""

    address: Address = Field(examples=["ontvanger@example.net"])


class SearchForm(Form):
    """Whose. In a body: an address is personal, and addresses of pages end up in logs."""

    address: Address = Field(examples=["ontvanger@example.net"])


class Entry(Told):
    """What is known, as far as it is shown."""

    id: uuid.UUID
    address: str
    method: Literal["sms", "access-code"]
    masked: str = Field(description="The end of a number; empty for a code.", examples=["+31 6 ****5678"])
    origin: str = Field(examples=["administrator"])
    account: str | None = Field(description="Of whose messages it was learnt; null: for everybody's.")
    created_at: datetime
    confirmed_at: datetime | None = Field(description="A message was opened with it.")

    @classmethod
    def of(cls, row: VerificationData) -> Self:
        """Never the number or the code."""
        return cls.model_validate(
            {
                "id": row.id,
                "address": row.address,
                "method": row.method,
                "masked": row.masked,
                "origin": row.origin,
                "account": row.account.email if row.account is not None else None,
                "created_at": row.created_at,
                "confirmed_at": row.confirmed_at,
            }
        )


class EntryList(Told):
    """The newest first."""

    items: list[Entry]
    next: str | None


def listed(call: Call) -> Done:
    """All of the organisation."""
    rows, following = part(
        _of(call.organisation), "id", limit=call.query.limit, after=call.query.after, newest_first=True
    )
    return Done(EntryList(items=[Entry.of(row) for row in rows], next=following))


def searched(call: Call) -> Done:
    """Those of one recipient."""
    key = mailbox_of(call.body.address, "address").key
    rows = _of(call.organisation).filter(key=key).order_by("-id")[:MOST_FOUND]
    return Done(EntryList(items=[Entry.of(row) for row in rows], next=None))


def got(call: Call) -> Done:
    """One."""
    return _told(_row(call))


def added(call: Call) -> Done:
    """For messages of everybody. It replaces none that is there."""
    mailbox = mailbox_of(call.body.address, "address")
    verification = _verification(call)
    method = method_of(verification).value
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        if _of(current).filter(key=mailbox.key, method=method, account=None).exists():
            fault = Fault(field="address", reason="There is one already: put another value there.", example=_SEARCH)
            raise refused(HTTPStatus.CONFLICT, "There is one already.", [fault])
        row = memory.supply(
            current,
            mailbox,
            verification,
            account=None,
            origin=VerificationData.Origin.ADMINISTRATOR,
            now=call.now,
            sealing=api().sealing,
        )
        decide_again(current, key=mailbox.key)
    return Done(Entry.of(row), tag=_tag(row), location=f"verification/{row.id}")


def put(call: Call) -> Done:
    """Another number or code in its place."""
    verification = _verification(call)
    with transaction.atomic():
        row = _row(call, for_update=True)
        must_match(call.request, _tag(row))
        if row.method != method_of(verification).value:
            raise cant_be("", "A correction keeps the method: delete this one, and add another.", row.method)
        memory.correct(
            row,
            verification,
            origin=VerificationData.Origin.ADMINISTRATOR,
            now=call.now,
            sealing=api().sealing,
        )
        decide_again(call.organisation, key=row.key)
    return _told(row)


def deleted(call: Call) -> Done:
    """Forgotten; what was decided stays."""
    with transaction.atomic():
        row = _row(call, for_update=True)
        must_match(call.request, _tag(row))
        memory.forget(row)
    return Done(None)


def _verification(call: Call) -> SmsCode | AccessCode:
    asked: ValueForm = call.body
    if asked.phone is not None:
        region = call.organisation.region
        try:
            return SmsCode(Secret(parse_mobile(asked.phone, region=region)))
        except NotAMobileNumber:
            raise cant_be("phone", "This is not one mobile number.", example_mobile(region)) from None
    try:
        code = parse_access_code(asked.access_code or "")
    except NotAnAccessCode:
        reason = f"A code has {SHORTEST} to {LONGEST} characters that show."
        raise cant_be("access_code", reason, "regenjas 42") from None
    try:
        hint = parse_hint(asked.hint or "", code=code)
    except NotAnAccessCode:
        raise cant_be("hint", "The hint tells the code, or doesn't show.", "het weer") from None
    return AccessCode(Secret(code), Secret(hint) if hint else None)


def _of(organisation: Organisation) -> QuerySet[VerificationData]:
    return VerificationData.objects.filter(organisation=organisation).select_related("account")


def _row(call: Call, *, for_update: bool = False) -> VerificationData:
    """Raises ``Http404`` for one of another organisation."""
    found = _of(call.organisation)
    return get_object_or_404(found.select_for_update(of=("self",)) if for_update else found, id=call.place["row"])


def _told(row: VerificationData) -> Done:
    return Done(Entry.of(row), tag=_tag(row))


def _tag(row: VerificationData) -> str:
    """Another one for another number or code; an opening that confirms it changes nothing."""
    return tag_of(row.id, row.method, row.masked, row.created_at)


_SEARCH: Final = "POST /api/v1/verification/search"
_READ, _WRITE = Scope.VERIFICATION_READ, Scope.VERIFICATION_WRITE
_ONE: Final = "verification/{row}"

ROWS: Final = (
    Operation(
        "list-verification",
        "GET",
        "verification",
        _READ,
        "What recipients are verified with; numbers masked, codes never.",
        listed,
        EntryList,
        query=Paged,
    ),
    Operation(
        "search-verification",
        "POST",
        "verification/search",
        _READ,
        "What one recipient is verified with.",
        searched,
        EntryList,
        asks=SearchForm,
    ),
    Operation(
        "add-verification",
        "POST",
        "verification",
        _WRITE,
        "Say what a recipient is verified with, for messages of the whole organisation.",
        added,
        Entry,
        asks=EntryForm,
        status=HTTPStatus.CREATED,
        links=tuple(
            Link(name, "row", "/id") for name in ("get-verification", "put-verification", "delete-verification")
        ),
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
        refusals={HTTPStatus.CONFLICT: "There is one already."},
    ),
    Operation("get-verification", "GET", _ONE, _READ, "One entry.", got, Entry, is_tagged=True),
    Operation(
        "put-verification",
        "PUT",
        _ONE,
        _WRITE,
        "Put another number or code in the place of one.",
        put,
        Entry,
        asks=ValueForm,
        is_tagged=True,
        changes=True,
    ),
    Operation(
        "delete-verification",
        "DELETE",
        _ONE,
        _WRITE,
        "Forget what a recipient is verified with.",
        deleted,
        None,
        status=HTTPStatus.NO_CONTENT,
        changes=True,
    ),
)
