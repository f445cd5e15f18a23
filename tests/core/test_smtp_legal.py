"""The LEGAL table: its whole space, its gates, and the page that is printed from it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests.core.smtp_dialogue import EHLO, ENVELOPE, HOST, MAIL, Piece, accept, converse
from zegel.core.mail.reply import Reply
from zegel.core.smtp.server import (
    AFTERWARDS,
    GATES,
    LEGAL,
    Command,
    ContentBegins,
    Event,
    Pause,
    Profile,
    Server,
    State,
    legal_as_markdown,
    what_first,
)

DOCS = Path(__file__).parents[2] / "docs"
OPEN = Profile(HOST, requires_tls=False)

SPOKEN = {
    Command.EHLO: b"EHLO other.example.org\r\n",
    Command.HELO: b"HELO other.example.org\r\n",
    Command.STARTTLS: b"STARTTLS\r\n",
    Command.AUTH: b"AUTH PLAIN\r\n",
    Command.MAIL: MAIL,
    Command.RCPT: b"RCPT TO:<balie@voorbeeld.test>\r\n",
    Command.DATA: b"DATA\r\n",
    Command.BDAT: b"BDAT 3\r\nabc",
    Command.RSET: b"RSET\r\n",
    Command.NOOP: b"NOOP\r\n",
    Command.VRFY: b"VRFY balie\r\n",
    Command.HELP: b"HELP\r\n",
    Command.QUIT: b"QUIT\r\n",
}
ON_THE_WAY: dict[State, bytes] = {
    State.CONNECTED: b"",
    State.GREETED: EHLO,
    State.AUTHENTICATING: EHLO + b"AUTH LOGIN\r\n",
    State.MAIL_GIVEN: EHLO + MAIL,
    State.RECIPIENTS_GIVEN: EHLO + ENVELOPE,
    State.CONTENT: EHLO + ENVELOPE + b"DATA\r\n",
    State.CHUNKS: EHLO + ENVELOPE + b"BDAT 2\r\nab",
    State.STARTING_TLS: EHLO + b"STARTTLS\r\n",
    State.CLOSED: b"QUIT\r\n",
}
POSITIVE = {
    Command.AUTH: "334",
    Command.DATA: "354",
    Command.STARTTLS: "220 2.0.0",
    Command.QUIT: "221 2.0.0",
    Command.VRFY: "252 2.1.5",
    Command.HELP: "214 2.0.0",
    Command.EHLO: "250",
    Command.HELO: "250",
    Command.MAIL: "250 2.1.0",
    Command.RCPT: "250 2.1.5",
}


def _tls_for(state: State, command: Command) -> bool:
    """AUTH wants TLS, STARTTLS wants none; the rest of the space does not care."""
    return state is State.AUTHENTICATING or (command is Command.AUTH and state is not State.STARTING_TLS)


@pytest.mark.parametrize(("state", "command"), [*product(ON_THE_WAY, Command)], ids=lambda value: value.name)
def test_every_command_in_every_state_does_what_the_table_says(state: State, command: Command) -> None:
    tls = _tls_for(state, command)
    before = converse([ON_THE_WAY[state]], profile=OPEN, tls=tls)
    assert before.server.state is state
    after = converse([ON_THE_WAY[state], SPOKEN[command]], profile=OPEN, tls=tls)
    news = after.replies[len(before.replies) :]
    match state:
        case State.STARTING_TLS | State.CLOSED:
            assert after.events == before.events
            assert (news, after.server.state) == ([], state)
        case State.CONTENT:
            content = SPOKEN[command].removesuffix(b"\r\n")  # the CRLF may begin the end-of-data
            assert (news, after.content, after.server.state) == ([], content, state)
        case State.AUTHENTICATING:
            assert news[0] in ("334", "501 5.5.2")  # NOOP happens to be base64
        case _ if command in LEGAL[state]:
            assert news == [POSITIVE.get(command, "250 2.0.0")]
            assert after.server.state is LEGAL[state][command]
        case _:
            assert after.sent.endswith(f"503 5.5.1 {what_first(state, command)}\r\n".encode())
            assert len(news) == 1
            assert (after.meaning, after.server.state) == (before.meaning, state)


@pytest.mark.parametrize("command", Command, ids=lambda command: command.name)
def test_behind_a_refusing_banner_only_quit_is_obeyed(command: Command) -> None:
    server = Server(OPEN)
    server.greet(refusal=Reply(554, "5.7.1", "Not today"))
    server.receive(SPOKEN[command])
    server.next_event()
    banner, answer = server.outgoing().splitlines(keepends=True)
    assert banner == b"554 5.7.1 Not today\r\n"
    if command is Command.QUIT:
        assert answer.startswith(b"221 ") and server.state is State.CLOSED
    else:
        assert answer.startswith(b"503 5.5.1 No mail is taken") and server.state is State.REFUSED


def test_every_state_stands_in_the_table_and_in_this_test() -> None:
    assert set(LEGAL) == set(State)
    assert set(ON_THE_WAY) == set(State) - {State.REFUSED}
    assert set(SPOKEN) == set(Command)


def test_every_state_but_closed_can_be_left_and_every_state_can_be_reached() -> None:
    ways = {state: set(legal.values()) for state, legal in LEGAL.items()}
    for state, passage in AFTERWARDS.items():
        ways[state].add(passage.then)
    assert all(ways[state] - {state} for state in State if state is not State.CLOSED)
    reached = {State.CONNECTED, State.REFUSED}  # the two banners
    while more := set().union(*(ways[state] for state in reached)) - reached:
        reached |= more
    assert reached == set(State)


def _expected_by_gate(
    command: Command, *, requires_tls: bool, tls: bool, offers: bool, extended: bool, authenticated: bool
) -> str | None:
    """The gates written a second time, in prose order, for a connection in GREETED."""
    if command is Command.STARTTLS and tls:
        return "503 5.5.1"
    if command is Command.STARTTLS and not offers:
        return "502 5.5.1"
    if command is Command.AUTH and not offers:
        return "502 5.5.1"
    needs_nothing = (Command.EHLO, Command.HELO, Command.STARTTLS, Command.NOOP, Command.QUIT)
    if requires_tls and not tls and command not in needs_nothing:
        return "530 5.7.0"
    if command is Command.AUTH and not tls:
        return "530 5.7.0"
    if command is Command.AUTH and (not extended or authenticated):
        return "503 5.5.1"
    if command is Command.MAIL and not authenticated:
        return "530 5.7.0"
    return None


@pytest.mark.parametrize("command", Command, ids=lambda command: command.name)
def test_the_gates_stand_where_the_page_says_over_their_whole_space(command: Command) -> None:
    for requires_tls, tls, offers, extended, authenticated in product((True, False), repeat=5):
        if authenticated and not (tls and offers):
            continue
        profile = Profile(
            HOST, requires_tls=requires_tls, offers_starttls=offers, offers_auth=offers, requires_auth=True
        )
        pieces: list[Piece] = []
        if authenticated:
            pieces += [EHLO, b"AUTH PLAIN AGJhbGllAGdlaGVpbQ==\r\n"]
        pieces.append(EHLO if extended else b"HELO client.example.org\r\n")
        expected = _expected_by_gate(
            command, requires_tls=requires_tls, tls=tls, offers=offers, extended=extended, authenticated=authenticated
        )
        got = converse([*pieces, SPOKEN[command]], profile=profile, tls=tls).last
        if expected is not None:
            assert got == expected, (requires_tls, tls, offers, extended, authenticated)
        elif command in LEGAL[State.GREETED]:
            assert got[0] in "23"
        else:
            assert got == "503 5.5.1"


def test_every_gate_names_commands_and_a_refusal() -> None:
    for gate in GATES:
        assert gate.commands
        assert gate.reply.is_permanent


def test_the_documented_table_is_the_table_in_force() -> None:
    assert (DOCS / "smtp.md").read_text(encoding="utf-8") == legal_as_markdown()


def test_a_driver_that_breaks_the_agreement_is_told() -> None:
    server = Server(OPEN)
    server.receive(EHLO)
    assert server.next_event() is Pause.NEED_INPUT  # nothing is read before the banner
    assert server.outgoing() == b""
    server.greet()
    for misuse in (server.greet, server.tls_established, lambda: server.reply(Reply(250, None, "OK"))):
        with pytest.raises(RuntimeError):
            misuse()
    server.receive(ENVELOPE)
    assert not isinstance(server.next_event(), Pause)
    assert server.next_event() is Pause.AWAITING_REPLY
    assert server.next_event() is Pause.AWAITING_REPLY


def test_a_refused_step_leaves_the_state_as_it_was() -> None:
    def never(event: Event) -> Reply:
        return Reply(450, "4.2.0", "Later")

    assert converse([EHLO + MAIL], verdict=never).server.state is State.GREETED
    for spoken, state in (
        (b"", State.MAIL_GIVEN),
        (b"RCPT TO:<balie@voorbeeld.test>\r\n", State.RECIPIENTS_GIVEN),
        (b"RCPT TO:<balie@voorbeeld.test>\r\nDATA\r\n", State.RECIPIENTS_GIVEN),
    ):
        talk = converse(
            [EHLO + MAIL + spoken],
            verdict=lambda event: never(event) if isinstance(event, ContentBegins) else accept(event),
        )
        assert talk.server.state is state
