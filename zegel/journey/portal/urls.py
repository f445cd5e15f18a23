"""Addresses of the portal. Those below ``m/`` stand in mail for years and never move; no other holds a secret."""

from __future__ import annotations

from django.urls import path

from zegel.journey.portal import guest_pages, held, inbox, opening, remembered

app_name = "portal"
urlpatterns = [
    path("m/<str:token>", opening.arrive, name="link"),
    path("r/<uuid:recipient>/", opening.opening, name="guest"),
    path("r/<uuid:recipient>/code", opening.send_code, name="guest-code"),
    path("r/<uuid:recipient>/verify", opening.verify, name="guest-verify"),
    path("r/<uuid:recipient>/leave", opening.leave, name="guest-leave"),
    path("r/<uuid:recipient>/read", guest_pages.read, name="guest-read"),
    path("r/<uuid:recipient>/body/<uuid:message>", guest_pages.body, name="guest-body"),
    path("r/<uuid:recipient>/part/<uuid:message>/<int:number>", guest_pages.part, name="guest-part"),
    path("r/<uuid:recipient>/message/<uuid:message>.eml", guest_pages.source, name="guest-source"),
    path("r/<uuid:recipient>/answer", guest_pages.answer, name="guest-answer"),
    path("held/<uuid:submission>/", held.held, name="held"),
    path("inbox/", inbox.inbox, name="inbox"),
    path("inbox/recipients/", remembered.recipients, name="recipients"),
    path("inbox/recipients/add", remembered.add, name="recipient-add"),
    path("inbox/recipients/<uuid:entry>/", remembered.correct, name="recipient-correct"),
    path("inbox/recipients/<uuid:entry>/remove", remembered.remove, name="recipient-remove"),
    path("inbox/<uuid:conversation>/", inbox.read, name="inbox-read"),
    path("inbox/<uuid:conversation>/body/<uuid:message>", inbox.body, name="inbox-body"),
    path("inbox/<uuid:conversation>/part/<uuid:message>/<int:number>", inbox.part, name="inbox-part"),
    path("inbox/<uuid:conversation>/message/<uuid:message>.eml", inbox.source, name="inbox-source"),
    path("inbox/<uuid:conversation>/answer", inbox.answer, name="inbox-answer"),
]
