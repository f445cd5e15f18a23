"""The administrator's pages about accounts: who there is, and what becomes of them. Thin over
:mod:`zegel.accounts.people` and :mod:`zegel.journey.portal.inviting`, which ask the rules and note what was done."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.accounts import mailboxes, people, proving, sessions, taking_in, tokens
from zegel.accounts.models import Account, MailboxReader, Organisation
from zegel.accounts.people import Refused
from zegel.accounts.sign_in import with_second_factor
from zegel.console import people_words as words
from zegel.console.access import allows
from zegel.console.page import show
from zegel.console.people_forms import (
    AccountSearchForm,
    ColleagueForm,
    DescriptionForm,
    InvitationForm,
    MailboxForm,
    RoleForm,
)
from zegel.console.rules import version_of
from zegel.console.words import Badge, Words
from zegel.core.mail.address import Mailbox
from zegel.core.policy import people as rules
from zegel.core.policy.people import Objection
from zegel.core.policy.roles import Capability, Role, may_make
from zegel.edge.wake import ring
from zegel.journey.portal import inviting

PAGE: Final = 50
MOST_FOUND: Final = 100
_FORMS: Final = ["GET", "HEAD", "POST"]
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Line:
    """An account in a list."""

    account: Account
    role: Words
    state: Badge


# --- who there is ------------------------------------------------------------------------------------------------


@require_safe
@allows(Capability.ACCOUNTS)
def accounts(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """By address, a page at a time. What stands in the URL is the number of the last one, not its address."""
    found = organisation.accounts.order_by("key")
    last = _of(organisation, request.GET.get("after", ""))
    if last is not None:
        found = found.filter(key__gt=last.key)
    page = list(found[: PAGE + 1])
    context = {
        "search": AccountSearchForm(),
        "lines": _lines(page[:PAGE]),
        "total": organisation.accounts.count(),
        "next": page[PAGE - 1].pk if len(page) > PAGE else None,
        "is_first": last is None,
    }
    return show(request, "accounts", context)


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def search(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Those whose address or name holds what is sought, and who have that role."""
    if request.method != "POST":
        return redirect("console:accounts")
    form = AccountSearchForm(request.POST)
    lines: Sequence[Line] = ()
    if form.is_valid():
        found = _sought(organisation, form.cleaned_data["sought"].strip(), form.cleaned_data["role"])
        lines = _lines(list(found[: MOST_FOUND + 1]))
    context = {
        "search": form,
        "lines": lines[:MOST_FOUND],
        "is_search": form.is_valid(),
        "most": MOST_FOUND if len(lines) > MOST_FOUND else None,
    }
    return show(request, "accounts", context)


def _sought(organisation: Organisation, text: str, role: str) -> QuerySet[Account]:
    found = organisation.accounts.order_by("key")
    if role:
        found = found.filter(role=role)
    return found.filter(Q(email__icontains=text) | Q(display_name__icontains=text)) if text else found


def _lines(rows: Sequence[Account]) -> Sequence[Line]:
    able = with_second_factor({one.pk for one in rows})
    invited = proving.invited({one.key for one in rows}, timezone.now())
    return [Line(one, words.ROLES[Role(one.role)], _state(one, able, invited)) for one in rows]


def _state(account: Account, able: set[int], invited: set[str]) -> Badge:
    if not account.is_active:
        return words.SUSPENDED
    if account.is_functional:
        return words.FUNCTIONAL
    if account.pk in able:
        return words.IN_USE
    if account.key in invited:
        return words.INVITED
    return words.NO_FACTOR if account.last_login is not None else words.NOT_IN_USE


# --- somebody new ------------------------------------------------------------------------------------------------


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def invite(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """An account, and a mail to its holder. A guest's free account for an own domain is taken in, once that is
    confirmed."""
    by = _visitor(request)
    form = InvitationForm(request.POST if request.method == "POST" else None, _roles(by))
    if request.method != "POST" or not form.is_valid():
        return _invitation(request, organisation, form)
    mailbox, role = form.cleaned_data["address"], Role(form.cleaned_data["role"])
    if role is Role.OWNER and "confirmed" not in request.POST:
        return _sure_of_owner(request, str(mailbox))
    try:
        account = inviting.invite(
            organisation,
            mailbox,
            role=role,
            display_name=form.cleaned_data["display_name"],
            language=form.cleaned_data["language"],
            by=by,
            now=timezone.now(),
        )
    except Refused as cause:
        if cause.why is Objection.FREE_ACCOUNT:
            return _take_in(request, organisation, form)
        form.add_error("address", _objection(cause.why, organisation))
        return _invitation(request, organisation, form)
    ring(settings.ZEGEL.run)
    messages.success(request, _("The account is made, and an invitation is on its way. It holds for seven days."))
    return redirect("console:account", account.pk)


def _sure_of_owner(request: HttpRequest, address: str) -> HttpResponse:
    """Asks once, and says what an owner may do."""
    says = [
        _("%(address)s may then do everything, and take your own rights away.") % {"address": address},
        _(
            "An owner also makes and removes other owners, says which sign-in service is used, and sets how long the "
            "audit log and traces are kept. Only an owner can undo this."
        ),
    ]
    sent = {name: request.POST.get(name, "") for name in ("address", "display_name", "language", "role")}
    return _sure(request, _("Invite somebody as an owner"), says, _("Invite"), reverse("console:accounts"), sent)


def _invitation(request: HttpRequest, organisation: Organisation, form: InvitationForm) -> HttpResponse:
    return show(request, "account_invite", {"form": form, "domains": _domains(organisation)})


def _take_in(request: HttpRequest, organisation: Organisation, form: InvitationForm) -> HttpResponse:
    """Asks once: whoever had the mailbox when the free account was made has its password and second step."""
    guest = Account.objects.get(key=form.cleaned_data["address"].key)
    if "confirmed" not in request.POST:
        says = [
            _("A guest made a free account for %(address)s. It becomes an account of your organisation.")
            % {"address": guest.email},
            _(
                "Is it in use, then its password and second step stay: whoever had the mailbox when it was made has "
                "them. Don’t take it in where the mailbox went to somebody else since. Was it never finished, then "
                "nothing of it stays, and an invitation goes out. It is signed out everywhere."
            ),
        ]
        sent = {name: request.POST.get(name, "") for name in ("address", "display_name", "language", "role")}
        return _sure(request, _("Take in a free account"), says, _("Take it in"), reverse("console:accounts"), sent)
    try:
        inviting.take_in(
            guest,
            organisation,
            role=Role(form.cleaned_data["role"]),
            display_name=form.cleaned_data["display_name"],
            by=_visitor(request),
            now=timezone.now(),
        )
    except (Refused, taking_in.StaysItsOwn):
        form.add_error("address", _("This account can’t be taken in any more. Look for what changed."))
        return _invitation(request, organisation, form)
    ring(settings.ZEGEL.run)
    messages.success(request, _("The account is one of your organisation now."))
    return redirect("console:account", guest.pk)


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def mailbox(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """A functional mailbox, to which readers are added next."""
    form = MailboxForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = people.make(
                organisation,
                given["address"],
                display_name=given["display_name"],
                is_functional=True,
                by=_visitor(request),
            )
        except Refused as cause:
            form.add_error("address", _objection(cause.why, organisation))
        else:
            messages.success(request, _("The mailbox is made. Now add who reads it."))
            return redirect("console:account", made.pk)
    return show(request, "account_mailbox", {"form": form, "domains": _domains(organisation)})


# --- one account -------------------------------------------------------------------------------------------------


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def account(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """What is known of it. A POST gives it another name or language, if nobody else did meanwhile."""
    found = get_object_or_404(organisation.accounts, pk=account)
    if request.method != "POST":
        return _account(request, found)
    form, is_stale = DescriptionForm(request.POST), False
    is_valid = form.is_valid()
    try:
        with transaction.atomic():
            current = people.locked(found)
            is_stale = request.POST.get("version") != version_of(_description(current))
            if is_valid and not is_stale:
                people.describe(current, **form.cleaned_data, by=_visitor(request))
    except Refused as cause:
        return _refused(request, cause, found)
    if not is_valid or is_stale:
        found.refresh_from_db()
        return _account(request, found, form=form, is_stale=is_stale)
    messages.success(request, _("The changes are stored."))
    return redirect("console:account", found.pk)


def _account(
    request: HttpRequest,
    found: Account,
    *,
    form: DescriptionForm | None = None,
    reader: ColleagueForm | None = None,
    is_stale: bool = False,
) -> HttpResponse:
    by, now = _visitor(request), timezone.now()
    able = with_second_factor({found.pk})
    invitation = proving.open_invitation(found, now)
    context = {
        "account": found,
        "line": Line(found, words.ROLES[Role(found.role)], _state(found, able, {found.key} if invitation else set())),
        "what_it_does": words.WHAT_ROLES_DO[Role(found.role)],
        "has_factor": found.pk in able,
        "invited_until": proving.ends_at(invitation) if invitation is not None else None,
        "sessions": sessions.number_of(found, now=now),
        "reads": found.mailboxes.select_related("mailbox").order_by("mailbox__key"),
        "tokens": tokens.made_by(found, now=now),
        "readers": found.readers.select_related("reader").order_by("reader__key"),
        "may_change": rules.to_managing(Role(by.role), Role(found.role)) is None,
        "is_own": by.pk == found.pk,
        "form": form or DescriptionForm(initial={"display_name": found.display_name, "language": found.language}),
        "reader_form": reader or ColleagueForm(),
        "problems": form if form is not None else reader,
        "is_stale": is_stale,
        "version": version_of(_description(found)),
    }
    return show(request, "account", context, status=HTTPStatus.CONFLICT if is_stale else HTTPStatus.OK)


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def role(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """Another role; one that gives or takes all rights is asked about once more."""
    found = get_object_or_404(organisation.accounts, pk=account)
    by = _visitor(request)
    if objection := _objection_to_role(found, by):
        return _refused(request, Refused(objection), found)
    data = request.POST if request.method == "POST" else None
    form = RoleForm(data, _roles(by), initial={"role": found.role})
    if data is None or not form.is_valid():
        return show(request, "account_role", {"form": form, "account": found, "version": _version(found)})
    wanted = Role(form.cleaned_data["role"])
    if rules.asks_twice(Role(found.role), wanted) and "confirmed" not in data:
        sent = {"role": wanted.value, "version": data.get("version", "")}
        title, says = _about_owner(found, wanted)
        back = reverse("console:account", args=[found.pk])
        return _sure(request, title, says, _("Give this role"), back, sent)
    return _done(
        request,
        found,
        lambda current: people.change_role(current, wanted, by=by),
        _("The role is changed, from the next click on."),
    )


def _objection_to_role(found: Account, by: Account) -> Objection | None:
    about = people.subject(found, by)
    if about.is_functional:
        return Objection.NOT_A_PERSON
    if about.is_own:
        return Objection.OWN
    return rules.to_managing(Role(by.role), about.role)


def _about_owner(found: Account, wanted: Role) -> tuple[str, Sequence[str]]:
    who = {"address": found.email}
    if wanted is Role.OWNER:
        return _("Make somebody an owner"), [
            _("%(address)s may then do everything, and take your own rights away.") % who
        ]
    return _("Take an owner’s rights away"), [
        _("%(address)s is no owner any more, from the next click on. Only an owner can undo this.") % who
    ]


@require_POST
@allows(Capability.ACCOUNTS)
def invite_again(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """Another invitation; the links of earlier ones lead nowhere from now on."""
    found = get_object_or_404(organisation.accounts, pk=account)
    try:
        inviting.invite_again(found, by=_visitor(request), now=timezone.now())
    except Refused as cause:
        return _refused(request, cause, found)
    ring(settings.ZEGEL.run)
    messages.success(request, _("An invitation is on its way. It holds for seven days; earlier ones don’t any more."))
    return redirect("console:account", found.pk)


@require_POST
@allows(Capability.ACCOUNTS)
def invitation_withdraw(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """The link that was sent leads nowhere from now on. Another invitation undoes it, so nothing is asked."""
    found = get_object_or_404(organisation.accounts, pk=account)
    try:
        is_withdrawn = people.withdraw_invitation(found, by=_visitor(request), now=timezone.now())
    except Refused as cause:
        return _refused(request, cause, found)
    if is_withdrawn:
        messages.success(request, _("The invitation is withdrawn: its link leads nowhere. The account stays."))
    else:
        messages.error(request, _("No invitation of this account is open any more. Nothing was changed."))
    return redirect("console:account", found.pk)


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def suspend(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """Asks once, then ends its use."""
    found = get_object_or_404(organisation.accounts, pk=account)
    by = _visitor(request)
    if request.method != "POST":
        says = [
            _("%(address)s is signed out everywhere and can’t sign in.") % {"address": found.email},
            _(
                "Mail from this address is refused from now on (550 5.7.1). What was accepted is still delivered, and "
                "its recipients can still read it. You can resume the account later."
            ),
        ]
        return _ask(request, _("Suspend an account"), says, _("Suspend"), found)
    return _done(
        request,
        found,
        lambda current: people.suspend(current, by=by, now=timezone.now()),
        _("The account is suspended."),
    )


@require_http_methods(_FORMS)
@allows(Capability.PROGRAMS)
def tokens_end(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """Asks once, then refuses every token that was made with this account."""
    found = get_object_or_404(organisation.accounts, pk=account)
    now = timezone.now()
    if request.method != "POST":
        says = [
            _("The programs that use these tokens are refused from their next request on:"),
            *(f"{one.description} ({one.name})" for one in tokens.made_by(found, now=now)),
        ]
        return _ask(request, _("End the tokens that it made"), says, _("End them"), found)
    return _done(request, found, lambda _: tokens.end_made_by(found, now=now), _("The tokens are ended."))


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def resume(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """Asks once, then it can be used as before."""
    found = get_object_or_404(organisation.accounts, pk=account)
    by = _visitor(request)
    if request.method != "POST":
        says = [
            _("%(address)s can sign in and send again, with the role %(role)s.")
            % {"address": found.email, "role": words.ROLES[Role(found.role)]},
            _("Who reads this mailbox, because it was passed on, goes on reading it until you remove them."),
        ]
        return _ask(request, _("Resume an account"), says, _("Resume"), found)
    return _done(request, found, lambda current: people.resume(current, by=by), _("The account can be used again."))


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def reset(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """Asks once, then takes password and second factor away and sends an invitation."""
    found = get_object_or_404(organisation.accounts, pk=account)
    by = _visitor(request)
    if request.method != "POST":
        says = [
            _(
                "For who lost the second step and the recovery codes. The password, second steps, passkeys and "
                "recovery codes of %(address)s stop working, and it is signed out everywhere."
            )
            % {"address": found.email},
            _(
                "An invitation goes to that mailbox: whoever reads it can choose a new password and second step. Make "
                "sure that you know who asks you for this."
            ),
        ]
        return _ask(request, _("Reset the second step"), says, _("Reset"), found)
    response = _done(
        request,
        found,
        lambda current: inviting.reset(current, by=by, now=timezone.now()),
        _("All of it is reset, and an invitation is on its way."),
    )
    ring(settings.ZEGEL.run)
    return response


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def successor(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """Names a successor, asks once, then passes the mailbox on."""
    found = get_object_or_404(organisation.accounts, pk=account)
    by = _visitor(request)
    form = ColleagueForm(request.POST if request.method == "POST" else None)
    heir = _colleague(organisation, form) if request.method == "POST" else None
    if heir is not None:
        try:
            people.refuse_successor(found, heir, by=by)
        except Refused as cause:
            form.add_error(None, str(words.OBJECTIONS[cause.why]))
            heir = None
    if heir is None:
        return show(request, "account_successor", {"form": form, "account": found, "version": _version(found)})
    if "confirmed" not in request.POST:
        sent = {"address": heir.email, "version": request.POST.get("version", "")}
        back = reverse("console:account", args=[found.pk])
        return _sure(request, _("Pass a mailbox on"), _about_passing_on(found, heir), _("Pass it on"), back, sent)
    return _done(
        request,
        found,
        lambda current: people.pass_on(current, heir, by=by, now=timezone.now()),
        _("The mailbox is passed on, and the account is suspended."),
    )


def _about_passing_on(found: Account, heir: Account) -> Sequence[str]:
    both = {"leaver": found.email, "successor": heir.email}
    says = [
        _(
            "%(successor)s can from then on read all that %(leaver)s sent and received here, and answer it. Who reads "
            "what is recorded."
        )
        % both,
        _("%(leaver)s is suspended: signed out everywhere, and mail from that address is refused.") % both,
    ]
    held = found.mailboxes.select_related("mailbox").order_by("mailbox__key")
    for passed, text in (
        (True, _("These mailboxes had been passed on to %(leaver)s, and go along: %(mailboxes)s")),
        (False, _("These functional mailboxes lose %(leaver)s as a reader, and don’t go along: %(mailboxes)s")),
    ):
        named = ", ".join(one.mailbox.email for one in held if one.is_successor is passed)
        if named:
            says.append(text % {**both, "mailboxes": named})
    return says


# --- readers -----------------------------------------------------------------------------------------------------


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def readers(request: HttpRequest, organisation: Organisation, account: int) -> HttpResponse:
    """One more reader of a functional mailbox."""
    found = get_object_or_404(organisation.accounts, pk=account)
    if request.method != "POST":
        return redirect("console:account", found.pk)
    form = ColleagueForm(request.POST)
    colleague = _colleague(organisation, form)
    if colleague is not None:
        try:
            people.add_reader(found, colleague, by=_visitor(request))
        except Refused as cause:
            return _refused(request, cause, found)
        except mailboxes.NotAReader:
            form.add_error(
                "address", _("This account can’t read it: it is the mailbox itself, or one that others read.")
            )
        else:
            messages.success(request, _("From now on it is read by one more."))
            return redirect("console:account", found.pk)
    return _account(request, found, reader=form)


@require_http_methods(_FORMS)
@allows(Capability.ACCOUNTS)
def reader_remove(request: HttpRequest, organisation: Organisation, account: int, reader: int) -> HttpResponse:
    """Asks once, then it is read by one less."""
    found = get_object_or_404(organisation.accounts, pk=account)
    row = get_object_or_404(MailboxReader.objects.select_related("reader"), mailbox=found, reader=reader)
    by = _visitor(request)
    if request.method != "POST":
        says = [
            _("%(reader)s no longer reads or answers as %(mailbox)s, from the next click on.")
            % {"reader": row.reader.email, "mailbox": found.email}
        ]
        return _ask(request, _("Remove a reader"), says, _("Remove"), found)
    return _done(
        request,
        found,
        lambda current: people.remove_reader(current, row.reader, by=by),
        _("It is read by one less."),
    )


# --- shared ------------------------------------------------------------------------------------------------------


def _visitor(request: HttpRequest) -> Account:
    return cast("Account", request.user)  # the guard of the view saw to it


def _roles(by: Account) -> Sequence[Role]:
    """Those that somebody may give, least rights first."""
    return [one for one in reversed(Role) if may_make(Role(by.role), one)]


def _of(organisation: Organisation, number: str) -> Account | None:
    return organisation.accounts.filter(pk=int(number)).first() if _NUMBER.fullmatch(number) else None


def _domains(organisation: Organisation) -> Sequence[str]:
    return list(organisation.sending_domains.filter(in_place=True).order_by("name").values_list("name", flat=True))


def _objection(why: Objection, organisation: Organisation) -> str:
    if why is not Objection.NOT_THEIR_DOMAIN:
        return str(words.OBJECTIONS[why])
    domains = _domains(organisation)
    if not domains:
        return _("None of your domains is in place yet. Look under Domains for what is missing.")
    return _("This address is in none of your domains that are in place. Write it like name@%(domain)s.") % {
        "domain": domains[0]
    }


def _colleague(organisation: Organisation, form: ColleagueForm) -> Account | None:
    """The account with the address; of others nothing is told."""
    if not form.is_valid():
        return None
    mailbox: Mailbox = form.cleaned_data["address"]
    found = organisation.accounts.filter(key=mailbox.key).first()
    if found is None:
        form.add_error("address", _("No account of your organisation has this address. Invite them first."))
    return found


def _description(account: Account) -> tuple[str, str]:
    return account.display_name, account.language


def _version(account: Account) -> str:
    """Another one once the account has another role or state, or other readers, than who decides about it saw."""
    rows = MailboxReader.objects.filter(Q(mailbox=account) | Q(reader=account)).order_by("pk")
    held = list(rows.values_list("mailbox", "reader", "is_successor"))
    return version_of((account.role, account.is_active, held))


def _ask(request: HttpRequest, title: str, says: Sequence[str], button: str, found: Account) -> HttpResponse:
    back = reverse("console:account", args=[found.pk])
    return _sure(request, title, says, button, back, {"version": _version(found)})


def _sure(
    request: HttpRequest, title: str, says: Sequence[str], button: str, back: str, sent: Mapping[str, str]
) -> HttpResponse:
    context = {"title": title, "says": says, "button": button, "back": back, "sent": sent}
    return show(request, "account_sure", context)


def _done(request: HttpRequest, found: Account, act: Callable[[Account], Any], said: str) -> HttpResponse:
    """Does it, if the account is as it was when the page was shown that asked."""
    try:
        with transaction.atomic():
            current = people.locked(found)
            is_meant = request.POST.get("version") == _version(current)
            if is_meant:
                act(current)
    except Refused as cause:
        return _refused(request, cause, found)
    if is_meant:
        messages.success(request, said)
    else:
        messages.error(
            request, _("This was changed meanwhile, by somebody else or in another window. Nothing was done.")
        )
    return redirect("console:account", found.pk)


def _refused(request: HttpRequest, cause: Refused, found: Account) -> HttpResponse:
    messages.error(request, str(words.OBJECTIONS[cause.why]))
    return redirect("console:account", found.pk)
