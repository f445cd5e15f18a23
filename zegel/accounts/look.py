"""What an administrator decides about the look of pages and mails. One place for console and command line."""

from __future__ import annotations

from zegel.accounts.models import Organisation, OrganisationLogo
from zegel.core.look import Logo, NotALook, Palette, palette


def paint(organisation: Organisation, accent: str) -> None:
    """Another colour, as ``parse_colour`` gives it; empty: that of the style sheet. Raises ``TooLight``."""
    if accent:
        palette(accent)
    organisation.accent = accent
    organisation.save(update_fields=["accent"])


def palette_of(organisation: Organisation) -> Palette | None:
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
    organisation.logo_name = "" if logo is None else logo.name
    organisation.save(update_fields=["logo_name"])
