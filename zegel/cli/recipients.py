"""What recipients are verified with, from the command line. Numbers and codes come in by a prompt or standard input
alone, and never out."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import mailbox_named, organisation_named
from zegel.compose import clock
from zegel.core.policy.access_code import (
    LONGEST,
    LONGEST_HINT,
    SHORTEST,
    Flaw,
    NotAnAccessCode,
    parse_access_code,
    parse_hint,
)
from zegel.core.policy.phone import NotAMobileNumber, example_mobile, parse_mobile
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.policy.verification_import import (
    MAX_OCTETS,
    MAX_RECORD,
    Encoding,
    FileFault,
    Layout,
    Refused,
    read_layout,
)
from zegel.core.secret import Secret
from zegel.edge import keyring
from zegel.edge.wake import ring

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from zegel.accounts.models import Organisation
    from zegel.core.clock import Instant
    from zegel.journey.custody.models import VerificationData
    from zegel.journey.importing import DryRun, Told
    from zegel.settings import Settings

SUPPLIED: Final = (Method.SMS, Method.ACCESS_CODE)

organisation_option = click.option("--organisation", "organisation_name", required=True)
hint_option = click.option("--with-hint", is_flag=True, help="Of an access code: a second line is what recalls it.")


@click.group()
def recipients() -> None:
    """What recipients are verified with: telephone numbers and access codes, always masked."""


@recipients.command("list")
@organisation_option
@click.option("--address", help="Of one recipient.")
@config_option
@tells_trouble
def recipients_list(organisation_name: str, address: str | None, config: Path | None) -> None:
    """List verification data: for whom, where it came from, whose it is, when it last opened a message."""
    ready(config)
    found = _of(organisation_named(organisation_name)).order_by("key", "method", "id").defer("sealed")
    if address is not None:
        found = found.filter(key=mailbox_named(address).key)
    for row in found.select_related("account").iterator():
        click.echo(_line(row))


@recipients.command("add")
@click.argument("address")
@organisation_option
@click.option("--method", type=click.Choice([method.value for method in SUPPLIED]), required=True)
@hint_option
@config_option
@tells_trouble
def recipients_add(address: str, organisation_name: str, method: str, config: Path | None, *, with_hint: bool) -> None:
    """Add a number or access code, for the whole organisation. It is asked for, or read from standard input."""
    settings = ready(config)
    from django.db import transaction

    from zegel.journey.custody import memory
    from zegel.journey.custody.models import VerificationData

    owner, mailbox = organisation_named(organisation_name), mailbox_named(address)
    verification = _read(Method(method), owner, with_hint=with_hint)
    with transaction.atomic():
        known = _of(owner).filter(key=mailbox.key, method=method, account=None).first()
        if known is not None:
            raise Trouble(
                f"{mailbox} has one already, for the whole organisation. Another value for it: "
                f"zegel recipients correct {known.id} --organisation {organisation_name!r}"
            )
        row = memory.supply(
            owner,
            mailbox,
            verification,
            account=None,
            origin=VerificationData.Origin.ADMINISTRATOR,
            now=clock.now(),
            sealing=keyring.submission_keys(settings.keys).sealing,
        )
        _decide_again(row)
    ring(settings.run)
    click.echo(_line(row))


@recipients.command("correct")
@click.argument("identity", metavar="ID", type=click.UUID)
@organisation_option
@hint_option
@config_option
@tells_trouble
def recipients_correct(identity: uuid.UUID, organisation_name: str, config: Path | None, *, with_hint: bool) -> None:
    """Replace a number or access code by another one, which is asked for, or read from standard input."""
    settings = ready(config)
    from django.db import transaction

    from zegel.journey.custody import memory
    from zegel.journey.custody.models import VerificationData

    owner = organisation_named(organisation_name)
    verification = _read(Method(_known(owner, identity).method), owner, with_hint=with_hint)
    with transaction.atomic():
        row = _known(owner, identity, for_update=True)
        memory.correct(
            row,
            verification,
            origin=VerificationData.Origin.ADMINISTRATOR,
            now=clock.now(),
            sealing=keyring.submission_keys(settings.keys).sealing,
        )
        _decide_again(row)
    ring(settings.run)
    click.echo(_line(row))


@recipients.command("remove")
@click.argument("identity", metavar="ID", type=click.UUID)
@organisation_option
@config_option
@tells_trouble
def recipients_remove(identity: uuid.UUID, organisation_name: str, config: Path | None) -> None:
    """Forget a number or access code. Messages that were decided keep theirs."""
    ready(config)
    from django.db import transaction

    from zegel.journey.custody import memory

    owner = organisation_named(organisation_name)
    with transaction.atomic():
        memory.forget(_known(owner, identity, for_update=True))
    click.echo("Removed.")


# --- a file ------------------------------------------------------------------------------------------------------


@recipients.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@organisation_option
@click.option("--dry-run", is_flag=True, help="Only say what each row would do, and what is wrong.")
@click.option("--good-rows", is_flag=True, help="Import the good rows, also where others are bad.")
@config_option
@tells_trouble
def recipients_import(
    file: Path, organisation_name: str, config: Path | None, *, dry_run: bool, good_rows: bool
) -> None:
    """Import numbers and access codes from a CSV file, for the whole organisation.

    Its first line names the columns: email_address,full_name,phone_number,access_code,access_code_hint. The file stays
    where it is: remove it yourself. Where rows are bad nothing is imported, unless --good-rows is given.
    """
    settings = ready(config)
    from zegel.journey import importing

    owner, octets, began = organisation_named(organisation_name), _octets(file), clock.now()
    layout = read_layout(octets[: 4 * MAX_RECORD], is_utf8=_is_utf8(octets))
    if isinstance(layout, Refused):
        raise Trouble(layout.said("en"))
    judged, told = _judge(settings, owner, layout, octets)
    totals = importing.Totals.of(judged.verdicts)
    _tell(layout, told, region=owner.region)
    click.echo(
        f"{totals.rows} rows: {totals.to_add} to add, {totals.to_change} to change, {totals.same} known, "
        f"{totals.bad} bad."
    )
    is_refused = totals.bad > 0 and not good_rows
    if not dry_run and not is_refused:
        _carry_out(settings, owner, layout, octets, judged, told, began)
    elif not dry_run:
        click.echo("Nothing is imported. Mend the file, or import the good rows alone: --good-rows", err=True)
    if is_refused:
        raise SystemExit(1)


def _octets(file: Path) -> bytes:
    with file.open("rb") as opened:
        octets = opened.read(MAX_OCTETS + 1)
    if len(octets) > MAX_OCTETS:
        raise Trouble(FileFault.TOO_LARGE.en)
    return octets


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _judge(settings: Settings, owner: Organisation, layout: Layout, octets: bytes) -> tuple[DryRun, list[Told]]:
    from zegel.edge.blobs import Blobs
    from zegel.journey.custody.unseal import Unsealer
    from zegel.journey.importing import DryRun, TooManyRows

    open_field = Unsealer(keyring.opening_keys(settings.keys), Blobs(settings.blobs)).field
    judged, told = DryRun(owner.pk, layout, [octets[layout.first.octet :]], region=owner.region), []
    try:
        while these := judged.read():
            told += judged.hold_against(these, open_field=open_field)
            _progress("judged", len(judged.verdicts), None)
    except TooManyRows:
        raise Trouble(FileFault.TOO_MANY.en) from None
    _progress("judged", len(judged.verdicts), 0)
    if not judged.verdicts:
        raise Trouble(FileFault.EMPTY.en)
    return judged, sorted(told, key=lambda one: one.line)


def _tell(layout: Layout, told: Sequence[Told], *, region: str) -> None:
    if layout.encoding is Encoding.WINDOWS_1252:
        click.echo("The file is not UTF-8; it was read as Windows-1252.", err=True)
    if layout.unknown:
        click.echo(f"Columns that were not read: {', '.join(layout.unknown)}", err=True)
    for one in told:
        column = f" {one.complaint.column.value}:" if one.complaint.column else ""
        other = f" (line {one.complaint.other})" if one.complaint.other else ""
        click.echo(f"line {one.line}:{column} {one.complaint.fault.said('en', region=region)}{other}")


def _carry_out(
    settings: Settings,
    owner: Organisation,
    layout: Layout,
    octets: bytes,
    judged: DryRun,
    told: Sequence[Told],
    began: Instant,
) -> None:
    from zegel.journey.importing import OneIsOpen, begin_here, import_here

    sealing = keyring.submission_keys(settings.keys).sealing
    try:
        row = begin_here(owner, layout, octets, judged, told, now=began)
    except OneIsOpen:
        raise Trouble(
            "An import of this organisation is not over. Confirm or cancel it in the console first."
        ) from None
    done = row
    for done in import_here(row, octets, now=clock.now, sealing=sealing):
        _progress("imported", done.passed, done.rows)
    _progress("imported", done.passed, 0)
    ring(settings.run)
    click.echo(f"Imported: {done.added} added, {done.changed} changed, {done.left} changed by somebody meanwhile.")


def _progress(what: str, rows: int, of: int | None) -> None:
    """On a terminal in place, else a line now and then; ``of`` 0: the last one."""
    end = "\n" if of == 0 or not sys.stderr.isatty() else "\r"
    if end == "\r" or of == 0 or rows % _TOLD_EVERY == 0:
        click.echo(f"{what}: {rows}" + (f" of {of}" if of else "") + end, nl=False, err=True)


_TOLD_EVERY: Final = 10_000


# --- shared ------------------------------------------------------------------------------------------------------


def _of(owner: Organisation) -> QuerySet[VerificationData]:
    from zegel.journey.custody.models import VerificationData

    return VerificationData.objects.filter(organisation=owner)


def _known(owner: Organisation, identity: uuid.UUID, *, for_update: bool = False) -> VerificationData:
    found = _of(owner).filter(id=identity)
    row = (found.select_for_update() if for_update else found).first()
    if row is None:
        raise Trouble(f"{owner} has no verification data {identity}. See: zegel recipients list")
    return row


def _decide_again(row: VerificationData) -> None:
    from zegel.journey import milestones
    from zegel.journey.custody.held import held_of

    milestones.supplied(held_of(row.organisation, key=row.key), now=clock.now())


def _read(method: Method, owner: Organisation, *, with_hint: bool) -> SmsCode | AccessCode:
    """Raises :class:`Trouble`, which says how it is written and not what was."""
    if method is Method.SMS:
        if with_hint:
            raise Trouble("A telephone number has no hint. Leave --with-hint out.")
        return _number(_ask("Mobile number"), region=owner.region)
    return _code(_ask("Access code"), _ask("Hint, for who has the link") if with_hint else "")


def _number(typed: str, *, region: str) -> SmsCode:
    try:
        return SmsCode(Secret(parse_mobile(typed, region=region)))
    except NotAMobileNumber as cause:
        raise Trouble(f"This is not one mobile number: {cause}. Write it like {example_mobile(region)}.") from None


def _code(typed: str, hint: str) -> AccessCode:
    try:
        code = parse_access_code(typed)
        hint = parse_hint(hint, code=code) if hint else ""
    except NotAnAccessCode as cause:
        raise Trouble(_FLAWS[cause.flaw]) from None
    return AccessCode(Secret(code), Secret(hint) if hint else None)


_FLAWS: Final = {
    Flaw.LENGTH: f"An access code has {SHORTEST} to {LONGEST} characters, such as four words.",
    Flaw.SPACES: "Between the characters of an access code only ordinary spaces are possible. Type it by hand.",
    Flaw.INVISIBLE: "In this access code are characters that nobody sees. Type it by hand.",
    Flaw.HINT: f"A hint is one line of at most {LONGEST_HINT} characters, such as: the number on your client card.",
    Flaw.HINT_TELLS: "The access code itself stands in the hint, and who has the link can read it. Write what reminds "
    "of the code, such as: the number on your client card.",
}


def _ask(what: str) -> str:
    """Unseen and twice from a terminal, else one line of standard input."""
    if sys.stdin.isatty():
        answer: str = click.prompt(what, hide_input=True, confirmation_prompt=True, err=True)
        return answer
    return sys.stdin.readline().strip()


def _line(row: VerificationData) -> str:
    whose = row.account.email if row.account else "everybody"
    shown = f"{row.method} {row.masked}".strip()
    confirmed = row.confirmed_at.isoformat(timespec="minutes") if row.confirmed_at else "not yet"
    return f"{row.id}  {row.address}  {shown}  from {row.origin}  for {whose}  opened with: {confirmed}"


COMMANDS: Sequence[click.Command] = (recipients,)
