"""Files of verification data: taken, judged row by row, imported once that is confirmed. Sealed while they come; no
answer has a number or code of them."""

from __future__ import annotations

import errno
import uuid
from datetime import datetime
from http import HTTPStatus
from typing import Final, Literal, Self

from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from pydantic import Field

from zegel.accounts.answered import Key
from zegel.accounts.tokens import Scope
from zegel.api import once
from zegel.api.answers import Fault, Refused, refused
from zegel.api.bodies import CLOSE, expect_kind, expect_size, pieces_of
from zegel.api.fields import cant_be
from zegel.api.operation import Call, Done, Keyed, Link, Operation, Paged, Told
from zegel.api.paging import part
from zegel.api.setup import api
from zegel.api.versions import must_match, tag_of
from zegel.core.policy import verification_import
from zegel.core.policy.verification_import import MAX_OCTETS, Column, FileFault, Layout, RowFault
from zegel.edge.log import Broken, log
from zegel.journey import importing
from zegel.journey.custody.models import ImportComplaint, VerificationImport
from zegel.journey.importing import Answer, OneIsOpen, Received, Receiving

CSV: Final = "text/csv"
_HEADER: Final = "email_address,phone_number"
_ROW_FAULTS: Final = {one.value: one for one in RowFault}
_FILE_FAULTS: Final = {one.value: one for one in FileFault}

StateName = Literal["judging", "ready", "importing", "done", "cancelled", "lapsed", "refused"]


class ImportTold(Told):
    """A file, and how far it is. Until it is confirmed, nothing is changed."""

    id: uuid.UUID
    state: StateName = Field(description="ready: judged, and waits to be confirmed or cancelled.")
    fault: str = Field(description="Why it was refused, else empty.")
    created_at: datetime
    until: datetime = Field(description="The file is destroyed then, if nobody confirmed it.")
    ended_at: datetime | None
    columns_missing: list[str]
    columns_unknown: list[str] = Field(description="Titles that say nothing here.")
    rows: int
    bad: int = Field(description="Rows that can't be imported: `rows` tells which, and why.")
    to_add: int
    to_change: int
    same: int = Field(description="Rows that change nothing.")
    added: int
    changed: int
    left: int = Field(description="Rows that were left: somebody else changed what they are about, meanwhile.")

    @classmethod
    def of(cls, row: VerificationImport) -> Self:
        """As it stands."""
        layout, fault = Layout.of_json(row.layout), _FILE_FAULTS.get(row.fault)
        told = {name: getattr(row, name) for name in cls.model_fields if hasattr(row, name)}
        told |= {
            "fault": verification_import.Refused(fault).said("en") if fault is not None else row.fault,
            "until": row.created_at + importing.KEPT,
            "columns_missing": [one.value for one in layout.missing if one is not Column.NAME],
            "columns_unknown": list(layout.unknown),
        }
        return cls.model_validate(told)


class ImportList(Told):
    """The newest first."""

    items: list[ImportTold]
    next: str | None


class BadRow(Told):
    """One row that can't be imported."""

    line: int
    column: str = Field(description="Empty: the whole row.")
    reason: str
    address: str
    contradicts_line: int | None

    @classmethod
    def of(cls, row: ImportComplaint, *, region: str) -> Self:
        """Without the number or code."""
        fault = _ROW_FAULTS.get(row.fault)  # another version may know others
        reason = fault.said("en", region=region) if fault is not None else row.fault
        return cls(line=row.line, column=row.column, reason=reason, address=row.address, contradicts_line=row.other)


class BadRowList(Told):
    """In the order in which they were found."""

    items: list[BadRow]
    next: str | None


def listed(call: Call) -> Done:
    """Those that are still told of."""
    found = VerificationImport.objects.filter(organisation=call.organisation)
    rows, following = part(found, "id", limit=call.query.limit, after=call.query.after, newest_first=True)
    return Done(ImportList(items=[ImportTold.of(row) for row in rows], next=following))


def got(call: Call) -> Done:
    """One."""
    return _told(_row(call))


def rows_listed(call: Call) -> Done:
    """Those that are bad."""
    row = _row(call)
    rows, following = part(row.complaints.all(), "id", limit=call.query.limit, after=call.query.after)
    return Done(BadRowList(items=[BadRow.of(one, region=row.region) for one in rows], next=following))


def taken(call: Call) -> Done:
    """The file is judged in a moment; nothing of it is imported."""
    expect_kind(call.request, (CSV,))
    expect_size(call.request, MAX_OCTETS)
    digest = once.Digest(call.request)
    receiving = Receiving(api().blobs)
    is_kept = False
    try:
        received = _received(call.request, receiving, digest)
        key = Key(call.key.token, call.key.key, digest.finish()) if call.key is not None else None
        done, is_kept = _staged(call, received, key)
        return done
    except OSError as cause:
        if cause.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log(Broken("api: no space left", cause))
        raise _no_room() from None
    finally:
        if not is_kept:
            receiving.abandon()


def confirmed(call: Call) -> Done:
    """The good rows of what was judged are imported, in a moment."""
    row = _row(call)
    must_match(call.request, _tag(row))
    match importing.confirm(row, now=call.now):
        case Answer.TAKEN:
            api().ring()
        case Answer.AGAIN:
            api().ring()
            raise _conflict("The country of the organisation was changed, so the file is judged once more.")
        case Answer.NOT:
            raise _conflict("It does not wait to be confirmed: see its state.")
    return _told(_row(call))


def cancelled(call: Call) -> Done:
    """Nothing of it is imported, and the file is destroyed."""
    row = _row(call)
    must_match(call.request, _tag(row))
    if importing.cancel(row, api().blobs, now=call.now) is not Answer.TAKEN:
        raise _conflict("It can't be cancelled any more: see its state.")
    return _told(_row(call))


def _received(request: HttpRequest, receiving: Receiving, digest: once.Digest) -> Received:
    for piece in pieces_of(request, digest.feed):
        receiving.feed(piece)
    received = receiving.finish()
    if isinstance(received, verification_import.Refused):
        raise cant_be("", received.said("en"), _HEADER)
    return received


def _staged(call: Call, received: Received, key: Key | None) -> tuple[Done, bool]:
    """And whether the file is kept: not where the same request was answered before."""
    with transaction.atomic():
        before = once.earlier(key, now=call.now) if key is not None else None
        if before is not None:
            return before, False
        try:
            row = importing.stage(received, call.organisation, None, now=call.now, sealing=api().sealing)
        except OneIsOpen as cause:
            example = f"GET /api/v1/verification/imports/{cause.other}"
            fault = Fault(field="", reason="Another import is not over. Confirm or cancel it first.", example=example)
            raise refused(HTTPStatus.CONFLICT, "Another import is not over.", [fault]) from None
        transaction.on_commit(api().ring)
        done = Done(ImportTold.of(row), tag=_tag(row), location=f"verification/imports/{row.id}")
        if key is not None:
            once.keep(key, done, now=call.now)
    return done, True


def _row(call: Call) -> VerificationImport:
    """Raises ``Http404`` for one of another organisation."""
    found: VerificationImport = get_object_or_404(
        VerificationImport, organisation=call.organisation, id=call.place["import"]
    )
    return found


def _told(row: VerificationImport) -> Done:
    return Done(ImportTold.of(row), tag=_tag(row))


def _tag(row: VerificationImport) -> str:
    """Of what was judged."""
    return tag_of(row.id, str(row.state), row.judged_at)


def _conflict(reason: str) -> Refused:
    fault = Fault(field="", reason=reason, example="GET /api/v1/verification/imports")
    return refused(HTTPStatus.CONFLICT, "The import is in another state. Nothing was imported.", [fault])


def _no_room() -> Refused:
    fault = Fault(field="", reason="There is no room for the file at this moment.", example="Send it again later.")
    headers = {"Retry-After": "3600", **CLOSE}
    return refused(HTTPStatus.INSUFFICIENT_STORAGE, "Nothing of the file was taken.", [fault], headers=headers)


_READ, _WRITE = Scope.VERIFICATION_READ, Scope.VERIFICATION_WRITE
_ALL: Final = "verification/imports"
_ONE: Final = f"{_ALL}/{{import}}"
_OTHER_STATE: Final = {HTTPStatus.CONFLICT: "The import is in another state."}

ROWS: Final = (
    Operation("list-imports", "GET", _ALL, _READ, "Files of verification data.", listed, ImportList, query=Paged),
    Operation(
        "import-verification",
        "POST",
        _ALL,
        _WRITE,
        "Bring a file of verification data (docs/verification-data.md). It is judged; nothing is imported yet.",
        taken,
        ImportTold,
        status=HTTPStatus.ACCEPTED,
        links=tuple(
            Link(name, "import", "/id")
            for name in ("get-import", "list-import-rows", "confirm-import", "cancel-import")
        ),
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
        is_raw=True,
        also_takes=(CSV,),
        most=MAX_OCTETS,
        refusals={
            HTTPStatus.CONFLICT: "Another import is not over.",
            HTTPStatus.INSUFFICIENT_STORAGE: "Not now: there is no room.",
        },
    ),
    Operation("get-import", "GET", _ONE, _READ, "One file, and how far it is.", got, ImportTold, is_tagged=True),
    Operation(
        "list-import-rows",
        "GET",
        f"{_ONE}/rows",
        _READ,
        "The rows of a file that can't be imported, and why.",
        rows_listed,
        BadRowList,
        query=Paged,
    ),
    Operation(
        "confirm-import",
        "POST",
        f"{_ONE}/confirm",
        _WRITE,
        "Import the good rows of a file that was judged.",
        confirmed,
        ImportTold,
        is_tagged=True,
        changes=True,
        refusals=_OTHER_STATE,
    ),
    Operation(
        "cancel-import",
        "POST",
        f"{_ONE}/cancel",
        _WRITE,
        "Import nothing of a file, and destroy it.",
        cancelled,
        ImportTold,
        is_tagged=True,
        changes=True,
        refusals=_OTHER_STATE,
    ),
)
