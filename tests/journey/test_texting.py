"""A text message goes to the provider at most once, whatever ends in the middle of it (P22)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction

from tests.journey.delivery_ground import Post, a_post
from tests.journey.portal_ground import Clock
from zegel.edge.chance import identifier
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import LEASE, Kind, LeaseLost
from zegel.journey.custody.models import Job, Sms
from zegel.journey.custody.revoking import revoke
from zegel.journey.custody.seal import wrap_field
from zegel.journey.delivery.texting import Texting

pytestmark = pytest.mark.django_db(transaction=True)
GUEST = "balie@open.test"


class Killed(BaseException):
    """The process ends here, without another word."""


class Provider:
    """Takes text messages; what happens then is the test's business."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.taken: list[str] = []
        self._then = then

    def send(self, *_: object, key: str, **__: object) -> None:
        self.taken.append(key)
        self._then()


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        found.mx("open.test")
        found.submit(GUEST)
        found.settle()
        yield found


def asked(post: Post) -> uuid.UUID:
    number = identifier()
    sealed = wrap_field(b'{"to": "+31612345678", "text": "x"}', name="sms", owner=number, to=post.ground.keys.sealing)
    with transaction.atomic():
        Sms.objects.create(id=number, recipient=post.recipient(GUEST), sealed=sealed, created_at=post.clock())
        jobs.put(Kind.SMS, [number], due=post.clock())
    return number


def texting(post: Post, provider: Provider) -> Texting:
    return Texting(post.writer, post.readers, post.ground.unsealer, provider, now=post.clock)


def work(post: Post, provider: Provider) -> None:
    """What a process does with the texts that are due."""
    for leased in post.lease(Kind.SMS):
        post.run(texting(post, provider).send(leased))


def test_a_process_that_ends_after_the_provider_took_it_has_no_successor_that_sends_it_again(post: Post) -> None:
    def ends() -> None:
        raise Killed

    number, provider = asked(post), Provider(ends)
    with pytest.raises(Killed):
        work(post, provider)
    post.clock.forward(seconds=LEASE.total_seconds() + 1)
    work(post, provider)
    sms = Sms.objects.get(id=number)
    assert (provider.taken, sms.state, sms.sealed) == ([number.hex], "failed", None)
    assert not Job.objects.filter(kind=Kind.SMS.value).exists()


def test_who_lost_the_job_while_the_provider_took_its_time_is_not_followed_by_another(post: Post) -> None:
    def slow() -> None:
        Job.objects.filter(kind=Kind.SMS.value).update(lease=uuid.uuid4(), leased_until=post.clock())

    number, provider = asked(post), Provider(slow)
    with pytest.raises(LeaseLost):
        work(post, provider)
    post.clock.forward(seconds=1)
    work(post, provider)
    assert (provider.taken, Sms.objects.get(id=number).state) == ([number.hex], "failed")


def test_number_and_text_are_destroyed_before_the_provider_is_asked(post: Post) -> None:
    seen: list[object] = []
    number = asked(post)
    work(post, Provider(lambda: seen.append(Sms.objects.get(id=number).sealed)))
    assert seen == [None]
    assert Sms.objects.get(id=number).state == "sent"


def test_what_another_process_leased_is_not_handed_over(post: Post) -> None:
    provider, _number = Provider(), asked(post)
    (leased,) = post.lease(Kind.SMS)
    Job.objects.filter(id=leased.job).update(lease=uuid.uuid4())
    with pytest.raises(LeaseLost):
        post.run(texting(post, provider).send(leased))
    assert provider.taken == []


def test_what_was_taken_back_a_moment_ago_is_not_sent(post: Post) -> None:
    provider, number = Provider(), asked(post)
    (leased,) = post.lease(Kind.SMS)
    with transaction.atomic():
        revoke(post.recipient(GUEST), now=post.clock() + timedelta(seconds=1))
    post.run(texting(post, provider).send(leased))
    assert provider.taken == []
    assert Sms.objects.get(id=number).state == "failed"
