"""The sender of a message lets a recipient use another method than the one that was decided, or doesn't."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from zegel.accounts import audit, mailboxes
from zegel.accounts.models import Account
from zegel.accounts.policy import minimum_for, policy_of
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.another_way import Hindrance, other_ways
from zegel.core.policy.audit import Act, Details, changes
from zegel.core.policy.case import Case, OrganisationPolicy
from zegel.core.policy.precedence import Notify, UnknownPlan, replay
from zegel.core.policy.transport import NO_DEMAND
from zegel.core.policy.verification import AccessCode, Method, SmsCode, at_least
from zegel.edge.log import MethodAllowed, MethodKept, log
from zegel.journey.custody import erasures, memory
from zegel.journey.custody.memory import Asker, verification_to_bytes
from zegel.journey.custody.models import (
    Challenge,
    Conversation,
    MethodRequest,
    Proof,
    Recipient,
    SealedVerification,
    VerificationData,
)
from zegel.journey.custody.seal import wrap_field
from zegel.journey.portal.another_way import WORDS
from zegel.journey.portal.filling_in import CorrectionForm
from zegel.journey.portal.pages import private, see_other
from zegel.journey.portal.sent import notify_again
from zegel.journey.portal.setup import portal
from zegel.journey.portal.states import shut_in_words

State = Recipient.State
_REACHED: Final = (State.NOTIFIED, State.OPENED, State.DELIVERED, State.UNDELIVERABLE)  # who may have a link
_NO: Final = "no"
_KNOWN: Final = "known-"


class OtherWayForm(CorrectionForm):
    """The one method that the form is for; it is marked as what has to be filled in."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        missing = {"phone": _("Fill in a mobile number."), "code": _("Fill in an access code.")}
        for name in self.fields.keys() & missing:
            self.fields[name].required = True
            self.fields[name].error_messages["required"] = missing[name]


@dataclass(frozen=True, slots=True)
class Way:
    """Something that the sender may allow. One click, where nothing is to be filled in."""

    name: str  # of the choice in the form
    step: Notify
    form: OtherWayForm | None = None
    known: SmsCode | AccessCode | None = None  # what the organisation has for this recipient, and was not used here

    @property
    def masked(self) -> str:
        """Of a number that is known."""
        return memory.masked(self.known) if self.known is not None else ""


@require_http_methods(["GET", "HEAD", "POST"])
@private
@login_required
def allow(request: HttpRequest, recipient: uuid.UUID) -> HttpResponse:
    """For the author, or who reads the mailbox that is: an administrator has no say in who reads what. For anybody else
    it doesn't exist (P20)."""
    account = cast("Account", request.user)
    found = _recipient(account, recipient)
    if request.method != "POST":
        return _page(request, found, _ways(found, None))
    if request.POST.get("version", "") != _version(found):
        messages.warning(request, _("Nothing was changed: this page was not up to date. It is now."))
        return see_other(request.get_full_path())
    if request.POST.get("way") == _NO:
        return _refuse(request, found)
    ways = _ways(found, request)
    chosen = ways.get(request.POST.get("way", ""))
    if chosen is None:
        messages.warning(request, _("Nothing was changed. Choose one of the ways on this page."))
        return see_other(request.get_full_path())
    if chosen.form is not None and not chosen.form.is_valid():
        return _page(request, found, ways, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    verification = chosen.form.verification if chosen.form is not None else chosen.known
    _tell(request, _allow(request, found, chosen.step, verification))
    return see_other(request.get_full_path())


def _recipient(account: Account, recipient: uuid.UUID, *, for_update: bool = False) -> Recipient:
    """Raises ``Http404`` for what isn't the account's or its mailboxes', or was never notified."""
    authors = [account, *mailboxes.read_by(account)]
    rows = (
        Recipient.objects.select_related("conversation__organisation", "conversation__author", "submission__account")
        .filter(id=recipient, conversation__author__in=authors, state__in=_REACHED, revoked_at=None)
        .exclude(method="")
    )
    row = (rows.select_for_update(of=("self",)) if for_update else rows).first()
    if row is None:
        raise Http404
    return row


def _version(recipient: Recipient) -> str:
    """Another one after every change, so that a form that is sent twice does nothing twice."""
    last = recipient.method_requests.order_by("-at", "-id").first()
    return f"{last.id}{last.answer}" if last is not None else "-"


# What may be allowed


def _ways(recipient: Recipient, request: HttpRequest | None) -> Mapping[str, Way]:
    """By name. With a request: the forms of the choice that was made are filled in."""
    if not _can_change(recipient, portal().now()):
        return {}
    found: dict[str, Way] = {}
    known, used = _known(recipient), memory.used_by(recipient, open_field=portal().unsealer.field)
    region = recipient.conversation.organisation.region
    for step in _steps(recipient):
        name = step.method.value
        other = known.get(step.method)
        if other is not None and other != used:
            found[_KNOWN + name] = Way(_KNOWN + name, step, known=other)
        if step.method is Method.EMAIL:
            if recipient.method != name:
                found[name] = Way(name, step)
            continue
        posted = request.POST if request is not None and request.POST.get("way") == name else None
        form = OtherWayForm(posted, prefix=name, region=region, methods=[step.method])
        found[name] = Way(name, step, form)
    return found


def _can_change(recipient: Recipient, now: Instant) -> bool:
    return recipient.revoked_at is None and recipient.conversation.is_open(now)


def _steps(recipient: Recipient) -> tuple[Notify, ...]:
    """By what the message asked then, and the policy of today; none where what it asked can't be told any more."""
    try:
        asked = replay(recipient.plan or {}).case.asked
    except (UnknownPlan, KeyError):
        return ()
    organisation = recipient.conversation.organisation
    minimum = minimum_for(organisation, Mailbox.parse(recipient.address).domain.ascii)
    policy = OrganisationPolicy(
        allowed=frozenset(policy_of(organisation).allowed), required=at_least(minimum) if minimum else frozenset()
    )
    return other_ways(Case(asked=asked, policy=policy))


def _known(recipient: Recipient) -> dict[Method, SmsCode | AccessCode]:
    conversation = recipient.conversation
    asker = Asker(conversation.organisation_id, conversation.author_id, recipient.key)
    found = memory.known({asker}, open_field=portal().unsealer.field)[asker]
    both = {Method.SMS: found.sms, Method.ACCESS_CODE: found.access_code}
    return {method: one for method, one in both.items() if one is not None}


# The sender's word


def _allow(
    request: HttpRequest, recipient: Recipient, step: Notify, verification: SmsCode | AccessCode | None
) -> bool | None:
    """From now on the recipient verifies so, also on the way of older links. What was open is closed: whoever has the
    number of before reads no further. ``True``: a new notification goes out, as far as there were not too many;
    ``None``: it was too late."""
    now = portal().now()
    with transaction.atomic():
        Conversation.objects.select_for_update().get(id=recipient.conversation_id)  # first, as for all that is sent
        row = _recipient(recipient.conversation.author, recipient.id, for_update=True)
        if not _can_change(row, now) or _version(row) != _version(recipient):
            return None
        before = row.method
        _set(row, step, verification, now)
        Challenge.objects.filter(recipient=row, used_at=None).update(used_at=now)
        Proof.objects.filter(recipient=row).delete()
        if verification is not None:
            _remember(row, verification, now)
        _answer(row, before, MethodRequest.Answer.ALLOWED, now)
        _note(Act.METHOD_ALLOWED, row, changes({"method": before}, {"method": row.method}), now)
        is_notified = notify_again(request, row, now)
        transaction.on_commit(portal().ring)
    log(MethodAllowed(recipient=recipient.id, method=step.method.value))
    return is_notified


def _set(row: Recipient, step: Notify, verification: SmsCode | AccessCode | None, now: Instant) -> None:
    erasures.note(erasures.Kind.METHOD, [row.id], at=now)
    SealedVerification.objects.filter(recipient=row).delete()
    if verification is not None:
        octets = verification_to_bytes(verification)
        sealed = wrap_field(octets, name="verification", owner=row.id, to=portal().keys.sealing)
        SealedVerification.objects.create(recipient=row, sealed=sealed)
    demand = step.code_mail_needs or NO_DEMAND
    row.method = step.method.value
    row.masked = memory.masked(verification) if verification is not None else ""
    row.code_needs_tls, row.code_needs_authentication = demand.tls, demand.authentication
    row.save(update_fields=["method", "masked", "code_needs_tls", "code_needs_authentication"])


def _remember(row: Recipient, verification: SmsCode | AccessCode, now: Instant) -> None:
    """For later messages of this sender too (rows 5 and 6), who says so; as for recipients who are held (ADR 29)."""
    conversation = row.conversation
    memory.supply(
        conversation.organisation,
        Mailbox.parse(row.address),
        verification,
        account=conversation.author,
        origin=VerificationData.Origin.SENDER,
        now=now,
        sealing=portal().keys.sealing,
    )


def _answer(row: Recipient, method: str, answer: MethodRequest.Answer, now: Instant) -> None:
    """On the request that waits; a sender may also act unasked."""
    waiting = row.method_requests.filter(answer="").order_by("-at", "-id").first()
    record = waiting or MethodRequest(recipient=row, method=method, at=now)
    record.answer, record.answered_at = answer, now
    if answer == MethodRequest.Answer.ALLOWED:
        record.other, record.masked = row.method, row.masked
    record.save()


def _note(act: Act, row: Recipient, details: Details, now: Instant) -> None:
    about: Details = {"message": str(row.submission_id), **details, "masked": row.masked}
    audit.note(act, row.conversation.organisation, row.address, about, now=now)


def _refuse(request: HttpRequest, recipient: Recipient) -> HttpResponse:
    now = portal().now()
    with transaction.atomic():
        row = _recipient(recipient.conversation.author, recipient.id, for_update=True)
        is_waiting = row.method_requests.filter(answer="").exists()
        if is_waiting:
            _answer(row, row.method, MethodRequest.Answer.REFUSED, now)
            _note(Act.METHOD_REFUSED, row, {"method": row.method}, now)
    if is_waiting:
        log(MethodKept(recipient=recipient.id, method=recipient.method))
        messages.success(request, _("Refused. The recipient sees so on the page of the message; no mail is sent."))
    return see_other(request.get_full_path())


def _tell(request: HttpRequest, is_notified: bool | None) -> None:
    if is_notified is None:
        messages.warning(request, _("Nothing was changed: this page was not up to date. It is now."))
    elif is_notified:
        messages.success(request, _("Allowed. The recipient gets a new notification, and earlier links work too."))
    else:
        messages.success(request, _("Allowed. Tell the recipient to open the link of the earlier notification again."))


# What is shown


def _page(
    request: HttpRequest, recipient: Recipient, ways: Mapping[str, Way], *, status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    waiting = recipient.method_requests.filter(answer="").order_by("-at", "-id").first()
    last = recipient.method_requests.exclude(answer="").order_by("-answered_at").first()
    words = {
        Method.ACCOUNT.value: _("an account, with sign-in"),
        Method.SMS.value: _("a code by text message"),
        Method.ACCESS_CODE.value: _("an access code"),
        Method.EMAIL.value: _("a code by e-mail"),
    }
    context = {
        "section": "inbox",
        "recipient": recipient,
        "is_open": _can_change(recipient, portal().now()),
        "ways": list(ways.values()),
        "version": _version(recipient),
        "now_with": words[recipient.method],
        "waiting": waiting,
        "why": _why(waiting.why) if waiting is not None else "",
        "shut": shut_in_words() if waiting is not None and waiting.is_of_restore else "",
        "last": last,
        "last_other": words.get(last.other, "") if last is not None else "",
        "wrong": [one for one in ways.values() if one.form is not None and one.form.is_bound and one.form.errors],
    }
    return render(request, "portal/allow.html", context, status=status)


def _why(stored: str) -> str:
    """A reason of another version is shown as it is."""
    known = {one.value: one for one in Hindrance}
    return str(WORDS[known[stored]]) if stored in known else stored
