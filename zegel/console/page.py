"""One page of the console, under the tab that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def show(
    request: HttpRequest, name: str, context: Mapping[str, object], *, status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    """The template of that name; its tab is the one that the name begins with."""
    return render(request, f"console/{name}.html", {"section": "console", "tab": name, **context}, status=status)
