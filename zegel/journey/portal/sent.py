"""What a sender can still do about a sent conversation: revoke it, change when it expires, notify once more.

Each act is one transaction, stands in the conversation's history and in the trace, and is told to the log.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, time, timedelta
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, assert_never, cast

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from zegel.accounts import audit, mailboxes
from zegel.accounts.models import Account
from zegel.core.clock import Duration, Instant
from zegel.core.policy import expiring
from zegel.core.policy.audit import Act, Details, changes
from zegel.core.policy.expiring import BeyondPolicy, Changed, Past
from zegel.edge.log import ExpiryChanged, NotifiedAgain, Revoked, log
from zegel.journey import milestones, steps
from zegel.journey.custody import revoking
from zegel.journey.custody.models import Conversation, Recipient, SenderAct
from zegel.journey.portal.pages import View, private, see_other
from zegel.journey.portal.setup import portal
from zegel.journey.portal.states import can_be_revoked, full_lines

AGAIN_AFTER: Final[Duration] = timedelta(minutes=10)  # between two notifications that a sender asks for
MOST_A_DAY: Final = 5  # for one recipient
_DAY: Final = timedelta(days=1)
_METHODS: Final = ["GET", "HEAD", "POST"]


def for_authors(view: Callable[..., HttpResponse]) -> View:
    """The page of who sent the conversation, or reads the mailbox that did; for anybody else it doesn't exist (P14,
    P20)."""

    @private
    @login_required
    @wraps(view)
    def outer(request: HttpRequest, /, conversation: uuid.UUID, **parts: Any) -> HttpResponseBase:
        account = cast("Account", request.user)
        rows = Conversation.objects.select_related("author", "organisation", "submission__account")
        row = rows.filter(id=conversation, author__in=[account, *mailboxes.read_by(account)]).first()
        if row is None:
            raise Http404
        return view(request, row, **parts)

    return outer


# Revoking


@require_http_methods(_METHODS)
@for_authors
def revoke(request: HttpRequest, conversation: Conversation) -> HttpResponse:
    """From all recipients. Says first what that does to each of them, and what it can't do."""
    if conversation.destroyed_at is not None:
        return _home(request, conversation)
    if request.method != "POST":
        return _ask(request, conversation, "sent_revoke", recipients=full_lines(conversation, portal().now()))
    now = portal().now()
    with transaction.atomic():
        locked = _locked(conversation)
        if locked.destroyed_at is not None:
            return _home(request, conversation)
        taken = revoking.revoke_all(locked, now=now)
        _note(request, locked, SenderAct.Kind.REVOKED, now)
        milestones.revoked(locked.id, now=now)
    portal().ring()
    log(Revoked(conversation.id, len(taken)))
    messages.success(request, _("Revoked. The keys of this conversation were destroyed: nobody can open it any more."))
    return _home(request, conversation)


@require_http_methods(_METHODS)
@for_authors
def revoke_one(request: HttpRequest, conversation: Conversation, recipient: uuid.UUID) -> HttpResponse:
    """From one recipient; the others keep it."""
    row = _recipient(conversation, recipient)
    if conversation.destroyed_at is not None or row.revoked_at is not None or not can_be_revoked(row):
        return _home(request, conversation)
    if request.method != "POST":
        return _ask(request, conversation, "sent_revoke_one", recipient=row)
    now = portal().now()
    with transaction.atomic():
        _locked(conversation)
        if not revoking.revoke(row, now=now):
            return _home(request, conversation)
        _note(request, conversation, SenderAct.Kind.REVOKED, now, recipient=row)
    portal().ring()
    log(Revoked(conversation.id, 1))
    messages.success(
        request, _("Revoked. %(address)s can’t open this conversation any more.") % {"address": row.address}
    )
    return _home(request, conversation)


# Expiry


class ExpiryForm(forms.Form):
    """The last day on which the conversation can be opened."""

    day = forms.DateField(
        label=gettext_lazy("Last day on which it can be opened"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d", "%d-%m-%Y"],
    )
    never = forms.BooleanField(label=gettext_lazy("It does not expire"), required=False)

    def __init__(self, data: Any, conversation: Conversation, now: Instant) -> None:
        ends = conversation.expires_at
        day = timezone.localtime(ends - timedelta(microseconds=1)).date() if ends else None
        super().__init__(data, initial={"day": day})
        self._now = now
        days = conversation.organisation.expires_after_days
        self.last = expiring.latest(conversation.created_at, ends, days=days)
        if self.last is not None or ends is None:
            del self.fields["never"]
        if self.last is not None:
            self.fields["day"].required = True
            self.fields["day"].help_text = _("Your organisation keeps this message until %(until)s at most.") % {
                "until": _moment(self.last)
            }

    def clean(self) -> dict[str, Any]:
        """``until``: the moment that was chosen; ``None``: never."""
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        day, is_never = cleaned.get("day"), bool(cleaned.get("never"))
        if is_never and day == self.initial["day"]:
            day = None  # it stood there already
        if is_never == (day is not None):  # neither, or both: which of them was meant?
            raise forms.ValidationError({"day": _("Choose a day, or that it does not expire.")})
        try:
            wanted = None if is_never else _end_of(day, self.last)
        except (OverflowError, ValueError):
            raise forms.ValidationError({"day": _("Choose another day.")}) from None
        match expiring.change(wanted, last=self.last, now=self._now):
            case Changed(until):
                cleaned["until"] = until
            case Past():
                self.add_error("day", _("This day is over. To end it now, revoke the message."))
            case BeyondPolicy(latest):
                words = _("Your organisation keeps this message until %(until)s at most.")
                self.add_error("day", words % {"until": _moment(latest)})
            case unreachable:
                assert_never(unreachable)
        return cleaned


def _end_of(day: Any, last: Instant | None) -> Instant:
    """The midnight that ends a day, here; on the last day that policy gives, the moment that it gives."""
    midnight = timezone.make_aware(datetime.combine(day + _DAY, time.min))
    return last if last is not None and timezone.localtime(last).date() == day else midnight


@require_http_methods(_METHODS)
@for_authors
def expiry(request: HttpRequest, conversation: Conversation) -> HttpResponse:
    """Earlier, or later as far as the policy of the organisation goes."""
    now = portal().now()
    if not conversation.is_open(now):
        return _home(request, conversation)
    form = ExpiryForm(request.POST if request.method == "POST" else None, conversation, now)
    if not form.is_valid():
        status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound else HTTPStatus.OK
        return _ask(request, conversation, "sent_expiry", status=status, form=form)
    with transaction.atomic():
        locked = _locked(conversation)
        if not locked.is_open(portal().now()):
            return _home(request, conversation)
        form = ExpiryForm(request.POST, locked, now)  # judged again: another browser may have been first
        if not form.is_valid():
            return _ask(request, locked, "sent_expiry", status=HTTPStatus.UNPROCESSABLE_ENTITY, form=form)
        until: Instant | None = form.cleaned_data["until"]
        Conversation.objects.filter(id=locked.id).update(expires_at=until)
        milestones.expires_at_another_time(locked.id, at=until)
        _note(request, locked, SenderAct.Kind.EXPIRY, now, until=until)
        changed = changes({"until": _written(locked.expires_at)}, {"until": _written(until)})
        about = {"message": str(locked.submission_id), **changed}
        audit.note(Act.EXPIRY_CHANGED, locked.organisation, details=about, now=now)
    log(ExpiryChanged(conversation.id, _written(until)))
    said = _("It can be opened until %(until)s.") % {"until": _moment(until)} if until else _("It does not expire.")
    messages.success(request, said)
    return _home(request, conversation)


def _written(until: Instant | None) -> str:
    return until.isoformat(timespec="minutes") if until else ""


# Once more


@require_http_methods(_METHODS)
@for_authors
def again(request: HttpRequest, conversation: Conversation, recipient: uuid.UUID) -> HttpResponse:
    """The notification goes out once more, with a new link; links that were sent before stay good."""
    row = _recipient(conversation, recipient)
    now = portal().now()
    if not steps.can_be_notified_again(row, now):
        return _home(request, conversation)
    if request.method != "POST":
        return _ask(request, conversation, "sent_again", recipient=row, free_at=_free_at(row, now))
    with transaction.atomic():
        _locked(conversation)
        row = _recipient(conversation, recipient)
        free_at = _free_at(row, now)
        is_sent = notify_again(request, row, now)
    if free_at is not None:
        response = _ask(
            request, conversation, "sent_again", status=HTTPStatus.TOO_MANY_REQUESTS, recipient=row, free_at=free_at
        )
        response["Retry-After"] = str(max(1, int((free_at - now).total_seconds())))
        return response
    if is_sent:
        portal().ring()
        log(NotifiedAgain(row.id))
        messages.success(request, _("The notification to %(address)s goes out once more.") % {"address": row.address})
    return _home(request, conversation)


def notify_again(request: HttpRequest, recipient: Recipient, now: Instant) -> bool:
    """Inside a transaction that locked the conversation: the notification of a recipient (with its submission and that
    one's account) goes out once more, unless there were too many, whatever they were for. ``False``: it doesn't."""
    if _free_at(recipient, now) is not None or not steps.can_be_notified_again(recipient, now):
        return False
    steps.notify_again(recipient, now=now)
    conversation = recipient.conversation
    _note(request, conversation, SenderAct.Kind.AGAIN, now, recipient=recipient)
    about: Details = {"message": str(conversation.submission_id)}
    audit.note(Act.NOTIFIED_AGAIN, conversation.organisation, recipient.address, about, now=now)
    return True


def _free_at(recipient: Recipient, now: Instant) -> Instant | None:
    """Until then no notification is sent once more; ``None``: it can be now."""
    found = SenderAct.objects.filter(recipient=recipient, kind=SenderAct.Kind.AGAIN, at__gt=now - _DAY)
    asked = list(found.order_by("-at").values_list("at", flat=True)[:MOST_A_DAY])
    if not asked:
        return None
    free = asked[0] + AGAIN_AFTER
    if len(asked) == MOST_A_DAY:
        free = max(free, asked[-1] + _DAY)
    return free if free > now else None


# What all of them do


def _locked(conversation: Conversation) -> Conversation:
    """As of now, and nobody changes it meanwhile."""
    return Conversation.objects.select_for_update(of=("self",)).select_related("organisation").get(id=conversation.id)


def _recipient(conversation: Conversation, recipient: uuid.UUID) -> Recipient:
    found = conversation.recipients.select_related("conversation", "submission__account").filter(id=recipient).first()
    if found is None:
        raise Http404
    return found


def _note(
    request: HttpRequest,
    conversation: Conversation,
    kind: SenderAct.Kind,
    at: Instant,
    *,
    recipient: Recipient | None = None,
    until: Instant | None = None,
) -> None:
    """Inside the transaction of the act."""
    SenderAct.objects.create(
        conversation=conversation,
        recipient=recipient,
        account=cast("Account", request.user),
        kind=kind,
        at=at,
        until=until,
    )


def _home(request: HttpRequest, conversation: Conversation) -> HttpResponse:
    return see_other(reverse("portal:inbox-read", kwargs={"conversation": conversation.id}))


def _ask(
    request: HttpRequest,
    conversation: Conversation,
    page: str,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    **more: Any,
) -> HttpResponse:
    """The page that says what an act will do, or why it didn't."""
    readable = conversation.recipients.filter(state=Recipient.State.DELIVERED).order_by("address")
    context = {
        "section": "inbox",
        "conversation": conversation,
        "home": reverse("portal:inbox-read", kwargs={"conversation": conversation.id}),
        "readable": list(readable),
        **more,
    }
    return render(request, f"portal/{page}.html", context, status=status)


def _moment(at: Instant) -> str:
    return date_format(timezone.localtime(at), "j F Y H:i")


def history(conversation: Conversation) -> list[tuple[str, Instant]]:
    """What was done about the whole conversation, and when; what was done for one recipient stands with that one."""
    found = []
    for act in conversation.acts.filter(recipient=None).order_by("at", "id"):
        if act.kind == SenderAct.Kind.REVOKED:
            found.append((_("Revoked for everybody"), act.at))
        elif act.until is None:
            found.append((_("Changed: it does not expire"), act.at))
        else:
            found.append((_("Changed: it expires on %(until)s") % {"until": _moment(act.until)}, act.at))
    return found


def offers(conversation: Conversation, now: Instant) -> dict[str, str]:
    """Addresses of what can be done about the whole conversation, for the templates."""
    if not conversation.is_open(now):
        return {}
    here = {"conversation": conversation.id}
    return {
        "revoke_at": reverse("portal:sent-revoke", kwargs=here),
        "expiry_at": reverse("portal:sent-expiry", kwargs=here),
    }
