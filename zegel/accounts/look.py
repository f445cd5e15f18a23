"""What an administrator decides about how an organisation shows itself: its language and country, the look of pages and
mails, its own words in them; and its name. One place for console, API and command line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Protocol

from django.db import transaction

from zegel.accounts.audit import note
from zegel.accounts.models import Organisation, OrganisationLogo
from zegel.core.look import Logo, NotALook, Palette, palette
from zegel.core.own_texts import NO_WORDS, OwnTexts, Words, kept, stored
from zegel.core.policy.audit import Act, Details, changes
from zegel.core.policy.organisation import Described, NameTaken


def describe(organisation: Organisation, described: Described) -> None:
    """Another name, language or country, from the next mail and page on. Raises :class:`NameTaken`."""
    if Organisation.objects.filter(name=described.name).exclude(pk=organisation.pk).exists():
        raise NameTaken(described.name)
    changed = changes(asdict(description_of(organisation)), asdict(described))
    organisation.name, organisation.language = described.name, described.language
    organisation.region = described.region
    with transaction.atomic():
        organisation.save(update_fields=["name", "language", "region"])
        if changed:
            note(Act.ORGANISATION_CHANGED, organisation, organisation.name, changed)


def _save(organisation: Organisation, field: str, changed: Details) -> None:
    with transaction.atomic():
        organisation.save(update_fields=[field])
        if changed:
            note(Act.LOOK_CHANGED, organisation, details=changed)


def description_of(organisation: Organisation) -> Described:
    """As it is now."""
    return Described(organisation.name, organisation.language, organisation.region)


def paint(organisation: Organisation, accent: str) -> None:
    """Another colour, as ``parse_colour`` gives it; empty: that of the style sheet. Raises ``TooLight``."""
    if accent:
        palette(accent)
    changed = changes({"colour": organisation.accent}, {"colour": accent})
    organisation.accent = accent
    _save(organisation, "accent", changed)


class Coloured(Protocol):
    """An organisation, or what was read of it."""

    @property
    def accent(self) -> str: ...


def palette_of(organisation: Coloured) -> Palette | None:
    """The colours of its mails; ``None`` where it has none of its own, or this version can't use them."""
    try:
        return palette(organisation.accent) if organisation.accent else None
    except NotALook:
        return None


def show_logo(organisation: Organisation, logo: Logo | None) -> None:
    """Another logo, or none. Inside a transaction."""
    OrganisationLogo.objects.filter(organisation=organisation).delete()
    if logo is not None:
        OrganisationLogo.objects.create(organisation=organisation, name=logo.name, octets=logo.octets)
    changed = changes({"logo": organisation.logo_name}, {"logo": "" if logo is None else logo.name})
    organisation.logo_name = "" if logo is None else logo.name
    _save(organisation, "logo_name", changed)


def say(organisation: Organisation, texts: OwnTexts) -> None:
    """Other words in mails and on pages; what is empty isn't said."""
    changed = changes(asdict(texts_of(organisation)), asdict(texts))
    organisation.own_texts = kept(texts)
    _save(organisation, "own_texts", changed)


class Worded(Protocol):
    """An organisation, or what was read of it."""

    @property
    def own_texts(self) -> object: ...


def texts_of(organisation: Worded) -> OwnTexts:
    """Its own texts."""
    return stored(organisation.own_texts)


def own_words(organisation: Worded, language: str) -> Words:
    """What it says in that language."""
    return texts_of(organisation).within(language) if organisation.own_texts else NO_WORDS
