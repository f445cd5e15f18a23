"""The administrator's pages about lists of domains for direct delivery that somebody else keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final, assert_never

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.db import transaction
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy, ngettext
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.accounts import lists
from zegel.accounts.lists import NotRead, Outcome, Problem, Read, Superseded, Unchanged
from zegel.accounts.models import DirectDeliveryList, Organisation
from zegel.console import words
from zegel.console.access import allows
from zegel.console.forms import LevelForm
from zegel.console.page import show
from zegel.console.releasing import decide_again
from zegel.console.rules import version_of
from zegel.console.words import Badge
from zegel.core.policy.domain_list import MAX_OCTETS, ListFault
from zegel.core.policy.roles import Capability
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.edge.fetch import LONGEST_URL, Fetcher, host_of
from zegel.journey.decision.facts import LIST_LAPSES

MOST_SHOWN: Final = 100  # domains of one list
PATIENCE: Final = 10.0  # seconds that a visitor waits for somebody else's server
_PLAIN_INPUT: Final = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A domain on a list."""

    domain: str
    level_words: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A list as it is now, and the version that forms about it carry along."""

    listed: DirectDeliveryList
    domains: int
    badge: Badge
    is_lapsed: bool
    problem: tuple[str, ...]
    is_emptied: bool  # it could be read, and nothing is left on it: that is asked about
    level_words: str
    host: str
    version: str

    @classmethod
    def of(cls, listed: DirectDeliveryList, domains: int) -> Shown:
        """With as many domains."""
        problem = Problem.of(listed.problem)
        is_lapsed = _is_lapsed(listed)
        return cls(
            listed=listed,
            domains=domains,
            badge=_badge(listed, problem, is_lapsed=is_lapsed),
            is_lapsed=is_lapsed,
            problem=_told(problem) if problem is not None else (),
            is_emptied=problem is not None and problem.fault is ListFault.EMPTY,
            level_words=words.level(lists.level_of(listed)),
            host=host_of(listed.url),
            version=_version(listed),
        )


def _is_lapsed(listed: DirectDeliveryList) -> bool:
    return bool(listed.url) and listed.read_at is not None and listed.read_at <= timezone.now() - LIST_LAPSES


def _badge(listed: DirectDeliveryList, problem: Problem | None, *, is_lapsed: bool) -> Badge:
    if is_lapsed:
        return Badge(gettext_lazy("lapsed"), "bad")
    if problem is not None:
        return Badge(gettext_lazy("could not be read"), "bad" if listed.read_at is None else "warn")
    return (
        Badge(gettext_lazy("read"), "good")
        if listed.read_at is not None
        else Badge(gettext_lazy("not read yet"), "warn")
    )


def _told(problem: Problem) -> tuple[str, ...]:
    return problem.sentences("nl" if get_language() == "nl" else "en")


def _version(listed: DirectDeliveryList) -> str:
    return version_of((listed.read_at, listed.problem))


# --- forms -------------------------------------------------------------------------------------------------------


class _NewList(LevelForm):
    name = forms.CharField(
        label=gettext_lazy("Name"),
        help_text=gettext_lazy("What you call the list, such as “hospitals”."),
        max_length=lists.LONGEST_NAME,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Name: fill in what you call the list.")},
    )

    def clean_name(self) -> str:
        """Raises a validation error for what would not show, or show as something else."""
        name = str(self.cleaned_data["name"])
        if not name.isprintable():
            raise ValidationError(_("Name: write it on one line, in characters that can be seen."))
        return name

    def complain(self, cause: Exception, field: str) -> None:
        """In words, at the field that it is about."""
        match cause:
            case lists.NameTaken():
                self.add_error("name", _("Name: there is a list of this name already. Choose another."))
            case lists.TooManyLists():
                self.add_error(
                    None, _("There are %(most)s lists already. Remove one first.") % {"most": lists.MOST_LISTS}
                )
            case lists.NotTaken(problem=problem):
                for sentence in _told(problem):
                    self.add_error(field, sentence)
            case _:
                raise cause


class UrlListForm(_NewList):
    """A list that is read again every hour."""

    field_order = ("name", "url")
    url = forms.CharField(
        label=gettext_lazy("Address"),
        help_text=gettext_lazy("Begins with https://. The gateway reads it now, and again every hour."),
        max_length=LONGEST_URL,
        widget=forms.TextInput(attrs={**_PLAIN_INPUT, "inputmode": "url"}),
        error_messages={
            "required": gettext_lazy("Address: fill in where the list stands, such as https://example.org/list.")
        },
    )


class FileForm(forms.Form):
    """The octets of a list."""

    file = forms.FileField(
        label=gettext_lazy("File"),
        help_text=gettext_lazy("Text with one domain a line, or CSV with a first column “domain”; at most 1 MB."),
        allow_empty_file=True,
        error_messages={
            "required": gettext_lazy("File: choose one, such as domains.txt."),
            "invalid": gettext_lazy("File: choose one, such as domains.txt."),
        },
    )

    @property
    def octets(self) -> bytes:
        """Of a valid form."""
        return bytes(self.cleaned_data["file"].read())

    def clean(self) -> None:
        """A connection that breaks ends a file early and looks like its end; the last field tells."""
        if "end" not in self.data:
            self.errors.pop("file", None)
            self.add_error("file", _("File: it did not arrive completely, so nothing of it was taken. Try once more."))


class FileListForm(_NewList, FileForm):
    """A list that is read from a file once."""

    field_order = ("name", "file")


class ReadForm(FileForm):
    """What takes the place of what the list said."""

    may_be_empty = forms.BooleanField(required=False, label=gettext_lazy("The list may be empty"))


class _ListUpload(FileUploadHandler):
    """Keeps one file in memory, and of one that is too large no more than shows that it is. A list of domains is no
    secret, and nothing of it touches a disk."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self._kept = bytearray()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """The last one counts."""
        super().new_file(*args, **kwargs)
        self._kept = bytearray()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Read to the end all the same: else the browser shows an error of its own instead of the answer."""
        self._kept += raw_data[: MAX_OCTETS + 1 - len(self._kept)]

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        """All of it, or its beginning."""
        return InMemoryUploadedFile(
            BytesIO(self._kept), self.field_name, self.file_name or "", self.content_type or "", len(self._kept), None
        )


# --- all of them -------------------------------------------------------------------------------------------------


@require_safe
@allows(Capability.POLICY)
def overview(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """All lists with their state."""
    found = organisation.direct_delivery_lists.annotate(count=Count("domains")).order_by("name")
    return show(request, "recipients_lists", {"lists": [Shown.of(one, one.count) for one in found]})


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def add_url(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """A list of a URL, read at once. One that can't be read is kept, and tried again every hour."""
    form = UrlListForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            name, url = form.cleaned_data["name"], form.cleaned_data["url"]
            added = lists.add_url(organisation, name, url, level=form.level)
        except (lists.NameTaken, lists.TooManyLists, lists.NotTaken) as cause:
            form.complain(cause, "url")
        else:
            _tell(request, lists.refresh(added, _fetcher(), now=timezone.now, gained=decide_again))
            return redirect("console:list", added.pk)
    return show(request, "recipients_list_add", {"form": form})


@csrf_exempt  # checked below, once it is said how the file is taken
@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def add_file(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """A list of a file; one that is not understood is not added."""
    request.upload_handlers = [_ListUpload(request)]

    def checked(request: HttpRequest) -> HttpResponse:
        form = FileListForm(request.POST, request.FILES) if request.method == "POST" else FileListForm()
        if request.method == "POST" and form.is_valid():
            try:
                added = lists.add_file(
                    organisation,
                    form.cleaned_data["name"],
                    form.octets,
                    now=timezone.now(),
                    level=form.level,
                    gained=decide_again,
                )
            except (lists.NameTaken, lists.TooManyLists, lists.NotTaken) as cause:
                form.complain(cause, "file")
            else:
                _tell(request, Read(added.domains.count()))
                return redirect("console:list", added.pk)
        return show(request, "recipients_list_add", {"form": form, "is_file": True})

    return _guarded(request, checked)


# --- one of them -------------------------------------------------------------------------------------------------


@require_safe
@allows(Capability.POLICY)
def listed(request: HttpRequest, organisation: Organisation, listed: int) -> HttpResponse:
    """One list: its state, what stands on it, and what can be done."""
    return _listed(request, _of(organisation, listed))


def _listed(
    request: HttpRequest,
    found: DirectDeliveryList,
    *,
    form: ReadForm | None = None,
    is_stale: bool = False,
) -> HttpResponse:
    count = found.domains.count()
    context = {
        "shown": Shown.of(found, count),
        "entries": _entries(found),
        "most": MOST_SHOWN,
        "lapse_days": LIST_LAPSES.days,
        "form": form or ReadForm(),
        "is_stale": is_stale,
    }
    return show(request, "recipients_list", context, status=HTTPStatus.CONFLICT if is_stale else HTTPStatus.OK)


def _entries(found: DirectDeliveryList) -> Sequence[Entry]:
    rows = found.domains.order_by("domain").values_list("domain", "tls", "authentication")[:MOST_SHOWN]
    return [
        Entry(domain, words.level(TransportSecurity(Tls(tls), Authentication(authentication)).at_least(PROVEN)))
        for domain, tls, authentication in rows
    ]


@require_POST
@allows(Capability.POLICY)
def refresh(request: HttpRequest, organisation: Organisation, listed: int) -> HttpResponse:
    """Reads a list of a URL now. That it may be empty is said of the state that was seen."""
    found = _of(organisation, listed)
    may_be_empty = "may_be_empty" in request.POST
    if may_be_empty and request.POST.get("version") != _version(found):
        return _listed(request, found, is_stale=True)
    outcome = lists.refresh(found, _fetcher(), now=timezone.now, may_be_empty=may_be_empty, gained=decide_again)
    _tell(request, outcome)
    return redirect("console:list", listed)


@csrf_exempt  # checked below, once it is said how the file is taken
@require_POST
@allows(Capability.POLICY)
def read(request: HttpRequest, organisation: Organisation, listed: int) -> HttpResponse:
    """Puts what stands in a file in the place of what the list said, if nobody else did meanwhile."""
    found = _of(organisation, listed)
    request.upload_handlers = [_ListUpload(request)]

    def checked(request: HttpRequest) -> HttpResponse:
        form = ReadForm(request.POST, request.FILES)
        if not form.is_valid():
            return _listed(request, found, form=form)
        outcome = _read(found, form, request.POST.get("version", ""))
        if isinstance(outcome, Superseded):
            return _listed(request, _of(organisation, listed), is_stale=True)
        if isinstance(outcome, NotRead):
            for sentence in _told(outcome.problem):
                form.add_error("file", sentence)
            return _listed(request, found, form=form)
        _tell(request, outcome)
        return redirect("console:list", listed)

    return _guarded(request, checked)


def _read(found: DirectDeliveryList, form: ReadForm, version: str) -> Outcome:
    octets = form.octets
    with transaction.atomic():
        current = DirectDeliveryList.objects.select_for_update().filter(pk=found.pk).first()
        if current is None or version != _version(current):
            return Superseded()
        return lists.read_file(
            current,
            octets,
            now=timezone.now(),
            may_be_empty=form.cleaned_data["may_be_empty"],
            gained=decide_again,
        )


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def remove(request: HttpRequest, organisation: Organisation, listed: int) -> HttpResponse:
    """Asks once, then removes the list and its domains."""
    found = _of(organisation, listed)
    if request.method != "POST":
        return show(request, "recipients_list_remove", {"shown": Shown.of(found, found.domains.count())})
    with transaction.atomic():
        current = get_object_or_404(organisation.direct_delivery_lists.select_for_update(), pk=listed)
        is_meant = request.POST.get("version") == _version(current)
        if is_meant:
            lists.remove(current)
    if not is_meant:
        messages.error(
            request, _("This was changed meanwhile, by somebody else or in another window. Nothing was removed.")
        )
        return redirect("console:list", listed)
    messages.success(request, _("The list is removed. Its domains count no more, from the next message on."))
    return redirect("console:lists")


def _guarded(request: HttpRequest, view: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    """With the form's token checked, which reads the whole request."""
    answer = csrf_protect(view)(request)
    assert isinstance(answer, HttpResponse)
    return answer


def _of(organisation: Organisation, listed: int) -> DirectDeliveryList:
    """Raises ``Http404`` for any other."""
    return get_object_or_404(organisation.direct_delivery_lists, pk=listed)


def _fetcher() -> Fetcher:
    return replace(lists.fetcher(settings.ZEGEL), within=PATIENCE)


def _tell(request: HttpRequest, outcome: Outcome) -> None:
    match outcome:
        case Read(domains=count):
            said = ngettext(
                "The list is read: %(count)s domain stands on it.",
                "The list is read: %(count)s domains stand on it.",
                count,
            )
            messages.success(request, said % {"count": count})
        case Unchanged():
            messages.success(request, _("The list is what it was."))
        case Superseded():
            messages.error(request, _("The list was read or removed by somebody else at the same moment."))
        case NotRead():
            messages.error(request, _("The list could not be read."))
        case unreachable:
            assert_never(unreachable)
