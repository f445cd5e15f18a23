"""A guest who passed the verification reads, saves and answers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from zegel.core.policy.verification import Method
from zegel.edge.log import Broken, log
from zegel.journey.portal import reading
from zegel.journey.portal.answering import Refusal, limit_for, listeners, new_nonce, take_answer
from zegel.journey.portal.browsers import browser_of
from zegel.journey.portal.composing import TOGETHER
from zegel.journey.portal.continuing import related
from zegel.journey.portal.devices import days_of
from zegel.journey.portal.drafts import draft_of, save_draft
from zegel.journey.portal.guests import Guest, for_guests
from zegel.journey.portal.pages import View, in_turn, see_other
from zegel.journey.portal.proofs import note_passed, note_reading, note_use, proof_of
from zegel.journey.portal.reader import Reader
from zegel.journey.portal.setup import portal
from zegel.journey.portal.showing import shown_page, size_in_words

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
        # What a reader who proved to be one leaves behind; a scanner of links leaves nothing. An answer that was
        # refused, or a part of a file, shows the message as well as its page does.
        if request.method != "HEAD":
            try:
                note_use(proof, now)
                if reader.shows:
                    note_reading(guest.recipient, guest.method, now, confirms=proof.device_id is None)
                    if proof.device_id is None:
                        note_passed(request.user, guest.recipient, now)
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


# The other ways to look at a message and to keep it: see the functions of the same name.
view = require_safe(for_proven_guests(reading.view))
picture = require_safe(for_proven_guests(reading.picture))
archive = require_safe(for_proven_guests(reading.archive))
pdf = require_safe(for_proven_guests(reading.pdf))
in_words = require_safe(for_proven_guests(reading.in_words))
body_with_images = require_POST(for_proven_guests(reading.body_with_images))


@csrf_exempt  # checked by take_answer, after the proof and before the answer is recorded
@require_POST
@for_proven_guests
def answer(request: HttpRequest, reader: Reader) -> HttpResponseBase:
    """An answer to the other readers."""
    return take_answer(
        request, reader, page=lambda why, text: _conversation(request, reader, refusal=why, text=text), is_examined=True
    )


@require_POST
@for_proven_guests
def draft(request: HttpRequest, reader: Reader) -> HttpResponse:
    """See :func:`zegel.journey.portal.drafts.save_draft`."""
    return save_draft(request, reader)


def _conversation(
    request: HttpRequest, reader: Reader, *, refusal: Refusal | None = None, text: str = ""
) -> HttpResponse:
    offers_devices = reader.recipient is not None and days_of(reader.recipient) is not None
    return conversation_page(
        request,
        reader,
        refusal=refusal,
        text=text,
        template="portal/read.html",
        devices_at=reader.address("devices") if offers_devices else "",
    )


@in_turn
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
    shown = shown_page(reader, request.GET)
    listening, begun, limit = _listening(reader), draft_of(reader), limit_for(reader.conversation)
    context = {
        "reader": reader,
        "brand": reader.conversation.organisation.name,
        "conversation": reader.conversation,
        "shown": shown,
        "subject": shown.subject,
        "words": reader.address("all-words"),
        "answer_to": reader.address("answer") if listening else "",
        "draft_to": reader.address("draft"),
        "listening": listening,
        "nonce": new_nonce(),
        "text": text or (begun.text if begun else ""),
        "draft": begun if begun and not text else None,
        "refusal": refusal.text if refusal else "",
        "limit": size_in_words(limit),
        "limit_together": size_in_words(TOGETHER * limit),
        "limit_octets": limit,
        "limit_together_octets": TOGETHER * limit,
        "related": related(request, reader),
        **more,
    }
    return render(request, template, context, status=refusal.status if refusal else 200)


def _listening(reader: Reader) -> list[str]:
    """Who would read an answer; nobody where the message that is answered can't be opened any more."""
    try:
        return listeners(reader)
    except reading.UNREADABLE:
        return []
