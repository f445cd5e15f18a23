"""An organisation's language and country; how its pages and mails look, and what it says there in its own words."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import asdict
from typing import Final, Literal, Self

from django.db import transaction
from pydantic import Field

from zegel.accounts import look as looks
from zegel.accounts.models import Organisation, OrganisationLogo
from zegel.accounts.tokens import Scope
from zegel.api.fields import cant_be
from zegel.api.operation import Call, Done, Form, Operation
from zegel.api.versions import must_match, tag_of
from zegel.core.look import LARGEST_LOGO, Logo, NotALogo, NotALook, palette, parse_colour, parse_logo
from zegel.core.own_texts import LONGEST, NotAnOwnText, OwnTexts, parse_own_text
from zegel.core.policy.organisation import NotADescription, parse_description

_AS_TEXT: Final = 4 * LARGEST_LOGO // 3 + 100  # characters, padding and white space included
_RAW: Final = 2 * LONGEST  # white space and what isn't shown included


class TextsForm(Form):
    """Plain text without an address on the web; empty: nothing is said."""

    introduction_nl: str = Field(default="", max_length=_RAW, description="At the beginning of notifications.")
    introduction_en: str = Field(default="", max_length=_RAW)
    help_nl: str = Field(default="", max_length=_RAW, examples=["Bel 030 123 4567, op werkdagen van 9 tot 17 uur."])
    help_en: str = Field(
        default="", max_length=_RAW, description="Where to turn: in mails, and on pages of recipients."
    )


class OrganisationForm(Form):
    """What an administrator may change of it; its name is the operator's."""

    language: Literal["nl", "en"] = Field(description="Of its mails, and of its pages for who chose none.")
    country: str = Field(
        max_length=20, examples=["BE"], description="Whose telephone numbers may be written without a code."
    )


class Described(OrganisationForm):
    """As it is now."""

    name: str

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """Its name, language and country."""
        return cls.model_validate(
            {"name": organisation.name, "language": organisation.language, "country": organisation.region}
        )


class LookForm(Form):
    """The whole look: what is left out gets the value that a new organisation has."""

    colour: str | None = Field(
        default=None, max_length=20, examples=["#8a1f5c"], description="Null: the gateway's own."
    )
    logo: str | None = Field(default=None, max_length=_AS_TEXT, description="A PNG image in base64; null: none.")
    texts: TextsForm = TextsForm()


class Look(LookForm):
    """The look as it is now."""

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """Colour, logo and words."""
        logo = OrganisationLogo.objects.filter(organisation=organisation).first()
        return cls(
            colour=organisation.accent or None,
            logo=None if logo is None else b64encode(logo.octets).decode(),
            texts=TextsForm(**asdict(looks.texts_of(organisation))),
        )


def organisation_got(call: Call) -> Done:
    """As it is now."""
    return _described(call.organisation)


def organisation_put(call: Call) -> Done:
    """From the next mail and page on."""
    asked: OrganisationForm = call.body
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        must_match(call.request, _tag_of_organisation(current))
        try:
            looks.describe(current, parse_description(current.name, asked.language, asked.country))
        except NotADescription as cause:
            raise cant_be("country", str(cause), "BE") from None
    return _described(current)


def _described(organisation: Organisation) -> Done:
    return Done(Described.of(organisation), tag=_tag_of_organisation(organisation))


def _tag_of_organisation(organisation: Organisation) -> str:
    return tag_of(looks.description_of(organisation))


def got(call: Call) -> Done:
    """The one that holds."""
    return _look(call.organisation)


def put(call: Call) -> Done:
    """In its place at once; mails that were made before keep theirs."""
    asked: LookForm = call.body
    colour, logo, texts = _colour(asked.colour), _logo(asked.logo), _texts(asked.texts)
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=call.organisation.pk)
        must_match(call.request, _tag(current))
        looks.paint(current, colour)
        looks.show_logo(current, logo)
        looks.say(current, texts)
    return _look(current)


def _colour(text: str | None) -> str:
    if text is None:
        return ""
    try:
        colour = parse_colour(text)
        palette(colour)
    except NotALook as cause:
        raise cant_be("colour", str(cause), "#8a1f5c") from None
    return colour


def _logo(text: str | None) -> Logo | None:
    if text is None:
        return None
    try:
        return parse_logo(b64decode(text, validate=True))
    except (NotALogo, binascii.Error, ValueError) as cause:
        reason = str(cause) if isinstance(cause, NotALogo) else "this is not base64"
        raise cant_be("logo", reason, "iVBORw0KGgo…") from None


def _texts(asked: TextsForm) -> OwnTexts:
    return OwnTexts(**{name: _text(name, text) for name, text in asked.model_dump().items()})


def _text(name: str, text: str) -> str:
    try:
        return parse_own_text(text)
    except NotAnOwnText as cause:
        raise cant_be(f"texts.{name}", str(cause), "Bel 030 123 4567, op werkdagen van 9 tot 17 uur.") from None


def _look(organisation: Organisation) -> Done:
    return Done(Look.of(organisation), tag=_tag(organisation))


def _tag(organisation: Organisation) -> str:
    return tag_of(organisation.accent, organisation.logo_name, looks.texts_of(organisation))


_ORGANISATION: Final = "policies/organisation"
_LOOK: Final = "policies/look"

ROWS: Final = (
    Operation(
        "get-organisation",
        "GET",
        _ORGANISATION,
        Scope.POLICIES_READ,
        "Name, language and country.",
        organisation_got,
        Described,
        is_tagged=True,
    ),
    Operation(
        "put-organisation",
        "PUT",
        _ORGANISATION,
        Scope.POLICIES_WRITE,
        "Another language or country.",
        organisation_put,
        Described,
        asks=OrganisationForm,
        is_tagged=True,
        changes=True,
    ),
    Operation(
        "get-look",
        "GET",
        _LOOK,
        Scope.POLICIES_READ,
        "Colour, logo and words of pages and mails.",
        got,
        Look,
        is_tagged=True,
    ),
    Operation(
        "put-look",
        "PUT",
        _LOOK,
        Scope.POLICIES_WRITE,
        "Put another look in its place.",
        put,
        Look,
        asks=LookForm,
        is_tagged=True,
        changes=True,
    ),
)
