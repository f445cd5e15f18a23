"""A guest who passed the verification reads, saves and answers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from zegel.core.policy.verification import Method
from zegel.edge.log import Broken, log
from zegel.journey.portal import reading
from zegel.journey.portal.answering import Refusal, new_nonce, take_answer
from zegel.journey.portal.browsers import browser_of
from zegel.journey.portal.guests import Guest, for_guests
from zegel.journey.portal.pages import View, see_other
from zegel.journey.portal.proofs import note_reading, note_use, proof_of
from zegel.journey.portal.reader import Reader
from zegel.journey.portal.setup import portal
from zegel.journey.portal.showing import shown_messages, size_in_words

ReaderView = Callable[..., HttpResponseBase]


def for_proven_guests(view: ReaderView) -> View:
    """The page of a guest whose browser holds a proof; others are sent to where they can get one."""

    @for_guests
    @wraps(view)
    def outer(request: HttpRequest, guest: Guest, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
        now = portal().now()
        proof = proof_of(guest.recipient, browser_of(request), now) if guest.method is not Method.ACCOUNT else None
        if proof is None:
            return see_other(guest.address("guest"))
        try:
            key = portal().unsealer.conversation_key_by_link(guest.link, guest.token)
            reader = Reader(guest.conversation, key, guest.recipient, "guest", guest.recipient.id)
            response = view(request, reader, *args, **kwargs)
        except reading.UNREADABLE:
            return reading.closed(request, guest.address("guest"))
        # What a reader who proved to be one leaves behind; a scanner of links leaves nothing.
        if request.method != "HEAD":
            try:
                note_use(proof, now)
                if request.method == "GET" and response.status_code == HTTPStatus.OK:
                    note_reading(guest.recipient, guest.method, now)
            except DatabaseError as cause:  # on a full disk mail can still be read (P4); the next reading is noted
                log(Broken("noting that a guest read", cause))
        return response

    return outer


@require_safe
@for_proven_guests
def read(request: HttpRequest, reader: Reader) -> HttpResponse:
    """The conversation, and the form for an answer."""
    return _conversation(request, reader)


@require_safe
@for_proven_guests
def body(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """See :func:`reading.body`."""
    return reading.body(request, reader, message)


@require_safe
@for_proven_guests
def part(request: HttpRequest, reader: Reader, message: uuid.UUID, number: int) -> HttpResponseBase:
    """See :func:`reading.part`."""
    return reading.part(request, reader, message, number)


@require_safe
@for_proven_guests
def source(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """See :func:`reading.source`."""
    return reading.source(request, reader, message)


@csrf_exempt  # checked by take_answer, after the proof and before the answer is recorded
@require_POST
@for_proven_guests
def answer(request: HttpRequest, reader: Reader) -> HttpResponseBase:
    """An answer to the author."""

    def done() -> HttpResponse:
        messages.success(request, _("Your answer was sent safely."))
        return see_other(reader.address("read"))

    def refuse(why: Refusal, text: str) -> HttpResponse:
        return _conversation(request, reader, refusal=why, text=text)

    return take_answer(request, reader, done=done, refuse=refuse)


def _conversation(
    request: HttpRequest, reader: Reader, *, refusal: Refusal | None = None, text: str = ""
) -> HttpResponse:
    return conversation_page(request, reader, refusal=refusal, text=text, template="portal/read.html")


def conversation_page(
    request: HttpRequest,
    reader: Reader,
    *,
    template: str,
    refusal: Refusal | None = None,
    text: str = "",
    **more: Any,
) -> HttpResponse:
    """The conversation for guest or account holder."""
    shown = shown_messages(reader)
    context = {
        "reader": reader,
        "brand": reader.conversation.organisation.name,
        "conversation": reader.conversation,
        "shown": shown,
        "subject": shown[0].subject if shown else "",
        "answer_to": reader.address("answer") if reader.recipient is not None else "",
        "nonce": new_nonce(),
        "text": text,
        "refusal": refusal.text if refusal else "",
        "limit": size_in_words(portal().answer_limit),
        **more,
    }
    return render(request, template, context, status=refusal.status if refusal else 200)
