"""What an administrator decides about submission: bindings, caps, and what SPF may prove. One place for console,
command line and API."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction
from django.db.models import F

from zegel.accounts.audit import note
from zegel.accounts.models import Organisation, SmtpCredential, Usage
from zegel.core.clock import Instant
from zegel.core.policy.audit import Act, changes
from zegel.core.policy.submitting import HOURS_A_DAY, Caps, Used
from zegel.core.policy.texts import (
    HOURS_A_MONTH,
    TextCaps,
    TextLimit,
    TextMoney,
    TextsUsed,
    objection,
    too_dear,
)
from zegel.core.secret import Secret

SPF_WARNING = (
    "SPF proves an address, not a customer: everybody who sends through the same addresses passes it too. For a shared "
    "sender (Microsoft 365, Google Workspace, a mailing service) bind it to networks, and ask for a DKIM signature."
)


def bind(credential: SmtpCredential, *, networks: tuple[str, ...], authors: tuple[str, ...]) -> None:
    """From now on the credential may be used from these networks and for these From addresses and domains only;
    empty: from anywhere, for all addresses of the organisation (core.policy.submitting parses both)."""
    old, new = {"networks": credential.networks, "authors": credential.authors}, _rules(networks, authors)
    credential.networks, credential.authors = list(networks), list(authors)
    with transaction.atomic():
        credential.save(update_fields=["networks", "authors"])
        if changed := changes(old, new):
            note(Act.CREDENTIAL_BOUND, credential.organisation, credential.username, changed)


def _rules(networks: tuple[str, ...], authors: tuple[str, ...]) -> dict[str, list[str]]:
    return {"networks": list(networks), "authors": list(authors)}


def cap(whose: Organisation | SmtpCredential, caps: Caps) -> None:
    """From now on; what was accepted in this hour and day counts."""
    old, new = asdict(caps_of(whose)), asdict(caps)
    for name, most in new.items():
        setattr(whose, name, most)
    with transaction.atomic():
        whose.save(update_fields=list(new))
        if changed := changes(old, new):
            owner, name = (whose.organisation, whose.username) if isinstance(whose, SmtpCredential) else (whose, "")
            note(Act.CAPS_CHANGED, owner, name, changed)
            Usage.objects.filter(whose=_kind(whose), number=whose.pk).update(refused=0)  # by caps that are no more


def refused_of(whose: Organisation | SmtpCredential, *, now: Instant) -> bool:
    """A cap that is in force kept a message out in this hour of the clock; perhaps there is room for a smaller one."""
    hour = int(now.timestamp() // 3600)
    return Usage.objects.filter(whose=_kind(whose), number=whose.pk, hour=hour, refused__gt=0).exists()


def caps_of(whose: Organisation | SmtpCredential) -> Caps:
    """The caps in force."""
    return Caps(**{name: getattr(whose, name) for name in asdict(Caps())})


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Which cap on text messages keeps one from going, and whose it is."""

    limit: TextLimit
    credential: int | None = None  # None: the organisation's


def text_caps_of(whose: Organisation | SmtpCredential) -> TextCaps:
    """The caps on text messages in force; a credential has them for a day and a month."""
    if isinstance(whose, SmtpCredential):
        return TextCaps(None, whose.texts_per_day, whose.texts_per_month)
    return TextCaps(whose.texts_per_hour, whose.texts_per_day, whose.texts_per_month, tuple(whose.text_countries))


def cap_texts(whose: Organisation | SmtpCredential, caps: TextCaps) -> None:
    """From now on; what was asked for in this hour, day and month counts. Of a credential: what messages that were
    submitted with it cause."""
    old, new = asdict(text_caps_of(whose)), asdict(caps)
    owner, name = (whose.organisation, whose.username) if isinstance(whose, SmtpCredential) else (whose, "")
    if isinstance(whose, SmtpCredential):
        new = {one: most for one, most in new.items() if one in ("texts_per_day", "texts_per_month")}
        old = {one: old[one] for one in new}
    for one, most in new.items():
        setattr(whose, one, list(most) if isinstance(most, tuple) else most)
    with transaction.atomic():
        whose.save(update_fields=list(new))
        if changed := changes(old, new):
            note(Act.CAPS_CHANGED, owner, name, changed)


def text_money_of(organisation: Organisation) -> TextMoney:
    """What text messages cost, and may."""
    prices = tuple((str(prefix), int(cents)) for prefix, cents in organisation.text_prices)
    return TextMoney(organisation.text_currency, organisation.text_price, prices, organisation.text_cents_per_month)


def price_texts(organisation: Organisation, money: TextMoney) -> None:
    """From the next text message on; those that were asked for keep their price."""
    old, new = _money(text_money_of(organisation)), _money(money)
    for name, value in new.items():
        setattr(organisation, name, value)
    with transaction.atomic():
        organisation.save(update_fields=list(new))
        if changed := changes({**old, "text_prices": _shown(old)}, {**new, "text_prices": _shown(new)}):
            note(Act.CAPS_CHANGED, organisation, details=changed)


def _money(money: TextMoney) -> dict[str, Any]:
    return {
        "text_currency": money.currency,
        "text_price": money.price,
        "text_prices": [list(one) for one in money.prices],
        "text_cents_per_month": money.most_per_month,
    }


def _shown(stored: Mapping[str, Any]) -> list[str]:
    return [f"{prefix} {cents}" for prefix, cents in stored["text_prices"]]


def texts_used_by(whose: Organisation | SmtpCredential, *, now: Instant) -> TextsUsed:
    """Text messages that were asked for: in this hour of the clock, and in the 24 and the 720 that end with it."""
    return _texts_used(_kind(whose), whose.pk, now)


def _kind(whose: Organisation | SmtpCredential) -> Usage.Whose:
    return Usage.Whose.ORGANISATION if isinstance(whose, Organisation) else Usage.Whose.CREDENTIAL


def _texts_used(kind: Usage.Whose, number: int, now: Instant) -> TextsUsed:
    hour = int(now.timestamp() // 3600)
    rows = Usage.objects.filter(whose=kind, number=number, hour__gt=hour - HOURS_A_MONTH, hour__lte=hour, texts__gt=0)
    found = list(rows.values_list("hour", "texts", "cents"))
    return TextsUsed(
        this_hour=sum(texts for at, texts, _ in found if at == hour),
        today=sum(texts for at, texts, _ in found if at > hour - HOURS_A_DAY),
        this_month=sum(texts for _, texts, _ in found),
        cents_this_month=sum(cents for _, _, cents in found),
    )


def texts_objection(
    organisation: int, credential: int | None, countries: Collection[str], *, now: Instant
) -> Exceeded | None:
    """Why somebody with a number in one of these countries could get no code now, of a message that was submitted with
    this credential."""
    held = Organisation.objects.get(pk=organisation)
    money = text_money_of(held)
    price = max((money.price_in(country) for country in countries), default=money.price)
    return _objection(held, credential, countries, price, now)


def count_text(
    organisation: int, number: Secret[str], country: str, *, credential: int | None = None, now: Instant
) -> Exceeded | None:
    """Inside a transaction: counts one more text message with its price, of the organisation and of the credential that
    the message came with; or says which cap keeps it from going, and counts nothing. Whoever asks at the same moment,
    in whichever process, is judged afterwards."""
    held = Organisation.objects.select_for_update().get(pk=organisation)
    price = text_money_of(held).price_of(number.reveal())
    exceeded = _objection(held, credential, (country,), price, now)
    if exceeded is None:
        _count(Usage.Whose.ORGANISATION, organisation, price, now)
        if credential is not None:
            _count(Usage.Whose.CREDENTIAL, credential, price, now)
    return exceeded


def _objection(
    held: Organisation, credential: int | None, countries: Collection[str], price: int, now: Instant
) -> Exceeded | None:
    used = texts_used_by(held, now=now)
    limit = objection(text_caps_of(held), used, countries)
    if limit is not None:
        return Exceeded(limit)
    if too_dear(text_money_of(held), used, price):
        return Exceeded(TextLimit.MONEY)
    of = SmtpCredential.objects.filter(pk=credential).first() if credential is not None else None
    limit = objection(text_caps_of(of), texts_used_by(of, now=now), ()) if of is not None else None
    return Exceeded(limit, credential) if limit is not None else None


def _count(kind: Usage.Whose, number: int, price: int, now: Instant) -> None:
    hour = int(now.timestamp() // 3600)
    row, _ = Usage.objects.get_or_create(whose=kind, number=number, hour=hour)
    Usage.objects.filter(pk=row.pk).update(texts=F("texts") + 1, cents=F("cents") + price)


def demand(
    organisation: Organisation,
    authentication: Organisation.Authentication,
    *,
    networks: tuple[str, ...],
    needs_dkim: bool,
) -> None:
    """What proves that a client may submit, and what SPF is bound to (D-8). In force with the next message."""
    names = ("authentication", "spf_networks", "spf_needs_dkim")
    old = {name: getattr(organisation, name) for name in names}
    organisation.authentication = authentication
    organisation.spf_networks, organisation.spf_needs_dkim = list(networks), needs_dkim
    with transaction.atomic():
        organisation.save(update_fields=names)
        if changed := changes(old, {name: getattr(organisation, name) for name in names}):
            note(Act.PROOF_CHANGED, organisation, details=changed)


def used_by(whose: Organisation | SmtpCredential, *, now: Instant) -> Used:
    """What was accepted in this hour of the clock and in the 24 that end with it."""
    hour = int(now.timestamp() // 3600)
    used = Used()
    for one in Usage.objects.filter(whose=_kind(whose), number=whose.pk, hour__gt=hour - HOURS_A_DAY, hour__lte=hour):
        used.messages_today += one.messages
        used.recipients_today += one.recipients
        if one.hour == hour:
            used.messages_this_hour += one.messages
            used.recipients_this_hour += one.recipients
    return used


def forget_usage(now: Instant) -> int:
    """Deletes counts that no cap looks at any more; returns how many."""
    hour = int(now.timestamp() // 3600)
    no_text = Usage.objects.filter(hour__lt=hour - HOURS_A_DAY, texts=0)
    return no_text.delete()[0] + Usage.objects.filter(hour__lt=hour - HOURS_A_MONTH).delete()[0]
