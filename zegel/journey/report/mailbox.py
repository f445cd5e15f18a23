"""The mail for who says that a mailbox is theirs. Pages answer all alike; what is true goes to the mailbox (P14)."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from zegel.accounts import proving
from zegel.accounts.addresses import own_mailbox
from zegel.accounts.models import Account, MailboxProof, Organisation, SendingDomain
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.compose import compose
from zegel.core.mail.texts import (
    AccountWord,
    Invitation,
    Language,
    Mail,
    MailboxCode,
    account_mail,
    invitation_mail,
    mailbox_code_mail,
)
from zegel.core.policy import joining
from zegel.core.policy.joining import Purpose, Told
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.database import Readers, Writer
from zegel.journey import milestones
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import Recipient, Transmission
from zegel.journey.custody.unseal import Unsealer

ZONE: Final = ZoneInfo("Europe/Amsterdam")


@dataclass(frozen=True, slots=True)
class _Answer:
    """A mail that is to go out, and the code in it."""

    organisation: Organisation
    octets: bytes
    message_id: str
    to: Mailbox
    told: Told
    code: bytes | None


class MailboxMails:
    """Does the job that :func:`zegel.journey.milestones.mailbox_asked` makes."""

    def __init__(
        self, writer: Writer, readers: Readers, unsealer: Unsealer, *, url: str, now: Callable[[], Instant]
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._unsealer = unsealer
        self._url = url.rstrip("/")
        self._host = urlsplit(url).hostname or ""
        self._now = now

    async def tell(self, leased: Leased) -> None:
        """One mail, or none. A job that ran twice leaves one."""
        answer = await self._readers.read(lambda: self._answer(leased.subject))

        def record() -> None:
            jobs.finish(leased)
            proving.forget_old(self._now())
            if answer is not None and self._may_still_tell(leased.subject, answer):
                self._send(leased.subject, answer)

        await self._writer.write(record)

    def _may_still_tell(self, proof: uuid.UUID, answer: _Answer) -> bool:
        """Inside the transaction: other mails may have gone to the same mailbox meanwhile."""
        row = _to_tell(proof)
        return row is not None and self._told(row, _account(row)) is answer.told

    def _answer(self, proof: uuid.UUID) -> _Answer | None:
        row = _to_tell(proof)
        if row is None:
            return None
        account = _account(row)
        organisation, told = _who_writes(row.key, account), self._told(row, account)
        to = _on_record(row.key, account)
        if told is None or organisation is None or to is None:
            return None
        try:
            own = own_mailbox(organisation)
        except SendingDomain.DoesNotExist:
            return None
        code = _new_code(told)
        words = self._words(row, told, organisation, code)
        message_id = f"<{chance.identifier().hex}@{own[1].domain}>"
        octets = compose(
            author=own,
            to=to,
            subject=words.subject,
            text=words.text,
            html=words.html,
            message_id=message_id,
            at=self._now(),
            boundary=f"=_{secrets.token_hex(16)}",
        )
        mac = proving.mac(self._unsealer.keys.codes, row.id, code) if code is not None else None
        return _Answer(organisation, octets, message_id, to, told, mac)

    def _told(self, row: MailboxProof, account: Account | None) -> Told | None:
        was_recipient = Recipient.objects.filter(key=row.key).exists()
        known = proving.known(row, account, was_recipient=was_recipient, now=self._now())
        return joining.what_to_tell(Purpose(row.purpose), known)

    def _words(self, row: MailboxProof, told: Told, organisation: Organisation, code: Secret[str] | None) -> Mail:
        language: Language = "en" if row.language == "en" else "nl"
        if told is Told.INVITATION:
            assert code is not None
            token = proving.invitation_token(row.id, code)
            link = Secret(f"{self._url}/join/invited/{token.reveal()}")
            until = row.created_at + joining.INVITATION_LIFETIME
            return invitation_mail(Invitation(link, organisation.name, row.address, until), language, zone=ZONE)
        if code is not None:
            is_reset = row.purpose == Purpose.RESET.value
            shown = MailboxCode(code, organisation.name, self._host, is_reset, joining.CODE_LIFETIME)
            return mailbox_code_mail(shown, language)
        return account_mail(AccountWord(_KINDS[told], organisation.name, self._host), language)

    def _send(self, proof: uuid.UUID, answer: _Answer) -> None:
        identity, now = chance.identifier(), self._now()
        sealed = self._unsealer.wrap_field(answer.octets, name="transmission", owner=identity)
        MailboxProof.objects.filter(id=proof).update(told=answer.told.value, code=answer.code, mailed_to=str(answer.to))
        lives = _LIVES.get(answer.told)
        Transmission.objects.create(
            id=identity,
            organisation=answer.organisation,
            kind=Transmission.Kind.CODE if answer.told is Told.CODE else Transmission.Kind.NOTICE,
            address=str(answer.to),
            message_id=answer.message_id,
            sealed=sealed,
            created_at=now,
            expires_at=now + lives if lives is not None else None,
        )
        milestones.decided([identity], now=now)


_KINDS: Final[dict[Told, Literal["has-account", "no-account", "administrator", "changed"]]] = {
    Told.HAS_ACCOUNT: "has-account",
    Told.NO_ACCOUNT: "no-account",
    Told.ADMINISTRATOR: "administrator",
    Told.CHANGED: "changed",
}


_LIVES: Final[dict[Told, Duration]] = {
    Told.CODE: joining.CODE_LIFETIME,
    Told.INVITATION: joining.INVITATION_LIFETIME,
}
"""How long a mail is worth sending."""


def _to_tell(proof: uuid.UUID) -> MailboxProof | None:
    """Unless a mail went out for it already, or an invitation was ended before its mail was made."""
    return MailboxProof.objects.filter(id=proof, told="", used_at=None).first()


def _account(row: MailboxProof) -> Account | None:
    return Account.objects.select_related("organisation").filter(key=row.key).first()


def _who_writes(key: str, account: Account | None) -> Organisation | None:
    """The organisation of the account; else the one that wrote to this mailbox last."""
    if account is not None and account.organisation is not None:
        return account.organisation
    last = _last_written_to(key)
    return last.conversation.organisation if last is not None else None


def _on_record(key: str, account: Account | None) -> Mailbox | None:
    """The mailbox as its account has it; else as it was last written to. Never as it was typed by who asks: a receiving
    server may tell spellings apart that are one mailbox here."""
    if account is not None:
        known = account.email
    else:
        last = _last_written_to(key)
        known = last.address if last is not None else ""
    mailbox = Mailbox.parse(known) if known else None
    return mailbox if mailbox is not None and mailbox.key == key else None


def _last_written_to(key: str) -> Recipient | None:
    rows = Recipient.objects.filter(key=key).select_related("conversation__organisation")
    return rows.order_by("-conversation__created_at").first()


def _new_code(told: Told) -> Secret[str] | None:
    if told is Told.INVITATION:
        return proving.invitation_secret()
    if told is not Told.CODE:
        return None
    letters = "".join(secrets.choice(joining.ALPHABET) for _ in range(joining.CODE_LENGTH))
    return Secret(f"{letters[:4]}-{letters[4:]}")
