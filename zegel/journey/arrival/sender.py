"""Who submits: by credentials, by SPF or by both, and the author it may submit for (seed: Vereisten; D-8)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from zegel.accounts import credentials
from zegel.accounts.models import Account, ApiToken, Organisation, SendingDomain, SmtpCredential
from zegel.core.clock import Duration
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.mail.reply import Reply
from zegel.core.policy.submitting import Caps, is_aligned, is_from, may_write_as
from zegel.core.secret import Secret
from zegel.edge import rows

AUTHENTICATED: Final = Reply(235, "2.7.0", "Authentication succeeded")
NOT_KNOWN_NOW: Final = Reply(454, "4.7.0", "Temporary authentication failure; try again later")  # RFC 4954 §6
BAD_CREDENTIALS: Final = Reply(535, "5.7.8", "These credentials are not known or were disabled")
DISABLED: Final = Reply(
    535, "5.7.8", "These credentials were disabled or may not be used from here; ask your administrator"
)
NO_ACCOUNT: Final = Reply(
    550, "5.7.1", "The From address has no active account here; ask your Zegel administrator to add one"
)
NO_DOMAIN: Final = Reply(
    550, "5.7.1", "The From domain is not a verified sending domain of your organisation; ask your Zegel administrator"
)
NOT_BOUND: Final = Reply(
    550, "5.7.1", "These credentials may not be used for this From address; ask your Zegel administrator"
)
SPF_TOO: Final = Reply(
    451, "4.7.0", "Your organisation now asks for SPF beside the credentials; connect again, and sign in anew"
)
OTHER_DOMAIN: Final = Reply(
    550, "5.7.1", "SPF passed for another domain than that of the From address; use the same domain in MAIL FROM"
)

_CREDENTIALS: Final = Organisation.Authentication.CREDENTIALS.value
_BOTH: Final = Organisation.Authentication.BOTH.value


@dataclass(frozen=True, slots=True)
class Submitter:
    """An authenticated client."""

    credential: int | None  # None: by SPF alone, or with a token
    organisation: int
    region: str
    address: str = ""  # of the client
    needs_spf: bool = False  # the organisation asks for SPF beside the credentials
    proven: Domain | None = None  # what SPF passed for in this transaction
    needs_dkim: bool = False  # and only with a valid signature of the From domain
    token: int | None = None  # of the API, which proves by itself
    with_previous: bool = field(default=False, compare=False)  # the secret that is being rotated out
    is_to_be_noted: bool = field(default=False, compare=False)  # :func:`note_use` is due


@dataclass(frozen=True, slots=True)
class Sender:
    """An author for whom the client may submit, by the ids of its rows."""

    account: int
    organisation: int
    lives: Duration | None  # how long conversations of the organisation live, if it says so
    organisation_caps: Caps
    credential_caps: Caps


def authenticate(username: str, secret: Secret[str], address: str = "") -> Submitter | str:
    """The client that these credentials belong to, or a word for the log why it isn't one. Reads the database: who
    signs in waits for no lock and no disk."""
    found = credentials.find(username, secret, address=address)
    if isinstance(found, str):
        return found
    return Submitter(
        found.credential,
        found.organisation,
        found.region,
        address=address,
        needs_spf=found.authentication == _BOTH,
        with_previous=found.with_previous,
        is_to_be_noted=found.is_to_be_noted,
    )


def note_use(submitter: Submitter) -> None:
    """Inside a transaction: the credential was used now."""
    assert submitter.credential is not None
    credentials.note_use(submitter.credential, with_previous=submitter.with_previous)


def spf_is_in_use() -> bool:
    """Some organisation lets SPF prove something; where none does, no stranger makes this server ask the DNS."""
    return Organisation.objects.exclude(authentication=_CREDENTIALS).exists()


def demands_both(organisation: int) -> bool:
    """The organisation asks for SPF beside the credentials, now."""
    return Organisation.objects.filter(id=organisation, authentication=_BOTH).exists()


def by_spf(proven: Domain, address: str, signed_in: Submitter | None) -> Submitter | None:
    """The submitter of one transaction for whose reverse-path SPF gave ``pass``; ``None``: it proves nothing here.

    The domain must be a sending domain in place of an organisation that lets SPF prove something, and the client in
    one of the networks that the organisation bound SPF to. Where both are demanded, both must be of one organisation.
    """
    found = rows.select(
        f"""SELECT o.id, o.region, o.authentication, o.spf_networks, o.spf_needs_dkim
        FROM {rows.table(SendingDomain)} d JOIN {rows.table(Organisation)} o ON o.id = d.organisation_id
        WHERE d.name = %s AND d.in_place""",  # noqa: S608
        (proven.ascii,),
    )
    if not found:
        return None
    organisation, region, authentication, networks, needs_dkim = found[0]
    if authentication == _CREDENTIALS or not is_from(address, rows.loaded(networks)):
        return None
    if signed_in is not None:
        is_ours = signed_in.organisation == organisation
        return replace(signed_in, proven=proven, needs_dkim=bool(needs_dkim)) if is_ours else None
    if authentication == _BOTH:
        return None
    return Submitter(None, organisation, region, address=address, proven=proven, needs_dkim=bool(needs_dkim))


def authorise(wanted: Collection[tuple[Submitter, Mailbox]]) -> dict[tuple[Submitter, Mailbox], Sender | Reply]:
    """Reads the database: may these clients submit for these authors, now? A verdict for each pair.

    Credentials that were disabled meanwhile, SPF that proves nothing any more, an author that the credentials are not
    bound to, a domain that is not in place, an account that is not active: refused.
    """
    return {(submitter, author): _judge(submitter, author) for submitter, author in wanted}


def _judge(submitter: Submitter, author: Mailbox) -> Sender | Reply:
    facts = _facts(submitter, author)
    if facts is None:
        return OTHER_DOMAIN if submitter.credential is None and submitter.token is None else DISABLED
    authors, networks, authentication, account, domain_in_place, proven_in_place, days, *caps = facts
    if networks is not None and not is_from(submitter.address, rows.loaded(networks)):
        return DISABLED
    if authentication == _BOTH and submitter.proven is None and submitter.token is None:
        return SPF_TOO
    if not domain_in_place:
        return NO_DOMAIN
    if submitter.proven is not None and not (proven_in_place and is_aligned(submitter.proven, author.domain)):
        return OTHER_DOMAIN
    if not may_write_as(author, rows.loaded(authors) if authors is not None else ()):
        return NOT_BOUND
    if account is None:
        return NO_ACCOUNT
    lives = timedelta(days=days) if days else None
    return Sender(account, submitter.organisation, lives, Caps(*caps[:4]), Caps(*caps[4:]))


_CAPS: Final = ("messages_per_hour", "messages_per_day", "recipients_per_hour", "recipients_per_day")


def _facts(submitter: Submitter, author: Mailbox) -> tuple[Any, ...] | None:
    """One question for all: the ORM would ask three, and each message asks them. ``None``: no longer a submitter."""
    named, shown = submitter.credential is not None, submitter.token is not None
    of_credential = ", ".join(f"c.{name}" if named else "NULL" for name in _CAPS)
    credential, token = rows.table(SmtpCredential), rows.table(ApiToken)
    found = rows.select(
        f"""SELECT {"c.authors, c.networks" if named else "NULL, NULL"}, o.authentication,
        a.id, d.id IS NOT NULL, p.id IS NOT NULL, o.expires_after_days,
        {", ".join(f"o.{name}" for name in _CAPS)}, {of_credential}
        FROM {rows.table(Organisation)} o
        {f"JOIN {credential} c ON c.organisation_id = o.id AND c.id = %s AND c.disabled_at IS NULL" if named else ""}
        {f"JOIN {token} t ON t.organisation_id = o.id AND t.id = %s AND t.disabled_at IS NULL" if shown else ""}
        LEFT JOIN {rows.table(Account)} a ON a.key = %s AND a.organisation_id = o.id AND a.is_active
        LEFT JOIN {rows.table(SendingDomain)} d ON d.name = %s AND d.organisation_id = o.id AND d.in_place
        LEFT JOIN {rows.table(SendingDomain)} p ON p.name = %s AND p.organisation_id = o.id AND p.in_place
        WHERE o.id = %s {"" if named or shown else "AND o.authentication = 'either'"}""",  # noqa: S608
        (
            *((submitter.credential,) if named else ()),
            *((submitter.token,) if shown else ()),
            author.key,
            author.domain.ascii,
            submitter.proven.ascii if submitter.proven is not None else "",
            submitter.organisation,
        ),
    )
    return found[0] if found else None
