"""The addresses of one host: tried together where the first is slow, and none of them asked too much."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import pytest
import uvloop

from tests.journey.delivery_ground import certificates
from tests.journey.delivery_peers import NAME, PATIENCE, ScriptedMx, Taken, black_hole, server_tls
from tests.needs import not_here
from tests.peers import free_port
from zegel.core.mail.address import Mailbox
from zegel.core.mail.reply import Reply
from zegel.core.policy.carriage import Accepted, Deferred, NetworkFailure, Stage
from zegel.core.policy.destinations import FIRST_PAUSE, Later, Scope
from zegel.core.policy.transport import NO_DEMAND, PROVEN
from zegel.edge.tls import opportunistic_context, verifying_context
from zegel.journey.delivery import connection
from zegel.journey.delivery.connection import Contexts, Dialler, Mail, Result
from zegel.journey.delivery.mx import MOST_ADDRESSES, NextHop, alternating, of_first_host
from zegel.journey.delivery.places import Place, Places

T = TypeVar("T")

READER: Final = Mailbox.parse("lezer@veilig.test")
FIRST, SECOND, THIRD, SIX = "127.0.3.1", "127.0.3.2", "127.0.3.3", "::1"
NOON: Final = datetime(2026, 11, 26, 12, tzinfo=UTC)
CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1  # sched.h, linux/sockios.h, linux/if.h
NEVER: Final = 3600.0  # seconds: a step that comes in this test came for another reason


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind((SIX, 0))
        except OSError:
            return False
    return True


@pytest.fixture
def ipv6() -> None:
    if not has_ipv6():
        not_here("no IPv6 on loopback")


def with_loopback_only(story: Callable[[], T]) -> T:
    """In a thread with a network of its own (network_namespaces(7)), in which IPv6 leads nowhere."""

    def enter() -> T:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
            not_here("no right to a network namespace")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            fcntl.ioctl(wire, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
        return story()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


class Sender:
    """A dialler for one host with several addresses, on a loop of its own."""

    def __init__(self, runner: asyncio.Runner, places: int = 20) -> None:
        self.port = free_port(FIRST)
        self.runner = runner
        contexts = Contexts(verifying_context(certificates().authority.certificate_path), opportunistic_context())
        self.addresses = Places(places, lambda: NOON, Scope.ADDRESS)
        self.dialler = Dialler("zegel.test", self.port, contexts, 10.0, addresses=self.addresses)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def server(self, address: str, **behaviour: Any) -> ScriptedMx:
        return ScriptedMx(ip=address, port=self.port, **behaviour)

    async def try_at(self, *addresses: str, **more: Any) -> Result:
        hop, *beside = (NextHop(NAME, address) for address in addresses)
        result = await self.dialler.send(
            hop, Mail(READER, READER, 4, (b"a\r\n",)), beside=beside, **{"needs": NO_DEMAND, **more}
        )
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert others == []  # who lost is called off
        return result

    def send(self, *addresses: str, **more: Any) -> Result:
        return self.run(self.try_at(*addresses, **more))


@pytest.fixture(params=["uvloop", "asyncio"])
def sender(request: pytest.FixtureRequest) -> Iterator[Sender]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        found = Sender(runner)
        yield found
        runner.run(found.dialler.close())
        assert all(not one.under_way for one in found.addresses.known.values())


@pytest.fixture
def no_stagger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next address comes only when the one before it failed."""
    monkeypatch.setattr(connection, "STAGGER", NEVER)


def tried(result: Result) -> list[str]:
    return [hop.address for hop in result.tried]


# --- who is away --------------------------------------------------------------------------------------------------


def test_an_address_that_says_nothing_is_passed_before_its_time_is_over(sender: Sender) -> None:
    """It would be among those that were tried, else."""
    with black_hole(FIRST, sender.port), sender.server(SECOND) as server:
        result = sender.send(FIRST, SECOND)
        assert (result.outcome, result.evidence.address, tried(result)) == (Accepted(), SECOND, [SECOND])
        assert len(server.heard) == 1


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize(("away", "there"), [(SIX, FIRST), (FIRST, SIX)])
def test_a_family_that_leads_nowhere_is_passed(sender: Sender, away: str, there: str) -> None:
    with black_hole(away, sender.port), sender.server(there):
        result = sender.send(away, there)
        assert (result.outcome, result.evidence.address) == (Accepted(), there)


@pytest.mark.usefixtures("no_stagger")
def test_who_refuses_the_connection_is_followed_by_the_next_at_once(sender: Sender) -> None:
    with sender.server(THIRD):
        result = sender.send(FIRST, SECOND, THIRD)
        assert (result.outcome, tried(result)) == (Accepted(), [FIRST, SECOND, THIRD])


@pytest.mark.usefixtures("no_stagger")
@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_machine_without_ipv6_goes_on_at_once(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    def story() -> Result:
        with asyncio.Runner(loop_factory=factory) as runner:
            sender = Sender(runner)
            with sender.server(FIRST):
                result = sender.send("2001:db8::1", FIRST)
                runner.run(sender.dialler.close())
                return result

    result = with_loopback_only(story)
    assert (result.outcome, tried(result)) == (Accepted(), ["2001:db8::1", FIRST])


def test_where_nobody_answers_all_of_them_were_tried(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT", 0.5)
    with black_hole(FIRST, sender.port):
        result = sender.send(FIRST, SECOND)
    assert result.outcome == NetworkFailure(Stage.CONNECT)
    assert sorted(tried(result)) == [FIRST, SECOND]
    assert result.evidence.detail == f"{SECOND}: connection refused; {FIRST}: timed out"
    assert {where: known.failures for where, known in sender.addresses.known.items()} == {FIRST: 1, SECOND: 1}


# --- who is there -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ipv6")
@pytest.mark.usefixtures("no_stagger")
def test_the_first_address_is_taken_where_it_answers(sender: Sender) -> None:
    with sender.server(SIX) as six, sender.server(FIRST) as four:
        result = sender.send(SIX, FIRST)
        assert (result.outcome, tried(result)) == (Accepted(), [SIX])
        assert (len(six.heard), len(four.heard)) == (1, 0)


def test_who_answers_and_turns_us_away_has_carried_it(sender: Sender) -> None:
    """The others are left to the next try, and no mail is begun at two of them."""
    with sender.server(FIRST, greeting=b"421 4.3.2 not now\r\n"), sender.server(SECOND) as other:
        result = sender.send(FIRST, SECOND)
        assert result.outcome == Deferred(Reply(421, "4.3.2", "not now"), Stage.GREETING)
        assert tried(result) == [FIRST]
        assert not other.mail_was_begun()


def test_a_weaker_way_is_tried_where_the_better_one_failed(sender: Sender) -> None:
    """Not at another address, which might be given what this one wasn't."""
    tls = server_tls(certificates().self_signed)
    with black_hole(FIRST, sender.port), sender.server(SECOND, tls=tls) as server:
        result = sender.send(FIRST, SECOND)
        assert (result.outcome, result.evidence.address, tried(result)) == (Accepted(), SECOND, [SECOND])
        assert len(server.heard) == 2


def test_the_level_is_that_of_the_address_that_answered(sender: Sender) -> None:
    with black_hole(FIRST, sender.port), sender.server(SECOND, tls=server_tls(certificates().good)):
        result = sender.send(FIRST, SECOND, needs=PROVEN)
        assert (result.outcome, result.evidence.address) == (Accepted(), SECOND)
        assert result.evidence.security.meets(PROVEN)


@pytest.mark.usefixtures("no_stagger")
def test_the_next_mail_takes_the_connection_that_stands(sender: Sender) -> None:
    with sender.server(SECOND) as server:
        assert tried(sender.send(FIRST, SECOND)) == [FIRST, SECOND]
        with sender.server(FIRST) as other:
            assert tried(sender.send(FIRST, SECOND)) == [SECOND]
            assert (len(server.heard), len(server.taken), len(other.heard)) == (1, 2, 0)


# --- how much is asked of an address ------------------------------------------------------------------------------


class Pairs:
    """For the end of data: nobody goes on before two are there, and how many are there at most is remembered."""

    def __init__(self) -> None:
        self.most = 0
        self._inside = 0
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(2)

    def __call__(self, taken: Taken) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        self._barrier.wait(PATIENCE)
        with self._lock:
            self._inside -= 1


def test_no_address_is_asked_more_than_it_has_places_whatever_names_it_has(sender: Sender) -> None:
    sender.addresses.most = 2
    pairs, under_way = Pairs(), set[int]()
    with sender.server(FIRST, at_end=pairs) as server:

        async def one(number: int) -> Result:
            hop = NextHop(f"mx{number}.veilig.test", FIRST)
            result = await sender.dialler.send(hop, Mail(READER, READER, 4, (b"a\r\n",)), needs=NO_DEMAND)
            under_way.add(len(sender.addresses.known[FIRST].under_way) if FIRST in sender.addresses.known else 0)
            return result

        async def all_at_once() -> list[Result]:
            return await asyncio.gather(*(one(number) for number in range(12)))

        assert [one.outcome for one in sender.run(all_at_once())] == [Accepted()] * 12
        sender.run(sender.dialler.close())
    assert (len(server.taken), pairs.most) == (12, 2)
    assert max(under_way) <= 2
    assert sender.addresses.known == {}


def test_who_finds_no_place_at_one_address_takes_another(sender: Sender) -> None:
    sender.addresses.most = 1
    with sender.server(FIRST) as first, sender.server(SECOND) as second:
        assert sender.addresses.take_now(FIRST, is_pressing=False) is not None
        assert tried(sender.send(FIRST, SECOND)) == [SECOND]
        sender.addresses.give_back(FIRST, NOON, None)
        assert (len(first.heard), len(second.heard)) == (0, 1)


@pytest.mark.parametrize("greeting", [b"421 4.3.2 not now\r\n", b"450 4.7.1 too many\r\n"])
def test_an_address_that_puts_us_off_is_left_alone_by_everybody(sender: Sender, greeting: bytes) -> None:
    with sender.server(FIRST, greeting=greeting) as server:
        assert isinstance(sender.send(FIRST).outcome, Deferred)
        assert sender.send(FIRST).outcome == Later(NOON + FIRST_PAUSE)
        assert len(server.heard) == 1
        assert isinstance(sender.send(FIRST, is_pressing=True).outcome, Deferred)
        assert len(server.heard) == 2


def test_an_address_that_is_left_alone_is_not_raced_for_either(sender: Sender) -> None:
    with sender.server(FIRST, greeting=b"421 4.3.2 not now\r\n") as first, sender.server(SECOND):
        assert isinstance(sender.send(FIRST).outcome, Deferred)
        assert tried(sender.send(FIRST, SECOND)) == [SECOND]
        assert tried(sender.send(SECOND, FIRST)) == [SECOND]
        assert len(first.heard) == 1


def test_who_answers_again_is_there_for_everybody(sender: Sender) -> None:
    with sender.server(FIRST, greeting=b"421 4.3.2 not now\r\n") as server:
        assert isinstance(sender.send(FIRST).outcome, Deferred)
        server.greeting = b"220 mx.veilig.test ESMTP\r\n"
        assert sender.send(FIRST, is_pressing=True).outcome == Accepted()
        assert sender.addresses.known == {}
        assert sender.send(FIRST).outcome == Accepted()


# --- places -------------------------------------------------------------------------------------------------------


def a_place(found: Place | Later) -> Place:
    assert isinstance(found, Place)
    return found


def test_a_place_that_is_given_back_goes_to_one_who_waits_and_then_to_the_next() -> None:
    async def story() -> None:
        places = Places(1, lambda: NOON, Scope.ADDRESS)
        first = a_place(await places.take_one_of(("a",), is_pressing=False))
        waiting = [asyncio.create_task(places.take_one_of(("a", "b"), is_pressing=False)) for _ in range(3)]
        await asyncio.sleep(0)
        given = [task for task in waiting if task.done()]
        assert [a_place(task.result()).where for task in given] == ["b"]
        left = [task for task in waiting if task not in given]
        left.pop().cancel()  # whose turn it might have been
        places.give_back(first.where, first.since, Accepted())
        assert a_place(await left[0]).where == "a"

    asyncio.run(story())


def test_the_turn_of_one_who_gives_up_goes_to_the_next() -> None:
    async def story() -> None:
        places = Places(1, lambda: NOON, Scope.ADDRESS)
        held = a_place(await places.take_one_of(("a",), is_pressing=False))
        early, late = (asyncio.create_task(places.take_one_of(("a",), is_pressing=False)) for _ in range(2))
        await asyncio.sleep(0)
        places.give_back(held.where, held.since, Accepted())
        early.cancel()
        assert a_place(await late).where == "a"

    asyncio.run(story())


def test_when_it_turns_out_to_be_away_all_who_wait_hear_it() -> None:
    async def story() -> None:
        places = Places(1, lambda: NOON, Scope.ADDRESS)
        held = a_place(await places.take_one_of(("a",), is_pressing=False))
        waiting = [asyncio.create_task(places.take_one_of(("a",), is_pressing=False)) for _ in range(5)]
        await asyncio.sleep(0)
        places.give_back(held.where, held.since, NetworkFailure(Stage.CONNECT))
        assert await asyncio.gather(*waiting) == [Later(NOON + FIRST_PAUSE)] * 5

    asyncio.run(story())


# --- in which order -----------------------------------------------------------------------------------------------


def test_families_alternate_and_ipv6_comes_first() -> None:
    assert alternating(["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.3"]) == [
        "2001:db8::1",
        "192.0.2.1",
        "2001:db8::2",
        "192.0.2.2",
        "192.0.2.3",
    ]
    assert alternating(["192.0.2.1"]) == ["192.0.2.1"]
    assert alternating([]) == []


def test_a_crowd_of_addresses_is_not_tried_to_the_end() -> None:
    crowd = [f"192.0.2.{number}" for number in range(40)]
    assert alternating([*crowd, "2001:db8::1"]) == ["2001:db8::1", *crowd[: MOST_ADDRESSES - 1]]


def test_hosts_stay_in_their_order() -> None:
    hops = [NextHop("a.test", "192.0.2.1"), NextHop("a.test", "192.0.2.2"), NextHop("b.test", "192.0.2.3")]
    assert of_first_host(hops) == tuple(hops[:2])
    assert of_first_host(hops[2:]) == (hops[2],)
