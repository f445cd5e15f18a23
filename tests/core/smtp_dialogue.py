"""A driver for the SMTP machine that has no network: pieces in, events and octets out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise

from zegel.core.mail.reply import Reply
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
    Server,
)

HOST = "mx.example.org"
PROFILE = Profile(HOST)
PLAIN_PROFILE = Profile(HOST, requires_tls=False, offers_auth=False)
EHLO = b"EHLO client.example.org\r\n"
MAIL = b"MAIL FROM:<afzender@example.org>\r\n"
RCPT = b"RCPT TO:<ontvanger@voorbeeld.test>\r\n"
ENVELOPE = MAIL + RCPT
BANNER = b"220 mx.example.org ESMTP\r\n"


class Handshake(Enum):
    """Stands in a dialogue for the moment at which TLS is established."""

    HANDSHAKE = auto()


HANDSHAKE = Handshake.HANDSHAKE
Piece = bytes | Handshake
Verdict = Callable[[Event], Reply]


def accept(event: Event) -> Reply:
    match event:
        case Authenticate():
            return Reply(235, "2.7.0", "Signed in")
        case Mail():
            return Reply(250, "2.1.0", "Sender accepted")
        case Recipient():
            return Reply(250, "2.1.5", "Recipient accepted")
        case ContentBegins():
            return Reply(354, None, "Go ahead")
        case ContentEnds():
            return Reply(250, "2.0.0", "Message accepted")
        case _:
            raise AssertionError(f"{event} awaits no reply")


def refusing(kind: type[Event], reply: Reply) -> Verdict:
    """Accepts everything but this."""
    return lambda event: reply if isinstance(event, kind) else accept(event)


@dataclass(slots=True)
class Conversation:
    server: Server
    events: list[Event]
    sent: bytes
    pause: Pause

    @property
    def replies(self) -> list[str]:
        """Code and enhanced status of each reply, banner left out; of a multi-line reply the last line."""
        lines = self.sent.removeprefix(BANNER).decode().split("\r\n")[:-1]
        return [_short(line) for line in lines if line[3:4] == " "]

    @property
    def last(self) -> str:
        return self.replies[-1]

    @property
    def meaning(self) -> list[Event]:
        """The events, with content put together, and what was aborted left out: cuts don't show in it."""
        together: list[Event] = []
        for event in self.events:
            match event:
                case ContentChunk(octets) if together and isinstance(together[-1], ContentChunk):
                    together[-1] = ContentChunk(together[-1].octets + octets)
                case ContentAborted() if together and isinstance(together[-1], ContentChunk):
                    together[-1] = event
                case _:
                    together.append(event)
        return together

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.meaning]

    @property
    def content(self) -> bytes:
        return b"".join(event.octets for event in self.events if isinstance(event, ContentChunk))


def _short(line: str) -> str:
    code, _, rest = line.partition(" ")
    status = rest.partition(" ")[0]
    return f"{code} {status}" if status[:2] in ("2.", "4.", "5.") and status.count(".") == 2 else code


def converse(
    pieces: Iterable[Piece],
    *,
    profile: Profile = PROFILE,
    tls: bool = True,
    verdict: Verdict = accept,
    eof: bool = False,
) -> Conversation:
    """Feeds the pieces one by one, and answers every event as soon as it comes."""
    server = Server(profile, tls=tls)
    server.greet()
    events: list[Event] = []
    sent = [server.outgoing()]

    def work() -> Pause:
        while True:
            event = server.next_event()
            if event is Pause.AWAITING_REPLY:
                server.reply(verdict(events[-1]))
            elif isinstance(event, Pause):
                sent.append(server.outgoing())
                return event
            else:
                events.append(event)

    pause = work()
    for piece in pieces:
        if isinstance(piece, Handshake):
            server.tls_established()
        else:
            server.receive(piece)
        pause = work()
    if eof:
        server.receive_eof()
        pause = work()
    return Conversation(server, events, b"".join(sent), pause)


def cut(octets: bytes, positions: Iterable[int]) -> list[bytes]:
    """The octets in pieces that end at these positions."""
    edges = [0, *sorted({position for position in positions if 0 < position < len(octets)}), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges)]


def byte_by_byte(octets: bytes) -> Sequence[bytes]:
    return [octets[at : at + 1] for at in range(len(octets))]
