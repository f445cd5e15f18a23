"""A guest: a browser that holds a recipient's link."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from zegel.core.policy.verification import Method
from zegel.core.secret import Secret
from zegel.journey.custody.models import Conversation, Link, Recipient
from zegel.journey.portal import links
from zegel.journey.portal.pages import View, no_way_in, private, speak_for
from zegel.journey.portal.setup import portal
from zegel.web import addresses
from zegel.web.addresses import address


@dataclass(frozen=True, slots=True)
class Guest:
    """Who asks, and the link by which the message can be opened once the verification is passed."""

    recipient: Recipient
    link: Link
    token: Secret[str]

    @property
    def conversation(self) -> Conversation:
        """What the link leads to."""
        return self.recipient.conversation

    @property
    def method(self) -> Method:
        """What is asked of this guest."""
        return Method(self.recipient.method)

    def address(self, page: str, **parts: addresses.Part) -> str:
        """The address of one of this guest's pages."""
        return address(f"portal:{page}", recipient=self.recipient.id, **parts)


def for_guests(view: View) -> View:
    """The page of who holds the link. Without it nothing is looked up, so nothing can tell whether it exists."""

    @private
    @wraps(view)
    def outer(request: HttpRequest, /, recipient: uuid.UUID, *args: Any, **kwargs: Any) -> HttpResponseBase:
        guest = guest_of(request, recipient)
        if guest is None:
            return no_way_in(request)
        speak_for(guest.conversation.organisation, request)
        if not guest.conversation.is_open(portal().now()):
            return render(request, "portal/gone.html", {"guest": guest}, status=HTTPStatus.GONE)
        return view(request, guest, *args, **kwargs)

    return outer


def guest_of(request: HttpRequest, recipient: uuid.UUID) -> Guest | None:
    """The guest, if this browser holds the link as it is now."""
    token = links.held(request).get(recipient)
    if token is None:
        return None
    link = links.leading_to(recipient, token)
    if link is None or link.recipient.method not in {method.value for method in Method}:
        return None
    if link.recipient.revoked_at is not None:  # its links were destroyed then; one that came too late opens nothing
        return None
    return Guest(link.recipient, link, token)


def lock(recipient: Recipient) -> Recipient:
    """Inside a transaction: others for this recipient wait, and the row is given as it is now: its sender may have
    allowed another method, number or code since the page was asked for. SQLite's IMMEDIATE transactions wait for each
    other anyway."""
    told = ("conversation__organisation", "conversation__author")
    return Recipient.objects.select_for_update(of=("self",)).select_related(*told).get(id=recipient.id)
