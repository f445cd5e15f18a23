"""What receiving servers are asked to report (RFC 3461), which of them, about which mail; and servers that don't take
what they announce."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.journey.delivery_ground import PROVEN_FIELD, Post, a_post, certificates, status_of, words
from tests.journey.delivery_peers import EXTENSIONS, NAME, Answer, Hangup, ScriptedMx, server_tls
from tests.journey.portal_ground import Clock
from zegel.core.mail.address import Mailbox
from zegel.core.policy.carriage import Accepted, Deferred, NetworkFailure, Refused, Stage
from zegel.core.policy.transport import NO_DEMAND
from zegel.core.smtp.dsn import Asked
from zegel.edge.tls import opportunistic_context, verifying_context
from zegel.journey.custody.jobs import Kind, LeaseLost
from zegel.journey.custody.models import Confirmation, Job
from zegel.journey.delivery.connection import Contexts, Dialler, Mail, Result
from zegel.journey.delivery.mx import NextHop

GUEST: Final = "gast@open.test"
READER: Final = "lezer@veilig.test"
OTHER: Final = "tweede@veilig.test"
CONTENT: Final = b"Subject: geheim\r\n\r\n.met een punt\r\n"
DSN: Final = (*EXTENSIONS, "DSN")
WAYS: Final = {"pipelined": DSN, "one by one": DSN[1:]}
each_way = pytest.mark.parametrize("extensions", WAYS.values(), ids=WAYS)

Judge = Callable[[str, str], Answer | None]


def refusing(verb: str, answer: Answer, word: str) -> Judge:
    """A server that takes no command with this word in it, though it announced it."""
    return lambda said, argument: answer if said == verb and word in argument else None


# --- one connection ------------------------------------------------------------------------------------------------


def send(server: ScriptedMx, *asked: Asked | None) -> list[Result]:
    """So many mails, one after the other."""

    async def story() -> list[Result]:
        contexts = Contexts(verifying_context(certificates().authority.certificate_path), opportunistic_context())
        dialler = Dialler("zegel.test", server.port, contexts, 10.0)
        try:
            return [
                await dialler.send(
                    NextHop(NAME, server.ip, False),
                    Mail(
                        Mailbox.parse("bounce+1@zegel-bounce.voorbeeld.test"),
                        Mailbox.parse(READER),
                        len(CONTENT),
                        (CONTENT,),
                        asked=one,
                    ),
                    needs=NO_DEMAND,
                )
                for one in asked
            ]
        finally:
            await dialler.close()

    with asyncio.Runner() as runner:
        return runner.run(story())  # fmt: skip


def dsn_words(server: ScriptedMx) -> list[str]:
    return [
        re.sub(r"^\w+:<.*?>(?: SIZE=\d+)?", "", one).strip()
        for taken in server.taken
        for one in (taken.mail, taken.rcpt)
    ]


ASKED: Final = Asked("rfc822;Lezer@Veilig.Test", success=True, delay=True)
REFUSALS: Final = {
    "501": b"501 5.5.4 Syntax error in parameters\r\n",
    "504": b"504 5.5.4 Command parameter not implemented\r\n",
    "555": b"555 5.5.4 Unsupported option\r\n",
}


@each_way
@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize(("verb", "word"), [("MAIL", "RET="), ("RCPT", "NOTIFY="), ("RCPT", "ORCPT=")])
def test_who_refuses_what_was_announced_gets_the_mail_without_it(
    verb: str, word: str, answer: bytes, extensions: Sequence[str]
) -> None:
    with ScriptedMx(extensions=extensions, judge=refusing(verb, answer, word)) as server:
        first, second = send(server, ASKED, ASKED)
        assert [first.outcome, second.outcome] == [Accepted(), Accepted()]  # and neither is to be confirmed
        assert server.messages() == [CONTENT, CONTENT]
        assert dsn_words(server) == [""] * 4
        assert len(server.heard) == 1
        assert bytes(server.heard[0].clear).count(b"RET=HDRS") == 1  # it is not asked again on this connection


@each_way
@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_who_refuses_and_hangs_up_is_asked_again_on_another_connection(verb: str, extensions: Sequence[str]) -> None:
    answers: dict[str, Answer | list[Answer]] = {"RSET": Hangup}
    judge = refusing(verb, REFUSALS["555"], "RET=" if verb == "MAIL" else "NOTIFY=")
    with ScriptedMx(extensions=extensions, judge=judge, answers=answers) as server:
        (result,) = send(server, ASKED)
        assert result.outcome == Accepted()
        assert [hop.address for hop in result.tried] == [server.ip]
        assert len(server.heard) == 2
        assert server.messages() == [CONTENT]


def test_data_that_is_taken_behind_a_refused_recipient_gets_no_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 2920 §3.1, as ever; the mail then goes over a new connection."""
    answers: dict[str, Answer | list[Answer]] = {"DATA": [b"354 go ahead\r\n"]}
    with ScriptedMx(extensions=DSN, judge=refusing("RCPT", REFUSALS["501"], "ORCPT"), answers=answers) as server:
        (result,) = send(server, ASKED)
        assert result.outcome == Accepted()
        assert server.messages() == [CONTENT]
        assert b"geheim" not in server.heard[0].clear


@each_way
def test_who_refuses_it_without_parameters_as_well_has_refused_and_is_asked_twice_at_most(
    extensions: Sequence[str],
) -> None:
    with ScriptedMx(extensions=extensions, answers={"RCPT": b"501 5.1.3 bad address\r\n"}) as server:
        (result,) = send(server, ASKED)
        assert isinstance(result.outcome, Refused)
        assert result.outcome.stage is Stage.RCPT
        assert result.evidence.detail == "501 5.1.3 bad address"
        assert bytes(server.heard[0].clear).count(b"MAIL FROM") == 2
        assert server.taken == []


@each_way
@pytest.mark.parametrize(
    ("verb", "answer", "outcome"),
    [
        ("RCPT", b"550 5.1.1 nobody\r\n", Refused),
        ("RCPT", b"503 5.5.1 no\r\n", Refused),
        ("MAIL", b"451 4.7.1 later\r\n", Deferred),
        ("DATA", b"501 5.5.4 no\r\n", Refused),
        ("END", b"501 5.5.4 no\r\n", Refused),
        ("RCPT", Hangup, NetworkFailure),
    ],
)
def test_any_other_answer_is_what_it_is(verb: str, answer: Answer, outcome: type, extensions: Sequence[str]) -> None:
    with ScriptedMx(extensions=extensions, answers={verb: answer}) as server:
        (result,) = send(server, ASKED)
        assert isinstance(result.outcome, outcome)
        assert sum(bytes(heard.clear).count(b"MAIL FROM") for heard in server.heard) == 1
        assert server.taken == []


@each_way
def test_501_is_no_reason_to_try_again_where_nothing_was_asked(extensions: Sequence[str]) -> None:
    for offered, asked in ((extensions, None), (EXTENSIONS, ASKED)):
        with ScriptedMx(extensions=offered, answers={"RCPT": b"501 5.1.3 bad address\r\n"}) as server:
            (result,) = send(server, asked)
            assert isinstance(result.outcome, Refused)
            assert bytes(server.heard[0].clear).count(b"MAIL FROM") == 1


def test_only_a_server_that_announces_it_is_asked_and_only_where_the_mail_asks() -> None:
    for offered, asked in ((EXTENSIONS, ASKED), (DSN, None)):
        with ScriptedMx(extensions=offered) as server:
            (result,) = send(server, asked)
            assert result.outcome == Accepted()
            assert dsn_words(server) == ["", ""]


@pytest.mark.parametrize("is_after", [False, True])
def test_what_is_announced_after_the_handshake_counts_and_nothing_before(*, is_after: bool) -> None:
    plain, tls = DSN[:-1] if is_after else DSN, server_tls(certificates().good)
    offers = f"250-{NAME}\r\n250 {'DSN' if is_after else 'PIPELINING'}\r\n".encode()
    with ScriptedMx(extensions=plain, tls=tls, answers={"EHLO2": offers}) as server:
        (result,) = send(server, ASKED)
        assert result.outcome == Accepted(confirms=is_after)
        assert ("RET=HDRS" in server.taken[0].mail) is is_after


@each_way
def test_what_is_asked_stands_in_the_envelope(extensions: Sequence[str]) -> None:
    with ScriptedMx(extensions=extensions) as server:
        first, second = send(server, ASKED, Asked())
        assert (first.outcome, second.outcome) == (Accepted(confirms=True), Accepted())
        assert dsn_words(server) == [
            "RET=HDRS",
            "NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;Lezer@Veilig.Test",
            "RET=HDRS",
            f"NOTIFY=FAILURE ORCPT=rfc822;{READER}",
        ]


# --- whose mail ----------------------------------------------------------------------------------------------------


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def rcpt_of(server: ScriptedMx) -> list[str]:
    return sorted(re.sub(r"^TO:<.*?>", "", taken.rcpt).strip() for taken in server.taken)


def actions(post: Post) -> list[str]:
    lines = (line for one in post.reports() for line in status_of(one).splitlines())
    return sorted(line.removeprefix("Action: ") for line in lines if line.startswith("Action: "))


pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_of_the_senders_goes_with_what_the_gateway_writes_itself(post: Post) -> None:
    """Notification, reminder, and the reports to the sender."""
    type(post.ground.organisation).objects.update(remind_after_days=1)
    post.home.extensions = DSN
    server = post.mx("open.test", extensions=DSN)
    post.submit(GUEST, notify="SUCCESS,DELAY", original="rfc822;Gast@Open.Test", envelope_id="stuk-7")
    post.until_nothing_waits()
    assert len(server.taken) > 1
    for taken in (*server.taken, *post.home.taken):
        assert not re.search(r"RET=|ENVID=|NOTIFY=|ORCPT=", taken.mail + taken.rcpt)
    assert "relayed" in actions(post)
    assert Confirmation.objects.count() == 0


@pytest.mark.parametrize(
    ("notify", "asked"),
    [
        ("", "FAILURE,DELAY"),
        ("NEVER", "FAILURE"),
        ("FAILURE", "FAILURE"),
        ("DELAY", "FAILURE,DELAY"),
        ("SUCCESS", "SUCCESS,FAILURE"),
        ("SUCCESS,FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"),
    ],
)
def test_the_message_itself_goes_with_what_its_sender_asked(post: Post, notify: str, asked: str) -> None:
    server = post.proven(extensions=DSN)
    post.submit(READER, fields=[PROVEN_FIELD], notify=notify, envelope_id="stuk-7")
    post.until_nothing_waits()
    (taken,) = server.taken
    assert rcpt_of(server) == [f"NOTIFY={asked} ORCPT=rfc822;{READER}"]
    assert " RET=HDRS" in taken.mail
    assert "ENVID" not in taken.mail
    assert "stuk-7" not in taken.mail + taken.rcpt
    assert post.reports() == []  # who asked for SUCCESS hears of it from the server that took it


def test_each_recipient_of_one_message_has_its_own(post: Post) -> None:
    """One submission; its recipients go out each alone, over the same connection."""
    server = post.proven(extensions=DSN)
    deaf = post.mx("oud.test", host="oud.veilig.test", tls=server_tls(certificates().wildcard))
    wishes = {READER: "SUCCESS", OTHER: "NEVER", "derde@veilig.test": "", "vierde@oud.test": "SUCCESS"}
    post.submit_each(wishes, fields=[PROVEN_FIELD])
    post.until_nothing_waits()
    assert rcpt_of(server) == [
        f"NOTIFY=FAILURE ORCPT=rfc822;{OTHER}",
        "NOTIFY=FAILURE,DELAY ORCPT=rfc822;derde@veilig.test",
        f"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{READER}",
    ]
    assert rcpt_of(deaf) == [""]
    (told,) = post.reports()  # of the one whose server confirms nothing
    assert "vierde@oud.test" in words(told)
    assert "Action: relayed" in status_of(told)
    (asked,) = Confirmation.objects.all()
    assert (str(asked.recipient.address), asked.action) == (READER, "")


def test_one_recipient_that_is_refused_with_its_parameters_changes_nothing_for_the_others(post: Post) -> None:
    judge: Judge = lambda verb, argument: (  # noqa: E731
        REFUSALS["555"] if verb == "RCPT" and OTHER in argument and "NOTIFY" in argument else None
    )
    server = post.proven(extensions=DSN, judge=judge)
    post.submit_each({READER: "SUCCESS", OTHER: "SUCCESS"}, fields=[PROVEN_FIELD])
    post.until_nothing_waits()
    assert rcpt_of(server) in (["", f"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{READER}"], ["", ""])
    assert [post.recipient(one).state for one in (READER, OTHER)] == ["delivered"] * 2
    assert post.outcomes(OTHER) == ["Accepted"]
    assert OTHER in "".join(map(words, post.reports()))  # nobody confirms it, so it was relayed


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_a_server_that_takes_it_without_parameters_confirms_nothing(post: Post, verb: str) -> None:
    word = "RET=" if verb == "MAIL" else "ORCPT="
    server = post.proven(extensions=DSN, judge=refusing(verb, REFUSALS["501"], word))
    post.submit(READER, fields=[PROVEN_FIELD], notify="SUCCESS")
    post.until_nothing_waits()
    assert len(server.taken) == 1
    assert actions(post) == ["relayed"]
    assert Confirmation.objects.count() == 0


def test_where_nobody_hears_what_comes_home_success_is_not_asked_for(post: Post) -> None:
    post.start(hears=False)
    server = post.proven(extensions=DSN)
    post.submit(READER, fields=[PROVEN_FIELD], notify="SUCCESS,DELAY")
    post.until_nothing_waits()
    assert rcpt_of(server) == [f"NOTIFY=FAILURE ORCPT=rfc822;{READER}"]
    assert actions(post) == ["relayed"]


@pytest.mark.parametrize(
    "original", ["utf-8;jörg@veilig.test", "rfc822;Groep+Een@Veilig.Test", "x400;/G=Jan/S=Post Kantoor/"]
)
def test_the_original_recipient_is_the_senders(post: Post, original: str) -> None:
    server = post.proven(extensions=DSN)
    post.submit(READER, fields=[PROVEN_FIELD], original=original)
    post.until_nothing_waits()
    kind, _, address = original.partition(";")
    written = address.replace("+", "+2B").replace("=", "+3D").replace(" ", "+20").replace("ö", r"\x{F6}")
    assert rcpt_of(server) == [f"NOTIFY=FAILURE,DELAY ORCPT={kind};{written}"]


def test_a_message_that_falls_back_asks_at_the_server_that_took_it_alone(post: Post) -> None:
    """Readable was tried first, and then the notification went: that is told as what it is."""
    post.mx("open.test", extensions=DSN)
    post.submit(
        GUEST,
        fields=[PROVEN_FIELD, ("zivver-minimum-recipient-verification", "email-verification")],
        notify="SUCCESS",
    )
    post.settle()
    assert post.recipient(GUEST).state == "notified"
    assert actions(post) == ["relayed"]
    assert Confirmation.objects.count() == 0


def test_what_is_recorded_twice_is_asked_for_once(post: Post) -> None:
    """A process that lost its lease after the server had taken the mail sends it once more."""
    server = post.proven(extensions=DSN)
    post.submit(READER, fields=[PROVEN_FIELD], notify="SUCCESS")
    (leased,) = post.lease(Kind.DECIDE)
    post.run(post.decision.decide(leased))
    (leased,) = post.lease(Kind.TRANSMIT)
    Job.objects.filter(id=leased.job).update(lease=None, leased_until=None)  # taken over meanwhile
    with pytest.raises(LeaseLost):
        post.run(post.delivery.transmit(leased))
    assert Confirmation.objects.count() == 0
    post.settle()
    assert len(server.taken) == 2
    assert Confirmation.objects.count() == 1
    found: Any = Confirmation.objects.get()
    assert (found.action, found.at) == ("", None)
