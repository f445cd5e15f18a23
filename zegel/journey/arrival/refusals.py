"""Every refusal a submitting server can meet beyond the grammar of SMTP: when, and in which words. Those of control
fields stand in ``docs/control-fields.md``.

``docs/submission.md`` prints this table; the replies themselves stand where they are decided.
"""

from __future__ import annotations

from typing import Final

from zegel.core.mail import fields
from zegel.core.mail.reply import Reply
from zegel.core.policy.submitting import (
    AUTHENTICATION_REQUIRED,
    CAP_REACHED,
    DKIM_MISSING,
    DKIM_UNKNOWN,
    SPF_REPLIES,
    Spf,
)
from zegel.core.policy.texts import TEXTS_CAPPED
from zegel.core.smtp.server import (
    AUTH_FIRST,
    BAD_CONTENT,
    TLS_FIRST,
    TOO_LARGE,
    TOO_MANY_ERRORS,
    TOO_MANY_IDLE,
    TOO_MANY_RECIPIENTS,
    TOO_MANY_SIGN_INS,
)
from zegel.edge.smtp_door import MADE_ROOM, SHUTTING_DOWN, TIMED_OUT, TOO_MANY
from zegel.journey.arrival.intake import DISK_FULL, HEADER_TOO_LONG, LOCAL_PROBLEM, LOOP
from zegel.journey.arrival.sender import (
    BAD_CREDENTIALS,
    DISABLED,
    NO_ACCOUNT,
    NO_DOMAIN,
    NOT_BOUND,
    NOT_KNOWN_NOW,
    OTHER_DOMAIN,
    SPF_TOO,
)

assert AUTH_FIRST == AUTHENTICATION_REQUIRED, "one refusal before authentication"


def _of_header(sentence: str) -> Reply:
    return Reply(550, "5.6.0", sentence)


REFUSALS: Final[tuple[tuple[str, Reply], ...]] = (
    ("`MAIL`, `RCPT` or `AUTH` before TLS", TLS_FIRST),
    ("`MAIL` without sign-in, where SPF proves nothing either", AUTHENTICATION_REQUIRED),
    ("credentials are unknown, wrong, disabled, or bound to other networks", BAD_CREDENTIALS),
    ("credentials, while the database can't be asked", NOT_KNOWN_NOW),
    ("five failed sign-ins on a connection; a sixth from one network within an hour", TOO_MANY_SIGN_INS),
    ("SPF: fail, softfail, neutral or none", SPF_REPLIES[Spf.FAIL]),
    ("SPF: permerror", SPF_REPLIES[Spf.PERMERROR]),
    ("SPF: temperror", SPF_REPLIES[Spf.TEMPERROR]),
    ("SPF passed for another domain than that of `From`, or for one that is no longer allowed", OTHER_DOMAIN),
    ("SPF is bound to DKIM, and no signature of the `From` domain is valid", DKIM_MISSING),
    ("likewise, and the key can't be looked up", DKIM_UNKNOWN),
    ("the `From` domain is not of the organisation, or its DNS settings are not in place", NO_DOMAIN),
    ("the `From` address has no active account", NO_ACCOUNT),
    ("the credentials are bound to other `From` addresses", NOT_BOUND),
    ("the credentials were disabled, or bound to other networks, in an open session", DISABLED),
    ("SPF was demanded beside the credentials, in an open session", SPF_TOO),
    ("a cap would be broken; an alarm is in the log", CAP_REACHED),
    ("it names a telephone number, and a cap on text messages is reached or leaves its country out", TEXTS_CAPPED),
    ("too many recipients in one transaction", TOO_MANY_RECIPIENTS),
    ("the message, or `SIZE`, is larger than `submission.max_size`", TOO_LARGE),
    ("the header section is too large", HEADER_TOO_LONG),
    ("bare CR, bare LF or NUL in the content", BAD_CONTENT),
    ("no `From` field, or more than one", _of_header(fields.ONE_FROM)),
    ("more than one address in it", _of_header(fields.TWO_AUTHORS)),
    ("a group in it", _of_header(fields.GROUP)),
    (
        "no address in it, or one without a domain, on an IP address, or on a name without a dot",
        _of_header(fields.NOT_AN_ADDRESS),
    ),
    ("an address beside that in angle brackets, in a comment, or encoded", _of_header(fields.TWO_READINGS)),
    ("a `From` field of more than 8192 octets", _of_header(fields.LONG_FROM)),
    (
        "a line above the first empty one that is no field, also with space before the colon",
        _of_header(fields.NO_FIELD),
    ),
    ("a header section that begins with a folded line", _of_header(fields.BEGINS_WITH_SPACE)),
    ("a header section that begins as in an mbox file", _of_header(fields.MBOX_SEPARATOR)),
    ("our own marker, or more than 100 `Received` fields", LOOP),
    ("less room than 16 MiB on the disk, or none", DISK_FULL),
    ("the database or the disk fails", LOCAL_PROBLEM),
    ("ten refusals with nothing accepted between them", TOO_MANY_ERRORS),
    ("200 of `NOOP`, `RSET`, `EHLO`, `MAIL` and the like with no message accepted between them", TOO_MANY_IDLE),
    ("nothing heard for five minutes; a command or 64 KiB of content that takes longer", TIMED_OUT),
    ("every place is taken by clients that have signed in", TOO_MANY),
    ("every place is taken, and this client was silent longest without having signed in", MADE_ROOM),
    ("Zegel stops", SHUTTING_DOWN),
)


def as_markdown() -> str:
    """The table, as ``docs/submission.md`` has it."""
    lines = ["| when | reply |", "|---|---|", *(f"| {when} | `{reply}` |" for when, reply in REFUSALS)]
    return "\n".join(lines) + "\n"
