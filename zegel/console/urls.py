"""Addresses of the administrator's pages."""

from __future__ import annotations

from django.urls import path

from zegel.console import submission, views

app_name = "console"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("messages/", views.search, name="search"),
    path("messages/<uuid:submission>/", views.message, name="message"),
    path("domains/", views.domains, name="domains"),
    path("submission/", submission.submission, name="submission"),
    path("submission/proof/", submission.prove, name="submission_proof"),
    path("submission/limits/", submission.limit, name="submission_limits"),
    path("credentials/", submission.credentials, name="credentials"),
    path("credentials/<int:credential>/", submission.credential, name="credential"),
    path("credentials/<int:credential>/rotate/", submission.rotate, name="credential_rotate"),
    path("credentials/<int:credential>/end-previous/", submission.end_previous, name="credential_end_previous"),
    path("credentials/<int:credential>/disable/", submission.disable, name="disable_credential"),
]
