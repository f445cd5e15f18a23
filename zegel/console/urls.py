"""Addresses of the administrator's pages."""

from __future__ import annotations

from django.urls import path

from zegel.console import views

app_name = "console"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("messages/", views.search, name="search"),
    path("messages/<uuid:submission>/", views.message, name="message"),
    path("domains/", views.domains, name="domains"),
    path("credentials/", views.credentials, name="credentials"),
    path("credentials/<int:credential>/disable/", views.disable_credential, name="disable_credential"),
]
