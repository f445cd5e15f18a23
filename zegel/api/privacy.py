"""What is known of one recipient: exported, and erased in two steps."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from django.db import transaction
from pydantic import Field

from zegel.accounts.audit import note
from zegel.accounts.models import Organisation, RememberedDevice
from zegel.accounts.tokens import Scope
from zegel.api.answers import Fault, refused
from zegel.api.fields import WHOLE, Address, mailbox_of
from zegel.api.operation import Call, Done, Form, Keyed, Operation, Told
from zegel.api.paging import part
from zegel.api.setup import api
from zegel.core.mail.address import Mailbox
from zegel.core.policy.audit import Act
from zegel.journey.custody.forgetting import forget_recipient
from zegel.journey.custody.models import PassedMethod, Recipient, VerificationData
from zegel.journey.custody.retention import empty_log
from zegel.journey.known import known_with, received

_CONFIRMATION: Final = r"^[0-9a-f]{32}$"
_EXAMPLE: Final = "0123456789abcdef0123456789abcdef"
_WAITING: Final = (Recipient.State.ACCEPTED, Recipient.State.DECIDED, Recipient.State.HELD)


class ExportForm(Form):
    """Of whom, and which part of the messages. In a body: an address is personal."""

    address: Address = Field(examples=["ontvanger@example.net"])
    limit: Annotated[int, Field(ge=1, le=200), WHOLE] = Field(default=50, description="At most so many messages.")
    after: str = Field(
        default="", max_length=200, pattern=r"^[A-Za-z0-9_-]*$", description="The `next` of the part before this one."
    )


class Known(Told):
    """docs/erasure.md says what stands in it. No content; no number and no code whole."""

    form: str = Field(examples=["zegel-known/1"])
    address: str
    organisation: str
    account: dict[str, Any] | None
    verification: list[dict[str, Any]]
    passed: list[dict[str, Any]]
    devices: list[dict[str, Any]]
    messages: list[dict[str, Any]] = Field(description="A part of them, each with its way.")
    next: str | None = Field(description="There are more messages: ask again with `after`.")


class ErasureForm(Form):
    """Of whom."""

    address: Address = Field(examples=["ontvanger@example.net"])


class ErasureConfirmed(ErasureForm):
    """What `recipients/erasure` answered, sent back."""

    confirmation: str = Field(pattern=_CONFIRMATION, examples=[_EXAMPLE])


class ErasureTold(Told):
    """What would be erased. Nothing is, yet."""

    address: str
    messages: int = Field(description="In whose traces a name that leads to nobody comes in the place of the address.")
    messages_taken_back: int = Field(description="Of those: not delivered readable, so they can't be read any more.")
    messages_undelivered: int = Field(description="Of those: still to be delivered. They won't be; senders are told.")
    numbers_and_codes: int
    devices: int = Field(description="Browsers that need no code.")
    confirmation: str = Field(description="Erases this, as long as it is just this.")


class ErasedTold(Told):
    """What was erased, for good. The audit log keeps what it has, until its term."""

    at: datetime
    messages: int
    numbers_and_codes: int
    devices: int


def exported(call: Call) -> Done:
    """Noted in the audit log, each part."""
    asked: ExportForm = call.body
    mailbox = mailbox_of(asked.address, "address")
    rows, following = part(received(call.organisation, mailbox), "id", limit=asked.limit, after=asked.after)
    known = known_with(call.organisation, mailbox, rows)
    note(Act.RECIPIENT_EXPORTED, call.organisation, str(mailbox), {"messages": len(rows)}, now=call.now)
    return Done(Known.model_validate({**known, "next": following}))


def asked_to_erase(call: Call) -> Done:
    """Says what would be gone, and changes nothing."""
    mailbox = mailbox_of(call.body.address, "address")
    return Done(_what_is_there(call.organisation, mailbox))


def erased(call: Call) -> Done:
    """If nothing came or went since it was said what would be gone."""
    mailbox = mailbox_of(call.body.address, "address")
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        there = _what_is_there(current, mailbox)
        if not hmac.compare_digest(there.confirmation, call.body.confirmation):
            reason = "Something else would be erased than was confirmed. Ask once more what it would be."
            fault = Fault(field="confirmation", reason=reason, example="POST /api/v1/recipients/erasure")
            raise refused(HTTPStatus.CONFLICT, "This is not what was confirmed. Nothing was erased.", [fault])
        done = forget_recipient(current, mailbox, now=call.now)
        transaction.on_commit(empty_log)
        transaction.on_commit(api().ring)
    return Done(
        ErasedTold(at=call.now, messages=done.messages, numbers_and_codes=done.numbers_and_codes, devices=done.devices)
    )


def _what_is_there(organisation: Organisation, mailbox: Mailbox) -> ErasureTold:
    states = list(received(organisation, mailbox).values_list("id", "state"))
    known = VerificationData.objects.filter(organisation=organisation, key=mailbox.key).order_by("id")
    passed = PassedMethod.objects.filter(organisation=organisation, account__key=mailbox.key).order_by("id")
    values = [*known.values_list("id", "created_at"), *passed.values_list("id", "at")]
    devices = RememberedDevice.objects.filter(organisation=organisation, key=mailbox.key).order_by("pk")
    numbers = [str(one) for one in devices.values_list("pk", flat=True)]
    there = repr((organisation.pk, mailbox.key, states, values, numbers))
    taken_back = [state for _, state in states if state != Recipient.State.DELIVERED]
    return ErasureTold(
        address=str(mailbox),
        messages=len(states),
        messages_taken_back=len(taken_back),
        messages_undelivered=sum(state in _WAITING for state in taken_back),
        numbers_and_codes=len(values),
        devices=len(numbers),
        # Keyed: who erases has asked what would be gone.
        confirmation=hmac.new(api().answers_key.reveal(), there.encode(), hashlib.sha256).hexdigest()[:32],
    )


ROWS: Final = (
    Operation(
        "export-recipient",
        "POST",
        "recipients/export",
        Scope.PRIVACY_EXPORT,
        "All that is known of a recipient (GDPR art. 15).",
        exported,
        Known,
        asks=ExportForm,
    ),
    Operation(
        "ask-erasure",
        "POST",
        "recipients/erasure",
        Scope.PRIVACY_ERASE,
        "What erasing a recipient would destroy, and a confirmation of just that. Nothing is erased.",
        asked_to_erase,
        ErasureTold,
        asks=ErasureForm,
    ),
    Operation(
        "confirm-erasure",
        "POST",
        "recipients/erasure/confirm",
        Scope.PRIVACY_ERASE,
        "Erase what is known of a recipient, as it was confirmed. There is no way back.",
        erased,
        ErasedTold,
        asks=ErasureConfirmed,
        keyed=Keyed.OPTIONAL,
        refusals={HTTPStatus.CONFLICT: "Something else would be erased than was confirmed."},
    ),
)
