"""Alarms: those that stand, and who is mailed about them. Programs hear of them by webhooks."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from django.db import transaction
from pydantic import Field

from zegel.accounts import webhooks
from zegel.accounts.models import Organisation
from zegel.accounts.tokens import Scope
from zegel.accounts.webhooks import MOST_ADDRESSES
from zegel.api.fields import Address, mailbox_of
from zegel.api.operation import Call, Done, Form, Operation, Told
from zegel.api.versions import must_match, tag_of
from zegel.core.policy.alarms import Alarm
from zegel.journey.watch import standing_of

Addresses = Annotated[list[Address], Field(max_length=MOST_ADDRESSES)]


class AddressesForm(Form):
    """All of them: they come in the place of those that were there."""

    addresses: Addresses | None = Field(
        description="null: owners and administrators. Empty: nobody is mailed.", examples=[["beheer@example.org"]]
    )


class AddressesTold(Told):
    """Who is mailed when an alarm is raised, daily while it stands, and when it ended."""

    addresses: list[str] | None = Field(description="null: owners and administrators. Empty: nobody.")

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """As it is."""
        return cls(addresses=organisation.alarm_addresses)


class AlarmTold(Told):
    """One that stands; docs/alarms.md says what each means."""

    alarm: str = Field(examples=["texts-capped"])
    severity: Literal["critical", "warning"]
    about: str = Field(description="What it is about, such as a domain; may be empty.")
    number: int
    says: str
    remedy: str

    @classmethod
    def of(cls, alarm: Alarm) -> Self:
        """In English."""
        return cls.model_validate(
            {
                "alarm": alarm.condition.value,
                "severity": alarm.condition.severity.value,
                "about": alarm.about,
                "number": alarm.number,
                "says": alarm.what.en,
                "remedy": alarm.condition.remedy.en,
            }
        )


class AlarmList(Told):
    """All that stand now."""

    items: list[AlarmTold]


def listed(call: Call) -> Done:
    """Looked for now, as the console does."""
    return Done(AlarmList(items=[AlarmTold.of(one) for one in standing_of(call.organisation, now=call.now)]))


def addresses_got(call: Call) -> Done:
    """As they are."""
    return _addresses(call.organisation)


def addresses_put(call: Call) -> Done:
    """From the next alarm on."""
    asked: AddressesForm = call.body
    wanted = None
    if asked.addresses is not None:
        wanted = [mailbox_of(text, f"addresses.{number}") for number, text in enumerate(asked.addresses)]
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        must_match(call.request, tag_of(current.alarm_addresses))
        webhooks.set_alarm_addresses(current, wanted, now=call.now)
    return _addresses(current)


def _addresses(organisation: Organisation) -> Done:
    return Done(AddressesTold.of(organisation), tag=tag_of(organisation.alarm_addresses))


_ADDRESSES: Final = "alarms/addresses"

ROWS: Final = (
    Operation("list-alarms", "GET", "alarms", Scope.ALARMS_READ, "Alarms that stand.", listed, AlarmList),
    Operation(
        "get-alarm-addresses",
        "GET",
        _ADDRESSES,
        Scope.ALARMS_READ,
        "Who is mailed about alarms.",
        addresses_got,
        AddressesTold,
        is_tagged=True,
    ),
    Operation(
        "put-alarm-addresses",
        "PUT",
        _ADDRESSES,
        Scope.ALARMS_WRITE,
        "Say who is mailed about alarms, in the place of those who were.",
        addresses_put,
        AddressesTold,
        asks=AddressesForm,
        is_tagged=True,
        changes=True,
    ),
)
