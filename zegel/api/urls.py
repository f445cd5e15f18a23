"""Addresses of the API. What is below ``/api/v1/`` stays what it is; what breaks with it begins a ``v2``."""

from __future__ import annotations

from django.urls import path, re_path

from zegel.api import views
from zegel.api.operations import OPERATIONS

app_name = "api"

urlpatterns = [
    path("v1/openapi.json", views.openapi, name="openapi"),
    *(path(f"v1/{one.path}", views.view_of(one), name=one.name) for one in OPERATIONS),
    re_path("", views.nothing, name="nothing"),
]
