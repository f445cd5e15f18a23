"""Addresses of the administrator's pages."""

from __future__ import annotations

from django.urls import path

from zegel.console import lists, look, recipients, submission, verification, views

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
    path("recipients/", recipients.policy, name="recipients"),
    path("recipients/direct-delivery/", recipients.domains, name="direct_delivery"),
    path("recipients/direct-delivery/<int:entry>/", recipients.domain, name="direct_delivery_domain"),
    path("recipients/direct-delivery/<int:entry>/remove/", recipients.domain_remove, name="direct_delivery_remove"),
    path("recipients/minimums/", recipients.minimums, name="minimums"),
    path("recipients/minimums/<int:minimum>/", recipients.minimum, name="minimum"),
    path("recipients/minimums/<int:minimum>/remove/", recipients.minimum_remove, name="minimum_remove"),
    path("verification/", verification.verification, name="verification"),
    path("verification/search/", verification.search, name="verification_search"),
    path("verification/add/", verification.add, name="verification_add"),
    path("verification/<uuid:row>/", verification.correct, name="verification_correct"),
    path("verification/<uuid:row>/remove/", verification.remove, name="verification_remove"),
    path("look/", look.look, name="look"),
    path("lists/", lists.overview, name="lists"),
    path("lists/add/", lists.add_url, name="list_add_url"),
    path("lists/add-file/", lists.add_file, name="list_add_file"),
    path("lists/<int:listed>/", lists.listed, name="list"),
    path("lists/<int:listed>/refresh/", lists.refresh, name="list_refresh"),
    path("lists/<int:listed>/read/", lists.read, name="list_read"),
    path("lists/<int:listed>/remove/", lists.remove, name="list_remove"),
]
