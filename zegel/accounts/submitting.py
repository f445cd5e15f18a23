"""What an administrator decides about submission: bindings, caps, and what SPF may prove. One place for console,
command line and API."""

from __future__ import annotations

from dataclasses import asdict

from django.db import transaction
from django.db.models import F

from zegel.accounts.audit import note
from zegel.accounts.models import Organisation, SmtpCredential, Usage
from zegel.core.clock import Instant
from zegel.core.policy.audit import Act, changes
from zegel.core.policy.submitting import HOURS_A_DAY, Caps, Used
from zegel.core.policy.texts import HOURS_A_MONTH, TextCaps, TextLimit, TextsUsed, objection

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


def caps_of(whose: Organisation | SmtpCredential) -> Caps:
    """The caps in force."""
    return Caps(**{name: getattr(whose, name) for name in asdict(Caps())})


def text_caps_of(organisation: Organisation) -> TextCaps:
    """The caps on text messages in force."""
    return TextCaps(
        organisation.texts_per_hour,
        organisation.texts_per_day,
        organisation.texts_per_month,
        tuple(organisation.text_countries),
    )


def cap_texts(organisation: Organisation, caps: TextCaps) -> None:
    """From now on; what was asked for in this hour, day and month counts."""
    old, new = asdict(text_caps_of(organisation)), asdict(caps)
    for name, most in new.items():
        setattr(organisation, name, list(most) if isinstance(most, tuple) else most)
    with transaction.atomic():
        organisation.save(update_fields=list(new))
        if changed := changes(old, new):
            note(Act.CAPS_CHANGED, organisation, details=changed)


def texts_used_by(organisation: int, *, now: Instant) -> TextsUsed:
    """Text messages that were asked for: in this hour of the clock, and in the 24 and the 720 that end with it."""
    hour = int(now.timestamp() // 3600)
    rows = Usage.objects.filter(
        whose=Usage.Whose.ORGANISATION, number=organisation, hour__gt=hour - HOURS_A_MONTH, hour__lte=hour, texts__gt=0
    )
    found = list(rows.values_list("hour", "texts"))
    return TextsUsed(
        this_hour=sum(texts for at, texts in found if at == hour),
        today=sum(texts for at, texts in found if at > hour - HOURS_A_DAY),
        this_month=sum(texts for _, texts in found),
    )


def count_text(organisation: int, country: str, *, now: Instant) -> TextLimit | None:
    """Inside a transaction: counts one more text message, to a number of this country; or says which cap keeps it from
    going, and counts nothing. Whoever asks at the same moment, in whichever process, is judged afterwards."""
    held = Organisation.objects.select_for_update().get(pk=organisation)
    limit = objection(text_caps_of(held), texts_used_by(organisation, now=now), (country,))
    if limit is None:
        hour = int(now.timestamp() // 3600)
        row, _ = Usage.objects.get_or_create(whose=Usage.Whose.ORGANISATION, number=organisation, hour=hour)
        Usage.objects.filter(pk=row.pk).update(texts=F("texts") + 1)
    return limit


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
    kind = Usage.Whose.ORGANISATION if isinstance(whose, Organisation) else Usage.Whose.CREDENTIAL
    hour = int(now.timestamp() // 3600)
    used = Used()
    for one in Usage.objects.filter(whose=kind, number=whose.pk, hour__gt=hour - HOURS_A_DAY, hour__lte=hour):
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
