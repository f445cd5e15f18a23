"""What every template may use besides what its view gives."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import translation

from zegel.core.look import NotALook, sheet_name
from zegel.core.own_texts import stored


def page(request: HttpRequest) -> dict[str, Any]:
    """``brand``: whose pages these are; a view's own goes before it. ``look_sheet`` and ``look_logo``: names of its
    colours and its logo, or empty. ``own_help``: where that organisation says to turn with questions, to who is not one
    of its own people. ``testing``: settings for tests are on.

    A view that speaks for another organisation than the visitor's own sets ``request.organisation``.
    """

    def whose() -> Any:
        found = getattr(request, "organisation", None)
        return found or getattr(getattr(request, "user", None), "organisation", None)

    def brand() -> str:
        organisation = whose()
        return organisation.name if organisation else ""

    def look_sheet() -> str:
        accent = getattr(whose(), "accent", "")
        try:
            return sheet_name(accent) if accent else ""
        except NotALook:  # another version took it: the colours of the style sheet can be read by everybody
            return ""

    def look_logo() -> str:
        return getattr(whose(), "logo_name", "")

    def own_help() -> str:
        told = stored(getattr(getattr(request, "organisation", None), "own_texts", None))
        return told.within(translation.get_language() or "nl").help

    return {
        "brand": brand,
        "look_sheet": look_sheet,
        "look_logo": look_logo,
        "own_help": own_help,
        "testing": settings.ZEGEL.testing,
    }
