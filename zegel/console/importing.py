"""The administrator's pages about importing verification data: a file is judged, looked at, and imported.

It is sealed while it comes. No page, download or error shows a number or code of it.
"""

from __future__ import annotations

import csv
import errno
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from io import StringIO
from typing import Any, Final
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
    UnreadablePostError,
)
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.accounts.models import Account, Organisation
from zegel.console.access import allows
from zegel.console.page import show
from zegel.console.rules import version_of
from zegel.console.words import Badge
from zegel.core.clock import Instant
from zegel.core.policy.phone import example_mobile
from zegel.core.policy.roles import Capability
from zegel.core.policy.verification_import import (
    MAX_OCTETS,
    MAX_ROWS,
    Column,
    Encoding,
    FileFault,
    Layout,
    Refused,
    RowFault,
)
from zegel.core.seal.wrap import SealingKey
from zegel.edge.blobs import Blobs
from zegel.edge.keyring import submission_keys
from zegel.edge.log import Broken, log
from zegel.edge.wake import ring
from zegel.journey import importing
from zegel.journey.custody.models import ImportComplaint, VerificationImport
from zegel.journey.importing import Answer, OneIsOpen, Receiving

MOST_SHOWN: Final = 50  # complaints
MOST_IMPORTS: Final = 10
LOOK_AGAIN = 3  # seconds; the browser tests stop it
_CHUNK: Final = 2000  # rows read at a time for a download
State = VerificationImport.State
_BADGES: Final = {
    State.JUDGING: Badge(gettext_lazy("being judged"), "accent"),
    State.READY: Badge(gettext_lazy("waits for you"), "warn"),
    State.IMPORTING: Badge(gettext_lazy("being imported"), "accent"),
    State.DONE: Badge(gettext_lazy("imported"), "good"),
    State.CANCELLED: Badge(gettext_lazy("cancelled"), ""),
    State.LAPSED: Badge(gettext_lazy("lapsed"), ""),
    State.REFUSED: Badge(gettext_lazy("not imported"), "bad"),
}
_ROW_FAULTS: Final = {one.value: one for one in RowFault}
_FILE_FAULTS: Final = {one.value: one for one in FileFault}


# --- what is shown -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Complained:
    """What is wrong with a row."""

    line: int
    address: str
    column: str
    reason: str

    @classmethod
    def of(cls, complaint: ImportComplaint, *, region: str) -> Complained:
        """In the language of the page."""
        fault = _ROW_FAULTS.get(complaint.fault)  # another version may know others
        reason = fault.said(_language(), region=region) if fault is not None else complaint.fault
        if complaint.other is not None:
            reason = f"{reason} ({_('line %(line)d') % {'line': complaint.other}})"
        return cls(complaint.line, complaint.address, complaint.column, reason)


@dataclass(frozen=True, slots=True)
class Shown:
    """An import as it is now, and the version that its forms carry along."""

    row: VerificationImport
    badge: Badge
    layout: Layout
    complained: tuple[Complained, ...]

    @classmethod
    def of(cls, row: VerificationImport) -> Shown:
        """With the first complaints."""
        found = row.complaints.order_by("line", "id")[:MOST_SHOWN]
        complained = tuple(Complained.of(one, region=row.region) for one in found)
        return cls(row, _BADGES[State(row.state)], Layout.of_json(row.layout), complained)

    @property
    def version(self) -> str:
        """Of what was judged."""
        return _version(self.row)

    @property
    def good(self) -> int:
        """Rows that can be imported, or are known."""
        return self.row.rows - self.row.bad

    @property
    def does_something(self) -> bool:
        """A good row changes what is known."""
        return self.row.to_add + self.row.to_change > 0

    @property
    def is_moving(self) -> bool:
        """In a moment it is another page."""
        return self.row.state in (State.JUDGING, State.IMPORTING)

    @property
    def percent(self) -> int:
        """Of the file, that is read."""
        return 100 * self.row.octet // max(self.row.size, 1)

    @property
    def until(self) -> Instant:
        """When the file is destroyed if nobody confirms it."""
        until: Instant = self.row.created_at + importing.KEPT
        return until

    @property
    def is_old_encoding(self) -> bool:
        """It was read as Windows-1252."""
        return self.layout.encoding is Encoding.WINDOWS_1252

    @property
    def has_names(self) -> bool:
        """It has a column that is not kept."""
        return Column.NAME in self.layout.columns

    @property
    def unknown(self) -> str:
        """Titles of columns that say nothing here."""
        return ", ".join(self.layout.unknown)

    @property
    def missing(self) -> str:
        """Titles of columns that are not there; a name never misses anybody."""
        return ", ".join(one.value for one in self.layout.missing if one is not Column.NAME)

    @property
    def fault(self) -> str:
        """Why it was refused."""
        fault = _FILE_FAULTS.get(self.row.fault)
        return Refused(fault).said(_language()) if fault is not None else self.row.fault


def _version(row: VerificationImport) -> str:
    return version_of((row.state, row.judged_at))


def _language() -> str:
    return (get_language() or "en").partition("-")[0]


# --- a file comes ------------------------------------------------------------------------------------------------


class ImportForm(forms.Form):
    """The page's form. The file itself never becomes one of Django's."""

    file = forms.FileField(label=gettext_lazy("CSV file"))

    @classmethod
    def refusing(cls, said: str) -> ImportForm:
        """With what is wrong with the file."""
        form = cls({})
        form.errors.pop("file", None)
        form.add_error("file", said)
        return form


class _SealedUpload(FileUploadHandler):
    """Seals a file while it comes; ``request.FILES`` stays empty. The last one counts."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        announced = request.META.get("CONTENT_LENGTH") or ""
        self._announced = int(announced) if announced.isdecimal() else 0
        self.receiving: Receiving | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """What is far too large is cut off."""
        super().new_file(*args, **kwargs)
        self.abandon()
        if self._announced > 2 * MAX_OCTETS:
            raise StopUpload(connection_reset=True)
        self.receiving = Receiving(_blobs())

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Sealed when it returns; read to the end also where it is too much, so that the browser shows our answer."""
        if self.receiving is not None:
            self.receiving.feed(raw_data)

    def file_complete(self, file_size: int) -> None:
        """It is sealed already."""

    def abandon(self) -> None:
        """Leaves nothing behind."""
        if self.receiving is not None:
            self.receiving.abandon()
            self.receiving = None


@csrf_exempt  # checked below, once it is said how the file is taken
@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.VERIFICATION)
def upload(request: HttpRequest, organisation: Organisation) -> HttpResponseBase:
    """How a file is written, the form that takes one, and the last imports."""
    if request.method != "POST":
        return _form(request, organisation, ImportForm())
    handler = _SealedUpload(request)
    request.upload_handlers = [handler]
    taking = _Taking(request, organisation, handler)
    try:
        return csrf_protect(taking.checked)(request)
    except (MultiPartParserError, UnreadablePostError):
        return taking.refuse(_("CSV file: it did not arrive completely, so nothing of it was taken. Try once more."))
    except OSError as cause:
        if cause.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log(Broken("console: no space left", cause))
        said = _("CSV file: there is no room for it at this moment. Nothing of it was taken; try again later.")
        return taking.refuse(said, HTTPStatus.INSUFFICIENT_STORAGE)
    finally:
        if not taking.is_kept:
            handler.abandon()


@dataclass(slots=True)
class _Taking:
    """One request that brings a file."""

    request: HttpRequest
    organisation: Organisation
    handler: _SealedUpload
    is_kept: bool = False

    def checked(self, request: HttpRequest) -> HttpResponse:
        """With the form's token checked, which reads the whole request. The last field tells that all of it came."""
        if "end" not in request.POST:
            said = _("CSV file: it did not arrive completely, so nothing of it was taken. Try once more.")
            return self.refuse(said)
        receiving = self.handler.receiving
        if receiving is None:
            return self.refuse(_("CSV file: choose one, such as clients.csv."))
        received = receiving.finish()
        if isinstance(received, Refused):
            return self.refuse(received.said(_language()))
        account = request.user if isinstance(request.user, Account) else None
        try:
            row = importing.stage(received, self.organisation, account, now=timezone.now(), sealing=_sealing_key())
        except OneIsOpen as cause:
            messages.error(
                request,
                _("This import is not over. Confirm or cancel it first; nothing of your file was taken."),
            )
            return redirect("console:verification_imported", cause.other)
        self.is_kept = True
        ring(settings.ZEGEL.run)
        return redirect("console:verification_imported", row.id)

    def refuse(self, said: str, status: HTTPStatus = HTTPStatus.OK) -> HttpResponse:
        """The form again, with what is wrong."""
        return _form(self.request, self.organisation, ImportForm.refusing(said), status=status)


def _form(
    request: HttpRequest, organisation: Organisation, form: ImportForm, *, status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    found = VerificationImport.objects.filter(organisation=organisation).order_by("-id")[:MOST_IMPORTS]
    open_one = importing.open_of(organisation)
    context = {
        "form": form,
        "open": Shown.of(open_one) if open_one is not None else None,
        "imports": [(one, _BADGES[State(one.state)]) for one in found],
        "example": example_mobile(organisation.region),
        "columns": [column.value for column in Column],
        "megabytes": MAX_OCTETS // 1_000_000,
        "most": MAX_ROWS,
        "days": importing.REMEMBERED.days,
    }
    return show(request, "verification_import", context, status=status)


# --- one import --------------------------------------------------------------------------------------------------


@require_safe
@allows(Capability.VERIFICATION)
def imported(request: HttpRequest, organisation: Organisation, upload: UUID) -> HttpResponse:
    """How far it is, what was judged, what became of it. While it moves, a browser looks again by itself."""
    shown = Shown.of(_of(organisation, upload))
    context = {"shown": shown, "most": MOST_SHOWN, "minutes": _minutes(), "state": shown.row.state}
    response = show(request, "verification_imported", context)
    if shown.is_moving:
        response["Refresh"] = str(LOOK_AGAIN)
    return response


@require_POST
@allows(Capability.VERIFICATION)
def confirm(request: HttpRequest, organisation: Organisation, upload: UUID) -> HttpResponseRedirect:
    """The good rows are imported, if they are those that were looked at."""
    row = _of(organisation, upload)
    is_seen = request.POST.get("version") == _version(row)
    match importing.confirm(row, now=timezone.now()) if is_seen else Answer.NOT:
        case Answer.TAKEN:
            ring(settings.ZEGEL.run)
        case Answer.AGAIN:
            ring(settings.ZEGEL.run)
            messages.error(
                request,
                _(
                    "The country of your organisation was changed meanwhile, so the file is judged once more. Nothing "
                    "is imported yet."
                ),
            )
        case Answer.NOT:
            _tell_too_late(request)
    return HttpResponseRedirect(_address(upload))


@require_POST
@allows(Capability.VERIFICATION)
def cancel(request: HttpRequest, organisation: Organisation, upload: UUID) -> HttpResponseRedirect:
    """Nothing is imported, and the file is destroyed."""
    match importing.cancel(_of(organisation, upload), _blobs(), now=timezone.now()):
        case Answer.TAKEN:
            messages.success(request, _("Nothing was imported, and the file is destroyed."))
        case _:
            _tell_too_late(request)
    return HttpResponseRedirect(_address(upload))


@require_safe
@allows(Capability.VERIFICATION)
def complaints(request: HttpRequest, organisation: Organisation, upload: UUID) -> StreamingHttpResponse:
    """All rows that are bad, as CSV: line, address, column and reason."""
    row = _of(organisation, upload)
    separator = Layout.of_json(row.layout).separator
    titles = (_("line"), Column.ADDRESS.value, _("column"), _("reason"))
    found = row.complaints.order_by("line", "id").iterator(_CHUNK)
    told = (Complained.of(one, region=row.region) for one in found)
    response = StreamingHttpResponse(_written(titles, told, separator), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="import-{row.created_at:%Y-%m-%d}.csv"'
    response["Cache-Control"] = "no-store"
    return response


def _written(titles: Sequence[str], told: Iterable[Complained], separator: str) -> Iterator[bytes]:
    """With the mark by which spreadsheets know UTF-8."""
    yield b"\xef\xbb\xbf" + _csv_line(titles, separator)
    for one in told:
        yield _csv_line((str(one.line), _plain(one.address), one.column, one.reason), separator)


def _csv_line(cells: Sequence[str], separator: str) -> bytes:
    line = StringIO()
    csv.writer(line, delimiter=separator).writerow(cells)
    return line.getvalue().encode()


def _plain(cell: str) -> str:
    """No formula: an address may begin as one, and a spreadsheet would carry it out."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell


# --- shared ------------------------------------------------------------------------------------------------------


def _of(organisation: Organisation, upload: UUID) -> VerificationImport:
    """Raises ``Http404`` for one of another organisation."""
    found: VerificationImport = get_object_or_404(VerificationImport, organisation=organisation, id=upload)
    return found


def _address(upload: UUID) -> str:
    return redirect("console:verification_imported", upload).url


def _minutes() -> int:
    return int(importing.KEPT.total_seconds()) // 60


def _tell_too_late(request: HttpRequest) -> None:
    messages.error(request, _("This was changed meanwhile, by somebody else or in another window. Look at it again."))


def _blobs() -> Blobs:
    return Blobs(settings.ZEGEL.blobs)


@cache
def _sealing_key() -> SealingKey:
    return submission_keys(settings.ZEGEL.keys).sealing
