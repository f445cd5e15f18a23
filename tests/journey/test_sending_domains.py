"""Which records a sending domain needs, which it may have, and what is signed with meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_ground import Post, a_post, parsed
from tests.journey.portal_ground import Clock
from zegel.accounts import domains
from zegel.accounts.models import SendingDomain
from zegel.core.mail.address import Domain
from zegel.core.mail.dkim import Algorithm, SigningKey
from zegel.edge.dns import Found, Trouble
from zegel.journey.delivery.signing import KEEP_KEY

pytestmark = pytest.mark.django_db(transaction=True)

GATEWAY: Final = "zegel.test"
NEEDED: Final = ("ownership", "dkim", "return-path")
BOTH: Final = ["rsa-sha256", "ed25519-sha256"]
ONE: Final = ["rsa-sha256"]


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        SendingDomain.objects.update(in_place=False)
        yield found


def domain() -> SendingDomain:
    return SendingDomain.objects.get()


def publish(post: Post, *purposes: str) -> None:
    """The records for these purposes, exactly as they were asked for, and no others."""
    for one in domains.records(domain(), GATEWAY):
        post.zone.records.pop((one.name, one.kind), None)
        if one.purpose in purposes:
            post.zone.records[one.name, one.kind] = Found((one.value,))


def check(post: Post) -> SendingDomain:
    checked = domain()
    findings = post.run(domains.look(domains.records(checked, GATEWAY), dns=post.zone))
    domains.conclude(checked, findings, now=post.clock())
    post.clock.forward(seconds=KEEP_KEY.total_seconds())
    return domain()


def algorithms(post: Post, number: int) -> list[str]:
    """Of the signatures, from the top, of a message that is sent now."""
    SendingDomain.objects.update(in_place=True)
    server = post.proven(f"lezer{number}.test")
    post.list_domain(f"lezer{number}.test")
    post.submit(f"lezer@lezer{number}.test", message_id=f"<{number}@voorbeeld.test>", text=f"Bericht {number}")
    post.settle()
    fields = parsed(server.messages()[-1]).get_all("DKIM-Signature", [])
    return ["".join(str(one).split()).split("a=")[1].split(";")[0] for one in fields]


def test_a_domain_is_in_place_without_the_second_key(post: Post) -> None:
    publish(post, *NEEDED)
    found = check(post)
    assert (found.in_place, found.ed25519_published) == (True, False)


@pytest.mark.parametrize("lacks", NEEDED)
def test_a_domain_is_not_in_place_without_any_other(post: Post, lacks: str) -> None:
    publish(post, *(one for one in (*NEEDED, "dkim-ed25519") if one != lacks))
    found = check(post)
    assert (found.in_place, found.ed25519_published) == (False, True)


def test_mail_is_signed_twice_from_the_check_that_finds_the_record_until_the_one_that_does_not(post: Post) -> None:
    publish(post, *NEEDED)
    check(post)
    assert algorithms(post, 1) == ONE
    publish(post, *NEEDED, "dkim-ed25519")
    post.clock.forward(seconds=60)
    assert algorithms(post, 2) == ONE  # published, but nobody looked
    check(post)
    assert algorithms(post, 3) == BOTH
    publish(post, *NEEDED)
    found = check(post)
    assert (found.in_place, found.missing_since) == (True, None)
    assert algorithms(post, 4) == ONE


def test_a_name_server_in_trouble_changes_nothing_about_the_second_key(post: Post) -> None:
    publish(post, *NEEDED, "dkim-ed25519")
    check(post)
    second = domains.records(domain(), GATEWAY)[-1]
    post.zone.records[second.name, second.kind] = Trouble("SERVFAIL")
    post.clock.forward(days=1)
    found = check(post)
    assert found.ed25519_published and found.in_place
    assert [one["purpose"] for one in found.findings] == list(NEEDED)  # what isn't known isn't told


def test_a_check_that_knows_nothing_changes_nothing(post: Post) -> None:
    publish(post, *NEEDED)
    before = check(post)
    ownership = domains.records(domain(), GATEWAY)[0]
    publish(post, *NEEDED, "dkim-ed25519")
    post.zone.records[ownership.name, ownership.kind] = Trouble("SERVFAIL")
    found = check(post)
    assert (found.checked_at, found.ed25519_published) == (before.checked_at, False)


def test_another_key_at_the_second_name_is_not_ours(post: Post) -> None:
    publish(post, *NEEDED)
    second = domains.records(domain(), GATEWAY)[-1]
    other = SigningKey.generate(Domain(domain().name), "zegel-ed25519", Algorithm.ED25519_SHA256)
    post.zone.records[second.name, second.kind] = Found((other.dns_record(),))
    assert not check(post).ed25519_published
    post.zone.records[second.name, second.kind] = Found((f"v=DKIM1;  p={second.value.partition('p=')[2]} ; k=ed25519",))
    assert check(post).ed25519_published


def test_a_domain_from_before_there_were_two_keys_gets_one_once(post: Post) -> None:
    SendingDomain.objects.update(ed25519_key=None, ed25519_record="")
    old, sealing = domain(), post.ground.keys.sealing
    assert [one.purpose for one in domains.records(old, GATEWAY)] == list(NEEDED)
    domains.complete(old, sealing=sealing)
    first = domain()
    domains.complete(first, sealing=sealing)
    assert domain().ed25519_record == first.ed25519_record != ""
    publish(post, *NEEDED, "dkim-ed25519")
    check(post)
    assert algorithms(post, 1) == BOTH


def test_the_record_that_disappears_stops_the_domain_only_if_it_is_needed(post: Post) -> None:
    publish(post, *NEEDED)
    check(post)
    publish(post, "ownership", "return-path")
    assert check(post).in_place
    post.clock.forward(seconds=domains.PATIENCE.total_seconds() + 1)
    assert not check(post).in_place
