"""Addresses of the API. What is below ``/api/v1/`` stays what it is; what breaks with it begins a ``v2``."""

from __future__ import annotations

import re
from itertools import groupby

from django.urls import path, re_path

from zegel.api import views
from zegel.api.operations import OPERATIONS, Operation

app_name = "api"


def _by_path() -> dict[str, list[Operation]]:
    rows = sorted(OPERATIONS, key=lambda one: one.path)
    return {path: list(those) for path, those in groupby(rows, key=lambda one: one.path)}


urlpatterns = [
    path("v1/openapi.json", views.openapi, name="openapi"),
    *(
        # What stands in a path is understood by the view: what can't be a name names nothing.
        path("v1/" + re.sub(r"{(\w+)}", r"<str:\1>", where), views.view_of(those), name=those[0].name)
        for where, those in _by_path().items()
    ),
    re_path("", views.nothing, name="nothing"),
]
