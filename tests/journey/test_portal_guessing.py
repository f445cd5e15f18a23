"""Codes can't be guessed, whichever of several web processes the tries come to (P12)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import IO

import pytest
from django.db import connection

from tests.journey.portal_ground import Clock, Ground, Visitor, mail
from zegel.core.policy.challenge import CODES_PER_HOUR, TRIES_PER_CODE, WRONG_PER_DAY
from zegel.journey.custody.models import Challenge, Proof, Recipient, Sms, WrongTry
from zegel.journey.portal import codes

pytestmark = pytest.mark.django_db(transaction=True)

BROWSER, OTHER = b"b" * 32, b"o" * 32
PROCESSES, EACH = 5, 10
Task = tuple[bytes, str]  # a browser, and the code that it types; none: it asks for one


@pytest.fixture
def recipient(ground: Ground) -> Recipient:
    return ground.recipient(ground.conversation(mail()))


@dataclass(frozen=True, slots=True)
class Webs:
    """Five web processes."""

    pipes: list[tuple[IO[str], IO[str]]]

    def at_once(self, recipient: Recipient, clock: Clock, tasks: list[Task]) -> Counter[str]:
        """What came of all tasks, which they did at the same moment."""
        told = {
            "database": connection.settings_dict["NAME"], "now": clock().isoformat(), "recipient": str(recipient.id)
        }  # fmt: skip
        for number, (to, _) in enumerate(self.pipes):
            mine = [{"browser": browser.hex(), "code": code} for browser, code in tasks[number::PROCESSES]]
            print(json.dumps({**told, "tasks": mine}), file=to, flush=True)
        assert all(out.readline() == "ready\n" for _, out in self.pipes)
        for to, _ in self.pipes:
            print("go", file=to, flush=True)
        return Counter(verdict for _, out in self.pipes for verdict in json.loads(out.readline()))


@pytest.fixture(scope="module")
def webs() -> Iterator[Webs]:
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.journey.guessing_process"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(PROCESSES)
        ]
        yield Webs([(piped(one.stdin), piped(one.stdout)) for one in running])


def piped(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def wrong(code: str, count: int) -> list[str]:
    return [f"{(int(code) + by) % 1_000_000:06}" for by in range(1, count + 1)]


def test_fifty_wrong_tries_in_five_processes_are_fifty_tries(
    ground: Ground, clock: Clock, recipient: Recipient, webs: Webs
) -> None:
    codes.send(recipient, BROWSER, "nl")
    code = ground.last_code()
    verdicts = webs.at_once(recipient, clock, [(BROWSER, one) for one in wrong(code, PROCESSES * EACH)])
    assert verdicts == {"Wrong": TRIES_PER_CODE, "Expired": 45}
    assert WrongTry.objects.count() == TRIES_PER_CODE == Challenge.objects.get().tries
    assert webs.at_once(recipient, clock, [(BROWSER, code)] * PROCESSES) == {"Expired": PROCESSES}
    assert not Proof.objects.exists()


def test_a_new_code_resets_no_count_and_the_right_one_is_refused_after_the_lock(
    ground: Ground, clock: Clock, recipient: Recipient, webs: Webs
) -> None:
    for _ in range(2):
        codes.send(recipient, BROWSER, "nl")
        webs.at_once(recipient, clock, [(BROWSER, one) for one in wrong(ground.last_code(), 25)])
        clock.forward(minutes=1)
    assert WrongTry.objects.count() == WRONG_PER_DAY
    assert webs.at_once(recipient, clock, [(BROWSER, ground.last_code())] * 10) == {"Locked": 10}
    assert webs.at_once(recipient, clock, [(BROWSER, ""), (OTHER, "")] * 5) == {"TooMany": 10}
    assert not Proof.objects.exists() and Sms.objects.count() == 2
    clock.forward(hours=23)
    assert webs.at_once(recipient, clock, [(OTHER, "")] * 5) == {"TooMany": 5}
    clock.forward(hours=1)
    assert webs.at_once(recipient, clock, [(OTHER, "")] * 5) == {"NoneType": 1, "TooSoon": 4}


def test_tries_with_a_second_code_of_another_browser_count_with_those_of_the_first(
    ground: Ground, clock: Clock, recipient: Recipient, webs: Webs
) -> None:
    codes.send(recipient, BROWSER, "nl")
    first = ground.last_code()
    clock.forward(seconds=30)
    codes.send(recipient, OTHER, "nl")
    second = ground.last_code()
    tasks = [(BROWSER, one) for one in wrong(first, 25)] + [(OTHER, one) for one in wrong(second, 25)]
    verdicts = webs.at_once(recipient, clock, tasks)
    assert WrongTry.objects.count() == WRONG_PER_DAY == verdicts["Wrong"] + min(verdicts["Locked"], 1)
    for browser, code in ((BROWSER, first), (OTHER, second)):
        assert webs.at_once(recipient, clock, [(browser, code)]) == {"Locked": 1}
    assert not Proof.objects.exists()


def test_asking_in_five_processes_sends_one_code_and_five_in_an_hour(
    ground: Ground, clock: Clock, recipient: Recipient, webs: Webs
) -> None:
    for number in range(CODES_PER_HOUR):
        browsers = [bytes([number, other]) * 16 for other in range(20)]
        refused = "TooSoon" if number + 1 < CODES_PER_HOUR else "TooMany"
        assert webs.at_once(recipient, clock, [(one, "") for one in browsers]) == {"NoneType": 1, refused: 19}
        clock.forward(minutes=1)
    assert webs.at_once(recipient, clock, [(BROWSER, ""), (OTHER, "")] * 10) == {"TooMany": 20}
    assert Sms.objects.count() == Challenge.objects.count() == CODES_PER_HOUR


def test_of_two_browsers_with_the_right_code_the_one_that_asked_gets_in_and_no_other(
    ground: Ground, clock: Clock, recipient: Recipient, webs: Webs
) -> None:
    """Also where both send it at the same moment, and the stranger more often."""
    codes.send(recipient, BROWSER, "nl")
    code = ground.last_code()
    strangers = [(bytes([other]) * 32, code) for other in range(20)]
    verdicts = webs.at_once(recipient, clock, [*strangers, *[(BROWSER, code)] * 5, *strangers])
    assert verdicts == {"Passed": 1, "Expired": 44}
    assert [bytes(one.browser) for one in Proof.objects.all()] == [BROWSER]
    assert not WrongTry.objects.exists()


def test_a_second_tab_of_the_same_browser_gets_to_the_message_too(ground: Ground, recipient: Recipient) -> None:
    visitor = Visitor(ground)
    visitor.follow(ground.link(recipient))
    visitor.ask(recipient)
    code = ground.last_code()
    for _ in range(2):
        assert visitor.enter(recipient, code)["Location"] == visitor.page("guest-read", recipient)
    stranger = Visitor(ground)
    stranger.follow(ground.link(recipient))
    assert stranger.enter(recipient, code).status_code == 422
    assert Proof.objects.count() == 1


def test_what_was_proven_is_over_after_twelve_hours_also_with_the_same_code(
    ground: Ground, clock: Clock, recipient: Recipient, webs: Webs
) -> None:
    """Code replay is refused (P19)."""
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    clock.at += timedelta(hours=12)
    assert visitor.read(recipient)["Location"] == visitor.page("guest", recipient)
    assert visitor.enter(recipient, ground.last_code()).status_code == 422
