"""The words of the gateway's own mails and text messages, in Dutch and English.

Each mail is written once, as blocks, and printed twice: as text and as HTML. What others wrote (names, addresses,
subjects) is plain text in a block, and escaping happens in one place, the printing, so no mail can forget it.
Links and codes are revealed here and nowhere else. No content of a message ever comes here.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from typing import Final, Literal, NamedTuple, assert_never
from urllib.parse import urlsplit

from zegel.core.clock import Duration, Instant
from zegel.core.look import Palette, Shades
from zegel.core.mail.address import Mailbox
from zegel.core.own_texts import LONGEST as LONGEST_OWN
from zegel.core.own_texts import NO_WORDS, Words
from zegel.core.secret import Secret

Language = Literal["nl", "en"]
Method = Literal["account", "sms", "access_code", "email"]

# The colours of links where an organisation has none of its own.
PLAIN: Final = Palette(
    Shades("#1b5aa6", "#123e73", "#e9f0f8", "#ffffff"), Shades("#8ab8f0", "#b5d2f6", "#1c2d42", "#0c1a2b")
)
LONGEST_NAME: Final = 80
LONGEST_SUBJECT: Final = 160


class NotWords(ValueError):
    """A link, code or host that doesn't look like one: it is not put before a person."""


class Mail(NamedTuple):
    """What :func:`zegel.core.mail.compose.compose` takes."""

    subject: str
    text: str
    html: str


# --- what is told -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notification:
    """A message waits. ``subject`` is None where policy hides it; ``masked`` is the number an SMS code goes to."""

    sender_display: str
    sender_address: Mailbox
    organisation: str
    link: Secret[str]
    expires: Instant | None
    subject: Secret[str] | None
    method: Method
    masked: str | None
    is_anonymous: bool = False  # the subject of the mail names nobody
    is_reminder: bool = False  # an earlier mail said so already
    palette: Palette = PLAIN  # of the organisation
    own: Words = NO_WORDS  # of the organisation, in the language of the mail


@dataclass(frozen=True, slots=True)
class CodeMail:
    """Six digits for who asked for them, to open the message that ``sender_display`` sent at ``sent``."""

    code: Secret[str]
    sender_display: str
    sender_address: Mailbox
    organisation: str
    sent: Instant
    valid: Duration = timedelta(minutes=10)
    own: Words = NO_WORDS  # of the organisation, in the language of the mail


@dataclass(frozen=True, slots=True)
class Original:
    """Which message of the author a notice is about; ``subject`` is None where policy hides it."""

    sent: Instant
    subject: Secret[str] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A recipient answered in the portal; ``link`` leads to the author's inbox."""

    answerer_display: str
    answerer_address: Mailbox
    organisation: str
    link: Secret[str]
    original: Original


@dataclass(frozen=True, slots=True)
class AnswerWaits:
    """Somebody answered in a conversation, and another reader of it is told; ``sender`` is who began it. ``subject``
    and ``masked`` as in :class:`Notification`."""

    answerer_display: str
    answerer_address: Mailbox
    sender_display: str
    sender_address: Mailbox
    organisation: str
    link: Secret[str]
    expires: Instant | None
    subject: Secret[str] | None
    method: Method
    masked: str | None
    is_anonymous: bool = False  # the subject of the mail names nobody
    palette: Palette = PLAIN  # of the organisation
    own: Words = NO_WORDS  # of the organisation, in the language of the mail


@dataclass(frozen=True, slots=True)
class StrayAddress:
    """An access-right field names an address that is no recipient (D-4): nothing was done with it."""

    field: str
    address: Mailbox


@dataclass(frozen=True, slots=True)
class AssumedTransport:
    """A direct-delivery field that is not exactly right: for what was missing or invalid ``tls1.2`` and
    ``certificate-validation`` were taken (seed), and what it names above that (D-11)."""

    field: str


@dataclass(frozen=True, slots=True)
class NoFallBack:
    """A minimum-verification field without a valid value: no fall-back to e-mail verification (seed, D-3)."""

    field: str


@dataclass(frozen=True, slots=True)
class TransportForbidden:
    """A direct-delivery field asks what the organisation's policy doesn't allow for these recipients."""

    field: str
    recipients: tuple[Mailbox, ...]


Oddity = StrayAddress | AssumedTransport | NoFallBack | TransportForbidden


@dataclass(frozen=True, slots=True)
class Warned:
    """The one mail to an author about what is wrong with the control fields of a message."""

    original: Original
    oddities: tuple[Oddity, ...]


@dataclass(frozen=True, slots=True)
class CodeWithheld:
    """A recipient asked for a code, and the mail with it could not travel at the level that was demanded."""

    recipient: Mailbox
    organisation: str
    original: Original
    link: Secret[str]


Hindrance = Literal[
    "number-changed", "no-text-messages", "nothing-comes", "code-not-known", "code-refused", "no-sign-in"
]


@dataclass(frozen=True, slots=True)
class MethodAsked:
    """A recipient can't use the method that a message demands; ``link`` leads to the page where its author allows
    another one."""

    recipient: Mailbox
    why: Hindrance
    organisation: str
    original: Original
    link: Secret[str]


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device was remembered at ``at``; ``link`` leads to the page where its owner removes it."""

    browser: str  # roughly
    at: Instant
    until: Instant
    organisation: str
    link: Secret[str]


@dataclass(frozen=True, slots=True)
class HeldRecipient:
    """A recipient about whom nothing is known by which the policy allows to verify, and what would do."""

    address: Mailbox
    lacks: tuple[Method, ...]  # the safest first


@dataclass(frozen=True, slots=True)
class Held:
    """Recipients of one message are held until ``until`` (D-6); ``link`` leads to the page that mends it."""

    recipients: tuple[HeldRecipient, ...]
    organisation: str
    original: Original
    until: Instant
    link: Secret[str]
    is_reminder: bool


@dataclass(frozen=True, slots=True)
class Unread:
    """These recipients of one message have not opened it; each of them was reminded."""

    recipients: tuple[Mailbox, ...]
    organisation: str
    original: Original


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A file that stands behind ``link`` instead of in the message, because it is too large for mail (D-7)."""

    name: str
    size: int  # octets
    link: Secret[str]
    expires: Instant | None


@dataclass(frozen=True, slots=True)
class MailboxCode:
    """A code for who says that this mailbox is theirs: to make an account, or for another password."""

    code: Secret[str]
    organisation: str
    host: str
    is_reset: bool
    valid: Duration


@dataclass(frozen=True, slots=True)
class Invitation:
    """An administrator made an account for somebody, or opened the way in anew for who lost it."""

    link: Secret[str]
    organisation: str
    address: str  # of the account
    until: Instant


@dataclass(frozen=True, slots=True)
class DomainWord:
    """How a sending domain stands, for those who look after it. ``records``: what is not right, as name and type;
    ``link`` leads to its page, for who can sign in."""

    kind: Literal["missing", "refused", "in-place"]
    domain: str
    organisation: str
    records: tuple[tuple[str, str], ...]
    since: Instant  # something needed is missing; in place: it is right again
    refused_from: Instant  # where nothing changes
    link: Secret[str]


@dataclass(frozen=True, slots=True)
class AlarmLine:
    """One alarm, in the language of the mail."""

    kind: Literal["raised", "stands", "ended"]
    what: str
    remedy: str
    since: Instant
    is_critical: bool


@dataclass(frozen=True, slots=True)
class AlarmWord:
    """What is wrong, or not any more. ``organisation`` is empty where it is about the gateway itself, which ``host``
    names; ``link`` leads to the overview, for who can sign in."""

    organisation: str
    lines: tuple[AlarmLine, ...]
    link: Secret[str] | None
    host: str = ""


@dataclass(frozen=True, slots=True)
class AccountWord:
    """Somebody asked for an account or another password, and no code is the answer; or a password was changed."""

    kind: Literal["has-account", "no-account", "administrator", "changed"]
    organisation: str
    host: str


# --- blocks -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class _Facts:
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Way:
    """A link: a button, and in the text the address itself.

    It stands in both parts as often: what shows more addresses in one of them is suspect to scanners.
    """

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class _Digits:
    label: str
    code: str


_Block = _Paragraph | _Section | _Facts | _Way | _Digits


# --- the mails ----------------------------------------------------------------------------------------------------


def notification_mail(told: Notification, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """Who sends, what to do, until when, how to tell that it is real; ``zone`` is the one the recipient reads in.

    It says that only an answer in the portal is safe (seed: Beperkingen).
    """
    say = _speaker(language)
    sender = _name(told.sender_display, told.sender_address)
    link, host, beginning = _link(told.link)
    subject = _one_line(told.subject.reveal(), LONGEST_SUBJECT) if told.subject else ""
    line = say(f"Beveiligd bericht van {sender}", f"Secure message from {sender}")
    if told.is_anonymous:
        line = say("U hebt een beveiligd bericht", "You have a secure message")
    if told.is_reminder:
        line = say(f"Herinnering: {line[0].lower()}{line[1:]}", f"Reminder: {line[0].lower()}{line[1:]}")
    rows = [
        (say("Van", "From"), _who(told.sender_display, told.sender_address)),
        (say("Organisatie", "Organisation"), _name(told.organisation)),
    ]
    if subject:
        rows.append((say("Onderwerp", "Subject"), subject))
    if told.expires is not None:
        rows.append((say("Te openen tot", "Open before"), _when(told.expires, say, zone)))
    blocks: list[_Block] = [
        _Facts(tuple(rows)),
        *_introduction(told.own),
        _Paragraph(
            say(
                "Het bericht staat niet in deze e-mail. U leest het op een beveiligde pagina.",
                "The message is not in this e-mail. You read it on a secure page.",
            )
        ),
        _Way(say("Bericht openen", "Open the message"), link),
        _Section(say("Wat gebeurt er als u klikt?", "What happens when you click?"), _at_the_click(told, host, say)),
        _genuine(beginning, say),
        _Section(
            say("Antwoorden", "Answering"),
            say(
                "Antwoord op de beveiligde pagina: alleen dat antwoord is veilig. Een gewoon antwoord op deze e-mail "
                "komt wel aan bij de afzender, maar is niet beveiligd.",
                "Answer on the secure page: only that answer is safe. An ordinary reply to this e-mail does reach the "
                "sender, but it is not protected.",
            ),
        ),
        *_help(told.own, say),
    ]
    title = say(f"{sender} stuurde u een beveiligd bericht", f"{sender} sent you a secure message")
    if told.is_reminder:
        title = say(f"Het bericht van {sender} is nog niet geopend", f"The message from {sender} has not been opened")
    return _mail(f"{line}: {subject}" if subject else line, title, blocks, language, palette=told.palette)


def answer_waits_mail(told: AnswerWaits, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """To another reader of the conversation: that somebody answered, not what; with a way in of the reader's own."""
    say = _speaker(language)
    answerer = _name(told.answerer_display, told.answerer_address)
    sender = _name(told.sender_display, told.sender_address)
    is_sender = told.answerer_address.key == told.sender_address.key
    link, host, beginning = _link(told.link)
    subject = _one_line(told.subject.reveal(), LONGEST_SUBJECT) if told.subject else ""
    line = say(f"Beveiligd antwoord van {answerer}", f"Secure answer from {answerer}")
    if told.is_anonymous:
        line = say("U hebt een beveiligd antwoord", "You have a secure answer")
    rows = [(say("Antwoord van", "Answer from"), _who(told.answerer_display, told.answerer_address))]
    if not is_sender:
        rows.append((say("Op een bericht van", "To a message from"), _who(told.sender_display, told.sender_address)))
    rows.append((say("Organisatie", "Organisation"), _name(told.organisation)))
    if subject:
        rows.append((say("Onderwerp", "Subject"), subject))
    if told.expires is not None:
        rows.append((say("Te openen tot", "Open before"), _when(told.expires, say, zone)))
    blocks: list[_Block] = [
        _Facts(tuple(rows)),
        _Paragraph(
            say(
                "Het antwoord staat niet in deze e-mail. U leest het op een beveiligde pagina, onder het bericht dat u "
                "eerder kreeg.",
                "The answer is not in this e-mail. You read it on a secure page, below the message that you got "
                "before.",
            )
        ),
        _Way(say("Antwoord openen", "Open the answer"), link),
        _Section(say("Wat gebeurt er als u klikt?", "What happens when you click?"), _at_the_click(told, host, say)),
        _genuine(beginning, say),
        _Section(
            say("Antwoorden", "Answering"),
            say(
                "Antwoord op de beveiligde pagina: alleen dat antwoord is veilig. Een gewoon antwoord op deze e-mail "
                f"gaat naar {sender}, maar is niet beveiligd.",
                "Answer on the secure page: only that answer is safe. An ordinary reply to this e-mail goes to "
                f"{sender}, but it is not protected.",
            ),
        ),
        *_help(told.own, say),
    ]
    title = say(f"{answerer} heeft geantwoord", f"{answerer} has answered")
    if is_sender:
        title = say(f"{sender} schreef u opnieuw", f"{sender} wrote to you again")
    return _mail(f"{line}: {subject}" if subject else line, title, blocks, language, palette=told.palette)


def _introduction(own: Words) -> list[_Block]:
    """What the organisation says before everything else, where it says anything."""
    text = _one_line(own.introduction, LONGEST_OWN)
    return [_Paragraph(text)] if text else []


def _help(own: Words, say: _Say) -> list[_Block]:
    """Where the organisation says to turn with questions."""
    text = _one_line(own.help, LONGEST_OWN)
    return [_Section(say("Vragen of hulp nodig?", "Questions, or help needed?"), text)] if text else []


def _genuine(beginning: str, say: _Say) -> _Section:
    return _Section(
        say("Hoe weet u dat dit echt is?", "How do you know that this is genuine?"),
        say(
            f"De link begint met {beginning} en gaat nergens anders heen. Daar wordt u nooit gevraagd om het "
            "wachtwoord van uw e-mail, om bankgegevens of om een betaling. Twijfelt u? Bel de afzender dan op een "
            "nummer dat u al kende.",
            f"The link begins with {beginning} and leads nowhere else. There you are never asked for the password "
            "of your e-mail, for bank details or for a payment. In doubt? Call the sender on a number that you "
            "knew before.",
        ),
    )


def _at_the_click(told: Notification | AnswerWaits, host: str, say: _Say) -> str:
    nothing_needed = say(
        "U hoeft niets te installeren en geen account te maken.", "You need not install anything or make an account."
    )
    match told.method:
        case "account":
            return say(
                f"U komt op {host} en logt daar in met uw eigen account. Daarna ziet u het bericht.",
                f"You come to {host} and sign in there with your own account. Then you see the message.",
            )
        case "sms":
            masked = _one_line(told.masked or "", LONGEST_NAME).replace(" ", "\u00a0")
            number = masked or say("uw telefoon", "your phone")
            return say(
                f"U komt op {host}. Als u daar om een code vraagt, krijgt u die per sms op {number}. Met die code "
                f"opent u het bericht. {nothing_needed}",
                f"You come to {host}. When you ask for a code there, you get it by text message on {number}. With "
                f"that code you open the message. {nothing_needed}",
            )
        case "access_code":
            return say(
                f"U komt op {host} en vult daar de toegangscode in die u van de afzender hebt of krijgt. "
                f"De code staat niet in deze e-mail. {nothing_needed}",
                f"You come to {host} and enter the access code there that the sender gave or will give you. "
                f"The code is not in this e-mail. {nothing_needed}",
            )
        case "email":
            return say(
                f"U komt op {host}. Als u daar om een code vraagt, krijgt u die in een tweede e-mail op dit adres. "
                f"Met die code opent u het bericht. {nothing_needed}",
                f"You come to {host}. When you ask for a code there, you get it in a second e-mail at this address. "
                f"With that code you open the message. {nothing_needed}",
            )
        case unreachable:
            assert_never(unreachable)


def code_mail(told: CodeMail, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """The digits and what they are for. No link: who did not ask has nothing to click. The code is not in the
    subject, where a locked screen would show it."""
    say = _speaker(language)
    code, minutes = _code(told.code), _minutes(told.valid)
    sender = _name(told.sender_display, told.sender_address)
    blocks: list[_Block] = [
        _Digits(say("Uw code", "Your code"), code),
        _Paragraph(
            say(
                f"Vul deze code in op de pagina waar u erom vroeg. De code is {minutes} minuten geldig.",
                f"Enter this code on the page where you asked for it. It is valid for {minutes} minutes.",
            )
        ),
        _Facts(
            (
                (say("Bericht van", "Message from"), _who(told.sender_display, told.sender_address)),
                (say("Organisatie", "Organisation"), _name(told.organisation)),
                (say("Verzonden", "Sent"), _when(told.sent, say, zone)),
            )
        ),
        _Section(
            say("Vroeg u niet om een code?", "Didn’t you ask for a code?"),
            say(
                "Iemand vroeg om deze code. Was u dat niet, dan hoeft u niets te doen: zonder de code gaat het bericht "
                "niet open. Geef de code aan niemand, ook niet aan wie erom belt.",
                "Someone asked for this code. If it wasn’t you, ignore this e-mail: without the code the message stays "
                "closed. Give the code to nobody, not even to someone who calls for it.",
            ),
        ),
        *_help(told.own, say),
    ]
    line = say(f"Uw code voor het bericht van {sender}", f"Your code for the message from {sender}")
    return _mail(line, line, blocks, language)


def sms_text(code: Secret[str], host: str, language: Language, *, valid: Duration = timedelta(minutes=10)) -> str:
    """One line for people and a last one for browsers, which fill in the code on ``host`` alone (WebOTP).

    No name of a sender: a locked screen would tell who writes to whom. In the alphabet of GSM 03.38, so it stays
    one text message of at most 160 characters. Raises :class:`NotWords` where host or code are none.
    """
    digits, minutes = _code(code), _minutes(valid)
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]{0,60}[a-z0-9])?", host):
        raise NotWords("not a host name, or too long for one text message")
    say = _speaker(language)
    line = say(
        f"Uw code is {digits}, {minutes} minuten geldig. Niet gevraagd? Doe dan niets.",
        f"Your code is {digits}, valid for {minutes} minutes. Not asked for it? Do nothing.",
    )
    return f"{line}\n@{host} #{digits}"


def answer_mail(told: Answer, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """To the author: an answer waits in the inbox, and what it says is to be read there."""
    say = _speaker(language)
    answerer = _name(told.answerer_display, told.answerer_address)
    link, host, _ = _link(told.link)
    blocks: list[_Block] = [
        _Facts(
            (
                (say("Antwoord van", "Answer from"), _who(told.answerer_display, told.answerer_address)),
                *_original(told.original, say, zone),
                (say("Organisatie", "Organisation"), _name(told.organisation)),
            )
        ),
        _Paragraph(
            say(
                f"Het antwoord staat niet in deze e-mail. U leest het in uw postvak op {host}, nadat u hebt ingelogd.",
                f"The answer is not in this e-mail. You read it in your inbox on {host}, after signing in.",
            )
        ),
        _Way(say("Naar mijn postvak", "To my inbox"), link),
        _Section(
            say("Terugschrijven", "Writing back"),
            say(
                "Schrijf terug in uw postvak: dan blijft alles in één gesprek, en lezen allen die eraan deelnemen het. "
                f"Een antwoord vanuit uw mailprogramma gaat alleen naar {answerer}, als een nieuw bericht met de "
                "beveiliging die dat krijgt.",
                "Write back in your inbox: then all of it stays in one conversation, and everybody in it reads it. An "
                f"answer from your mail program goes to {answerer} alone, as a new message with the protection that "
                "such a message gets.",
            ),
        ),
    ]
    line = say(f"Beveiligd antwoord van {answerer}", f"Secure answer from {answerer}")
    title = say(f"{answerer} heeft geantwoord", f"{answerer} has answered")
    return _mail(line, title, blocks, language)


def warning_mail(told: Warned, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """To the author: what is wrong with the control fields and what was done instead. Addresses are named; numbers
    and codes have no place in :class:`Warned`, so they can't be."""
    say = _speaker(language)
    blocks: list[_Block] = [
        _Paragraph(
            say(
                "Uw bericht is aangenomen, maar niet alles ging zoals erin gevraagd werd.",
                "Your message was accepted, but not everything was done as it asks.",
            )
        ),
        _Facts(_original(told.original, say, zone)),
        *(_oddity(oddity, say) for oddity in told.oddities),
    ]
    line = say("Controleer de mailheaders van uw bericht", "Check the header fields of your message")
    return _mail(line, line, blocks, language)


def _oddity(oddity: Oddity, say: _Say) -> _Section:
    field = _one_line(oddity.field, LONGEST_NAME)
    match oddity:
        case StrayAddress(address=address):
            text = say(
                f"Het veld noemt {address}, maar dat adres is geen ontvanger van dit bericht. Er is niets mee gedaan. "
                "Controleer de spelling: voor de ontvanger die u bedoelde, geldt nu de gewone volgorde van "
                "verificatiemethoden.",
                f"The field names {address}, but that address is no recipient of this message. Nothing was done with "
                "it. Check the spelling: for the recipient you meant, the ordinary order of verification methods "
                "applies now.",
            )
        case AssumedTransport():
            text = say(
                "De waarde is niet helemaal begrepen. Wat ontbrak of ongeldig was, is gelezen als: tls tls1.2 auth "
                "certificate-validation.",
                "The value was not understood completely. What was missing or invalid was read as: tls tls1.2 auth "
                "certificate-validation.",
            )
        case NoFallBack():
            text = say(
                "De waarde ontbreekt of is ongeldig. Daarom wordt voor dit bericht niet teruggevallen op verificatie "
                "per e-mail.",
                "The value is missing or invalid. Therefore this message does not fall back to verification by e-mail.",
            )
        case TransportForbidden(recipients=recipients):
            shown = _addresses(recipients, say)
            text = say(
                "Het bericht vraagt om directe bezorging. Het beleid van uw organisatie staat dat niet toe voor "
                f"{shown}. Voor deze ontvangers geldt alleen wat wel is toegestaan.",
                "The message asks for direct delivery. Your organisation’s policy doesn’t allow that for "
                f"{shown}. For these recipients only what is allowed counts.",
            )
        case unreachable:
            assert_never(unreachable)
    return _Section(field, text)


_MOST_NAMED: Final = 20  # recipients in one mail; the rest is counted


def _addresses(mailboxes: Sequence[Mailbox], say: _Say) -> str:
    shown = ", ".join(str(one) for one in mailboxes[:_MOST_NAMED])
    more = len(mailboxes) - _MOST_NAMED
    return say(f"{shown} en nog {more}", f"{shown} and {more} more") if more > 0 else shown


def held_mail(told: Held, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """To the author: who waits, for what, until when, and the page that mends it. No number, no code can be in it."""
    say = _speaker(language)
    link, host, _ = _link(told.link)
    named = told.recipients[:_MOST_NAMED]
    can_fill_in = any({"sms", "access_code"} & set(one.lacks) for one in told.recipients)
    rows = [(str(one.address), _lacking(one.lacks, say)) for one in named]
    if len(told.recipients) > len(named):
        more = len(told.recipients) - len(named)
        rows.append((say(f"en nog {more}", f"and {more} more"), say("zie de pagina", "see the page")))
    blocks: list[_Block] = [
        _Paragraph(
            say(
                "Uw organisatie eist voor deze ontvangers een manier van verifiëren waarvoor nog niets bekend is. Zij "
                "hebben uw bericht nog niet gekregen. Andere ontvangers hebben er geen last van.",
                "For these recipients your organisation demands a way of verification for which nothing is known yet. "
                "They have not got your message. Other recipients are not affected.",
            )
        ),
        _Facts((*_original(told.original, say, zone), (say("Organisatie", "Organisation"), _name(told.organisation)))),
        _Facts(tuple(rows)),
        _Way(
            say("Aanvullen en versturen", "Fill in and send")
            if can_fill_in
            else say("Bekijken wie wacht", "See who waits"),
            link,
        ),
        _Section(
            say("Wat kunt u doen?", "What can you do?"),
            _what_to_do(host, say) if can_fill_in else _what_the_recipient_can_do(say),
        ),
        _Section(
            say("Tot wanneer?", "Until when?"),
            say(
                f"Is er op {_when(told.until, say, zone)} nog niets bekend, dan wordt het bericht niet bezorgd en "
                "krijgt de afzender daarvan een melding.",
                f"If nothing is known by {_when(told.until, say, zone)}, the message is not delivered and the sender "
                "gets a report of it.",
            ),
        ),
    ]
    line = say("Uw bericht wacht op gegevens van een ontvanger", "Your message waits for data of a recipient")
    if told.is_reminder:
        line = say(f"Herinnering: {line[0].lower()}{line[1:]}", f"Reminder: {line[0].lower()}{line[1:]}")
    return _mail(line, line, blocks, language)


def _what_to_do(host: str, say: _Say) -> str:
    return say(
        f"Log in op {host} en vul in wat er bij de ontvanger staat. Het bericht gaat dan meteen uit, en wat u invulde "
        "wordt onthouden voor latere berichten. Een beheerder van uw organisatie kan het ook doen.",
        f"Sign in on {host} and fill in what is named beside the recipient. The message then goes out at once, and "
        "what you filled in is remembered for later messages. An administrator of your organisation can do it too.",
    )


def _what_the_recipient_can_do(say: _Say) -> str:
    return say(
        "Een account kunt u niet invullen. Zodra de ontvanger hier een account met een tweede factor heeft, gaat het "
        "bericht vanzelf uit.",
        "An account can’t be filled in. As soon as the recipient has an account here with a second factor, the message "
        "goes out by itself.",
    )


def _lacking(methods: tuple[Method, ...], say: _Say) -> str:
    words = {
        "account": say("een account met een tweede factor", "an account with a second factor"),
        "sms": say("een mobiel nummer", "a mobile number"),
        "access_code": say("een toegangscode", "an access code"),
        "email": say("e-mailverificatie", "e-mail verification"),
    }
    shown = sorted(methods, key=lambda method: method == "account")  # what the author can do something about goes first
    return say(" of ", " or ").join(words[method] for method in shown) or say("zie de pagina", "see the page")


def unread_mail(told: Unread, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """To the author, once: who has not opened, that they were reminded, and what else helps."""
    say = _speaker(language)
    blocks: list[_Block] = [
        _Facts(
            (
                *_original(told.original, say, zone),
                (say("Nog niet geopend door", "Not opened yet by"), _addresses(told.recipients, say)),
                (say("Organisatie", "Organisation"), _name(told.organisation)),
            )
        ),
        _Paragraph(
            say(
                "Deze ontvangers kregen de notificatie, en nu een herinnering. U hoeft niets te doen. Is er haast bij, "
                "bel dan even: misschien staat de e-mail bij de ongewenste post, of is het nummer of de toegangscode "
                "niet meer bruikbaar.",
                "These recipients got the notification, and a reminder now. You need not do anything. If it is urgent, "
                "call them: the e-mail may be among the junk, or the number or access code may be of no use any more.",
            )
        ),
        _Paragraph(say("Dit bericht krijgt u één keer.", "You get this message once.")),
    ]
    line = say("Uw bericht is nog niet door iedereen geopend", "Your message has not been opened by everybody yet")
    return _mail(line, line, blocks, language)


def mailbox_code_mail(told: MailboxCode, language: Language) -> Mail:
    """Eight characters, where they go, and what it means when one didn't ask."""
    say = _speaker(language)
    code, minutes = told.code.reveal(), _minutes(told.valid)
    if not re.fullmatch("[A-Z0-9]{4}-[A-Z0-9]{4}", code):
        raise NotWords("not a code")
    line = say("Uw code voor een nieuw wachtwoord", "Your code for a new password")
    if not told.is_reset:
        line = say("Uw code om een account te maken", "Your code to make an account")
    blocks: list[_Block] = [
        _Digits(say("Uw code", "Your code"), code),
        _Paragraph(
            say(
                f"Vul deze code in op de pagina van {told.host} waar u erom vroeg. De code is {minutes} minuten "
                "geldig.",
                f"Enter this code on the page of {told.host} where you asked for it. It is valid for {minutes} "
                "minutes.",
            )
        ),
        _Section(
            say("Vroeg u hier niet om?", "Did you not ask for this?"),
            say(
                "Dan vulde iemand anders uw adres in. Zonder deze code gebeurt er niets. Geef de code aan niemand, ook "
                "niet aan wie u erom belt.",
                "Then somebody else entered your address. Nothing happens without this code. Give it to nobody, not to "
                "somebody who calls you for it either.",
            ),
        ),
        _Paragraph(_through(told.organisation, told.host, say)),
    ]
    return _mail(line, line, blocks, language)


def invitation_mail(told: Invitation, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """Whose account it is, what it is for, and the way to a password and a second factor."""
    say = _speaker(language)
    organisation = _name(told.organisation)
    link, host, beginning = _link(told.link)
    line = say(f"Uw account bij {organisation}", f"Your account at {organisation}")
    blocks: list[_Block] = [
        _Facts(
            (
                (say("Organisatie", "Organisation"), organisation),
                (say("Account", "Account"), _one_line(told.address, LONGEST_NAME)),
                (say("Te gebruiken tot", "Use before"), _when(told.until, say, zone)),
            )
        ),
        _Paragraph(
            say(
                f"Een beheerder van {organisation} nodigt u uit om in te loggen op {host}. Daar leest en beantwoordt u "
                "beveiligde berichten.",
                f"An administrator of {organisation} invites you to sign in at {host}. There you read and answer "
                "secure messages.",
            )
        ),
        _Way(say("Account in gebruik nemen", "Set up your account"), link),
        _Section(
            say("Wat gebeurt er als u klikt?", "What happens when you click?"),
            say(
                f"U komt op {host}. U kiest daar een wachtwoord en stelt een tweede stap in, zoals een app op uw "
                "telefoon. De link werkt één keer: stuur deze e-mail aan niemand door.",
                f"You come to {host}. There you choose a password and set up a second step, such as an app on your "
                "phone. The link works once: do not pass this e-mail on to anybody.",
            ),
        ),
        _Section(
            say("Hoe weet u dat dit echt is?", "How do you know that this is genuine?"),
            say(
                f"De link begint met {beginning} en gaat nergens anders heen. Twijfelt u? Vraag het uw beheerder, op "
                "een manier die u al kende.",
                f"The link begins with {beginning} and leads nowhere else. In doubt? Ask your administrator, in a way "
                "that you knew before.",
            ),
        ),
    ]
    return _mail(line, line, blocks, language)


def domain_mail(told: DomainWord, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """What is missing, since when, what follows and when, and where to look."""
    say = _speaker(language)
    link, _, _ = _link(told.link)
    domain = _one_line(told.domain, LONGEST_NAME)
    since, refused = _when(told.since, say, zone), _when(told.refused_from, say, zone)
    line, text, when = {
        "missing": (
            say(f"DNS-records van {domain} ontbreken", f"DNS records of {domain} are missing"),
            say(
                "Records die Zegel nodig heeft, staan niet of anders in de DNS. Mail van dit domein wordt nog "
                "aangenomen. Staan ze er dan nog niet, dan wordt die geweigerd vanaf het genoemde moment.",
                "Records that Zegel needs are not in the DNS, or differ. Mail of this domain is still accepted. If "
                "they are not there by then, it is refused from the moment below.",
            ),
            (say("Wordt geweigerd vanaf", "Refused from"), refused),
        ),
        "refused": (
            say(f"Mail van {domain} wordt geweigerd", f"Mail of {domain} is refused"),
            say(
                "Records die Zegel nodig heeft, ontbreken te lang. Mail van het domein wordt geweigerd tot ze er weer "
                "staan. Wat al was aangenomen, wordt nog afgeleverd.",
                "Records that Zegel needs have been missing for too long. Mail of the domain is refused until they "
                "are back. What was accepted before is still delivered.",
            ),
            (say("Ontbreekt sinds", "Missing since"), since),
        ),
        "in-place": (
            say(f"DNS-records van {domain} staan er weer", f"DNS records of {domain} are back"),
            say(
                "Alles wat nodig is, is gevonden. Mail van het domein wordt aangenomen.",
                "All that is needed was found. Mail of the domain is accepted.",
            ),
            (say("Gevonden op", "Found on"), since),
        ),
    }[told.kind]
    facts = [
        (say("Organisatie", "Organisation"), _name(told.organisation)),
        (say("Domein", "Domain"), domain),
        *((say("Niet in orde", "Not right"), f"{_one_line(name, 260)} {kind}") for name, kind in told.records),
        when,
    ]
    blocks: list[_Block] = [
        _Paragraph(text),
        _Facts(tuple(facts)),
        _Way(say("Zie wat er moet staan", "See what is expected"), link),
    ]
    return _mail(line, line, blocks, language)


def alarm_mail(told: AlarmWord, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """What is wrong, since when, and what to do; what ended comes last. The subject says how much of each."""
    say = _speaker(language)
    begins = [one for one in told.lines if one.kind == "raised"]
    stands = [one for one in told.lines if one.kind == "stands"]
    ended = [one for one in told.lines if one.kind == "ended"]
    blocks: list[_Block] = [
        _Facts(
            ((say("Organisatie", "Organisation"), _name(told.organisation)),)
            if told.organisation
            else ((say("Gateway", "Gateway"), _one_line(told.host, LONGEST_NAME)),)
        )
    ]
    for one in (*begins, *stands):
        since = _when(one.since, say, zone)
        soon = say("Nu naar kijken", "To be looked at now") if one.is_critical else say("Binnenkort", "Soon")
        blocks.append(
            _Section(
                _one_line(one.what, _ALARM), say(f"{soon}. Sinds {since}. ", f"{soon}. Since {since}. ") + one.remedy
            )
        )
    for one in ended:
        blocks.append(_Section(say("Voorbij", "Ended"), _one_line(one.what, _ALARM)))
    if told.link is not None:
        blocks.append(_Way(say("Zie hoe het nu staat", "See how it stands now"), _link(told.link)[0]))
    return _mail(_alarms(begins, stands, ended, say), _alarms(begins, stands, ended, say), blocks, language)


_ALARM: Final = 400  # characters


def _alarms(begins: list[AlarmLine], stands: list[AlarmLine], ended: list[AlarmLine], say: _Say) -> str:
    if begins:
        line = say("Zegel vraagt om aandacht", "Zegel asks for attention")
        if any(one.is_critical for one in begins):
            line = say("Zegel vraagt nu om aandacht", "Zegel asks for attention now")
    elif stands:
        line = say("Zegel vraagt nog steeds om aandacht", "Zegel still asks for attention")
    else:
        return say("Wat mis was in Zegel, is voorbij", "What was wrong in Zegel has ended")
    number = len(begins) + len(stands)
    return line if number == 1 else f"{line} ({number})"


def account_mail(told: AccountWord, language: Language) -> Mail:
    """What the page may not say, since anybody can ask it (P14)."""
    say = _speaker(language)
    host = told.host
    title, text = {
        "has-account": (
            say("U hebt al een account", "You have an account already"),
            say(
                f"Iemand vroeg op {host} om een account voor dit adres. Dat is er al: log in. Weet u het wachtwoord "
                "niet "
                "meer, kies daar dan ‘Wachtwoord vergeten?’.",
                f"Somebody asked at {host} for an account for this address. There is one: sign in. Do you no longer "
                "know "
                "the password? Then choose “Forgot your password?” there.",
            ),
        ),
        "no-account": (
            say("Er is geen account voor dit adres", "There is no account for this address"),
            say(
                f"Iemand vroeg op {host} om een nieuw wachtwoord voor dit adres, maar er is geen account dat af is. U "
                "kunt "
                "er daar een maken. Beveiligde berichten opent u ook zonder account, met de link in de notificatie.",
                f"Somebody asked at {host} for a new password for this address, but there is no account that was "
                "finished. "
                "You can make one there. You can open secure messages without one too, with the link in the "
                "notification.",
            ),
        ),
        "administrator": (
            say("Uw beheerder gaat over dit account", "Your administrator looks after this account"),
            say(
                f"Iemand vroeg op {host} om een account of een nieuw wachtwoord voor dit adres. Accounts voor dit "
                "adres "
                "maakt en herstelt de beheerder van uw organisatie. Vraag het daar.",
                f"Somebody asked at {host} for an account or a new password for this address. The administrator of "
                "your "
                "organisation makes and mends accounts for this address. Ask there.",
            ),
        ),
        "changed": (
            say("Uw wachtwoord is gewijzigd", "Your password was changed"),
            say(
                f"Het wachtwoord van uw account op {host} is zojuist gewijzigd, met een code uit deze mailbox en uw "
                "tweede "
                "stap. Overal waar u was ingelogd, bent u uitgelogd.",
                f"The password of your account at {host} was changed just now, with a code from this mailbox and your "
                "second "
                "step. Wherever you were signed in, you were signed out.",
            ),
        ),
    }[told.kind]
    last = say(
        "Was u dit niet? Dan hoeft u niets te doen: er is niets veranderd.",
        "Was this not you? Then you need not do anything: nothing was changed.",
    )
    if told.kind == "changed":
        last = say(
            "Was u dit niet? Maak dan meteen zelf een nieuw wachtwoord, en kijk bij Beveiliging wie er nog kan "
            "inloggen.",
            "Was this not you? Then make a new password yourself at once, and look under Security who else can sign "
            "in.",
        )
    blocks: list[_Block] = [_Paragraph(text), _Paragraph(last), _Paragraph(_through(told.organisation, host, say))]
    return _mail(title, title, blocks, language)


def _through(organisation: str, host: str, say: _Say) -> str:
    name = _name(organisation)
    return say(f"{name} verstuurt beveiligde berichten via {host}.", f"{name} sends secure messages through {host}.")


def large_file_text(told: LargeFile, language: Language, *, zone: tzinfo = UTC) -> str:
    """In a readable message, in the place of the file: where it is, and how it is got."""
    say = _speaker(language)
    link, host, _ = _link(told.link)
    name = _one_line(told.name, LONGEST_NAME) or say("Een bestand", "A file")
    megabytes = f"{max(told.size / 1_000_000, 0.1):.1f}".replace(".", say(",", "."))
    until = ""
    if told.expires is not None:
        when = _when(told.expires, say, zone)
        until = say(f" Dat kan tot {when}.", f" You can do so until {when}.")
    return say(
        f"{name} ({megabytes} MB) is te groot voor e-mail. U haalt het bestand op een beveiligde pagina op:\n\n"
        f"{link}\n\n"
        f"U komt op {host}. Daar vraagt u om een code, die u per e-mail op dit adres krijgt.{until}\n",
        f"{name} ({megabytes} MB) is too large for e-mail. You get the file on a secure page:\n\n{link}\n\n"
        f"You come to {host}. There you ask for a code, which you get by e-mail at this address.{until}\n",
    )


def code_withheld_mail(told: CodeWithheld, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """To the author: a recipient can't be reached by e-mail code at the level the message demands, and the way out."""
    say = _speaker(language)
    link, _, _ = _link(told.link)
    blocks: list[_Block] = [
        _Facts(
            (
                (say("Ontvanger", "Recipient"), str(told.recipient)),
                *_original(told.original, say, zone),
                (say("Organisatie", "Organisation"), _name(told.organisation)),
            )
        ),
        _Paragraph(
            say(
                "De ontvanger vroeg om een code per e-mail. De mailserver van de ontvanger haalde op dat moment niet "
                "de beveiliging die voor dit bericht geldt. Daarom is er geen code verstuurd en is het bericht nog "
                "niet geopend.",
                "The recipient asked for a code by e-mail. At that moment the recipient’s mail server did not meet the "
                "security that applies to this message. Therefore no code was sent and the message has not been "
                "opened yet.",
            )
        ),
        _Paragraph(
            say(
                "U kunt een mobiel nummer of een toegangscode voor deze ontvanger opgeven. De ontvanger kan het ook "
                "later nog eens proberen.",
                "You can give a mobile number or an access code for this recipient. The recipient can also try again "
                "later.",
            )
        ),
        _Way(say("Andere manier kiezen", "Choose another way"), link),
    ]
    line = say("Een ontvanger kan uw bericht niet openen", "A recipient cannot open your message")
    return _mail(line, line, blocks, language)


def method_asked_mail(told: MethodAsked, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """To the author: who can't open the message and why, and the page that mends it. What a recipient says is one of
    our own sentences. Who reads the recipient's mailbox can ask it too, and the mail says so."""
    say = _speaker(language)
    link, host, _ = _link(told.link)
    blocks: list[_Block] = [
        _Facts(
            (
                (say("Ontvanger", "Recipient"), str(told.recipient)),
                (say("Wat er aan de hand is", "What is wrong"), _hindrance(told.why, say)),
                *_original(told.original, say, zone),
                (say("Organisatie", "Organisation"), _name(told.organisation)),
            )
        ),
        _Section(
            say("Eerst even controleren", "Check first"),
            say(
                "Iedereen die de mailbox van de ontvanger leest, kan dit vragen. Bel de ontvanger daarom op een nummer "
                "dat u al kende, vooral als u een nieuw nummer invult.",
                "Whoever reads the recipient’s mailbox can ask this. So call the recipient on a number that you knew "
                "before, above all if you fill in a new number.",
            ),
        ),
        _Section(
            say("Dan kiezen", "Then choose"),
            say(
                f"Log in op {host} en sta een andere manier toe, of wijs het af. De ontvanger krijgt bij een andere "
                "manier meteen een nieuwe notificatie; doet u niets, dan blijft alles zoals het is.",
                f"Sign in on {host} and allow another way, or refuse. With another way the recipient gets a new "
                "notification at once; if you do nothing, all stays as it is.",
            ),
        ),
        _Way(say("Andere manier kiezen", "Choose another way"), link),
    ]
    line = say(
        "Een ontvanger vraagt om een andere manier om uw bericht te openen",
        "A recipient asks for another way to open your message",
    )
    return _mail(line, line, blocks, language)


def _hindrance(why: Hindrance, say: _Say) -> str:
    match why:
        case "number-changed":
            return say("Het mobiele nummer is veranderd.", "The mobile number has changed.")
        case "no-text-messages":
            return say("De ontvanger kan geen sms ontvangen.", "The recipient can’t get text messages.")
        case "nothing-comes":
            return say("De code komt niet aan.", "The code doesn’t arrive.")
        case "code-not-known":
            return say("De ontvanger weet de toegangscode niet.", "The recipient doesn’t know the access code.")
        case "code-refused":
            return say("De toegangscode wordt niet aangenomen.", "The access code is refused.")
        case "no-sign-in":
            return say("De ontvanger kan niet inloggen.", "The recipient can’t sign in.")
        case unreachable:
            assert_never(unreachable)


def new_device_mail(told: NewDevice, language: Language, *, zone: tzinfo = UTC) -> Mail:
    """To the recipient whose messages open on it: when, roughly which browser, and how it is forgotten."""
    say = _speaker(language)
    link, _, _ = _link(told.link)
    organisation = _name(told.organisation)
    blocks: list[_Block] = [
        _Paragraph(
            say(
                f"Op dit apparaat openen berichten van {organisation} voortaan zonder code.",
                f"On this device messages from {organisation} open without a code from now on.",
            )
        ),
        _Facts(
            (
                (say("Browser", "Browser"), _one_line(told.browser, LONGEST_NAME)),
                (say("Onthouden op", "Remembered on"), _when(told.at, say, zone)),
                (say("Tot", "Until"), _when(told.until, say, zone)),
            )
        ),
        _Section(
            say("Was u dit niet?", "Wasn’t it you?"),
            say(
                "Dan kan iemand anders uw mailbox lezen. Verwijder het apparaat meteen en verander het wachtwoord van "
                "uw e-mail. De pagina vraagt eerst om een code.",
                "Then somebody else can read your mailbox. Remove the device at once, and change the password of your "
                "e-mail. The page asks for a code first.",
            ),
        ),
        _Way(say("Apparaten bekijken of verwijderen", "See or remove devices"), link),
    ]
    line = say(f"Nieuw apparaat voor berichten van {organisation}", f"New device for messages from {organisation}")
    return _mail(line, line, blocks, language)


# --- phrases ------------------------------------------------------------------------------------------------------

_Say = Callable[[str, str], str]


def _speaker(language: Language) -> _Say:
    return (lambda nl, en: nl) if language == "nl" else (lambda nl, en: en)


def _original(original: Original, say: _Say, zone: tzinfo) -> tuple[tuple[str, str], ...]:
    rows = [(say("Uw bericht van", "Your message of"), _when(original.sent, say, zone))]
    if original.subject is not None:
        rows.append((say("Onderwerp", "Subject"), _one_line(original.subject.reveal(), LONGEST_SUBJECT)))
    return tuple(rows)


_MONTHS_NL: Final = (
    "januari", "februari", "maart", "april", "mei", "juni",
    "juli", "augustus", "september", "oktober", "november", "december",
)  # fmt: skip
_MONTHS_EN: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def _when(at: Instant, say: _Say, zone: tzinfo) -> str:
    there = at.astimezone(zone)
    month = say(_MONTHS_NL[there.month - 1], _MONTHS_EN[there.month - 1])
    clock = f"{there.hour:02}:{there.minute:02}"
    zone_name = f" ({there.tzname()})" if there.tzname() else ""
    return say(
        f"{there.day} {month} {there.year}, {clock} uur{zone_name}",
        f"{there.day} {month} {there.year}, {clock}{zone_name}",
    )


def _minutes(valid: Duration) -> int:
    return int(valid.total_seconds()) // 60


def _code(code: Secret[str]) -> str:
    digits = code.reveal()
    if not (digits.isascii() and digits.isdigit() and len(digits) == 6):
        raise NotWords("a code has six digits")
    return digits


_LINK: Final = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+/[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*")


def _link(link: Secret[str]) -> tuple[str, str, str]:
    """The link, its host, and its beginning that a person can compare: scheme and host."""
    url = link.reveal()
    if not _LINK.fullmatch(url):
        raise NotWords("not a link")
    parts = urlsplit(url)
    return url, parts.netloc, f"{parts.scheme}://{parts.netloc}/"


_BIDI_CONTROLS: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NOT_ON_A_LINE: Final = {"Cc", "Zl", "Zp", "Cs"}
_RIGHT_TO_LEFT: Final = {"R", "AL"}


def _one_line(text: str, longest: int) -> str:
    """What a stranger wrote, as one line that can't break out of its line or reorder what stands around it."""
    text = _BIDI_CONTROLS.sub("", text)
    text = "".join(" " if unicodedata.category(char) in _NOT_ON_A_LINE else char for char in text)
    text = " ".join(text.split())
    if len(text) > longest:
        text = text[: longest - 1].rstrip() + "…"
    if any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text):
        return f"\u2068{text}\u2069"  # isolated, so that Hebrew or Arabic leaves our sentence in order
    return text


def _name(display: str, fall_back: Mailbox | str = "") -> str:
    """A name as a name: mail programs would turn an address on the web within it into a link of our mail."""
    unlinked = re.sub(r"(?i)\bwww\.", "www ", display.replace("://", " "))
    return _one_line(unlinked, LONGEST_NAME) or str(fall_back)


def _who(display: str, mailbox: Mailbox) -> str:
    name = _name(display)
    return f"{name} <{mailbox}>" if name else str(mailbox)


# --- printing -----------------------------------------------------------------------------------------------------


def _mail(subject: str, title: str, blocks: list[_Block], language: Language, *, palette: Palette = PLAIN) -> Mail:
    return Mail(subject, _as_text(title, blocks), _as_html(title, blocks, language, palette))


def _as_text(title: str, blocks: list[_Block]) -> str:
    return "\n\n".join([title, *map(_block_as_text, blocks)]) + "\n"


def _block_as_text(block: _Block) -> str:
    match block:
        case _Paragraph(text):
            return text
        case _Section(title, text):
            return f"{title}\n{text}"
        case _Facts(rows):
            return "\n".join(f"{label}: {value}" for label, value in rows)
        case _Way(label, url):
            return f"{label}:\n{url}"
        case _Digits(label, code):
            return f"{label}: {code}"
        case unreachable:
            assert_never(unreachable)


# Colours in the light stand inline, where every mail program reads them; the dark ones override by class. All pairs
# of text and background keep a contrast of 4.5 : 1 (WCAG 2.2 §1.4.3).
_STYLE: Final = """\
:root { color-scheme: light dark; supported-color-schemes: light dark; }
@media (prefers-color-scheme: dark) {
  .z-page { background: #14171a !important; color: #e6e8ea !important; }
  .z-card { background: #1f2428 !important; border-color: #3a4147 !important; }
  .z-soft { color: #aeb6bd !important; }
  .z-rule { border-color: #3a4147 !important; }
  .z-way { background: DARK-ACCENT !important; color: ON-DARK-ACCENT !important; }
  .z-code { background: #2b3238 !important; color: #ffffff !important; }
}
"""
_FONT: Final = "font-family: -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def _as_html(title: str, blocks: list[_Block], language: Language, palette: Palette) -> str:
    safe_title = html.escape(title)
    body = "\n".join(_block_as_html(one, palette.light) for one in blocks)
    style = _STYLE.replace("ON-DARK-ACCENT", palette.dark.on_accent).replace("DARK-ACCENT", palette.dark.accent)
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="{language}" dir="ltr">\n'
        "<head>\n"
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="supported-color-schemes" content="light dark">\n'
        f"<title>{safe_title}</title>\n"
        f"<style>\n{style}</style>\n"
        "</head>\n"
        f'<body class="z-page" style="margin: 0; padding: 0; background: #f1f3f5; color: #1d2125; {_FONT};'
        ' font-size: 16px; line-height: 1.5;">\n'
        '<div style="max-width: 36em; margin: 0 auto; padding: 24px 12px;">\n'
        '<div class="z-card" style="background: #ffffff; border: 1px solid #d5dade; border-radius: 8px;'
        ' padding: 28px 24px; overflow-wrap: anywhere;">\n'
        f'<h1 style="margin: 0 0 20px; font-size: 22px; line-height: 1.3; font-weight: 600;">{safe_title}</h1>\n'
        f"{body}\n"
        "</div>\n</div>\n</body>\n</html>\n"
    )


def _block_as_html(block: _Block, shades: Shades) -> str:
    match block:
        case _Paragraph(text):
            return f'<p style="margin: 0 0 20px;">{html.escape(text)}</p>'
        case _Section(title, text):
            return (
                '<div class="z-rule" style="border-top: 1px solid #e3e6e9; padding-top: 16px; margin-top: 16px;">\n'
                f'<h2 style="margin: 0 0 4px; font-size: 16px; font-weight: 600;">{html.escape(title)}</h2>\n'
                f'<p class="z-soft" style="margin: 0; font-size: 15px; color: #50585f;">{html.escape(text)}</p>\n'
                "</div>"
            )
        case _Facts(rows):
            return f'<dl style="margin: 0 0 20px;">\n{"".join(map(_fact_as_html, rows))}</dl>'
        case _Way(label, url):
            return (
                '<p style="margin: 0 0 20px;">'
                f'<a class="z-way" href="{html.escape(url)}" style="display: inline-block; padding: 12px 24px;'
                f" border-radius: 6px; background: {shades.accent}; color: {shades.on_accent}; font-weight: 600;"
                f' text-decoration: none;">{html.escape(label)}</a></p>'
            )
        case _Digits(label, code):
            return (
                f'<p style="margin: 0 0 20px;">{html.escape(label)}<br>'
                '<span class="z-code" style="display: inline-block; margin-top: 8px; padding: 8px 16px;'
                " border-radius: 6px; background: #eef1f4; color: #1d2125; font-size: 28px; font-weight: 600;"
                f' letter-spacing: 0.15em;">{html.escape(code)}</span></p>'
            )
        case unreachable:
            assert_never(unreachable)


def _fact_as_html(row: tuple[str, str]) -> str:
    label, value = row
    return (
        f'<dt class="z-soft" style="margin: 0; font-size: 14px; color: #50585f;">{html.escape(label)}</dt>'
        f'<dd dir="auto" style="margin: 0 0 8px; text-align: left;">{html.escape(value)}</dd>\n'
    )
