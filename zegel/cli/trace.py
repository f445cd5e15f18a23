"""Where a message is: found, told, and handed out as JSON or as a proof of delivery."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.compose import clock
from zegel.core.policy.explain import LANGUAGES, Said, said_in

if TYPE_CHECKING:
    from zegel.journey.custody.models import Submission

NOTHING: Final = 1  # exit code
_SEVERAL: Final = "Several messages fit; name one of them by its identifier."
_PLAN: Final = Said("Decided: ", "Besloten: ")
_NONE: Final = Said(
    "Nothing was found. A message that was refused at the door is in the log of the sending server, with our reply.",
    "Er is niets gevonden. Een bericht dat aan de deur is geweigerd, staat in het logboek van de verzendende server, "
    "met ons antwoord.",
)


@click.command()
@click.argument("what", metavar="ADDRESS|DOMAIN|MESSAGE-ID|UUID")
@click.option("--json", "as_json", is_flag=True, help="The trace of one message, for programs, in both languages.")
@click.option("--pdf", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A proof of delivery.")
@click.option("--recipient", metavar="ADDRESS", help="About this recipient alone.")
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True)
@config_option
@tells_trouble
def trace(
    what: str, pdf: Path | None, recipient: str | None, language: str, config: Path | None, *, as_json: bool
) -> None:
    """Find messages, and show what became of one for every recipient, with the evidence.

    By the address of a sender or recipient, a whole domain, a Message-ID, or the identifier of a submission, a
    recipient or a mail as the log has it. Exports (--json, --pdf) are noted in the audit log. Exit code 1 when nothing
    is found. Content, subject, numbers and codes are never shown.
    """
    ready(config)
    found = _found(what)
    if not found:
        click.echo(said_in(language, _NONE), err=True)
        raise click.exceptions.Exit(NOTHING)
    if len(found) > 1:
        if as_json or pdf is not None:
            raise Trouble(f"{_SEVERAL} See: zegel trace {what}")
        for line in _lines(found):
            click.echo(line)
        return
    _told(found[0], pdf, recipient, language, as_json=as_json)


def _found(what: str) -> list[Submission]:
    """In all organisations: whoever has this machine has them all."""
    from zegel.accounts.models import Organisation
    from zegel.journey.seeking import Sought, Text, find

    pages = [find(one, Sought(Text.parse(what))) for one in Organisation.objects.order_by("pk")]
    return sorted((one for page in pages for one in page.submissions), key=lambda one: one.id, reverse=True)


def _lines(found: list[Submission]) -> Iterator[str]:
    from zegel.journey.custody.models import Recipient

    for one in found:
        states = Recipient.objects.filter(submission=one).order_by("key").values_list("address", "state")[:3]
        shown = ", ".join(f"{address} ({state})" for address, state in states)
        yield f"{one.id}  {_local(one.accepted_at.isoformat())}  {one.account.email}  {shown}"


def _told(submission: Submission, pdf: Path | None, recipient: str | None, language: str, *, as_json: bool) -> None:
    from zegel.journey import proving
    from zegel.journey.proving import Proof
    from zegel.journey.tracing import trace_json

    only = _only(submission, recipient) if recipient else None
    if pdf is not None:
        made = proving.proof_of_delivery(submission, language=language, now=clock.now(), only=only)
        if not isinstance(made, Proof):
            raise Trouble(f"The PDF was not made: {made.value}. Try --recipient, or --json.")
        _write(pdf, made.octets)
    if as_json:
        click.echo(proving.trace_file(submission, only=only).octets, nl=False)
    elif pdf is None:
        for line in _text(trace_json(submission, only=only), language):
            click.echo(line)


def _only(submission: Submission, address: str) -> Any:
    from zegel.core.mail.address import Mailbox, NotAMailbox
    from zegel.journey.custody.models import Recipient

    try:
        key = Mailbox.parse(address).key
    except NotAMailbox as cause:
        raise Trouble("--recipient is not an e-mail address.") from cause
    one = Recipient.objects.filter(submission=submission, key=key).values_list("id", flat=True).first()
    if one is None:
        raise Trouble(f"{address} is no recipient of that message.")
    return one


def _write(path: Path, octets: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as cause:
        raise Trouble(f"{path} is there already. Name another file.") from cause
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)


def _text(told: dict[str, Any], language: str) -> Iterator[str]:
    sent = told["submission"]
    yield f"{sent['message_id']}  {sent['sender']}  {_local(sent['accepted_at'])}  {sent['id']}"
    for one in told["recipients"]:
        yield ""
        yield one["address"] + (" (Bcc)" if one["blind"] else "")
        yield f"  {one['summary'][language]}"
        attempts = {mail["id"]: mail["attempts"] for mail in one["mails"]}
        for event in one["events"]:
            yield f"  {_local(event['at']):25}  {event[language]}"
            if "mail" in event:
                yield from _evidence(attempts[event["mail"]][event["attempt"]], language)
        for number, step in enumerate((one["decision"] or {}).get("plan", ()), 1):
            yield f"  {said_in(language, _PLAN)}{number}. {step[language]} ({step['stands']})"


def _evidence(attempt: dict[str, Any], language: str) -> Iterator[str]:
    where = f"{attempt['host'] or ''} [{attempt['address']}]" if attempt["address"] else attempt["host"]
    parts = (where, attempt["protocol"], attempt["cipher"], attempt["key_exchange"])
    shown = ", ".join(part for part in parts if part)
    known = attempt["authenticity"][language] if attempt["host"] else ""
    for line in (shown, known, attempt["reply"], (attempt["because"] or {}).get(language)):
        if line:
            yield f"{'':29}{line}"


def _local(at: str | None) -> str:
    if at is None:
        return "–"
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S %z}"


COMMANDS: Final = (trace,)
