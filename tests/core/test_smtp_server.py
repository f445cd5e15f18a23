"""The server machine in conversation: refusals, greeting, TLS, sign-in, envelope, limits."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, replace

import pytest

from tests.core.smtp_dialogue import (
    BANNER,
    EHLO,
    ENVELOPE,
    HANDSHAKE,
    HOST,
    MAIL,
    PLAIN_PROFILE,
    PROFILE,
    RCPT,
    Verdict,
    accept,
    byte_by_byte,
    converse,
    refusing,
)
from zegel.core.mail.address import NULL_PATH, Mailbox
from zegel.core.mail.reply import Reply
from zegel.core.smtp import server as machine
from zegel.core.smtp.lines import MailParameters, OriginalRecipient, RcptParameters
from zegel.core.smtp.server import (
    Authenticate,
    ContentBegins,
    ContentEnds,
    Event,
    Mail,
    Misuse,
    Pause,
    Profile,
    Quit,
    Recipient,
    Server,
    State,
)

AUTH_PLAIN = b"AUTH PLAIN " + b64encode(b"\0balie\0geheim") + b"\r\n"
REFUSED_SIGN_IN = Reply(535, "5.7.8", "Name or password is wrong")
UNWANTED = Reply(550, "5.7.1", "Not you")


def b64(text: str) -> bytes:
    return b64encode(text.encode()) + b"\r\n"


@dataclass(frozen=True)
class Wrong:
    """What a client does wrong, and the reply that this earns."""

    expected: Reply
    said: bytes
    tls: bool = True
    profile: Profile = PROFILE
    verdict: Verdict = accept


TINY = replace(PROFILE, max_size=100, max_recipients=1, max_errors=3, max_auth_failures=2)
WITHOUT_UTF8 = replace(PROFILE, smtputf8=False)
SIGNED_FIRST = replace(PROFILE, requires_auth=True)

WRONGS = (
    # Command lines
    Wrong(machine.UNKNOWN, b"SING a song\r\n"),
    Wrong(machine.UNKNOWN, b"\r\n"),
    Wrong(machine.UNKNOWN, b" NOOP\r\n"),
    Wrong(machine.UNKNOWN, b"NOOP\ttab\r\n"),
    Wrong(machine.UNKNOWN, b"\xff\xfe\r\n"),
    Wrong(machine.UNKNOWN, "ſTARTTLS\r\n".encode()),  # its capital is an S
    Wrong(machine.STRAY, b"NOOP\nNOOP\r\n"),
    Wrong(machine.STRAY, b"NOOP\r\r\n"),
    Wrong(machine.STRAY, b"NOOP\rNOOP\r\n"),
    Wrong(machine.STRAY, b"\nNOOP\r\n"),
    Wrong(machine.STRAY, b"NOOP \0\r\n"),
    Wrong(machine.STRAY, EHLO + b"MAIL FROM:<afzender@example.org>\nRCPT TO:<ontvanger@voorbeeld.test>\r\n"),
    Wrong(machine.NOT_UTF8, b"VRFY \xe9\r\n"),
    Wrong(machine.NOT_UTF8, EHLO + MAIL + b"RCPT TO:<\xe9@voorbeeld.test>\r\n"),
    Wrong(machine.TOO_LONG, b"NOOP " + b"x" * 506 + b"\r\n"),
    Wrong(machine.TOO_LONG, b"x" * 100_000 + b"\r\n"),
    Wrong(machine.TOO_LONG, EHLO + b"MAIL FROM:<" + b"x" * 2040 + b"\r\n"),
    Wrong(machine.TOO_LONG, EHLO + MAIL + b"rcpt to:<" + b"x" * 50_000 + b"\r\n"),
    Wrong(machine.AUTH_TOO_LONG, EHLO + b"auth PLAIN " + b"x" * 12_288 + b"\r\n"),
    Wrong(machine.AUTH_TOO_LONG, EHLO + b"AUTH PLAIN\r\n" + b"x" * 12_287 + b"\r\n"),
    *(Wrong(machine.NOT_IMPLEMENTED, verb + b" x\r\n") for verb in (b"ETRN", b"ATRN", b"EXPN", b"TURN", b"soml")),
    *(Wrong(machine.NO_HTTP, verb + b" / HTTP/1.1\r\n") for verb in (b"GET", b"POST", b"PUT", b"OPTIONS")),
    # Greeting and TLS
    Wrong(machine.NEEDS_NAME, b"EHLO\r\n"),
    Wrong(machine.NEEDS_NAME, b"HELO\r\n"),
    Wrong(machine.NEEDS_NAME, b"EHLO two words\r\n"),
    Wrong(machine.NEEDS_NAME, b"EHLO <script>\r\n"),
    Wrong(machine.NEEDS_NAME, b"EHLO " + b"x" * 256 + b"\r\n"),
    Wrong(machine.NEEDS_NAME, "EHLO café.example.org\r\n".encode()),
    *(Wrong(machine.NO_ARGUMENT, EHLO + verb + b" x\r\n") for verb in (b"RSET", b"QUIT")),
    Wrong(machine.NO_ARGUMENT, EHLO + b"STARTTLS now\r\n", tls=False),
    Wrong(machine.NO_ARGUMENT, EHLO + ENVELOPE + b"DATA now\r\n"),
    Wrong(machine.NO_STARTTLS, EHLO + b"STARTTLS\r\n", tls=False, profile=replace(PROFILE, offers_starttls=False)),
    Wrong(machine.TLS_IS_ACTIVE, EHLO + b"STARTTLS\r\n"),
    Wrong(machine.TLS_FIRST, EHLO + MAIL, tls=False),
    Wrong(machine.TLS_FIRST, MAIL, tls=False),
    Wrong(machine.TLS_FIRST, EHLO + AUTH_PLAIN, tls=False),
    Wrong(machine.TLS_FIRST, EHLO + AUTH_PLAIN, tls=False, profile=replace(PROFILE, requires_tls=False)),
    # Sign-in
    Wrong(machine.NO_AUTH, EHLO + AUTH_PLAIN, profile=PLAIN_PROFILE),
    Wrong(machine.AUTHENTICATED_ALREADY, EHLO + AUTH_PLAIN + AUTH_PLAIN),
    Wrong(machine.EHLO_FIRST, b"HELO client.example.org\r\n" + AUTH_PLAIN),
    Wrong(machine.EHLO_FIRST, AUTH_PLAIN),
    Wrong(machine.AUTH_FIRST, EHLO + MAIL, profile=SIGNED_FIRST),
    Wrong(machine.NEEDS_MECHANISM, EHLO + b"AUTH\r\n"),
    Wrong(machine.OTHER_MECHANISM, EHLO + b"AUTH CRAM-MD5\r\n"),
    Wrong(machine.AUTH_CANCELLED, EHLO + b"AUTH PLAIN\r\n*\r\n"),
    Wrong(machine.AUTH_CANCELLED, EHLO + b"AUTH LOGIN\r\n*\r\n"),
    Wrong(machine.AUTH_CANCELLED, EHLO + b"AUTH LOGIN\r\n" + b64("balie") + b"*\r\n"),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN =\r\n"),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN\r\n\r\n"),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN not!base64\r\n"),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN\r\nAGJhbGll\nAGdlaGVpbQ==\r\n"),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN " + b64("balie\0geheim")),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN " + b64("\0balie\0geheim\0meer")),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN " + b64("\0\0geheim")),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN " + b64("\0balie\0")),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN " + b64("\0ba\r\nlie\0geheim")),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH PLAIN " + b64encode(b"\0\xff\0geheim") + b"\r\n"),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH LOGIN\r\n\r\n"),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH LOGIN " + b64("balie") + b"\r\n"),
    Wrong(machine.AUTH_MALFORMED, EHLO + b"AUTH LOGIN\r\n=AAA\r\n"),
    Wrong(machine.OTHER_IDENTITY, EHLO + b"AUTH PLAIN " + b64("directie\0balie\0geheim")),
    # The envelope
    Wrong(machine.NEEDS_FROM, EHLO + b"MAIL afzender@example.org\r\n"),
    Wrong(machine.NEEDS_FROM, EHLO + b"MAIL TO:<afzender@example.org>\r\n"),
    Wrong(machine.NEEDS_TO, EHLO + MAIL + b"RCPT FROM:<ontvanger@voorbeeld.test>\r\n"),
    *(
        Wrong(machine.BAD_SENDER, EHLO + b"MAIL FROM:" + path + b"\r\n")
        for path in (b"", b"a@example.org", b"<a@example.org", b"<a>", b"<a@[192.0.2.1]>", b"< >", b"<a@example.org>b")
    ),
    *(
        Wrong(machine.BAD_RECIPIENT, EHLO + MAIL + b"RCPT TO:" + path + b"\r\n")
        for path in (b"<>", b"balie@voorbeeld.test", b"<balie>", b"<balie@voorbeeld.test >", b"<balie@@voorbeeld.test>")
    ),
    Wrong(machine.NO_POSTMASTER, EHLO + MAIL + b"RCPT TO:<Postmaster>\r\n"),
    *(
        Wrong(machine.BAD_PARAMETER, EHLO + MAIL[:-2] + b" " + given + b"\r\n")
        for given in (
            b"SIZE", b"SIZE=", b"SIZE=x", b"SIZE=-1", b"SIZE=" + b"9" * 21, b"SIZE=1 SIZE=1", b"size=1 SIZE=1",
            b"BODY=9BIT", b"SMTPUTF8=yes", b"RET=SOME", b"RET", b"RET=FULL RET=FULL", b"ENVID=a=b", b"ENVID=+2",
            b"ENVID=a+0D+0AX-Evil:", b"ENVID=+E9", b"ENVID=" + b"x" * 101, b"AUTH=balie", b"AUTH=+ZZ", b"=1", b"-X=1",
        )
    ),
    *(
        Wrong(machine.BAD_PARAMETER, EHLO + MAIL + RCPT[:-2] + b" " + given + b"\r\n")
        for given in (
            b"NOTIFY", b"NOTIFY=NEVER,SUCCESS", b"NOTIFY=SOMETIMES", b"NOTIFY=SUCCESS,", b"NOTIFY=NEVER NOTIFY=NEVER",
            b"ORCPT=balie@voorbeeld.test", b"ORCPT=rfc822;", b"ORCPT=;balie@voorbeeld.test", b"ORCPT=rfc822;a+0A",
            b"ORCPT=rfc822;" + b"x" * 500, b"ORCPT=utf-8;\\x{0A}", b"ORCPT=utf-8;\\x{D800}", b"ORCPT=utf-8;\xc3\xa9",
            b"ORCPT=rfc822;a ORCPT=rfc822;a",
        )
    ),
    *(
        Wrong(machine.UNKNOWN_PARAMETER, EHLO + MAIL[:-2] + b" " + given + b"\r\n")
        for given in (b"BODY=BINARYMIME", b"HOLDFOR=5", b"REQUIRETLS", b"NOTIFY=NEVER", b"XYZZY")
    ),
    Wrong(machine.UNKNOWN_PARAMETER, EHLO + MAIL[:-2] + b" SMTPUTF8\r\n", profile=WITHOUT_UTF8),
    Wrong(machine.UNKNOWN_PARAMETER, EHLO + MAIL[:-2] + b" AUTH=<>\r\n", profile=PLAIN_PROFILE),
    Wrong(
        machine.UNKNOWN_PARAMETER,
        EHLO + MAIL[:-2] + b" REQUIRETLS\r\n",
        tls=False,
        profile=replace(PLAIN_PROFILE, offers_requiretls=True),
    ),
    Wrong(machine.UNKNOWN_PARAMETER, EHLO + MAIL + RCPT[:-2] + b" SIZE=1\r\n"),
    Wrong(machine.NEEDS_SMTPUTF8, EHLO + "MAIL FROM:<café@example.org>\r\n".encode()),
    Wrong(machine.NEEDS_SMTPUTF8, EHLO + "MAIL FROM:<balie@café.example>\r\n".encode()),
    Wrong(machine.NEEDS_SMTPUTF8, EHLO + MAIL + "RCPT TO:<café@voorbeeld.test>\r\n".encode()),
    Wrong(machine.TOO_MANY_RECIPIENTS, EHLO + ENVELOPE + RCPT, profile=TINY),
    # Content
    Wrong(machine.TOO_LARGE, EHLO + MAIL[:-2] + b" SIZE=101\r\n", profile=TINY),
    Wrong(machine.TOO_LARGE, EHLO + ENVELOPE + b"DATA\r\n" + b"x" * 99 + b"\r\n.\r\n", profile=TINY),
    Wrong(machine.TOO_LARGE, EHLO + ENVELOPE + b"BDAT 101 LAST\r\n" + b"x" * 101, profile=TINY),
    Wrong(machine.BAD_CONTENT, EHLO + ENVELOPE + b"DATA\r\nbare\nLF\r\n.\r\n"),
    Wrong(machine.BAD_CONTENT, EHLO + ENVELOPE + b"BDAT 7 LAST\r\nbare\rCR"),
    Wrong(machine.BAD_CHUNK, EHLO + ENVELOPE + b"BDAT 3 FIRST\r\nabc"),
    Wrong(machine.CHUNK_FAILED, EHLO + ENVELOPE + b"BDAT 1\r\n\nBDAT 3\r\nabc"),
    *(
        Wrong(machine.CHUNK_LOST, EHLO + ENVELOPE + line + b"\r\n")
        for line in (b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT LAST", b"BDAT 1_0", "BDAT ٣".encode(), b"BDAT " + b"9" * 21)
    ),
    *(
        Wrong(machine.CHUNK_LOST, EHLO + ENVELOPE + line + b"\r\n")
        for line in (b"bdat 5\nLAST", b"BDAT 5 \xff", b"BDAT 5" + b" " * 600)
    ),
    # Patience
    Wrong(machine.TOO_MANY_ERRORS, b"A\r\nB\r\nC\r\n", profile=TINY),
    Wrong(machine.TOO_MANY_IDLE, b"NOOP\r\n" * 201),
    Wrong(
        machine.TOO_MANY_SIGN_INS,
        EHLO + AUTH_PLAIN * 2,
        profile=TINY,
        verdict=refusing(Authenticate, REFUSED_SIGN_IN),
    ),
)  # fmt: skip


@pytest.mark.parametrize("wrong", WRONGS, ids=lambda wrong: f"{wrong.expected.code} {wrong.said[-50:]!r}")
def test_what_is_wrong_gets_the_refusal_that_is_meant_for_it(wrong: Wrong) -> None:
    talk = converse([wrong.said], profile=wrong.profile, tls=wrong.tls, verdict=wrong.verdict)
    assert talk.sent.endswith(b"\r\n" + wrong.expected.encode())
    assert talk.sent.count(wrong.expected.encode()) == 1
    assert not any(isinstance(event, ContentEnds) for event in talk.events)


def test_every_refusal_that_the_machine_knows_is_provoked_above() -> None:
    known = {value for value in vars(machine).values() if isinstance(value, Reply) and not value.is_positive}
    assert {wrong.expected for wrong in WRONGS} == known


def test_no_refusal_repeats_a_word_of_the_client() -> None:
    for wrong in WRONGS:
        marked = wrong.said.replace(b"example", b"marker7").replace(b"voorbeeld", b"marker7")
        talk = converse([marked], profile=replace(wrong.profile, hostname="mx"), tls=wrong.tls, verdict=wrong.verdict)
        assert b"marker7" not in talk.sent


def test_a_line_of_the_longest_length_is_still_read() -> None:
    noop = b"NOOP " + b"x" * 505 + b"\r\n"
    assert len(noop) == 512
    assert converse([noop]).last == converse(byte_by_byte(noop)).last == "250 2.0.0"
    mail = b"MAIL FROM:<afzender@example.org> ENVID=" + b"+41" * 33
    longest = mail + b" " * (2046 - len(mail)) + b"\r\n"
    assert converse([EHLO + longest]).last == converse([EHLO, *byte_by_byte(longest)]).last == "250 2.1.0"
    auth = b"AUTH PLAIN " + b64encode(b"\0balie\0" + b"x" * 9197)
    assert len(auth) <= 12_286
    assert converse([EHLO + auth + b"\r\n"]).last == "235 2.7.0"
    response = b64encode(b"\0balie\0" + b"x" * 9206)
    assert len(response) <= 12_286
    assert converse([EHLO + b"AUTH PLAIN\r\n" + response + b"\r\n"]).last == "235 2.7.0"


def test_after_an_over_long_line_the_next_command_is_understood() -> None:
    assert converse([b"x" * 70_000, b"y" * 70_000 + b"\r", b"\nNOOP\r\n"]).replies == ["500 5.5.2", "250 2.0.0"]


# Greeting


def test_nothing_is_read_before_the_banner() -> None:
    server = Server(PROFILE, tls=True)
    server.receive(EHLO)
    assert server.next_event() is Pause.NEED_INPUT
    assert server.outgoing() == b""
    server.greet()
    assert server.next_event() is Pause.NEED_INPUT
    assert server.outgoing().startswith(BANNER + b"250-")


def test_a_banner_of_421_closes_at_once() -> None:
    server = Server(PROFILE)
    server.greet(refusal=Reply(421, "4.3.2", "Full"))
    assert server.next_event() is Pause.CLOSED
    assert server.outgoing() == b"421 4.3.2 Full\r\n"


def test_a_refusing_banner_waits_for_quit_and_loses_patience() -> None:
    server = Server(PROFILE)
    server.greet(refusal=Reply(554, "5.7.1", "Not you"))
    server.receive(EHLO * 9 + b"BDAT 4\r\nQUIT")
    assert server.next_event() is Pause.CLOSED
    replies = server.outgoing().splitlines()
    assert [reply[:3] for reply in replies] == [b"554", *[b"503"] * 10, b"421"]


def _keywords(profile: Profile, said: bytes, *, tls: bool) -> set[str]:
    lines = converse([said], profile=profile, tls=tls).sent.decode().split("\r\n")[:-1]
    start = max(number for number, line in enumerate(lines) if line == f"250-{HOST}")
    return {line[4:] for line in lines[start + 1 :]}


ALWAYS = {"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING", "LIMITS RCPTMAX=1000", "SIZE 150000000"}


def test_what_ehlo_offers_depends_on_tls_and_sign_in() -> None:
    everything = replace(PROFILE, offers_requiretls=True)
    assert _keywords(everything, EHLO, tls=False) == ALWAYS | {"SMTPUTF8", "STARTTLS"}
    assert _keywords(everything, EHLO, tls=True) == ALWAYS | {"SMTPUTF8", "AUTH PLAIN LOGIN", "REQUIRETLS"}
    assert _keywords(everything, EHLO + AUTH_PLAIN + EHLO, tls=True) == ALWAYS | {"SMTPUTF8", "REQUIRETLS"}
    nothing = replace(PROFILE, offers_auth=False, offers_starttls=False, smtputf8=False)
    assert _keywords(nothing, EHLO, tls=False) == ALWAYS
    assert _keywords(nothing, EHLO, tls=True) == ALWAYS


def test_who_reports_nothing_announces_no_dsn_and_takes_none_of_its_parameters() -> None:
    profile = replace(PROFILE, offers_dsn=False)
    assert _keywords(profile, EHLO, tls=True) == (ALWAYS - {"DSN"}) | {"SMTPUTF8", "AUTH PLAIN LOGIN"}
    asked = MAIL[:-2] + b" RET=HDRS\r\n" + MAIL + RCPT[:-2] + b" NOTIFY=SUCCESS\r\n" + RCPT
    replies = converse([EHLO + asked], profile=profile, tls=True).replies
    assert [reply[:3] for reply in replies[-4:]] == ["555", "250", "555", "250"]


def test_helo_is_answered_without_keywords() -> None:
    talk = converse([b"HELO [192.0.2.7]\r\n"])
    assert talk.sent == BANNER + b"250 mx.example.org\r\n"
    assert (talk.server.helo, talk.server.extended) == ("[192.0.2.7]", False)
    talk = converse([b"HELO a\r\n", b"ehlo [IPv6:2001:db8::7] \r\n"])
    assert (talk.server.helo, talk.server.extended) == ("[IPv6:2001:db8::7]", True)


def test_a_second_ehlo_ends_the_transaction() -> None:
    talk = converse([EHLO + ENVELOPE + EHLO + b"DATA\r\n"])
    assert talk.kinds == ["Mail", "Recipient", "Reset"]
    assert talk.last == "503 5.5.1"


def test_a_refused_ehlo_leaves_the_transaction_alone() -> None:
    assert converse([EHLO + ENVELOPE + b"EHLO\r\nDATA\r\n"]).replies[-2:] == ["501 5.5.4", "354"]


def test_quit_is_answered_and_ends_everything() -> None:
    talk = converse([EHLO + MAIL + b"QUIT\r\nNOOP\r\n"])
    assert talk.last == "221 2.0.0"
    assert talk.events[-1] == Quit()
    assert talk.pause is Pause.CLOSED
    talk.server.receive(b"NOOP\r\n")
    assert talk.server.next_event() is Pause.CLOSED


def test_rset_tells_the_driver_only_when_there_was_a_transaction() -> None:
    talk = converse([b"RSET\r\n" + EHLO + b"RSET\r\n" + MAIL + b"RSET\r\nRSET\r\n"])
    assert talk.kinds == ["Mail", "Reset"]
    assert talk.server.state is State.GREETED


# STARTTLS


def test_what_came_in_clear_behind_starttls_is_never_read() -> None:
    injected = b"EHLO evil.example\r\n" + ENVELOPE + b"DATA\r\n"
    for pieces in (
        [EHLO + b"STARTTLS\r\n" + injected],
        [EHLO + b"STARTTLS\r\n", injected],
        [EHLO + b"STARTTLS\r\nEHLO ev", b"il.example\r\n"],
    ):
        before = converse(pieces, tls=False)
        assert before.kinds == ["StartTls"]
        assert before.server.buffered == 0
        after = converse([*pieces, HANDSHAKE, b"NOOP\r\n" + MAIL], tls=False)
        assert after.replies[-3:] == ["220 2.0.0", "250 2.0.0", "503 5.5.1"]
        assert after.kinds == ["StartTls"]


def test_after_the_handshake_the_client_starts_anew() -> None:
    talk = converse([EHLO + b"STARTTLS\r\n", HANDSHAKE], tls=False)
    server = talk.server
    assert (server.tls, server.state) == (True, State.CONNECTED)
    assert (server.helo, server.extended, server.authenticated) == (None, False, False)
    talk = converse([EHLO + b"STARTTLS\r\n", HANDSHAKE, EHLO + AUTH_PLAIN + MAIL], tls=False)
    assert talk.kinds == ["StartTls", "Authenticate", "Mail"]
    assert talk.server.authenticated


def test_before_the_handshake_nothing_but_the_reply_is_sent() -> None:
    talk = converse([EHLO + b"STARTTLS\r\n"], tls=False)
    assert talk.last == "220 2.0.0"
    assert talk.pause is Pause.NEED_INPUT
    talk.server.receive_eof()
    assert talk.server.next_event() is Pause.CLOSED
    assert talk.server.outgoing() == b""


# Sign-in


@pytest.mark.parametrize(
    ("said", "mechanism"),
    [
        (AUTH_PLAIN, "PLAIN"),
        (b"auth plain\r\n" + b64("\0balie\0geheim"), "PLAIN"),
        (b"AUTH PLAIN " + b64("balie\0balie\0geheim"), "PLAIN"),
        (b"AUTH LOGIN\r\n" + b64("balie") + b64("geheim"), "LOGIN"),
        (b"AUTH LOGIN " + b64("balie") + b64("geheim"), "LOGIN"),
    ],
)
def test_credentials_reach_the_driver_and_no_text(said: bytes, mechanism: str) -> None:
    talk = converse([EHLO + said])
    (event,) = talk.events
    assert isinstance(event, Authenticate)
    assert (event.mechanism, event.username, event.password.reveal()) == (mechanism, "balie", "geheim")
    assert "geheim" not in repr(event)
    assert talk.server.authenticated
    assert talk.server.state is State.GREETED
    assert talk.server.buffered == 0


def test_challenges_are_what_rfc_4954_and_old_clients_expect() -> None:
    assert converse([EHLO + b"AUTH PLAIN\r\n"]).sent.endswith(b"\r\n334 \r\n")
    login = converse([EHLO + b"AUTH LOGIN\r\n" + b64("balie")])
    assert login.sent.endswith(b"\r\n334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n")


def test_a_refused_sign_in_may_be_tried_again_until_patience_ends() -> None:
    talk = converse([EHLO + AUTH_PLAIN * 7 + MAIL], verdict=refusing(Authenticate, REFUSED_SIGN_IN))
    assert talk.replies == ["250", *["535 5.7.8"] * 5, "421 4.7.0"]
    assert talk.pause is Pause.CLOSED
    assert not talk.server.authenticated


def test_a_claim_to_another_identity_counts_as_a_failed_sign_in() -> None:
    other = b"AUTH PLAIN " + b64("directie\0balie\0geheim")
    talk = converse([EHLO + other * 6])
    assert talk.replies == ["250", *["535 5.7.8"] * 5, "421 4.7.0"]
    assert talk.events == []


def test_our_own_trouble_is_not_a_failed_sign_in() -> None:
    trouble = refusing(Authenticate, Reply(454, "4.7.0", "Try again later"))
    talk = converse([EHLO + AUTH_PLAIN * 12], verdict=trouble)
    assert talk.replies == ["250", *["454 4.7.0"] * 12]


def test_greeting_again_does_not_forgive_failed_sign_ins() -> None:
    talk = converse([EHLO + AUTH_PLAIN * 4 + EHLO + AUTH_PLAIN], verdict=refusing(Authenticate, REFUSED_SIGN_IN))
    assert talk.last == "421 4.7.0"


def test_mail_follows_a_sign_in_where_one_is_required() -> None:
    talk = converse([EHLO + MAIL + AUTH_PLAIN + MAIL], profile=SIGNED_FIRST)
    assert talk.replies == ["250", "530 5.7.0", "235 2.7.0", "250 2.1.0"]


# The envelope


def test_mail_parameters_arrive_validated_and_decoded() -> None:
    said = (
        b"mail from:<afzender@example.org> size=100 body=8bitmime SMTPUTF8 ret=hdrs "
        b"ENVID=QQ+2B314159 AUTH=e+3Dmc2@example.org REQUIRETLS\r\n"
    )
    talk = converse([EHLO + said], profile=replace(PROFILE, offers_requiretls=True))
    assert talk.events == [
        Mail(
            Mailbox.parse("afzender@example.org"),
            MailParameters(
                size=100,
                body="8BITMIME",
                smtputf8=True,
                ret="HDRS",
                envid="QQ+314159",
                requiretls=True,
                auth=Mailbox.parse("e=mc2@example.org"),
            ),
        )
    ]


def test_rcpt_parameters_arrive_validated_and_decoded() -> None:
    rcpt = RCPT[:-2] + b" NOTIFY=success,Delay ORCPT=rfc822;Balie+2Binfo@Voorbeeld.test\r\n"
    never = RCPT[:-2] + b" NOTIFY=never ORCPT=utf-8;caf\\x{E9}@voorbeeld.test\r\n"
    mailbox = Mailbox.parse("ontvanger@voorbeeld.test")
    first = RcptParameters(frozenset({"SUCCESS", "DELAY"}), OriginalRecipient("rfc822", "Balie+info@Voorbeeld.test"))
    second = RcptParameters(frozenset({"NEVER"}), OriginalRecipient("utf-8", "café@voorbeeld.test"))
    talk = converse([EHLO + MAIL + rcpt + never])
    assert talk.events[1:] == [Recipient(mailbox, first), Recipient(mailbox, second)]


def test_without_parameters_the_defaults_say_that_nothing_was_asked() -> None:
    assert converse([EHLO + b"MAIL FROM: <>\r\n" + RCPT]).events == [
        Mail(NULL_PATH, MailParameters()),
        Recipient(Mailbox.parse("ontvanger@voorbeeld.test"), RcptParameters()),
    ]
    assert MailParameters().auth is None
    assert RcptParameters().notify == frozenset()


def test_auth_of_nobody_is_not_the_same_as_no_auth() -> None:
    (event,) = converse([EHLO + MAIL[:-2] + b" AUTH=<>\r\n"]).events
    assert isinstance(event, Mail)
    assert event.parameters.auth is NULL_PATH


def test_smtputf8_of_mail_opens_rcpt_and_ends_with_the_transaction() -> None:
    unicode = "RCPT TO:<café@voorbeeld.test> ORCPT=utf-8;café@voorbeeld.test\r\n".encode()
    talk = converse([EHLO + MAIL[:-2] + b" SMTPUTF8\r\n" + unicode + b"RSET\r\n" + MAIL + unicode])
    assert talk.replies == ["250", "250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.1.0", "501 5.5.4"]


def test_the_declared_size_may_be_exactly_the_limit() -> None:
    assert converse([EHLO + MAIL[:-2] + b" SIZE=100\r\n"], profile=TINY).last == "250 2.1.0"


def test_recipients_beyond_the_limit_are_refused_for_now_and_the_others_stay() -> None:
    profile = replace(PROFILE, max_recipients=2)
    talk = converse([EHLO + MAIL + RCPT * 30 + b"DATA\r\n"], profile=profile)
    assert talk.replies == ["250", "250 2.1.0", *["250 2.1.5"] * 2, *["452 4.5.3"] * 28, "354"]
    assert talk.kinds == ["Mail", "Recipient", "Recipient", "ContentBegins"]


def test_refused_recipients_do_not_count_towards_the_limit() -> None:
    def choosy(event: Event) -> Reply:
        return UNWANTED if isinstance(event, Recipient) and event.mailbox.local == "niemand" else accept(event)

    talk = converse(
        [EHLO + MAIL + b"RCPT TO:<niemand@voorbeeld.test>\r\n" * 5 + RCPT],
        profile=replace(PROFILE, max_recipients=1),
        verdict=choosy,
    )
    assert talk.replies[2:] == [*["550 5.7.1"] * 5, "250 2.1.5"]


def test_a_second_mail_needs_rset_first() -> None:
    assert converse([EHLO + MAIL + MAIL]).sent.endswith(
        b"503 5.5.1 Finish this mail transaction, or send RSET first\r\n"
    )


# Pipelining and waiting


def test_replies_to_a_pipelined_group_come_as_one() -> None:
    server = Server(PROFILE, tls=True)
    server.greet()
    server.outgoing()
    server.receive(EHLO + ENVELOPE + RCPT + b"DATA\r\n")
    while (event := server.next_event()) is not Pause.NEED_INPUT:
        if not isinstance(event, Pause):
            server.reply(accept(event))
    lines = server.outgoing().decode().split("\r\n")[:-1]
    assert [line[:3] for line in lines if line[3] == " "] == ["250", "250", "250", "250", "354"]


def test_while_a_verdict_is_awaited_nothing_more_is_read() -> None:
    server = Server(PROFILE, tls=True)
    server.greet()
    server.receive(EHLO + ENVELOPE)
    assert isinstance(server.next_event(), Mail)
    server.outgoing()
    server.receive(b"NOOP\r\n")
    assert server.next_event() is Pause.AWAITING_REPLY
    assert server.outgoing() == b""
    assert server.buffered == len(RCPT) + len(b"NOOP\r\n")
    server.reply(Reply(250, "2.1.0", "OK"))
    assert isinstance(server.next_event(), Recipient)


def test_commands_before_the_end_of_the_connection_are_still_obeyed() -> None:
    talk = converse([EHLO + MAIL + b"QUIT\r\n"], eof=True)
    assert talk.kinds == ["Mail", "Quit"]
    talk = converse([EHLO + MAIL + b"RCPT TO:<ontv"], eof=True)
    assert talk.kinds == ["Mail"]
    assert talk.pause is Pause.CLOSED


# Patience


def test_errors_in_a_row_end_the_connection() -> None:
    talk = converse([EHLO + b"SING\r\n" * 20])
    assert talk.replies == ["250", *["500 5.5.2"] * 10, "421 4.7.0"]
    assert talk.pause is Pause.CLOSED


def test_a_success_forgives_and_harmless_commands_do_not() -> None:
    profile = replace(PROFILE, max_errors=3)
    wrong = b"SING\r\n" * 2
    message = ENVELOPE + b"DATA\r\nx\r\n.\r\n"
    for success in (message, ENVELOPE + b"RSET\r\n", AUTH_PLAIN):
        assert "421 4.7.0" not in converse([EHLO + wrong + success + wrong], profile=profile).replies
    assert converse([EHLO + wrong + message + wrong + b"SING\r\n"], profile=profile).last == "421 4.7.0"
    for harmless in (b"NOOP\r\n", b"RSET\r\n", EHLO, MAIL, b"VRFY x\r\n"):
        assert converse([EHLO + wrong + harmless + wrong], profile=profile).last == "421 4.7.0"


@pytest.mark.parametrize("idle", [b"NOOP\r\n", b"RSET\r\n", EHLO, b"VRFY x\r\n", b"HELP\r\n"])
def test_commands_that_bring_no_message_are_counted_until_one_comes(idle: bytes) -> None:
    profile = replace(PROFILE, max_idle_commands=5)
    talk = converse([EHLO + idle * 20], profile=profile)
    assert talk.last == "421 4.7.0" and talk.pause is Pause.CLOSED
    assert len(talk.replies) == 6
    message = ENVELOPE + b"DATA\r\nx\r\n.\r\n"
    assert "421 4.7.0" not in converse([EHLO + (idle * 3 + message) * 5], profile=profile).replies


def test_what_the_driver_refuses_for_good_counts_and_what_it_defers_does_not() -> None:
    for_good = converse([EHLO + MAIL * 20], verdict=refusing(Mail, UNWANTED))
    assert for_good.replies == ["250", *["550 5.7.1"] * 10, "421 4.7.0"]
    for_now = converse([EHLO + MAIL * 20], verdict=refusing(Mail, Reply(451, "4.3.0", "Later")))
    assert for_now.replies == ["250", *["451 4.3.0"] * 20]


def test_what_was_pipelined_behind_a_refused_mail_is_not_held_against_the_client() -> None:
    talk = converse([EHLO + MAIL + RCPT * 50 + b"DATA\r\n"], verdict=refusing(Mail, UNWANTED))
    assert talk.replies == ["250", "550 5.7.1", *["503 5.5.1"] * 51]
    assert talk.pause is Pause.NEED_INPUT
    talk = converse([EHLO + MAIL + b"RSET\r\n" + RCPT * 50], verdict=refusing(Mail, UNWANTED))
    assert talk.last == "421 4.7.0"
    talk = converse([EHLO + b"MAIL FROM:<nobody>\r\n" + MAIL + b"DATA\r\n" * 50])
    assert talk.last == "421 4.7.0"


def test_what_goes_on_behind_a_refused_mail_for_longer_than_a_group_is_held_against_the_client() -> None:
    """Else a stranger whose MAIL was refused would never lose the connection."""
    profile = Profile(HOST, requires_tls=False, offers_auth=False, requires_auth=True, max_recipients=20)
    group = RCPT * 20 + b"DATA\r\n"
    talk = converse([EHLO + MAIL + group + MAIL + group], profile=profile)
    assert talk.replies == ["250", *["530 5.7.0", *["503 5.5.1"] * 21] * 2]
    talk = converse([EHLO + MAIL + group + RCPT * 9], profile=profile)
    assert talk.replies == ["250", "530 5.7.0", *["503 5.5.1"] * 30, "421 4.7.0"]
    assert talk.pause is Pause.CLOSED


@pytest.mark.parametrize("kind", [Mail, Recipient, ContentBegins, ContentEnds, Authenticate])
def test_a_421_from_the_driver_is_the_last_word(kind: type[Event]) -> None:
    said = EHLO + AUTH_PLAIN + ENVELOPE + b"DATA\r\nx\r\n.\r\nNOOP\r\n"
    talk = converse([said], verdict=refusing(kind, Reply(421, "4.3.2", "Shutting down")))
    assert talk.last == "421 4.3.2"
    assert talk.pause is Pause.CLOSED
    assert isinstance(talk.events[-1], kind)


def test_hanging_up_aborts_content_says_why_and_closes() -> None:
    talk = converse([EHLO + ENVELOPE + b"DATA\r\nhalf a mess"])
    talk.server.hang_up(Reply(421, "4.4.2", "Too slow"))
    assert type(talk.server.next_event()).__name__ == "ContentAborted"
    assert talk.server.next_event() is Pause.CLOSED
    assert talk.server.outgoing() == b"421 4.4.2 Too slow\r\n"
    talk.server.hang_up(Reply(421, "4.4.2", "Too slow"))
    assert talk.server.outgoing() == b""


def test_hanging_up_while_a_verdict_is_awaited_leaves_nothing_to_reply_to() -> None:
    server = Server(PROFILE, tls=True)
    server.greet()
    server.receive(EHLO + MAIL + b"NOOP\r\n")
    assert isinstance(server.next_event(), Mail)
    server.outgoing()
    server.hang_up(Reply(554, "5.3.2", "Going away"))
    assert server.next_event() is Pause.CLOSED
    assert server.outgoing() == b"554 5.3.2 Going away\r\n"
    with pytest.raises(Misuse):
        server.reply(Reply(250, None, "OK"))


def test_a_verdict_before_all_content_was_taken_is_a_mistake_of_the_driver() -> None:
    talk = converse([EHLO + ENVELOPE + b"DATA\r\n"])
    talk.server.receive(b"text\r\n.\r\n")
    assert type(talk.server.next_event()).__name__ == "ContentChunk"
    with pytest.raises(Misuse):
        talk.server.reply(Reply(250, None, "OK"))
    assert talk.server.next_event() == ContentEnds()
    talk.server.reply(Reply(250, None, "OK"))


def test_a_web_browser_is_shown_the_door_before_its_body_is_read() -> None:
    talk = converse([b"POST / HTTP/1.1\r\nHost: mx.example.org\r\n\r\n" + EHLO + ENVELOPE])
    assert talk.replies == ["421 4.7.0"]
    assert talk.events == []


def test_a_tls_greeting_in_clear_is_refused_within_bounds() -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 8
    talk = converse(byte_by_byte(hello), tls=False)
    assert talk.pause is Pause.NEED_INPUT
    assert talk.server.buffered < 512
