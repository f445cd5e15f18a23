"""What every template may use besides what its view gives."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def page(request: HttpRequest) -> dict[str, Any]:
    """``brand``: whose pages these are; a view's own goes before it. ``testing``: settings for tests are on."""

    def brand() -> str:
        organisation = getattr(getattr(request, "user", None), "organisation", None)
        return organisation.name if organisation else ""

    return {"brand": brand, "testing": settings.ZEGEL.testing}
