"""Expiry comes at its time: whoever waits at the door, whatever hangs, and before its job was done as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from tests.journey.delivery_ground import Post, a_post
from tests.journey.portal_ground import Clock
from zegel.edge.chance import identifier
from zegel.edge.database import Writer
from zegel.edge.wake import Bell
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Kind, Leased
from zegel.journey.custody.models import Conversation, Job, Sms
from zegel.journey.custody.seal import wrap_field
from zegel.journey.custody.worker import MANY_ON_TIME, Worker
from zegel.journey.delivery.texting import Texting

pytestmark = pytest.mark.django_db(transaction=True)
GUEST = "balie@open.test"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


# --- the worker ---------------------------------------------------------------------------------------------------


class House:
    """A worker whose every place is taken by mail that hangs, and a crowd at the door that never ends."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self.expired: list[Leased] = []
        self.hanging = 0

    async def work(self, until: Callable[[], bool]) -> None:
        writer, bell, over = Writer(), Bell(self._folder), asyncio.Event()

        async def hang(leased: Leased) -> None:
            self.hanging += 1
            await over.wait()
            await writer.write(lambda: jobs.finish(leased))

        async def expire(leased: Leased) -> None:
            self.expired.append(leased)
            await writer.write(lambda: jobs.finish(leased))

        async def chores() -> None:
            return

        worker = Worker(
            {Kind.TRANSMIT: hang, Kind.EXPIRE: expire},
            writer=writer,
            bell=bell,
            most=3,
            now=self._clock,
            chores=chores,
            is_crowded=lambda: True,
        )
        running = asyncio.create_task(worker.run())
        try:
            async with asyncio.timeout(30):
                while not await asyncio.to_thread(until):
                    await asyncio.sleep(0.01)
        finally:
            over.set()
            worker.stop()
            await running
            bell.close()
            writer.close()


def put(kind: Kind, count: int, clock: Clock, **later: float) -> None:
    with transaction.atomic():
        jobs.put(kind, [identifier() for _ in range(count)], due=clock() + timedelta(**later))
    connection.close()


def test_neither_a_crowd_nor_a_house_full_of_hanging_mail_puts_an_expiry_off(tmp_path: Path, clock: Clock) -> None:
    put(Kind.TRANSMIT, 40, clock, hours=-2)  # all of it older: it would go first
    house = House(tmp_path, clock)
    more = MANY_ON_TIME + 3

    def until() -> bool:
        if house.hanging == 3 and not house.expired and not due:
            due.append(True)
            put(Kind.EXPIRE, more, clock)
        return len(house.expired) == more

    due: list[bool] = []
    asyncio.run(house.work(until))
    assert len({one.subject for one in house.expired}) == more
    assert house.hanging >= 3


def test_an_expiry_takes_nobodys_place(tmp_path: Path, clock: Clock) -> None:
    put(Kind.EXPIRE, MANY_ON_TIME, clock)
    put(Kind.TRANSMIT, 3, clock)
    house = House(tmp_path, clock)
    asyncio.run(house.work(lambda: house.hanging == 3 and len(house.expired) == MANY_ON_TIME))
    assert not Job.objects.exists()


def test_expiries_of_the_years_to_come_are_not_looked_through(clock: Clock) -> None:
    """Millions of them lie in the table; what is due is found by its hour."""
    put(Kind.EXPIRE, 3, clock, days=400)
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, statement: str, values: Any, many: bool, context: Any) -> Any:
        asked.append((statement, values))
        return execute(statement, values, many, context)

    with connection.execute_wrapper(note), transaction.atomic():
        assert jobs.lease((Kind.EXPIRE,), most=10, now=clock()) == []
    (statement, values) = next(one for one in asked if one[0].lstrip().startswith("SELECT"))
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        plan = " ".join(str(row[-1]) for row in cursor.fetchall())
    assert "(due_at<?)" in plan
    assert "TEMP B-TREE" not in plan


# --- before the job was done --------------------------------------------------------------------------------------


def end_of_life(post: Post) -> None:
    """Its hour is there, and nobody has come to destroy it."""
    Conversation.objects.update(expires_at=post.clock())


def test_mail_in_the_queue_does_not_go_out_any_more(post: Post) -> None:
    server = post.mx("open.test", answers={"RCPT": b"451 4.7.1 later\r\n"})
    post.submit(GUEST)
    post.settle()
    end_of_life(post)
    server.answers.clear()
    post.later(hours=4)
    assert server.taken == []
    assert post.recipient(GUEST).state == "undeliverable"
    assert post.recipient(GUEST).reason == "destroyed"
    assert len(post.reports()) == 1


def test_a_readable_message_does_not_go_out_any_more(post: Post) -> None:
    post.list_domain("veilig.test")
    server = post.proven(answers={"RCPT": b"451 4.7.1 later\r\n"})
    post.submit("lezer@veilig.test")
    post.settle()
    end_of_life(post)
    server.answers.clear()
    post.later(hours=4)
    assert server.taken == []
    assert post.recipient("lezer@veilig.test").state == "undeliverable"
    assert len(post.reports()) == 1


def test_mail_goes_out_until_the_last_moment(post: Post) -> None:
    server = post.mx("open.test", answers={"RCPT": b"451 4.7.1 later\r\n"})
    post.submit(GUEST)
    post.settle()
    Conversation.objects.update(expires_at=post.clock() + timedelta(hours=4, seconds=1))
    server.answers.clear()
    post.later(hours=4)
    assert len(server.taken) == 1


class Provider:
    """Takes text messages."""

    def __init__(self) -> None:
        self.taken = 0

    def send(self, *_: object, **__: object) -> None:
        self.taken += 1


@pytest.mark.parametrize(("expired", "outcome"), [(False, "sent"), (True, "failed")])
def test_no_code_is_sent_by_sms_for_what_has_expired(post: Post, expired: bool, outcome: str) -> None:
    post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    if expired:
        end_of_life(post)
    number, provider = identifier(), Provider()
    sealed = wrap_field(b'{"to": "+31612345678", "text": "x"}', name="sms", owner=number, to=post.ground.keys.sealing)
    with transaction.atomic():
        sms = Sms.objects.create(id=number, recipient=post.recipient(GUEST), sealed=sealed, created_at=post.clock())
        jobs.put(Kind.SMS, [number], due=post.clock())
    texting = Texting(post.writer, post.readers, post.ground.unsealer, provider, now=post.clock)
    (leased,) = post.lease(Kind.SMS)
    post.run(texting.send(leased))
    sms.refresh_from_db()
    assert (sms.state, sms.sealed, provider.taken) == (outcome, None, 0 if expired else 1)
