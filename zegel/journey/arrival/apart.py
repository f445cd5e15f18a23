"""Recording in a process of its own, for all submission processes of a machine (ADR-48).

Where several processes commit by themselves they wait for each other's lock, each with its own thread in the way of its
own event loop. Here they hand over what is sealed and durable except for its rows, and one process commits for all.
"""

from __future__ import annotations

import errno
import marshal
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from zegel.core.mail.address import Domain, Mailbox
from zegel.core.mail.reply import Reply
from zegel.edge.database import Scribe, Writer, is_full
from zegel.edge.hatch import AnswerLost, Hatch, NobodyThere
from zegel.edge.log import Broken, log
from zegel.journey.arrival.record import AcceptedRecipient, Capped, Prepared, Recorded, record
from zegel.journey.arrival.sender import Submitter
from zegel.journey.custody.seal import NewConversation

Verdict = Recorded | Capped | Reply
Item = TypeVar("Item")
T = TypeVar("T")


class NotRecorded(Exception):
    """The recorder could not; the cause is in its log."""


class Recorder:
    """Has messages recorded by the process that serves at the hatch; by ``writer`` while nobody does, as everything
    else that is written here."""

    def __init__(self, hatch: Hatch, writer: Writer) -> None:
        self._hatch = hatch
        self._writer = writer

    async def write(self, work: Callable[[], T]) -> T:
        """As :meth:`zegel.edge.database.Writer.write`."""
        return await self._writer.write(work)

    async def write_together(self, together: Callable[[Sequence[Item]], Sequence[T]], item: Item) -> T:
        """As :meth:`zegel.edge.database.Writer.write_together`. Raises :class:`zegel.edge.hatch.AnswerLost` as well:
        then nobody knows whether it was recorded."""
        if together is record and isinstance(item, Prepared):
            try:
                answer = await self._hatch.ask(marshal.dumps(_told(item)))
            except NobodyThere:
                pass
            else:
                return _verdict(_loaded(answer))  # type: ignore[return-value]  # ``record`` gives verdicts
        return await self._writer.write_together(together, item)

    def close(self) -> None:
        """Answers that are still to come are lost."""
        self._hatch.close()
        self._writer.close()


def settle(asked: Sequence[bytes], scribe: Scribe) -> list[bytes]:
    """The recorder's side: everything that waits, in one transaction if that can be. Never raises: what can't be
    understood fails by itself, and ends neither the recorder nor anybody else's message."""
    understood = [_understood(one) for one in asked]
    recorded = iter(scribe.record(record, [one for one in understood if isinstance(one, Prepared)]))
    outcomes = [next(recorded) if isinstance(one, Prepared) else one for one in understood]
    return [marshal.dumps(_answer(one)) for one in outcomes]


def _understood(asked: bytes) -> Prepared | Exception:
    try:
        return _prepared(marshal.loads(asked))  # noqa: S302  # of a process of our own
    except Exception as cause:
        return cause


def _answer(outcome: Verdict | BaseException) -> tuple[Any, ...]:
    match outcome:
        case Recorded(recipients, content_kept):
            return "recorded", recipients, content_kept
        case Capped(cap, organisation, credential, reply):
            return "capped", cap, organisation, credential, reply.code, reply.status, reply.text
        case Reply(code, status, text):
            return "refused", code, status, text
        case _:
            log(Broken("recording", outcome))
            return ("full",) if is_full(outcome) else ("failed",)


def _loaded(answer: bytes) -> tuple[Any, ...]:
    try:
        found = marshal.loads(answer)  # noqa: S302  # of our own process
    except (EOFError, ValueError, TypeError):
        found = None
    if not isinstance(found, tuple):
        raise AnswerLost
    return found


def _verdict(answer: tuple[Any, ...]) -> Verdict:
    match answer:
        case ("recorded", recipients, content_kept):
            return Recorded(recipients, content_kept=content_kept)
        case ("capped", cap, organisation, credential, *reply):
            return Capped(cap, organisation, credential, Reply(*reply))
        case ("refused", *reply):
            return Reply(*reply)
        case ("full",):
            raise OSError(errno.ENOSPC, "the recorder has no space left")
        case _:
            raise NotRecorded


# --- on the way ---------------------------------------------------------------------------------------------------

# Both sides are the same version of the same program under the same account, so marshal will do: it costs a tenth of
# pickle, and can't be made to call anything.
_PLAIN: Final = (
    "size",
    "header_size",
    "sealed",
    "head",
    "reverse_path",
    "envelope_id",
    "requires_tls",
    "message_id",
    "identity",
    "directives",
    "source",
    "tls",
    "references",
    "warn",
)


def _told(one: Prepared) -> tuple[Any, ...]:
    return (
        one.submission.bytes,
        _of_submitter(one.submitter),
        _of_mailbox(one.author),
        one.content.bytes,
        one.at.isoformat(),
        [(_of_mailbox(to.mailbox), list(to.notify), to.original) for to in one.envelope.values()],
        [_of_mailbox(mailbox) for mailbox in one.shared],
        None if one.shared_conversation is None else _of_conversation(one.shared_conversation),
        [(_of_mailbox(mailbox), _of_conversation(its)) for mailbox, its in one.blind.items()],
        None if one.lives is None else (one.lives.days, one.lives.seconds, one.lives.microseconds),
        [(_of_mailbox(mailbox), country) for mailbox, country in one.texts_to.items()],
        [getattr(one, name) for name in _PLAIN],
    )


def _prepared(told: tuple[Any, ...]) -> Prepared:
    submission, submitter, author, content, at, envelope, shared, shared_conversation, blind, lives, texts, plain = told
    recipients = [AcceptedRecipient(_mailbox(to), frozenset(notify), original) for to, notify, original in envelope]
    texts_to: Mapping[Mailbox, str] = {_mailbox(to): country for to, country in texts}
    return Prepared(
        submission=uuid.UUID(bytes=submission),
        submitter=_submitter(submitter),
        author=_mailbox(author),
        content=uuid.UUID(bytes=content),
        at=datetime.fromisoformat(at),
        envelope={to.mailbox: to for to in recipients},
        shared=tuple([_mailbox(to) for to in shared]),
        shared_conversation=None if shared_conversation is None else _conversation(shared_conversation),
        blind={_mailbox(to): _conversation(its) for to, its in blind},
        lives=None if lives is None else timedelta(*lives),
        texts_to=texts_to,
        **dict(zip(_PLAIN, plain, strict=True)),
    )


def _of_mailbox(mailbox: Mailbox) -> tuple[str, str]:
    return mailbox.local, mailbox.domain.ascii


def _mailbox(told: tuple[str, str]) -> Mailbox:
    local, domain = told
    return Mailbox(local, Domain(domain))


def _of_conversation(one: NewConversation) -> tuple[bytes, bytes, bytes, bytes]:
    return one.id.bytes, one.message.bytes, one.gateway_slot, one.enclosed_message_key


def _conversation(told: tuple[bytes, bytes, bytes, bytes]) -> NewConversation:
    conversation, message, slot, key = told
    return NewConversation(uuid.UUID(bytes=conversation), uuid.UUID(bytes=message), slot, key)


def _of_submitter(one: Submitter) -> tuple[Any, ...]:
    proven = None if one.proven is None else one.proven.ascii
    return one.credential, one.organisation, one.region, one.address, one.needs_spf, proven, one.needs_dkim, one.token


def _submitter(told: tuple[Any, ...]) -> Submitter:
    credential, organisation, region, address, needs_spf, proven, needs_dkim, token = told
    domain = None if proven is None else Domain(proven)
    return Submitter(credential, organisation, region, address, needs_spf, domain, needs_dkim, token)
