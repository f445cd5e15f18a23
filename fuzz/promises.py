"""What must hold for any octets whatever, as functions that take octets and fail if it does not.

Each stands for one target. Nothing here knows of atheris: a finding is repeated by calling the function with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Final, TypeVar

from zegel.core.clock import NotADuration, parse_duration
from zegel.core.mail.address import (
    MAX_LOCAL_PART,
    MAX_PATH,
    Domain,
    Mailbox,
    NotADomain,
    NotAMailbox,
    parse_reverse_path,
)
from zegel.core.mail.dkim import BodyHash, relaxed_fields
from zegel.core.mail.dkim_verify import MAX_SIGNATURES, BodyHashes, Verdict, signatures, verify
from zegel.core.mail.fields import (
    BrokenHeader,
    HeaderReader,
    HeaderSection,
    HeaderTooLong,
    NotOneAuthor,
    addresses,
    author,
    decode_words,
    message_id,
)
from zegel.core.mail.head import Head, head_of
from zegel.core.mail.mime import MAX_DEPTH, MAX_NAME, MAX_PARTS, MimeIndexer, Part, as_text, decoder, select
from zegel.core.mail.reply import Reply
from zegel.core.mail.trace import carries_own_marker, date_field, loop_marker, received
from zegel.core.policy.conversation import fields_for_identity, is_removed_field, split
from zegel.core.policy.directives import (
    MalformedField,
    from_json_bytes,
    read_directives,
    to_json_bytes,
    unmatched,
)
from zegel.core.policy.phone import NotAMobileNumber, parse_mobile
from zegel.core.secret import Secret
from zegel.core.smtp import sasl, server
from zegel.core.smtp.lines import (
    MAX_AUTH,
    BadParameter,
    NotOffered,
    WrongForm,
    is_stray,
    parse_chunk,
    parse_mail_parameters,
    parse_rcpt_parameters,
    split_path,
)
from zegel.core.smtp.server import (
    Authenticate,
    ContentAborted,
    ContentBegins,
    ContentChunk,
    ContentEnds,
    Event,
    Mail,
    Pause,
    Profile,
    Recipient,
    Reset,
    Server,
    StartTls,
    State,
)

# --- any octets as a dialogue -----------------------------------------------------------------------------------------

HOST: Final = "mx.example.org"
HANDSHAKE: Final = b"\xfe\xfe"
"""Stands in a dialogue where the client's handshake would be. If none was agreed on, it means nothing."""

_VERDICTS: Final[dict[type[Event], tuple[Reply, ...]]] = {
    Authenticate: (
        Reply(235, "2.7.0", "Signed in"),
        Reply(535, "5.7.8", "Wrong"),
        Reply(454, "4.7.0", "Later"),
        Reply(421, "4.3.2", "Restarting"),
    ),
    Mail: (
        Reply(250, "2.1.0", "Sender accepted"),
        Reply(550, "5.7.1", "Never"),
        Reply(451, "4.3.0", "Later"),
        Reply(421, "4.3.2", "Restarting"),
    ),
    Recipient: (
        Reply(250, "2.1.5", "Recipient accepted"),
        Reply(550, "5.1.1", "Nobody"),
        Reply(452, "4.5.3", "Later"),
        Reply(421, "4.3.2", "Restarting"),
    ),
    ContentBegins: (
        Reply(354, None, "Go ahead"),
        Reply(250, "2.0.0", "Fine"),
        Reply(452, "4.3.1", "Full"),
        Reply(421, "4.3.2", "Restarting"),
    ),
    ContentEnds: (
        Reply(250, "2.0.0", "Message accepted"),
        Reply(550, "5.6.0", "Never"),
        Reply(451, "4.3.0", "Later"),
        Reply(421, "4.3.2", "Restarting"),
    ),
}
_PROFILES: Final = (
    Profile(HOST, requires_auth=True),
    Profile(HOST, requires_tls=False, max_size=60, max_recipients=2, max_errors=8, max_auth_failures=2),
    Profile(HOST, requires_tls=False, offers_auth=False, smtputf8=False, max_size=400, offers_requiretls=True),
    Profile(HOST, offers_starttls=False, max_recipients=1, max_errors=3),
)
_BANNERS: Final = (None, None, None, Reply(554, "5.7.1", "Not for you"))
_SENTENCES: Final = frozenset(
    {
        *(one.text for one in vars(server).values() if isinstance(one, Reply)),
        *(one.text for some in _VERDICTS.values() for one in some),
        *(server.what_first(state, command) for state in State for command in server.Command),
        *(one.text for one in _BANNERS if one),
        *("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING", "STARTTLS", "REQUIRETLS"),
        *("AUTH PLAIN LOGIN", HOST, f"{HOST} ESMTP", "VXNlcm5hbWU6", "UGFzc3dvcmQ6", ""),
        *(f"SIZE {one.max_size}" for one in _PROFILES),
        *(f"LIMITS RCPTMAX={one.max_recipients}" for one in _PROFILES),
    }
)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a client says to a server that has this profile, opens like this and decides like this."""

    profile: Profile
    banner: Reply | None
    tls: bool
    verdicts: tuple[int, ...]
    said: bytes

    @classmethod
    def read(cls, octets: bytes) -> Dialogue:
        """One octet of choices, one that counts verdicts, these, and then the client's octets."""
        choices, count = (*octets[:2], 0, 0)[:2]
        end = 2 + count % 16
        return cls(
            profile=_PROFILES[choices % 4],
            banner=_BANNERS[choices // 4 % 4],
            tls=bool(choices & 16),
            verdicts=tuple(one % 4 for one in octets[2:end]),
            said=octets[end:],
        )


@dataclass(slots=True)
class Heard:
    """What became of a dialogue, however it was cut."""

    events: list[Event] = field(default_factory=list)
    replies: bytes = b""
    state: State = State.CONNECTED
    authenticated: bool = False
    helo: str | None = None


Cut = Callable[[bytes], Sequence[bytes]]


def in_pieces_of(size: int) -> Cut:
    """All of that size, save the first, which is about half as large, and the last."""
    return lambda octets: [
        octets[: (size + 1) // 2],
        *(octets[at : at + size] for at in range((size + 1) // 2, len(octets), size)),
    ]


def converse(dialogue: Dialogue, cut: Cut, *, behind_starttls: bytes | None = None) -> Heard:
    """Feeds the dialogue in such pieces, and leaves at its end. ``behind_starttls``, with pieces of one octet, stands
    in place of what the client sends in clear between an agreed STARTTLS and the handshake (CVE-2011-0411)."""
    heard = Heard()
    machine = Server(dialogue.profile, tls=dialogue.tls)
    machine.greet(dialogue.banner)
    verdicts = iter(dialogue.verdicts)

    def listen() -> None:
        while True:
            event = machine.next_event()
            if event is Pause.AWAITING_REPLY:
                machine.reply(_VERDICTS[type(heard.events[-1])][next(verdicts, 0)])
            elif isinstance(event, Pause):
                heard.replies += machine.outgoing()
                assert machine.buffered <= MAX_AUTH
                return
            else:
                _note(heard.events, event, machine)

    listen()
    for flight in dialogue.said.split(HANDSHAKE):
        for piece in cut(flight):
            machine.receive(piece)
            listen()
            if machine.state is State.STARTING_TLS and behind_starttls is not None:
                machine.receive(behind_starttls)
                listen()
                break
        if machine.state is State.STARTING_TLS:
            machine.tls_established()
    machine.receive_eof()
    listen()
    assert machine.next_event() is Pause.CLOSED
    heard.state, heard.authenticated, heard.helo = machine.state, machine.authenticated, machine.helo
    return heard


def _note(events: list[Event], event: Event, machine: Server) -> None:
    """Puts content together, and leaves out what was aborted: neither shows how the octets were cut."""
    last = events[-1] if events else None
    match event:
        case ContentChunk(octets) if isinstance(last, ContentChunk):
            events[-1] = ContentChunk(last.octets + octets)
        case ContentAborted() if isinstance(last, ContentChunk):
            events[-1] = event
        case _:
            events.append(event)
    if isinstance(event, Authenticate):
        assert machine.tls, "a password was taken in clear"
    if isinstance(event, Mail):
        assert machine.tls or not machine.profile.requires_tls
        assert machine.authenticated or not machine.profile.requires_auth


def smtp_server(octets: bytes) -> None:
    """No cut makes a difference, no reply repeats a word of the client, and content that ends well is sound."""
    dialogue = Dialogue.read(octets)
    whole = converse(dialogue, lambda octets: [octets])
    for size in (1, 3, 61):
        assert converse(dialogue, in_pieces_of(size)) == whole, f"cut in pieces of {size}, it is another dialogue"
    _replies_are_ours(whole.replies)
    _transactions_are_whole(whole.events, dialogue.profile)
    if StartTls() in whole.events:
        injected = converse(dialogue, in_pieces_of(1), behind_starttls=b"RSET\r\nQUIT\r\n")
        assert injected == whole, "what came in clear was obeyed"


def _replies_are_ours(replies: bytes) -> None:
    assert replies.isascii()
    assert replies.endswith(b"\r\n")
    for line in replies.decode().split("\r\n")[:-1]:
        code, between, text = line[:3], line[3:4], line[4:]
        assert code.isdigit()
        assert between in (" ", "-")
        status, _, sentence = text.partition(" ")
        is_enhanced = status.count(".") == 2 and status.replace(".", "").isdigit()
        ours = sentence if is_enhanced else text
        number, _, unit = ours.partition(" ")
        assert ours in _SENTENCES or (number.isdigit() and unit == "octets received"), line


def _transactions_are_whole(events: Sequence[Event], profile: Profile) -> None:
    """Content is let in once, has one end, and nothing comes between; a transaction begins with its sender."""
    is_open = has_sender = False
    held = b""
    for before, event in pairwise([None, *events]):
        match event:
            case Mail():
                assert not has_sender or not isinstance(before, Recipient)
                has_sender = True
            case Recipient():
                assert has_sender
            case ContentBegins():
                assert has_sender
                assert not is_open
                held = b""
            case ContentChunk(octets):
                is_open, held = True, octets
            case ContentEnds():
                assert not is_stray(held)
                assert len(held) <= profile.max_size
                is_open = has_sender = False
            case ContentAborted() | Reset():
                is_open = has_sender = False
            case _:
                assert not is_open
    assert not is_open


# --- any octets as content --------------------------------------------------------------------------------------------

_AT: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
_KEY: Final = Secret(bytes(range(32)))
_KEY_RECORD: Final = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="  # RFC 8463 appendix A.2
_SENDER: Final = Mailbox.parse("ontvanger@example.org")


def content(octets: bytes) -> None:
    """Read as arrival reads it: refused for a documented reason, or understood in the same way however it is cut."""
    cut, message = in_pieces_of(1 + octets[0] if octets else 1), octets[1:]
    found = _header(message, [message])
    assert _header(message, cut(message)) == found, "the header section depends on how it is cut"
    if found is None:
        return
    section_octets, body = found
    _body(section_octets, body, cut)
    try:
        section = HeaderSection.parse(section_octets)
    except BrokenHeader as broken:
        _is_fit_to_say(Reply(550, "5.6.0", str(broken)), section_octets)
        return
    assert section.encode() == section_octets
    head = head_of(section_octets + b"\r\n", body)
    assert Head.from_bytes(head.to_bytes()) == head
    _fields(section)
    _signatures(section, body, cut)


def _header(message: bytes, pieces: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The header section and the body; ``None`` where the section is too long."""
    reader = HeaderReader(limit=4096)
    try:
        for number, piece in enumerate(pieces):
            if (found := reader.feed(piece)) is not None:
                section, rest = found
                body = rest + b"".join(pieces[number + 1 :])
                assert section + b"\r\n" + body == message
                return section, body
        section = reader.finish()
    except HeaderTooLong:
        return None
    assert section == message
    return section, b""


def _fields(section: HeaderSection) -> None:
    written = [(one.key, one.value) for one in section]
    _directives(written)
    fields_for_identity(written)
    relaxed_fields(section.encode())
    for one in section:
        _is_clean(decode_words(one.value))
    people = [
        person for name in ("To", "Cc", "Reply-To") for one in section.all(name) for person in addresses(one.value)
    ]
    split([_SENDER, *(one.mailbox for one in people)], {one.mailbox for one in people})
    with suppress(NotOneAuthor):
        people.append(author(section))
    for person in people:
        _is_a_mailbox(person.mailbox)
        _is_clean(person.display)
    _edited(section)


def _signatures(section: HeaderSection, body: bytes, cut: Cut) -> None:
    """None of what strangers sign is valid for a key that signed nothing, whatever a record says."""
    found = signatures(section, now=_AT)
    assert len(found) <= MAX_SIGNATURES
    whole, pieces = (BodyHashes([one.body for one in found]) for _ in range(2))
    whole.feed(body)
    for piece in cut(body):
        pieces.feed(piece)
    for one in found:
        assert len(one.key_name) <= 253
        assert whole.digest(one.body) == pieces.digest(one.body)
        subject = section.first("Subject")
        for record in ("", _KEY_RECORD, "v=DKIM1; p=", subject.value.decode("latin-1") if subject else "p=x; t=y"):
            assert verify(one, section, whole.digest(one.body), record) is not Verdict.VALID


def _edited(section: HeaderSection) -> None:
    """Our fields can be added to whatever was sent, and make it ours."""
    kept = HeaderSection(tuple(one for one in section if not is_removed_field(one.key)))
    if message_id(kept) is None:
        kept = kept.without({"message-id"}).append(b"Message-ID: <1@zegel.test>\r\n")
    assert message_id(kept) is not None
    kept = kept.append(date_field(_AT))
    carries_own_marker(kept, _KEY)
    ours = kept.prepend(loop_marker("zegel.test", kept, _KEY))
    assert carries_own_marker(ours, _KEY)
    ours = ours.prepend(received(by=HOST, source="x ([::1])", protocol="ESMTPSA", id="1", tls=None, at=_AT))
    assert HeaderSection.parse(ours.encode()) == ours


def _directives(written: Sequence[tuple[str, bytes]]) -> None:
    try:
        found = read_directives(written)
    except MalformedField as refused:
        _is_fit_to_say(refused.reply, b"")
        return
    assert from_json_bytes(to_json_bytes(found)) == found
    assert len(unmatched(found, [_SENDER])) <= len(found.access_rights)


def _is_fit_to_say(reply: Reply, octets: bytes) -> None:
    """One short line of ASCII: RFC 5321 §4.5.3.1.5."""
    line = reply.encode()
    assert line.isascii()
    assert len(line) <= 512
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert reply.code == 550
    assert len(octets) < 8 or octets.strip() not in line


def _is_clean(text: str) -> None:
    assert text.encode("utf-8", "strict") is not None
    assert not any(char < " " or "\x7f" <= char < "\xa0" or char in "\u2028\u2029\u202e\u2066" for char in text)


def _body(header: bytes, body: bytes, cut: Cut) -> None:
    start = len(header) + 2
    parts = _index(header, start, [body])
    assert _index(header, start, cut(body)) == parts, "the index depends on how the body is cut"
    whole, pieces = BodyHash(), BodyHash()
    whole.feed(body)
    for piece in cut(body):
        pieces.feed(piece)
    assert whole.digest() == pieces.digest()
    _parts_lie_well(parts, start, start + len(body))
    for part in parts:
        if not part.is_container:
            _leaf(part, body[part.offset - start :][: part.length], cut)
    _selection(parts)


def _index(header: bytes, start: int, pieces: Sequence[bytes]) -> tuple[Part, ...]:
    indexer = MimeIndexer(header, start)
    for piece in pieces:
        indexer.feed(piece)
    return indexer.finish()


def _parts_lie_well(parts: Sequence[Part], start: int, end: int) -> None:
    by_path = {part.path: part for part in parts}
    assert 1 <= len(parts) == len(by_path) <= MAX_PARTS
    assert [part.path for part in parts] == sorted(by_path)
    for part in parts:
        assert len(part.path) <= MAX_DEPTH
        assert start <= part.offset <= part.offset + part.length <= end
        if part.path:
            outer = by_path[part.path[:-1]]
            assert outer.is_container
            assert outer.offset <= part.offset
            assert part.offset + part.length <= outer.offset + outer.length
        if part.name is not None:
            _is_clean(part.name)
            assert 0 < len(part.name) <= MAX_NAME
            assert not set(part.name) & set("/\\:")
            assert part.name not in (".", "..")


def _leaf(part: Part, octets: bytes, cut: Cut) -> None:
    whole, pieces = decoder(part.encoding), decoder(part.encoding)
    decoded = whole.feed(octets) + whole.finish()
    assert b"".join([*map(pieces.feed, cut(octets)), pieces.finish()]) == decoded
    assert len(decoded) == part.decoded_size
    text = as_text(decoded, part.charset)
    assert "\0" not in text
    assert text.encode("utf-8", "strict") is not None


def _selection(parts: Sequence[Part]) -> None:
    """Everything has a name by which it can be saved, and nothing stands in two places."""
    reading = select(parts).with_references(set())
    shown = [one.path for one in (reading.html, reading.text) if one]
    shown += [one.path for one in (*reading.inline, *reading.attachments)]
    assert len(shown) == len(set(shown))
    assert set(shown) <= {part.path for part in parts if not part.is_container}
    assert all(one.name for one in reading.attachments)


# --- any octets as an address -----------------------------------------------------------------------------------------


def address(octets: bytes) -> None:
    """Whatever reads addresses refuses as documented, or gives one that is the same when it is read again."""
    text = octets.decode("utf-8", "surrogateescape")
    for path in (_read(Mailbox.parse, text, NotAMailbox), _read(parse_reverse_path, text, NotAMailbox)):
        if isinstance(path, Mailbox):
            _is_a_mailbox(path)
    if (domain := _read(Domain.parse, text, NotADomain)) is not None:
        _is_a_domain(domain)
    for person in addresses(octets):
        _is_a_mailbox(person.mailbox)
        _is_clean(person.display)
    _is_clean(decode_words(octets))
    _as_from_field(octets.translate(None, b"\r\n\0"))
    _as_arguments(text)
    with suppress(NotADuration):
        assert parse_duration(text)
    if (number := _read(partial(parse_mobile, region="NL"), text, NotAMobileNumber)) is not None:
        assert parse_mobile(number, region="NL") == number
    for stage in (sasl.Plain(), sasl.LoginName(), sasl.LoginPassword("balie")):
        sasl.answer(stage, octets)


_T = TypeVar("_T")


def _read(parse: Callable[[str], _T], text: str, refusal: type[Exception]) -> _T | None:
    try:
        return parse(text)
    except refusal:
        return None


def _is_a_mailbox(mailbox: Mailbox) -> None:
    """Its text is an address again, the same one, that fits where addresses are put."""
    again = Mailbox.parse(str(mailbox))
    assert again == mailbox
    assert (again.local, again.domain) == (mailbox.local, mailbox.domain)
    assert hash(again) == hash(mailbox)
    assert len(str(mailbox).encode()) <= MAX_PATH
    assert 0 < len(mailbox.local.encode()) <= MAX_LOCAL_PART
    assert not any(char in "\r\n\0" for char in str(mailbox))
    assert str(mailbox).isascii() is not mailbox.needs_smtputf8
    _is_a_domain(mailbox.domain)


def _is_a_domain(domain: Domain) -> None:
    assert Domain.parse(domain.ascii) == domain
    assert domain.ascii.isascii()
    assert domain.ascii == domain.ascii.lower()
    assert domain.is_within(domain)
    assert domain.unicode


def _as_from_field(value: bytes) -> None:
    """The list reader and the author's reader agree about who it is."""
    section = HeaderSection.parse(b"From: " + value + b"\r\n")
    with suppress(NotOneAuthor):
        assert addresses(section.fields[0].value) == (author(section),)


def _as_arguments(text: str) -> None:
    """As the server reads what follows a verb."""
    for argument in (text, f"FROM:{text}", f"FROM:<{text}>"):
        with suppress(WrongForm, NotAMailbox, BadParameter, NotOffered):
            path, rest = split_path(argument, "FROM:")
            parse_reverse_path(path)
            parse_mail_parameters(rest, _ANYTHING)
    with suppress(BadParameter, NotOffered):
        asked = parse_mail_parameters(text, _ANYTHING)
        assert asked.envid is None or (asked.envid.isascii() and asked.envid.isprintable())
    for smtputf8 in (False, True):
        with suppress(BadParameter, NotOffered):
            wished = parse_rcpt_parameters(text, smtputf8=smtputf8)
            assert wished.orcpt is None or wished.orcpt.address.isprintable()
    chunk = parse_chunk(text)
    assert chunk is None or chunk.size >= 0


_ANYTHING: Final = frozenset({"SIZE", "BODY", "RET", "ENVID", "SMTPUTF8", "AUTH", "REQUIRETLS"})
PROMISES: Final[dict[str, Callable[[bytes], None]]] = {
    "smtp_server": smtp_server,
    "content": content,
    "address": address,
}
