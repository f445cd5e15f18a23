"""Accounts: made, invited, changed, suspended. A program has the rights of an administrator."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Final, Literal, Self

from django.db import transaction
from django.shortcuts import get_object_or_404
from pydantic import Field

from zegel.accounts import people, proving
from zegel.accounts.models import Account, MailboxProof
from zegel.accounts.tokens import Scope
from zegel.api.answers import Fault, Refused, refused
from zegel.api.fields import Address, Line, mailbox_of
from zegel.api.operation import Call, Done, Form, Keyed, Link, Operation, Paged, Told
from zegel.api.paging import part
from zegel.api.setup import api
from zegel.api.versions import must_match, tag_of
from zegel.core.policy.people import Objection
from zegel.core.policy.roles import Role
from zegel.journey.portal import inviting

BY: Final = Role.ADMINISTRATOR
RoleName = Literal["owner", "administrator", "policy", "support", "sender"]
Language = Literal["", "nl", "en"]


class AccountForm(Form):
    """A new account, in one of the organisation's domains. Nobody can sign in to it until it is invited."""

    address: Address = Field(examples=["balie@example.org"])
    display_name: Line = Field(default="", max_length=200, examples=["Balie"])
    language: Language = Field(default="", description="Empty: the organisation's.")
    role: RoleName = Field(default="sender", description="No more rights than an administrator has.")
    is_functional: bool = Field(default=False, description="A mailbox that several people read; nobody signs in to it.")


class AccountChange(Form):
    """What is left out stays."""

    display_name: Line | None = Field(default=None, max_length=200, examples=["Balie"])
    language: Language | None = None
    role: RoleName | None = None


class InvitationForm(Form):
    """A new account, in one of the organisation's domains, and a mail to its holder."""

    address: Address = Field(examples=["balie@example.org"])
    display_name: Line = Field(default="", max_length=200, examples=["Balie"])
    language: Language = Field(default="", description="Empty: the organisation's.")
    role: RoleName = Field(default="sender", description="No more rights than an administrator has.")


class AccountSearch(Form):
    """Whose. In a body: an address is personal, and addresses of pages end up in logs."""

    address: Address = Field(examples=["balie@example.org"])


class AccountTold(Told):
    """One account."""

    id: int
    address: str
    display_name: str
    language: str
    role: RoleName
    is_functional: bool
    is_active: bool = Field(description="False: suspended.")
    created_at: datetime

    @classmethod
    def of(cls, row: Account) -> Self:
        """As it stands."""
        return cls.model_validate(
            {
                "id": row.pk,
                "address": row.email,
                "display_name": row.display_name,
                "language": row.language,
                "role": row.role,
                "is_functional": row.is_functional,
                "is_active": row.is_active,
                "created_at": row.created_at,
            }
        )


class AccountList(Told):
    """In the order in which they were made."""

    items: list[AccountTold]
    next: str | None


class InvitationTold(Told):
    """One that its holder has not answered yet."""

    account: int
    address: str
    sent_at: datetime
    until: datetime = Field(description="Its link leads nowhere from then on.")


class InvitationList(Told):
    """In the order in which they were sent."""

    items: list[InvitationTold]
    next: str | None


def listed(call: Call) -> Done:
    """All of the organisation."""
    rows, following = part(call.organisation.accounts.all(), "id", limit=call.query.limit, after=call.query.after)
    return Done(AccountList(items=[AccountTold.of(row) for row in rows], next=following))


def searched(call: Call) -> Done:
    """By its address."""
    rows = call.organisation.accounts.filter(key=mailbox_of(call.body.address, "address").key)
    return Done(AccountList(items=[AccountTold.of(row) for row in rows], next=None))


def got(call: Call) -> Done:
    """One."""
    return _told(_row(call))


def added(call: Call) -> Done:
    """A new one."""
    asked: AccountForm = call.body
    try:
        row = people.make(
            call.organisation,
            mailbox_of(asked.address, "address"),
            role=Role(asked.role),
            display_name=asked.display_name,
            language=asked.language,
            is_functional=asked.is_functional,
            by=BY,
        )
    except people.Refused as cause:
        raise _objected(cause.why, "address") from None
    return Done(AccountTold.of(row), tag=_tag(row), location=f"accounts/{row.pk}")


def changed(call: Call) -> Done:
    """Another name, language or role: all that is asked, or nothing."""
    asked: AccountChange = call.body
    try:
        with transaction.atomic():
            row = people.locked(_row(call))
            must_match(call.request, _tag(row))
            if asked.display_name is not None or asked.language is not None:
                name = row.display_name if asked.display_name is None else asked.display_name
                language = row.language if asked.language is None else asked.language
                people.describe(row, display_name=name, language=language, by=BY)
            if asked.role is not None:
                people.change_role(row, Role(asked.role), by=BY)
    except people.Refused as cause:
        raise _objected(cause.why, "role") from None
    return _told(_row(call))


def suspended(call: Call) -> Done:
    """Signed out, and nothing is accepted From it."""
    try:
        people.suspend(_row(call), by=BY, now=call.now)
    except people.Refused as cause:
        raise _objected(cause.why, "") from None
    return _told(_row(call))


def resumed(call: Call) -> Done:
    """As before."""
    try:
        people.resume(_row(call), by=BY)
    except people.Refused as cause:
        raise _objected(cause.why, "") from None
    return _told(_row(call))


# --- invitations -------------------------------------------------------------------------------------------------


def invitations_listed(call: Call) -> Done:
    """All that are open."""
    found = proving.open_invitations(call.organisation, call.now)
    rows, following = part(found, "id", limit=call.query.limit, after=call.query.after)
    keys = call.organisation.accounts.filter(key__in=[row.key for row in rows]).values_list("key", "pk")
    numbers = dict(keys)
    return Done(InvitationList(items=[_invitation(row, numbers[row.key]) for row in rows], next=following))


def invited(call: Call) -> Done:
    """An account, and a mail with the way to a password and a second factor."""
    asked: InvitationForm = call.body
    try:
        row = inviting.invite(
            call.organisation,
            mailbox_of(asked.address, "address"),
            role=Role(asked.role),
            display_name=asked.display_name,
            language=asked.language,
            by=BY,
            now=call.now,
        )
    except people.Refused as cause:
        raise _objected(cause.why, "address") from None
    transaction.on_commit(api().ring)
    return Done(AccountTold.of(row), tag=_tag(row), location=f"accounts/{row.pk}")


def invited_again(call: Call) -> Done:
    """Another mail; links that were sent before lead nowhere."""
    row = _row(call)
    try:
        inviting.invite_again(row, by=BY, now=call.now)
    except people.Refused as cause:
        raise _objected(cause.why, "") from None
    transaction.on_commit(api().ring)
    sent = proving.open_invitation(row, call.now)
    assert sent is not None
    return Done(_invitation(sent, row.pk))


def invitation_withdrawn(call: Call) -> Done:
    """Its link leads nowhere; the account stays."""
    try:
        is_withdrawn = people.withdraw_invitation(_row(call), by=BY, now=call.now)
    except people.Refused as cause:
        raise _objected(cause.why, "") from None
    if not is_withdrawn:
        fault = Fault(field="", reason="No invitation of this account is open.", example="GET /api/v1/invitations")
        raise refused(HTTPStatus.CONFLICT, "There is nothing to withdraw.", [fault])
    return Done(None)


def _invitation(row: MailboxProof, account: int) -> InvitationTold:
    return InvitationTold(account=account, address=row.address, sent_at=row.created_at, until=proving.ends_at(row))


# --- shared ------------------------------------------------------------------------------------------------------


def _row(call: Call) -> Account:
    """Raises ``Http404`` for one of another organisation."""
    return get_object_or_404(call.organisation.accounts.select_related("organisation"), pk=call.place["account"])


def _told(row: Account) -> Done:
    return Done(AccountTold.of(row), tag=_tag(row))


def _tag(row: Account) -> str:
    return tag_of(row.pk, row.email, row.display_name, row.language, row.role, row.is_functional, row.is_active)


def _objected(why: Objection, field: str) -> Refused:
    fault = Fault(field=field, reason=f"{why.value[0].upper()}{why.value[1:]}.", example="GET /api/v1/accounts")
    return refused(HTTPStatus.CONFLICT, "The rules about accounts stand in the way.", [fault])


_READ, _WRITE = Scope.ACCOUNTS_READ, Scope.ACCOUNTS_WRITE
_ONE: Final = "accounts/{account}"
_INVITATION: Final = f"{_ONE}/invitation"
_IN_THE_WAY: Final = {HTTPStatus.CONFLICT: "The rules about accounts stand in the way; the reason says which."}

ROWS: Final = (
    Operation("list-accounts", "GET", "accounts", _READ, "Accounts.", listed, AccountList, query=Paged),
    Operation(
        "search-accounts",
        "POST",
        "accounts/search",
        _READ,
        "The account of an address.",
        searched,
        AccountList,
        asks=AccountSearch,
    ),
    Operation(
        "add-account",
        "POST",
        "accounts",
        _WRITE,
        "Make an account.",
        added,
        AccountTold,
        asks=AccountForm,
        status=HTTPStatus.CREATED,
        links=tuple(
            Link(name, "account", "/id")
            for name in ("get-account", "change-account", "suspend-account", "resume-account")
        ),
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
        refusals=_IN_THE_WAY,
    ),
    Operation("get-account", "GET", _ONE, _READ, "One account.", got, AccountTold, is_tagged=True),
    Operation(
        "change-account",
        "PATCH",
        _ONE,
        _WRITE,
        "Give an account another name, language or role.",
        changed,
        AccountTold,
        asks=AccountChange,
        is_tagged=True,
        changes=True,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "suspend-account",
        "POST",
        f"{_ONE}/suspend",
        _WRITE,
        "Suspend an account: signed out, and nothing is accepted From it.",
        suspended,
        AccountTold,
        is_tagged=True,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "resume-account",
        "POST",
        f"{_ONE}/resume",
        _WRITE,
        "Let an account that was suspended be used again.",
        resumed,
        AccountTold,
        is_tagged=True,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "list-invitations",
        "GET",
        "invitations",
        _READ,
        "Invitations that were not answered yet.",
        invitations_listed,
        InvitationList,
        query=Paged,
    ),
    Operation(
        "invite",
        "POST",
        "invitations",
        _WRITE,
        "Make an account, and mail its holder the way to a password and a second factor.",
        invited,
        AccountTold,
        asks=InvitationForm,
        status=HTTPStatus.CREATED,
        links=tuple(
            Link(name, "account", "/id")
            for name in ("get-account", "change-account", "invite-again", "withdraw-invitation")
        ),
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "invite-again",
        "POST",
        _INVITATION,
        _WRITE,
        "Mail an account that has no second factor another invitation; earlier ones end.",
        invited_again,
        InvitationTold,
        keyed=Keyed.OPTIONAL,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "withdraw-invitation",
        "DELETE",
        _INVITATION,
        _WRITE,
        "Withdraw an invitation: its link leads nowhere. The account stays.",
        invitation_withdrawn,
        None,
        status=HTTPStatus.NO_CONTENT,
        refusals={HTTPStatus.CONFLICT: "No invitation is open, or the rules about accounts stand in the way."},
    ),
)
