"""The audit log: acts, and the chain of hashes that shows whether one was changed, left out or put in between.

An entry's hash covers what it says and the hash before it. Whoever can write to the database can write a whole new
chain; so each hash also goes to the log as it is made, and an export can be held against an older one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from enum import Enum
from typing import Any, Final

from zegel.core.clock import Instant

FIRST: Final = ""  # what stands before the first entry of a chain
LONGEST: Final = 300  # characters of a text in an entry
SHORTEST_TERM: Final = 90  # days; an entry is there at least as long as somebody may need to look for it
LONGEST_TERM: Final = 36_500
BEFORE: Final = ".before"  # at the end of the name of a setting: what it was
_FIELDS: Final = ("chain", "number", "at", "by_kind", "by", "act", "about", "details", "previous")
_LINE: Final = frozenset((*_FIELDS, "hash"))

Details = Mapping[str, "str | int | bool | list[str] | None"]


class Act(Enum):
    """What was done. The word is stored; it never gets another meaning."""

    # who signs in
    SIGNED_IN = "signed-in"
    PASSWORD_CHANGED = "password-changed"  # noqa: S105
    FACTOR_ADDED = "factor-added"
    FACTOR_REMOVED = "factor-removed"
    # the organisation
    ORGANISATION_ADDED = "organisation-added"
    ORGANISATION_CHANGED = "organisation-changed"
    ORGANISATION_ERASED = "organisation-erased"
    PROOF_CHANGED = "proof-changed"
    CAPS_CHANGED = "caps-changed"
    LOOK_CHANGED = "look-changed"
    # accounts
    ACCOUNT_ADDED = "account-added"
    ACCOUNT_CHANGED = "account-changed"
    ACCOUNT_TAKEN_IN = "account-taken-in"
    ACCOUNT_SUSPENDED = "account-suspended"
    ACCOUNT_RESUMED = "account-resumed"
    ACCOUNT_ERASED = "account-erased"
    ROLE_CHANGED = "role-changed"
    INVITED = "invited"
    INVITATION_WITHDRAWN = "invitation-withdrawn"
    READER_ADDED = "reader-added"
    READER_REMOVED = "reader-removed"
    MAILBOX_PASSED_ON = "mailbox-passed-on"
    PROVIDER_CHANGED = "provider-changed"
    # what submits, and programs
    CREDENTIAL_ISSUED = "credential-issued"
    CREDENTIAL_ROTATED = "credential-rotated"
    CREDENTIAL_PREVIOUS_ENDED = "credential-previous-ended"
    CREDENTIAL_BOUND = "credential-bound"
    CREDENTIAL_DISABLED = "credential-disabled"
    TOKEN_ISSUED = "token-issued"  # noqa: S105
    TOKEN_DISABLED = "token-disabled"  # noqa: S105
    WEBHOOK_ADDED = "webhook-added"
    WEBHOOK_CHANGED = "webhook-changed"
    WEBHOOK_REMOVED = "webhook-removed"
    # domains
    DOMAIN_ADDED = "domain-added"
    DOMAIN_REMOVED = "domain-removed"
    DOMAIN_IN_PLACE = "domain-in-place"
    DOMAIN_MISSING = "domain-missing"
    DOMAIN_REFUSED = "domain-refused"
    DKIM_ADDED = "dkim-added"  # a second key, for a domain that had one
    DKIM_ROTATED = "dkim-rotated"
    DKIM_WITHDRAWN = "dkim-withdrawn"  # before anything was signed with it
    DKIM_PREVIOUS_ENDED = "dkim-previous-ended"
    # policy
    POLICY_CHANGED = "policy-changed"
    DIRECT_DELIVERY_CHANGED = "direct-delivery-changed"
    DIRECT_DELIVERY_REMOVED = "direct-delivery-removed"
    MINIMUM_CHANGED = "minimum-changed"
    MINIMUM_REMOVED = "minimum-removed"
    LIST_ADDED = "list-added"
    LIST_CHANGED = "list-changed"
    LIST_REMOVED = "list-removed"
    ALARMS_CHANGED = "alarms-changed"
    # recipients
    VERIFICATION_ADDED = "verification-added"
    VERIFICATION_CHANGED = "verification-changed"
    VERIFICATION_REMOVED = "verification-removed"
    VERIFICATION_IMPORTED = "verification-imported"
    RECIPIENT_EXPORTED = "recipient-exported"
    RECIPIENT_ERASED = "recipient-erased"
    # messages
    MESSAGE_SUPPLIED = "message-supplied"  # a held recipient got what was lacking
    MESSAGE_REVOKED = "message-revoked"
    EXPIRY_CHANGED = "expiry-changed"
    METHOD_ALLOWED = "method-allowed"
    METHOD_REFUSED = "method-refused"
    NOTIFIED_AGAIN = "notified-again"
    PROOF_EXPORTED = "proof-exported"  # of delivery
    # the log itself, and the gateway
    AUDIT_EXPORTED = "audit-exported"
    AUDIT_TERM_CHANGED = "audit-term-changed"
    AUDIT_SHORTENED = "audit-shortened"
    TRACE_TERM_CHANGED = "trace-term-changed"
    TRACES_REMOVED = "traces-removed"  # their term was over
    BACKED_UP = "backed-up"
    RESTORED = "restored"
    QUEUE_RELEASED = "queue-released"
    QUEUE_ENDED = "queue-ended"


class ActorKind(Enum):
    """Who acts, as stored."""

    ACCOUNT = "account"
    TOKEN = "token"  # noqa: S105  # a program; the token's name
    COMMAND_LINE = "command-line"  # the user of the machine
    GATEWAY = "gateway"  # by itself


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts."""

    kind: ActorKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is hashed."""

    chain: int  # of an organisation; 0: the gateway's own
    number: int  # 1, 2, 3 … in its chain
    at: Instant
    by: Actor
    act: str
    about: str  # what it was done to: an address, a domain, the name of a credential
    details: Details
    previous: str  # hash of the entry before

    def written(self) -> dict[str, Any]:
        """As an export has it, without the hash."""
        values = (
            self.chain,
            self.number,
            self.at.isoformat(timespec="microseconds"),
            self.by.kind.value,
            self.by.name,
            self.act,
            self.about,
            dict(self.details),
            self.previous,
        )
        return dict(zip(_FIELDS, values, strict=True))

    @property
    def hash(self) -> str:
        """SHA-256 of what it says, in hexadecimal."""
        return hash_of(self.written())


def hash_of(written: Mapping[str, Any]) -> str:
    """Of an entry as an export has it; other fields don't count."""
    said = {name: written[name] for name in _FIELDS}
    octets = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
    return hashlib.sha256(octets).hexdigest()


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Details: of each setting that is another one now, what it is and what it was; empty: nothing was changed."""
    found: dict[str, Any] = {}
    for name in new:
        if old.get(name) != new[name]:
            found[name], found[name + BEFORE] = _plain(new[name]), _plain(old.get(name))
    return found


def _plain(value: Any) -> Any:
    return list(map(str, value)) if isinstance(value, tuple | list) else value


# --- how long ----------------------------------------------------------------------------------------------------


class NotATerm(ValueError):
    """How long entries are kept can't be this; the text says what can."""


def parse_term(text: str) -> int:
    """Days. Raises :class:`NotATerm`."""
    text = text.strip()
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(LONGEST_TERM))
    if not is_number or not SHORTEST_TERM <= int(text) <= LONGEST_TERM:
        raise NotATerm(f"write a whole number of days from {SHORTEST_TERM} to {LONGEST_TERM}, such as 365")
    return int(text)


def limit_of(days: int, now: Instant) -> Instant:
    """Entries from before this moment have been kept long enough. A midnight: the log, which tells of each removal,
    does so once a day at most."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days)


def removable(oldest: Sequence[tuple[Instant, str]], limit: Instant) -> int:
    """How many of the oldest entries, given as moment and act, may go: those from before ``limit``, up to the first
    that is younger. That entries were removed is removed with others alone, or the log would tell of it for ever."""
    count = 0
    for at, _ in oldest:
        if at >= limit:
            break
        count += 1
    return count if any(act != Act.AUDIT_SHORTENED.value for _, act in oldest[:count]) else 0


# --- verifying ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sound:
    """A chain, or the end of one, in which nothing is wrong."""

    entries: int
    first: int  # numbers; 0: there is none
    last: int
    head: str  # hash of the last entry
    is_whole: bool = False  # the last entry says that the log was exported, as that of every export does


@dataclass(frozen=True, slots=True)
class Unsound:
    """Where it is not what was written."""

    line: int  # from 1
    why: str  # in English, for whoever verifies


def exported(written: Mapping[str, Any], digest: str) -> str:
    """A line of an export: JSON, ASCII alone, in the order of what is hashed."""
    return json.dumps({**{name: written[name] for name in _FIELDS}, "hash": digest})


def understood(line: str) -> object:
    """What stands in a line of an export; ``None`` for what is no JSON, or can be read in two ways."""
    try:
        return json.loads(line, object_pairs_hook=_once_each, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _refused(constant: str) -> None:
    raise ValueError(constant)


def verify(lines: Iterable[object], *, known: str | None = None) -> Sound | Unsound:
    """Entries as they were exported, oldest first. ``known``: the hash of an entry that was exported earlier, which
    must be among them."""
    count, first, head, last = 0, 0, "", None
    is_known, is_explained = known is None, True
    for count, line in enumerate(lines, 1):
        if not isinstance(line, dict) or line.keys() != _LINE:
            return Unsound(count, "this is no entry of an audit log")
        if trouble := _trouble(line, last):
            return Unsound(count, trouble)
        if last is None:
            first, before = line["number"], line["previous"]
            is_explained = first == 1
        is_explained = is_explained or _tells_of_removal(line, first - 1, before)
        last, head = line, line["hash"]
        is_known = is_known or head == known
    if not is_explained:
        return Unsound(1, f"the entries before number {first} are not there, and none tells that their term was over")
    if not is_known:
        return Unsound(count, f"the entry with the hash {known} is not there")
    if last is None:
        return Sound(0, 0, 0, "")
    return Sound(count, first, last["number"], head, last["act"] == Act.AUDIT_EXPORTED.value)


def _trouble(line: Mapping[str, Any], last: Mapping[str, Any] | None) -> str:
    """What is wrong with an entry after ``last``; empty: nothing."""
    if hash_of(line) != line["hash"]:
        return "the entry was changed: its hash is another"
    number = line["number"]
    if type(number) is not int or number < 1:
        return "this is no entry of an audit log"
    if last is None:
        is_first = number == 1
        return "an entry stands before the first one" if is_first != (line["previous"] == FIRST) else ""
    if line["chain"] != last["chain"]:
        return "the entry is of another organisation"
    if number != last["number"] + 1:
        return f"entry {last['number'] + 1} is not there"
    return "" if line["previous"] == last["hash"] else "the entry before it is another than it was"


def _tells_of_removal(line: Mapping[str, Any], last: int, digest: str) -> bool:
    """The entry says that those up to number ``last``, which had that hash, were removed in order."""
    if line["act"] != Act.AUDIT_SHORTENED.value or not isinstance(line["details"], dict):
        return False
    return (line["details"].get("last"), line["details"].get("hash")) == (last, digest)
