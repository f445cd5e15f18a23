"""MTA-STS at delivery (RFC 8461): what a policy earns, what it forbids, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from django.db import OperationalError

from tests.journey.delivery_ground import SENTENCE, Post, a_post, certificates, link_in, words
from tests.journey.delivery_peers import server_tls
from tests.journey.portal_ground import Clock
from zegel.core.mail.address import Domain
from zegel.core.policy.transport import Authentication, Tls
from zegel.edge.dns import Found, Trouble
from zegel.edge.fetch import Failed, Fetch, Fetched, NotFetched
from zegel.journey.custody.models import Attempt, TransportPolicy
from zegel.journey.delivery import sts
from zegel.journey.delivery.sts import LOOK_AGAIN, forget_ended

pytestmark = pytest.mark.django_db(transaction=True)

DOMAIN: Final = "veilig.test"
READER: Final = f"lezer@{DOMAIN}"
URL: Final = f"https://mta-sts.{DOMAIN}/.well-known/mta-sts.txt"
DEMAND: Final = ("zivver-direct-delivery", "tls tls1.2 auth mta-sts")
OTHER: Final = ("zivver-direct-delivery", "tls tls1.2 auth certificate-validation")


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def publish(post: Post, mode: str = "enforce", mx: str = "mx.veilig.test", *, identity: str = "1") -> None:
    post.zone.records[f"_mta-sts.{DOMAIN}", "TXT"] = Found((f"v=STSv1; id={identity};",))
    text = f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 604800\n"
    post.web[URL] = Fetched(text.encode(), "")


def send(post: Post, number: int, *fields: tuple[str, str]) -> None:
    post.submit(READER, fields=fields, message_id=f"<{number}@voorbeeld.test>", text=f"{SENTENCE} {number}")
    post.settle()


def last(post: Post) -> Attempt:
    return post.attempts(READER)[-1]


def test_without_a_policy_the_level_is_not_met(post: Post) -> None:
    server = post.proven()
    send(post, 1, DEMAND)
    assert server.messages() == []
    assert post.recipient(READER).state == "undeliverable"  # nor may the code travel
    assert SENTENCE not in "".join(map(words, post.reports()))


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_a_policy_that_is_not_enforced_earns_nothing(post: Post, mode: str) -> None:
    server = post.proven()
    publish(post, mode)
    send(post, 1, DEMAND)
    assert server.messages() == []


def test_an_enforced_policy_that_names_the_host_is_the_level(post: Post) -> None:
    server = post.proven()
    publish(post)
    send(post, 1, DEMAND)
    assert SENTENCE in words(server.messages()[0])
    assert last(post).authentication == Authentication.SIGNED_MX
    assert last(post).named_by == "mta-sts"
    assert last(post).tls >= Tls.TLS_1_2


def test_a_wildcard_names_it_too(post: Post) -> None:
    server = post.proven()
    publish(post, mx="*.veilig.test")
    send(post, 1, DEMAND)
    assert len(server.messages()) == 1


def test_a_host_that_the_policy_does_not_name_gets_not_a_word(post: Post) -> None:
    server = post.proven()
    publish(post, mx="mx.ander.test")
    send(post, 1, OTHER)
    assert server.heard == []
    assert last(post).outcome == "InsufficientSecurity"
    assert "MTA-STS" in last(post).reply


def test_of_several_hosts_those_that_are_named_are_tried(post: Post) -> None:
    wrong = post.mx(DOMAIN, preference=5, host="eerste.ander.test")
    right = post.proven()
    publish(post)
    send(post, 1, OTHER)
    assert wrong.heard == []
    assert len(right.messages()) == 1


@pytest.mark.parametrize("tls", [None, "unknown"])
def test_not_even_a_notification_goes_where_an_enforced_policy_is_not_met(post: Post, tls: str | None) -> None:
    context = server_tls(certificates().unknown_authority) if tls else None
    server = post.mx(DOMAIN, host="mx.veilig.test", tls=context)
    publish(post)
    send(post, 1)
    assert not server.mail_was_begun()
    assert post.recipient(READER).state == "decided"  # it waits; somebody is at work, or in between
    publish(post, "none", identity="2")
    post.later(hours=1)
    assert link_in(server.messages()[0])
    assert post.recipient(READER).state == "notified"


def test_a_policy_that_is_kept_outlives_its_record_and_its_web_server(post: Post) -> None:
    server = post.proven()
    publish(post)
    send(post, 1, DEMAND)
    del post.zone.records[f"_mta-sts.{DOMAIN}", "TXT"]
    post.web.clear()
    for days in (1, 6):
        post.clock.at += timedelta(days=days) if days == 1 else timedelta(days=4)
        post.start()  # as a process that was started anew: it knows what the database knows
        send(post, 1 + days, DEMAND)
    assert len(server.messages()) == 3
    post.clock.at += timedelta(days=3)
    post.start()
    send(post, 9, DEMAND)
    assert len(server.messages()) == 3  # it has ended


def test_a_new_id_brings_the_new_policy(post: Post) -> None:
    server = post.proven()
    publish(post)
    send(post, 1, DEMAND)
    publish(post, "none", identity="2")
    post.clock.at += LOOK_AGAIN
    send(post, 2, DEMAND)
    assert len(server.messages()) == 1
    assert TransportPolicy.objects.get().mode == "none"


@pytest.mark.parametrize("answer", [Failed(NotFetched.NO_CERTIFICATE), Fetched(b"<html>", "")])
def test_what_the_web_server_gives_instead_of_a_policy_changes_nothing(post: Post, answer: Failed | Fetched) -> None:
    server = post.proven()
    publish(post)
    send(post, 1, DEMAND)
    publish(post, "none", identity="2")
    post.web[URL] = answer
    post.clock.at += LOOK_AGAIN
    send(post, 2, DEMAND)
    assert len(server.messages()) == 2


def test_dns_trouble_says_nothing_about_a_policy_that_is_kept(post: Post) -> None:
    server = post.proven()
    publish(post)
    send(post, 1, DEMAND)
    post.zone.records[f"_mta-sts.{DOMAIN}", "TXT"] = Trouble("SERVFAIL")
    post.clock.at += LOOK_AGAIN
    send(post, 2, DEMAND)
    assert len(server.messages()) == 2


def broken(post: Post) -> list[str]:
    """Where something broke; these are ours."""
    found = [one["where"] for one in post.logged if one["event"] == "broken"]
    post.logged[:] = [one for one in post.logged if one["event"] != "broken"]
    return found


def test_while_the_kept_policy_can_not_be_read_nothing_leaves(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may forbid the host: that is not known, and so not passed over; not even by a notification."""
    server = post.proven()
    publish(post, mx="mx.ander.test")
    send(post, 1, OTHER)
    assert TransportPolicy.objects.get().mode == "enforce" and server.heard == []
    post.start()
    kept = sts._kept

    def locked(_: Domain) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(sts, "_kept", locked)
    send(post, 2, OTHER)
    assert (last(post).outcome, last(post).host) == ("DnsTrouble", "")
    assert server.heard == []
    readable = post.transmissions("readable")[-1]
    assert (readable.state, readable.tries) == ("queued", 1)
    assert set(broken(post)) == {"mta-sts"}
    monkeypatch.setattr(sts, "_kept", kept)
    publish(post, identity="2")
    post.later(minutes=20)  # asked anew: that nothing could be read was not remembered
    post.later(minutes=1)  # one mail goes ahead of the others
    assert post.transmissions("readable")[-1].state == "sent"
    assert any(SENTENCE in words(one) for one in server.messages())  # beside the notification that waited


def test_a_policy_that_can_not_be_kept_holds_all_the_same(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = post.mx(DOMAIN, preference=5, host="eerste.ander.test")
    right = post.proven()
    publish(post)

    async def full(*_: object) -> None:
        raise OperationalError("disk is full")

    monkeypatch.setattr(sts.Policies, "_keep", full)
    send(post, 1, DEMAND)
    assert not TransportPolicy.objects.exists()
    assert wrong.heard == []
    assert SENTENCE in words(right.messages()[0])
    assert last(post).authentication == Authentication.SIGNED_MX
    assert broken(post) == ["mta-sts, keeping a policy"]


def test_many_messages_ask_once(post: Post) -> None:
    asked: list[str] = []
    publish(post)
    policies = post.delivery.policies
    fetch = policies.fetch

    def counting(url: str) -> Fetch:
        asked.append(url)
        return fetch(url)

    policies.fetch = counting

    async def ask() -> None:
        found = await asyncio.gather(*(policies.of(Domain.parse(DOMAIN)) for _ in range(50)))
        assert len(set(found)) == 1

    post.run(ask())
    assert asked == [URL]


def test_policies_that_ended_are_forgotten(post: Post) -> None:
    post.proven()
    publish(post)
    send(post, 1, DEMAND)
    assert forget_ended(post.clock.at + timedelta(days=6)) == 0
    assert forget_ended(post.clock.at + timedelta(days=7)) == 1
