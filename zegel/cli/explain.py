"""What would become of a message, and why a stored decision was what it was."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import mailbox_named
from zegel.compose.parts import dry_run
from zegel.core.mail.address import Mailbox
from zegel.core.mail.fields import HeaderTooLong
from zegel.core.policy.explain import (
    LANGUAGES,
    Bilingual,
    Explanation,
    Said,
    explain_stored,
    gives_the_same_today,
    said_in,
)
from zegel.core.policy.precedence import UnknownPlan, replay
from zegel.edge import keyring

if TYPE_CHECKING:
    from zegel.journey.custody.models import Recipient
    from zegel.journey.explain import Foreseen

NOT_SERVED, TURNED_AWAY = 1, 2
_WARNED = Said("The sender is warned", "De afzender wordt gewaarschuwd")
_DECIDED = Said("Decided at", "Besloten op")
_SENT_NOTHING = Said("A dry run: nothing was sent or kept.", "Een proef: er is niets verstuurd of bewaard.")


@click.command()
@click.argument("message", type=click.File("rb"), required=False)
@click.option("--from", "author", metavar="ADDRESS", help="The author, who also stands in the message's From field.")
@click.option("--to", "recipients", metavar="ADDRESS", multiple=True, help="A recipient; again for each of them.")
@click.option("--recipient", "recipient_id", type=click.UUID, metavar="UUID", help="A stored decision instead.")
@click.option("--message", "submission_id", type=click.UUID, metavar="UUID", help="Those of a whole submission.")
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs, in both languages.")
@config_option
@tells_trouble
def explain(
    message: BinaryIO | None,
    author: str | None,
    recipients: tuple[str, ...],
    recipient_id: uuid.UUID | None,
    submission_id: uuid.UUID | None,
    language: str,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    """What would become of MESSAGE (a file, or - for standard input), for each recipient, and why.

    Nothing is sent or kept; of the message only the header section is read. With --recipient or --message a stored
    decision is told and decided again, with the table of its day.

    Exit code 0: everybody is served, or the stored decision is the same today. 1: somebody isn't, or it is another.
    2: the message would be refused.
    """
    stored = recipient_id is not None or submission_id is not None
    if stored == (message is not None) or (recipient_id is not None and submission_id is not None):
        raise click.UsageError("Give one of MESSAGE, --recipient and --message.")
    if stored:
        _replay(recipient_id, submission_id, language, config, as_json=as_json)
    elif message is not None:
        if author is None or not recipients:
            raise click.UsageError("A message needs --from and at least one --to.")
        _foresee(message, mailbox_named(author), recipients, language, config, as_json=as_json)


# --- a dry run ---------------------------------------------------------------------------------------------------


def _foresee(
    message: BinaryIO,
    author: Mailbox,
    recipients: tuple[str, ...],
    language: str,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    settings = ready(config)
    from zegel.edge.blobs import Blobs
    from zegel.journey.arrival.intake import HEADER_TOO_LONG
    from zegel.journey.custody.unseal import Unsealer
    from zegel.journey.explain import Asking, Foreseen, OtherAuthor, TurnedAway, foresee, header_of

    keys = keyring.opening_keys(settings.keys)
    surroundings = dry_run(settings, Unsealer(keys, Blobs(settings.blobs)).field, keys.marker)
    try:
        found = foresee(Asking(str(author), recipients, header_of(_pieces(message))), surroundings)
    except HeaderTooLong:
        found = TurnedAway(HEADER_TOO_LONG, "message")
    match found:
        case Foreseen():
            click.echo(_as_json(found.to_json()) if as_json else _as_text(found, language), nl=False)
            raise click.exceptions.Exit(0 if found.all_served else NOT_SERVED)
        case TurnedAway(reply, field, which):
            where = f"--to {recipients[which]}" if which is not None else {"from": "--from", "to": "--to"}.get(field)
            if as_json:
                told = {"code": reply.code, "status": reply.status, "text": reply.text}
                click.echo(_as_json({"reply": told, "field": field}), nl=False)
            else:
                click.echo(f"Refused ({where or 'MESSAGE'}): {reply}")
        case OtherAuthor():
            click.echo("The From field of the message names another author than --from.", err=True)
    raise click.exceptions.Exit(TURNED_AWAY)


def _pieces(message: BinaryIO) -> Iterator[bytes]:
    from zegel.journey.explain import CHUNK

    while piece := message.read(CHUNK):
        yield piece


def _as_text(found: Foreseen, language: str) -> str:
    parts = [said_in(language, _SENT_NOTHING) + "\n", *(one.as_text(language) for one in found.recipients)]
    if found.warnings:
        parts.append(_list(_WARNED, found.warnings, language))
    return "\n".join(parts)


def _list(title: Bilingual, sentences: tuple[Bilingual, ...], language: str) -> str:
    return "".join((f"{said_in(language, title)}\n", *(f"  - {said_in(language, one)}\n" for one in sentences)))


# --- a stored decision -------------------------------------------------------------------------------------------


def _replay(
    recipient_id: uuid.UUID | None,
    submission_id: uuid.UUID | None,
    language: str,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    ready(config)
    from zegel.journey.custody.models import Recipient

    of = {"id": recipient_id} if recipient_id is not None else {"submission": submission_id}
    found = list(Recipient.objects.filter(**of).select_related("conversation").order_by("key"))
    if not found:
        raise Trouble(f"There is no such {'recipient' if recipient_id else 'submission'}. See: zegel evidence")
    told = [(one, *_replayed(one)) for one in found]
    if as_json:
        recipients = [
            {**explanation.to_json(), "decided_at": _moment(one), "same": same} for one, explanation, same in told
        ]
        click.echo(_as_json({"recipients": recipients}), nl=False)
    else:
        parts = (
            f"{said_in(language, _DECIDED)} {_moment(one)}\n{explanation.as_text(language)}"
            for one, explanation, _ in told
        )
        click.echo("\n".join(parts), nl=False)
    raise click.exceptions.Exit(0 if all(same for _, _, same in told) else NOT_SERVED)


def _moment(one: Recipient) -> str | None:
    return one.decided_at.isoformat(timespec="seconds") if one.decided_at else None


def _replayed(recipient: Recipient) -> tuple[Explanation, bool]:
    if recipient.plan is None:
        raise Trouble(f"Nothing has been decided yet for {recipient.address}. See: zegel evidence")
    try:
        replayed = replay(recipient.plan)
    except (UnknownPlan, KeyError, ValueError) as cause:
        raise Trouble(
            f"The decision for {recipient.address} was stored by a version that this one doesn't read, or before facts "
            "were stored with decisions."
        ) from cause
    explanation = explain_stored(Mailbox.parse(recipient.address), replayed, is_blind=recipient.conversation.is_blind)
    return explanation, gives_the_same_today(replayed)


def _as_json(told: dict[str, Any]) -> str:
    return json.dumps(told, ensure_ascii=False, indent=2) + "\n"


COMMANDS = (explain,)
