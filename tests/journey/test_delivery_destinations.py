"""One destination among many: a dead or slow one takes no places of mail to others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Hashable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_ground import PLACES, PROVEN_FIELD, Post, a_post, link_in, status_of
from tests.journey.delivery_peers import black_hole
from tests.journey.portal_ground import Clock, Visitor
from zegel.core.mail.address import Domain
from zegel.core.policy.carriage import NetworkFailure
from zegel.core.policy.destinations import FIRST_PAUSE, SLOW, UNKNOWN, Destination, Scope, ended
from zegel.edge.dns import Found
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Job, Recipient
from zegel.journey.delivery import connection

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


# --- hosts that many domains share --------------------------------------------------------------------------------

HOST: Final = "mx.gastheer.test"
BUSY: Final = b"421 4.3.2 too many\r\n"


def all_tried(post: Post) -> None:
    """One try of everything that is due, without the clock."""
    for leased in post.lease(Kind.TRANSMIT):
        post.run(post.delivery.transmit(leased))


def also(post: Post, domain: str, *hosts: str) -> None:
    """A domain whose hosts are known already, the first one first."""
    named = tuple(f"{10 * number} {host}." for number, host in enumerate(hosts, 1))
    post.zone.records[domain, "MX"] = Found(named)


def at_hosts(post: Post, address: str) -> list[tuple[str, str]]:
    return [(one.host, one.outcome) for one in post.attempts(address)]


def test_of_domains_with_the_same_dead_host_one_finds_out(post: Post) -> None:
    post.zone.records[HOST, "A"] = Found(("127.0.0.251",))
    domains = [f"klant{number}.test" for number in range(10)]
    for one in domains:
        also(post, one, HOST)
    post.submit(*(f"gast@{one}" for one in domains))
    decided(post)
    all_tried(post)
    tried = [one for one in domains if post.attempts(f"gast@{one}")]
    assert len(tried) == 1
    due = Job.objects.filter(kind=Kind.TRANSMIT, due_at=post.clock.at + FIRST_PAUSE)
    assert due.count() == 9
    assert {one.tries for one in post.transmissions("notification")} == {0, 1}


@pytest.mark.parametrize("greeting", [BUSY, b"450 4.7.1 slow down\r\n"])
def test_other_hosts_are_used_meanwhile(post: Post, greeting: bytes) -> None:
    first = post.mx("een.test", host=HOST, greeting=greeting)
    second = post.mx("een.test", host="mx2.gastheer.test", preference=20)
    also(post, "twee.test", HOST, "mx2.gastheer.test")
    for number, address in enumerate(("gast@een.test", "gast@twee.test")):
        post.submit(address, message_id=f"<{number}@voorbeeld.test>")
        post.settle()
    assert at_hosts(post, "gast@een.test") == [(HOST, "Deferred"), ("mx2.gastheer.test", "Accepted")]
    assert at_hosts(post, "gast@twee.test") == [("mx2.gastheer.test", "Accepted")]
    assert (len(first.heard), len(second.messages())) == (1, 2)


def test_who_was_put_off_tries_it_after_the_pause(post: Post) -> None:
    server = post.mx("een.test", host=HOST, greeting=BUSY)
    also(post, "twee.test", HOST)
    post.submit("gast@een.test")
    post.settle()
    post.submit("gast@twee.test", message_id="<b@voorbeeld.test>")
    post.settle()
    assert (at_hosts(post, "gast@een.test"), at_hosts(post, "gast@twee.test")) == ([(HOST, "Deferred")], [])
    server.greeting = b"220 mx.gastheer.test ESMTP\r\n"
    post.until_nothing_waits()
    assert at_hosts(post, "gast@twee.test") == [(HOST, "Accepted")]
    assert post.outcomes("gast@een.test") == ["Deferred", "Accepted"]
    assert post.dialler.addresses.known == {}


def test_a_refusal_is_no_end_while_another_host_is_left_alone(post: Post) -> None:
    """The report would say that the domain takes no mail, and nobody asked its first host."""
    first = post.mx("een.test", host=HOST, greeting=BUSY)
    post.submit("gast@een.test")
    post.settle()
    other = post.mx("twee.test", host="mx.nee.test", preference=20, greeting=b"554 5.7.1 no\r\n")
    also(post, "twee.test", HOST, "mx.nee.test")
    post.submit("gast@twee.test", message_id="<b@voorbeeld.test>")
    post.settle()
    assert at_hosts(post, "gast@twee.test") == [("mx.nee.test", "Refused")]
    assert post.recipient("gast@twee.test").state == "decided"
    assert post.transmissions("notification")[-1].tries == 1  # the next comes when the next try is due
    first.greeting = b"220 mx.gastheer.test ESMTP\r\n"
    post.until_nothing_waits()
    assert at_hosts(post, "gast@twee.test")[-1] == (HOST, "Accepted")
    assert len(other.heard) == 1
    assert post.failures() == []


def test_a_code_goes_to_a_host_that_others_leave_alone(post: Post) -> None:
    server = post.mx("een.test", host=HOST)
    post.submit("gast@een.test")
    post.settle()
    at = post.clock.at
    away = ended(UNKNOWN, at, NetworkFailure(), now=at, scope=Scope.ADDRESS)
    post.dialler.addresses.known[server.ip] = away
    visitor, recipient = Visitor(post.ground), post.recipient("gast@een.test")
    assert visitor.follow(link_in(server.messages()[0])).status_code == 303
    assert visitor.ask(recipient).status_code == 303
    post.settle()
    assert len(server.messages()) == 2
    assert post.dialler.addresses.known == {}


def test_the_end_comes_in_time_where_one_host_is_dead_and_another_is_never_free(post: Post) -> None:
    post.zone.records[HOST, "A"] = Found(("127.0.0.251",))
    post.mx("een.test", host="mx2.gastheer.test", preference=20, greeting=BUSY)
    also(post, "een.test", HOST, "mx2.gastheer.test")
    post.submit("gast@een.test")
    began = post.clock.at
    post.until_nothing_waits()
    assert post.clock.at - began <= timedelta(days=5, minutes=20)
    assert len(post.failures()) == 1


def never_free(known: dict[Hashable, Destination], where: Hashable, post: Post) -> None:
    """Every place is taken, since long."""
    known[where] = Destination(under_way=(post.clock.at - 2 * SLOW,) * PLACES)


def at_its_time(post: Post) -> None:
    """The transmission that waits, when it is due."""
    due = Job.objects.get(kind=Kind.TRANSMIT).due_at
    assert due > post.clock.at, "it would be tried without end"
    post.clock.at = due


def test_a_host_that_refuses_is_not_asked_each_time_that_another_is_looked_at(post: Post) -> None:
    """Until the word of the delay, four hours later: by the times of tries, not by those of places."""
    no = post.mx("een.test", host="mx1.een.test", greeting=b"554 5.7.1 no\r\n")
    full = post.mx("een.test", host="mx2.een.test", preference=20)
    post.submit("gast@een.test")
    decided(post)
    began, passes = post.clock.at, 0
    while not Job.objects.filter(kind=Kind.DELAYED).exists():
        never_free(post.dialler.addresses.known, full.ip, post)
        all_tried(post)
        passes += 1
        (notification,) = post.transmissions("notification")
        assert notification.tries == passes == len(no.heard)
        at_its_time(post)
        assert post.clock.at - began < timedelta(days=1)
    assert passes < 10
    assert post.recipient("gast@een.test").state == "decided"


@pytest.mark.parametrize("what", Scope)
def test_the_end_and_the_word_of_a_delay_come_where_no_place_is_ever_free(post: Post, what: Scope) -> None:
    server = post.mx("een.test")
    post.submit("gast@een.test")
    decided(post)
    told: list[timedelta] = []
    began = post.clock.at
    while Job.objects.filter(kind=Kind.TRANSMIT).exists():
        if what is Scope.DOMAIN:
            never_free(post.delivery.places.known, (Domain.parse("een.test"), False), post)
        else:
            never_free(post.dialler.addresses.known, server.ip, post)
        all_tried(post)
        for leased in post.lease(Kind.DELAYED):
            told.append(post.clock.at - began)
            post.run(post.telling.delayed(leased))
        post.clock.forward(hours=1)
        assert post.clock.at - began < timedelta(days=6)
    ((notification,), (delay,)) = post.transmissions("notification"), told
    assert timedelta(hours=4) <= delay <= timedelta(hours=5)
    assert timedelta(days=5) <= post.clock.at - began <= timedelta(days=5, hours=2)
    assert (notification.state, notification.sealed, notification.warned) == ("failed", None, True)
    assert post.recipient("gast@een.test").state == "undeliverable"
    assert server.heard == []
    post.delivery.places.known.clear()
    post.settle()
    actions = [status_of(one).partition("Action: ")[2].split()[0] for one in post.reports()]
    assert sorted(actions) == ["delayed", "failed"]


def test_a_place_that_comes_free_is_used_and_waiting_was_no_try(post: Post) -> None:
    server = post.mx("een.test")
    post.submit("gast@een.test")
    decided(post)
    for _ in range(3):
        never_free(post.delivery.places.known, (Domain.parse("een.test"), False), post)
        all_tried(post)
        at_its_time(post)
    (notification,) = post.transmissions("notification")
    assert (notification.tries, notification.warned) == (0, False)
    post.delivery.places.known.clear()
    all_tried(post)
    assert post.outcomes("gast@een.test") == ["Accepted"]
    assert len(server.messages()) == 1


# --- addresses of one host ----------------------------------------------------------------------------------------


def test_the_other_address_of_a_host_that_turns_us_away_is_tried_before_the_next_host(post: Post) -> None:
    first = post.mx("een.test", host=HOST, greeting=BUSY)
    second = post.mx("een.test", host=HOST)
    third = post.mx("een.test", host="mx2.gastheer.test", preference=20)
    post.zone.records[HOST, "A"] = Found((first.ip, second.ip))
    post.submit("gast@een.test")
    post.settle()
    tried = [(one.host, one.address, one.outcome) for one in post.attempts("gast@een.test")]
    assert tried == [(HOST, first.ip, "Deferred"), (HOST, second.ip, "Accepted")]
    assert third.heard == []


def test_a_host_that_is_slow_comes_before_one_that_is_less_preferred(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT", 0.5)
    second = post.mx("een.test", host="mx2.gastheer.test", preference=20)
    also(post, "een.test", HOST, "mx2.gastheer.test")
    post.zone.records[HOST, "A"] = Found(("127.0.0.251", "127.0.0.252"))
    with black_hole("127.0.0.251", post.port), black_hole("127.0.0.252", post.port):
        post.submit("gast@een.test")
        post.settle()
    assert at_hosts(post, "gast@een.test") == [(HOST, "NetworkFailure"), ("mx2.gastheer.test", "Accepted")]
    assert post.attempts("gast@een.test")[0].reply == "127.0.0.251: timed out; 127.0.0.252: timed out"
    assert len(second.messages()) == 1


def test_the_evidence_has_the_address_that_carried_it_and_the_key_exchange(post: Post) -> None:
    server = post.proven()
    post.zone.records["mx.veilig.test", "A"] = Found(("127.0.0.251", server.ip))
    post.submit("gast@veilig.test", fields=[PROVEN_FIELD])
    post.settle()
    (attempt,) = post.attempts("gast@veilig.test")
    assert (attempt.outcome, attempt.address) == ("Accepted", server.ip)
    assert attempt.key_exchange in ("x25519", "X25519MLKEM768")


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
