"""Finding a conversation among one's own: by kind, by time, by who takes part, and by subject as far as that goes.

Addresses, times and states are metadata, and the database searches them. Subjects and the names of recipients are
sealed: they are opened one by one, of the newest conversations alone, while somebody waits. The page says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from zegel.accounts.models import Account
from zegel.core.mail.head import Head
from zegel.journey.custody.models import Conversation, Recipient
from zegel.journey.portal import reading
from zegel.journey.portal.reader import Reader
from zegel.journey.portal.setup import portal

MOST_OPENED: Final = 300  # conversations whose subject one search looks at, the newest
MOST_FOUND: Final = 50
State = Recipient.State

SHOWN: Final[dict[str, Any]] = {
    "": gettext_lazy("All"),
    "received": gettext_lazy("Received"),
    "sent": gettext_lazy("Sent"),
    "held": gettext_lazy("Held"),
    "unopened": gettext_lazy("Not opened"),
}
"""What of one's conversations is shown; what isn't a key shows all."""


def shown(
    found: QuerySet[Conversation], account: Account, received: QuerySet[Recipient], which: str
) -> QuerySet[Conversation]:
    """Those of ``found`` that are of this kind. ``received``: the account's own places in conversations."""
    here = Recipient.objects.filter(conversation=OuterRef("id"))
    match which:
        case "received":
            return found.filter(id__in=received.values("conversation"))
        case "sent":
            return found.filter(author=account)
        case "held":
            return found.filter(Exists(here.filter(state=State.HELD)), author=account)
        case "unopened":
            waits = here.filter(state=State.NOTIFIED, opened_at=None, revoked_at=None)
            own = received.filter(opened_at=None).values("conversation")
            return found.filter(Q(Exists(waits), author=account) | Q(id__in=own), destroyed_at=None)
        case _:
            return found


class SearchForm(forms.Form):
    """Sent with POST: what somebody looks for is in no address, no history and no log."""

    text = forms.CharField(
        label=gettext_lazy("Search"),
        help_text=gettext_lazy("A word of the subject, a name or an address."),
        max_length=100,
        required=False,
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off"}),
    )
    since = forms.DateField(
        label=gettext_lazy("From"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d", "%d-%m-%Y"],
    )
    until = forms.DateField(
        label=gettext_lazy("Up to and including"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d", "%d-%m-%Y"],
    )

    def clean(self) -> dict[str, Any]:
        """Something to look for."""
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors and not any(cleaned.get(name) for name in ("text", "since", "until")):
            self.add_error("text", _("Fill in what you look for."))
        return cleaned


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to."""

    conversations: list[Conversation]  # newest first
    is_cut: bool  # there are more
    opened: int  # conversations whose subject was looked at
    left: int  # and those that were not


def search(found: QuerySet[Conversation], *, text: str, since: date | None, until: date | None) -> Found:
    """Those of ``found`` (newest first) of this period in which ``text`` stands: in an address or the sender's name of
    any, in the subject or a recipient's name of the newest :data:`MOST_OPENED`."""
    found = _of_period(found, since, until)
    sought = text.strip()
    if not sought:
        hits = list(found[: MOST_FOUND + 1])
        return Found(hits[:MOST_FOUND], len(hits) > MOST_FOUND, 0, 0)
    here = Recipient.objects.filter(conversation=OuterRef("id"), address__icontains=sought)
    by_address = found.filter(
        Q(author__email__icontains=sought) | Q(author__display_name__icontains=sought) | Q(Exists(here))
    )
    hits = list(by_address[: MOST_FOUND + 1])
    known, opened = {one.id for one in hits}, 0
    for conversation in found[:MOST_OPENED].iterator(chunk_size=50):
        opened += 1
        if conversation.id not in known and _holds(conversation, sought.casefold()):
            hits.append(conversation)
    hits.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    return Found(hits[:MOST_FOUND], len(hits) > MOST_FOUND, opened, max(0, found.count() - opened))


def _of_period(found: QuerySet[Conversation], since: date | None, until: date | None) -> QuerySet[Conversation]:
    if since is not None:
        found = found.filter(created_at__gte=_midnight(since))
    if until is not None and until < date.max:
        found = found.filter(created_at__lt=_midnight(until + timedelta(days=1)))
    return found


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(max(day, date(1970, 1, 1)), time.min))


def _holds(conversation: Conversation, sought: str) -> bool:
    head = head_of(conversation)
    return head is not None and any(sought in one.casefold() for one in _words(head))


def _words(head: Head) -> Iterator[str]:
    yield head.subject
    for name, _address in (*head.to, *head.cc):
        yield name


def head_of(conversation: Conversation) -> Head | None:
    """Of the message that began it, through the gateway's slot; ``None`` when that was destroyed, or is to be."""
    if not conversation.is_open(portal().now()):
        return None
    try:
        key = portal().unsealer.conversation_key(conversation)
        original = Reader(conversation, key, None, "inbox", conversation.id).original()
    except reading.UNREADABLE:
        return None
    return original.head if original else None
