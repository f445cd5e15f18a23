"""The colours and the logo of an organisation, as browsers fetch them.

Each is called after a hash of what it says: it never changes, so everybody may keep it. A colour's sheet follows from
the colour alone, and is looked up nowhere; a logo is given to who knows its name, which stands in the organisation's
pages. Neither tells for whom it is.
"""

from __future__ import annotations

from typing import Final

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from zegel.accounts.models import OrganisationLogo
from zegel.core.look import sheet_of

_KEPT: Final = "public, max-age=31536000, immutable"
_CLOSED: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"


@require_safe
def sheet(request: HttpRequest, name: str) -> HttpResponse:
    """Custom properties, and nothing else."""
    found = sheet_of(name)
    if found is None:
        raise Http404
    return _for_ever(HttpResponse(found, content_type="text/css; charset=utf-8"))


@require_safe
def logo(request: HttpRequest, name: str) -> HttpResponse:
    """A PNG; whatever it would be, a browser draws it and does nothing else with it."""
    found = OrganisationLogo.objects.filter(name=name).first()
    if found is None:
        raise Http404
    return _for_ever(HttpResponse(bytes(found.octets), content_type="image/png"))


def _for_ever(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = _KEPT
    response["Content-Security-Policy"] = _CLOSED
    response["X-Content-Type-Options"] = "nosniff"
    return response
