"""Addresses of all pages. Links in mail stay valid for years: what is below /m/ never moves."""

from __future__ import annotations

from django.urls import include, path
from django.views.decorators.http import require_http_methods
from django.views.i18n import set_language

from zegel.web import views

urlpatterns = [
    path("", views.home, name="home"),
    path("language/", require_http_methods(["GET", "HEAD", "POST"])(set_language), name="set_language"),
    path("account/", include("zegel.accounts.urls")),
    path("console/", include("zegel.console.urls")),
    path("api/", include("zegel.api.urls")),
    path("scim/v2/", include("zegel.api.scim_urls")),
    path("", include("zegel.journey.portal.urls")),
]
handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler500 = views.broken
