"""Recipients of a message who are held, and what an account holder fills in so that it goes out (D-6)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Final, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Page, Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from zegel.accounts import audit, mailboxes
from zegel.accounts.models import Account
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.audit import Act
from zegel.core.policy.holding import ends_at
from zegel.core.policy.precedence import Hold, UnknownPlan, plan_from_json
from zegel.core.policy.roles import Capability
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.journey import milestones
from zegel.journey.custody import memory
from zegel.journey.custody.held import held_of
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Job, Recipient, Submission, VerificationData
from zegel.journey.portal.filling_in import SUPPLIED, VerificationForm
from zegel.journey.portal.pages import private, see_other
from zegel.journey.portal.setup import portal
from zegel.journey.portal.states import RecipientLine, recipient_lines

ON_A_PAGE: Final = 20  # of three fields each: a form may have 200 (web.settings)


@dataclass(frozen=True, slots=True)
class HeldLine:
    """A recipient who is held."""

    address: str
    lacks: Sequence[str]  # in words
    until: Instant
    is_being_decided: bool
    form: VerificationForm | None  # None: nothing that somebody else could fill in
    form_offers_both: bool


@require_http_methods(["GET", "HEAD", "POST"])
@private
@login_required
def held(request: HttpRequest, submission: uuid.UUID) -> HttpResponse:
    """For the author, who reads the mailbox that is, and administrators of the same organisation; for anybody else it
    doesn't exist (P20)."""
    account = cast("Account", request.user)
    found = Submission.objects.select_related("account", "organisation").filter(id=submission).first()
    if found is None or not _may_fill_in(account, found):
        raise Http404
    if request.method != "POST":
        return _page(request, found, {})
    forms = _forms(request, found)
    right = {one: form.verification for one, form in forms.items() if form.is_valid()}
    filled = {one: verification for one, verification in right.items() if verification is not None}
    supplied = _supply(account, found, filled) if filled else 0
    late = _late(request, forms) + len(filled) - supplied
    _tell(request, supplied, late=late)
    wrong = {one: form for one, form in forms.items() if one not in right}
    if wrong:
        return _page(request, found, wrong, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    if not supplied and not late:
        messages.info(request, _("Nothing was filled in, so nothing was changed."))
    return see_other(request.get_full_path())


def _may_fill_in(account: Account, submission: Submission) -> bool:
    if account.organisation_id is None or account.organisation_id != submission.organisation_id:
        return False
    return account.may(Capability.VERIFICATION) or _is_author(account, submission)


def _is_author(account: Account, submission: Submission) -> bool:
    return submission.account_id in {one.id for one in (account, *mailboxes.read_by(account))}


# What is filled in


def _forms(request: HttpRequest, submission: Submission) -> dict[uuid.UUID, VerificationForm]:
    """Of those held recipients for whom the page that was sent had fields."""
    named = {key.partition("-")[0] for key in request.POST}
    return {
        one.id: VerificationForm(
            request.POST, prefix=one.id.hex, region=submission.organisation.region, methods=_offered(one)
        )
        for one in _held(submission)
        if one.id.hex in named and _offered(one)
    }


def _late(request: HttpRequest, forms: Mapping[uuid.UUID, VerificationForm]) -> int:
    """Recipients for whom something was filled in, and who are held no longer."""
    filled = {key.partition("-")[0] for key in request.POST if "-" in key and request.POST.get(key, "").strip()}
    return len(filled - {one.hex for one in forms})


def _supply(account: Account, submission: Submission, filled: Mapping[uuid.UUID, SmsCode | AccessCode]) -> int:
    """For whom it came in time. Nothing is stored for others: somebody else may have filled in something meanwhile."""
    is_sender = _is_author(account, submission)
    now, sealing = portal().now(), portal().keys.sealing
    with transaction.atomic():
        waiting = list(_held(submission).select_for_update(of=("self",)).filter(id__in=filled))
        for one in waiting:
            memory.supply(
                submission.organisation,
                Mailbox.parse(one.address),
                filled[one.id],
                account=submission.account,
                origin=VerificationData.Origin.SENDER if is_sender else VerificationData.Origin.ADMINISTRATOR,
                now=now,
                sealing=sealing,
            )
            milestones.supplied(held_of(submission.organisation, key=one.key), now=now)
            about = {"message": str(submission.id)}
            audit.note(Act.MESSAGE_SUPPLIED, submission.organisation, one.address, about, now=now)
    portal().ring()
    return len(waiting)


def _tell(request: HttpRequest, supplied: int, *, late: int) -> None:
    if supplied:
        messages.success(
            request,
            ngettext(
                "Filled in for one recipient. The message goes out to that recipient now.",
                "Filled in for %(count)d recipients. The message goes out to them now.",
                supplied,
            )
            % {"count": supplied},
        )
    if late:
        messages.warning(
            request,
            ngettext(
                "For one recipient this was not possible any more. What you filled in there was not stored.",
                "For %(count)d recipients this was not possible any more. What you filled in there was not stored.",
                late,
            )
            % {"count": late},
        )


# What is shown


def _page(
    request: HttpRequest,
    submission: Submission,
    wrong: Mapping[uuid.UUID, VerificationForm],
    *,
    status: HTTPStatus = HTTPStatus.OK,
) -> HttpResponse:
    page: Page[Recipient] = Paginator(_held(submission), ON_A_PAGE).get_page(request.GET.get("page"))
    lines = _lines(submission, list(page), wrong)
    context = {
        "section": "inbox",
        "submission": submission,
        "is_author": cast("Account", request.user).id == submission.account_id,
        "page": page,
        "lines": lines,
        "can_fill_in": any(line.form and not line.is_being_decided for line in lines),
        "wrong": [(line.address, line.form) for line in lines if line.form and line.form.is_bound],
        "others": _no_longer_held(submission),
    }
    return render(request, "portal/held.html", context, status=status)


def _held(submission: Submission) -> QuerySet[Recipient]:
    return (
        Recipient.objects.filter(submission=submission, state=Recipient.State.HELD, conversation__destroyed_at=None)
        .select_related("conversation")
        .order_by("key", "id")
    )


def _no_longer_held(submission: Submission) -> list[RecipientLine]:
    """Those of whom the author heard that they were held."""
    told = Recipient.objects.filter(submission=submission, told_at__isnull=False)
    return recipient_lines(told.exclude(state=Recipient.State.HELD).order_by("key", "id"))


def _lines(
    submission: Submission, recipients: Sequence[Recipient], wrong: Mapping[uuid.UUID, VerificationForm]
) -> list[HeldLine]:
    decided = Job.objects.filter(kind=Kind.RELEASE.value, subject__in=[one.id for one in recipients])
    busy = set(decided.values_list("subject", flat=True))
    return [_line(submission, one, wrong.get(one.id), is_being_decided=one.id in busy) for one in recipients]


def _line(
    submission: Submission, recipient: Recipient, wrong: VerificationForm | None, *, is_being_decided: bool
) -> HeldLine:
    offered = _offered(recipient)
    form = wrong
    if form is None and offered:
        form = VerificationForm(prefix=recipient.id.hex, region=submission.organisation.region, methods=offered)
    words = {
        Method.ACCOUNT: _("an account here with a second factor"),
        Method.SMS: _("a mobile number"),
        Method.ACCESS_CODE: _("an access code"),
        Method.EMAIL: _("e-mail verification"),
    }
    return HeldLine(
        recipient.address,
        [words[method] for method in (*offered, *(one for one in _required(recipient) if one not in offered))],
        _ends_at(submission, recipient),
        is_being_decided,
        form,
        len(offered) > 1,
    )


def _ends_at(submission: Submission, recipient: Recipient) -> Instant:
    term = timedelta(days=submission.organisation.hold_days)
    held_at = recipient.decided_at or submission.accepted_at
    return ends_at(held_at, term=term, expires_at=recipient.conversation.expires_at)


def _required(recipient: Recipient) -> list[Method]:
    """What would do, the safest first; nothing for a plan of a version that isn't known here."""
    try:
        last = plan_from_json(recipient.plan or {}).steps[-1]
    except (UnknownPlan, KeyError, IndexError):
        return []
    return [method for method in Method if isinstance(last, Hold) and method in last.required]


def _offered(recipient: Recipient) -> list[Method]:
    return [method for method in _required(recipient) if method in SUPPLIED]
