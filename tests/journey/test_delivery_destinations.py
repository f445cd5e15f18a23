"""One destination among many: a dead or slow one takes no places of mail to others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_ground import PLACES, Post, a_post, link_in, status_of
from tests.journey.portal_ground import Clock, Visitor
from zegel.core.mail.address import Domain
from zegel.core.policy.carriage import NetworkFailure
from zegel.core.policy.destinations import FIRST_PAUSE, UNKNOWN, ended
from zegel.edge.dns import Found
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Job, Recipient

pytestmark = pytest.mark.django_db(transaction=True)

DEAD: Final = "weg.test"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def nobody_at(post: Post, domain: str) -> None:
    """An address where nobody listens."""
    post.zone.records[domain, "MX"] = Found((f"10 mx.{domain}.",))
    post.zone.records[f"mx.{domain}", "A"] = Found(("127.0.0.251",))


def decided(post: Post) -> None:
    for leased in post.lease(Kind.DECIDE):
        post.run(post.decision.decide(leased))


def test_after_one_failure_the_others_are_put_off_without_a_try(post: Post) -> None:
    nobody_at(post, DEAD)
    post.submit(*(f"r{number}@{DEAD}" for number in range(30)))
    decided(post)
    for leased in post.lease(Kind.TRANSMIT):
        post.run(post.delivery.transmit(leased))
    tried = [one for number in range(30) for one in post.attempts(f"r{number}@{DEAD}")]
    assert len(tried) == 1
    rests = Job.objects.filter(kind=Kind.TRANSMIT, due_at=post.clock.at + FIRST_PAUSE)
    assert rests.count() == 29


def test_a_server_that_comes_back_gets_everything(post: Post) -> None:
    nobody_at(post, DEAD)
    post.submit(*(f"r{number}@{DEAD}" for number in range(30)))
    post.settle()
    server = post.mx(DEAD)
    post.zone.records[DEAD, "MX"] = Found((f"10 mx.{DEAD}.",))
    post.until_nothing_waits()
    assert len(server.messages()) == 30
    assert post.delivery.places.known == {}


def test_mail_to_others_passes_a_server_that_says_nothing(post: Post) -> None:
    """A hundred mails for it are under way or wait; one for somebody else goes at once."""
    with socket.create_server(("127.0.0.252", post.port), backlog=200):
        post.zone.records[DEAD, "MX"] = Found((f"10 mx.{DEAD}.",))
        post.zone.records[f"mx.{DEAD}", "A"] = Found(("127.0.0.252",))
        post.dialler.timeout = 60.0
        server = post.mx("open.test")
        post.submit(*(f"r{number}@{DEAD}" for number in range(100)))
        post.submit("gast@open.test", message_id="<b@voorbeeld.test>", text="Voor een ander.")
        decided(post)
        leased = post.lease(Kind.TRANSMIT)
        assert len(leased) == 100
        leased += post.lease(Kind.TRANSMIT)

        async def all_at_once() -> None:
            jobs = [asyncio.create_task(post.delivery.transmit(one)) for one in leased]
            done, waiting = await asyncio.wait(jobs, timeout=20)
            assert len(waiting) == PLACES
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            for one in done:
                one.result()

        post.run(all_at_once())
        assert len(server.messages()) == 1
        known = post.delivery.places.known.get((Domain.parse(DEAD), False))
        assert known is None or known.under_way == ()


def test_the_end_and_the_word_of_a_delay_come_in_time_however_many_wait(post: Post) -> None:
    nobody_at(post, DEAD)
    post.submit(*(f"r{number}@{DEAD}" for number in range(40)))
    began = post.clock.at
    post.until_nothing_waits()
    assert post.clock.at - began <= timedelta(days=5, minutes=20)
    delays = [one for one in post.reports() if "Action: delayed" in status_of(one)]
    assert (len(delays), len(post.failures())) == (40, 40)
    assert {one.state for one in Recipient.objects.all()} == {"undeliverable"}


def test_a_code_does_not_wait_for_a_server_that_was_away(post: Post) -> None:
    server = post.mx(DEAD)
    post.submit(f"gast@{DEAD}")
    post.settle()
    at = post.clock.at
    post.delivery.places.known[Domain.parse(DEAD), False] = ended(UNKNOWN, at, NetworkFailure(), now=at)
    visitor, recipient = Visitor(post.ground), post.recipient(f"gast@{DEAD}")
    assert visitor.follow(link_in(server.messages()[0])).status_code == 303
    assert visitor.ask(recipient).status_code == 303
    post.settle()
    assert len(server.messages()) == 2


def test_a_destination_that_is_quick_gets_all_its_mail_without_coming_back_later(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(*(f"r{number}@open.test" for number in range(3 * PLACES)))
    decided(post)
    leased = post.lease(Kind.TRANSMIT)

    async def all_at_once() -> None:
        await asyncio.gather(*(post.delivery.transmit(one) for one in leased))

    post.run(all_at_once())
    assert len(server.messages()) == 3 * PLACES
    assert not Job.objects.filter(kind=Kind.TRANSMIT).exists()
