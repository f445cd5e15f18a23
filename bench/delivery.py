"""Zegel's readable delivery beside Debian's Postfix that relays, on one machine, in one run: ``make bench-delivery``.

docs/benchmarks.md says what is compared, and what is fair about it. The last line printed is one JSON object of ratios
of rates: Zegel over Postfix for ``deliver_…``, Zegel over itself for the others; what was not measured is ``null``.
Rates are printed, never judged: the exit status is 1 only when a message was refused, lost, altered, not signed or
delivered twice, or nothing could be measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Final, TypeVar

from bench.alone import RoleAlone
from bench.load import Door, Load, LoadFailed, Outcome, send
from bench.measured import Run, exit_status, measured, warn_of_noise
from bench.report import describe_machine, per, row, spread, title
from bench.surroundings import (
    DRAINED_WITHIN,
    RECEIVING_DOMAIN,
    RECIPIENT,
    MeasuredGateway,
    RelayingPostfix,
    Sink,
    Surroundings,
    Taken,
    Tuning,
    settle,
    surroundings,
)
from tests.peers import debian, until
from tests.peers.gateway import SENDER, SENDING_DOMAIN
from tests.peers.opendkim import OpenDkim

PARTS: Final = ("deliver_100", "deliver_1", "backlog_200k", "dead_destination", "profile")
FIGURES: Final = PARTS[:4]
LIMITS: Final = (20, 50, 100)  # of processes that Postfix may run for each service
DISPATCH: Final = (1, 2)  # processes of Zegel's dispatch role
WANTED_BACKLOG: Final = 200_000
SLOWEST: Final = 20  # messages per second; a backlog that drains more slowly is given up

DESTINATIONS: Final = 100
DESTINATION_HOSTS: Final = "bestemming.test"  # the MX hosts of all of them, one each
DESTINATION_IPS: Final = "127.0.1."  # and the address of each, from 1 on
ALIVE: Final = "d%h.levend.test"
ONE_DEAD: Final = "d%h.dood.test"  # the first has a host that takes connections and says nothing
SILENT_HOST: Final = "mx.stil.test"
SILENT_IP: Final = "127.0.2.1"
SILENT_FOR: Final = 600.0  # seconds that the others may be held up before the run is given up
Way = TypeVar("Way")


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and how much of it."""

    parts: tuple[str, ...]
    pairs: int
    messages: dict[int, int]  # by messages for each connection
    messages_dead: int
    backlog: int
    without_backlog: int  # messages in the queue of the run that a backlog is compared with
    warm_up: int
    tunings: tuple[Tuning, ...]
    submission_processes: int
    dispatch_processes: tuple[int, ...]
    folder: Path
    longest: int

    def load(self, per_connection: int) -> Load:
        return Load(self.messages[per_connection], per_connection)

    @property
    def most_messages(self) -> int:
        """Of one load."""
        return max(*self.messages.values(), self.messages_dead, self.backlog, self.without_backlog, self.warm_up)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A load that went through a server, and what the receiving server saw of it."""

    run: Run
    taken: Taken

    def cells(self) -> tuple[str, ...]:
        return (
            f"{self.run.sustained:.1f}",
            f"{sum(self.run.spent.values()):.2f}",
            f"{self.run.elsewhere:.0%}",
            f"{self.taken.connections}",
            f"{self.run.outcome.rate:.1f}",
            self.run.by_role,
        )


@dataclass(frozen=True, slots=True)
class Drained:
    """A queue that was emptied."""

    rate: float  # messages per second from when dispatch began to the last arrival
    waited: float  # seconds until the first
    early: float  # messages per second of the first tenth of arrivals
    late: float  # and of the last tenth

    @classmethod
    def of(cls, arrivals: Sequence[float], *, began: float) -> Drained:
        """``arrivals`` are moments, as is ``began``."""
        times = sorted(arrivals)
        tenth = max(len(times) // 10, 2)
        rate = len(times) / (times[-1] - began)
        return cls(rate, times[0] - began, _rate(times[:tenth]), _rate(times[-tenth:]))

    def cells(self) -> tuple[str, ...]:
        return f"{self.rate:.1f}", f"{self.waited:.2f}", f"{self.early:.1f}", f"{self.late:.1f}"


def _rate(times: Sequence[float]) -> float:
    return (len(times) - 1) / max(times[-1] - times[0], 1e-6)


class Bench:
    """One run of the benchmark. Each part starts the servers that it measures, and stops them."""

    def __init__(self, options: Options, around: Surroundings, signer: OpenDkim | None) -> None:
        self._options = options
        self._around = around
        self._signer = signer
        self.figures: dict[str, float | None] = dict.fromkeys(FIGURES)

    def run(self) -> None:
        """All parts that were asked for."""
        self._describe()
        for part in self._options.parts:
            match part:
                case "deliver_100":
                    self._compare(100)
                case "deliver_1":
                    self._compare(1)
                case "backlog_200k":
                    self._with_backlog()
                case "dead_destination":
                    self._with_one_dead()
                case "profile":
                    self._profile()

    # --- beside Postfix -------------------------------------------------------------------------------------------

    def _compare(self, per_connection: int) -> None:
        load = self._options.load(per_connection)
        title(
            f"{per(per_connection)}: {self._options.pairs} pairs of {load.messages} messages, {load.sessions} sessions"
        )
        processes, tuning = self._best_dispatch(load), self._best_tuning(load)
        postfix = self._around.relay(tuning, self._signer)
        pairs: list[tuple[Delivered, Delivered]] = []
        with self._gateway(processes) as gateway, postfix:
            self._warm_up(lambda load: self._to_zegel(gateway, load), lambda load: self._to_postfix(postfix, load))
            row("pair", "server", "delivered/s", "CPU ms each", "others", "connections", "accepted/s", "by role")
            for number in range(1, self._options.pairs + 1):
                pairs.append(self._pair(gateway, postfix, load, zegel_first=number % 2 == 1))
                row(number, "Zegel", *pairs[-1][0].cells())
                row(number, "Postfix", *pairs[-1][1].cells())
        self._conclude(per_connection, pairs)

    def _pair(
        self, gateway: MeasuredGateway, postfix: RelayingPostfix, load: Load, *, zegel_first: bool
    ) -> tuple[Delivered, Delivered]:
        found: dict[bool, Delivered] = {}
        for is_zegel in (zegel_first, not zegel_first):
            settle(gateway, postfix)
            found[is_zegel] = self._to_zegel(gateway, load) if is_zegel else self._to_postfix(postfix, load)
        ours, theirs = found[True], found[False]
        for kind, spoken in (
            ("in", [one.run.outcome.tls for one in (ours, theirs)]),
            ("out", [one.taken.tls for one in (ours, theirs)]),
        ):
            if spoken[0] != spoken[1]:
                raise LoadFailed(f"not the same TLS on the way {kind}: {', '.join(spoken)}")
        return ours, theirs

    def _to_zegel(self, gateway: MeasuredGateway, load: Load) -> Delivered:
        self._around.sink.start_anew()
        before, logged = gateway.counts(), gateway.delivered_in_log()
        run = measured([gateway], lambda: self._through_zegel(gateway, load))
        after = gateway.counts()
        kept, sent = after.submissions - before.submissions, after.delivered - before.delivered
        if not kept == sent == load.messages:
            raise LoadFailed(f"of {load.messages} accepted messages Zegel recorded {kept} and delivered {sent}")
        _require_in_log(lambda: gateway.delivered_in_log() - logged, load.messages)
        return Delivered(run, self._all_arrived(load, is_signed=True))

    def _through_zegel(self, gateway: MeasuredGateway, load: Load) -> Outcome:
        outcome = self._send(gateway.door(), load)
        gateway.drain()
        return outcome

    def _to_postfix(self, postfix: RelayingPostfix, load: Load) -> Delivered:
        self._around.sink.start_anew()
        logged = postfix.relayed()
        signers = [self._signer] if self._signer is not None else []
        run = measured([postfix, *signers], lambda: self._through_postfix(postfix, load))
        _require_in_log(lambda: postfix.relayed() - logged, load.messages)
        return Delivered(run, self._all_arrived(load, is_signed=self._signer is not None))

    def _through_postfix(self, postfix: RelayingPostfix, load: Load) -> Outcome:
        outcome = self._send(postfix.door(), load)
        postfix.drain()
        return outcome

    def _send(self, door: Door, load: Load) -> Outcome:
        sink = self._around.sink
        return self._send_to(RECIPIENT, door, load, sink=sink.statistics, sent=sink.sent)

    def _send_to(
        self,
        recipient: str,
        door: Door,
        load: Load,
        *,
        sink: Path | None,
        sent: Path | None,
        arriving: float = 1.0,
    ) -> Outcome:
        authority = self._around.authority.certificate_path
        return send(
            load,
            door,
            sender=SENDER,
            recipient=recipient,
            authority=authority,
            sink=sink,
            sent=sent,
            arriving=arriving,
            patience=SILENT_FOR,
        )

    def _all_arrived(self, load: Load, *, is_signed: bool) -> Taken:
        taken = self._around.sink.taken()
        _require_unaltered(taken, load.messages)
        if taken.signatures != load.messages * is_signed:
            raise LoadFailed(f"{load.messages} messages arrived with {taken.signatures} signatures")
        return taken

    def _best_dispatch(self, load: Load) -> int:
        """The number of dispatch processes with which Zegel delivers most."""

        @contextmanager
        def started(processes: int) -> Iterator[Callable[[Load], Delivered]]:
            with self._gateway(processes) as gateway:
                yield lambda load: self._to_zegel(gateway, load)

        return self._best("Zegel, dispatch processes", self._options.dispatch_processes, started, load)

    def _best_tuning(self, load: Load) -> Tuning:
        """The way of relaying with which Postfix delivers most."""

        @contextmanager
        def started(tuning: Tuning) -> Iterator[Callable[[Load], Delivered]]:
            with self._around.relay(tuning, self._signer) as postfix:
                yield lambda load: self._to_postfix(postfix, load)

        return self._best("Postfix", self._options.tunings, started, load)

    def _best(
        self,
        what: str,
        ways: Sequence[Way],
        started: Callable[[Way], AbstractContextManager[Callable[[Load], Delivered]]],
        load: Load,
    ) -> Way:
        """Each is tried twice, the better try counts."""
        if len(ways) == 1:
            print(f"{what}: {ways[0]}, nothing else was tried")
            return ways[0]
        load = replace(load, messages=max(self._options.warm_up, load.messages // 4))
        rates: dict[Way, float] = {}
        for way in (*ways, *ways):
            with started(way) as through:
                self._warm_up(through)
                rates[way] = max(through(load).run.sustained, rates.get(way, 0.0))
        best = max(rates, key=lambda way: rates[way])
        print(f"{what}: {best} is best here ({'; '.join(f'{way}: {rate:.0f}/s' for way, rate in rates.items())})")
        return best

    def _warm_up(self, *ways: Callable[[Load], Delivered]) -> None:
        for way in ways:
            way(Load(self._options.warm_up, 100))

    def _conclude(self, per_connection: int, pairs: Sequence[tuple[Delivered, Delivered]]) -> None:
        print()
        rates = [ours.run.sustained / theirs.run.sustained for ours, theirs in pairs]
        self.figures[f"deliver_{per_connection}"] = spread("delivered/s, Zegel over Postfix", rates)
        for which, server in enumerate(("Zegel", "Postfix")):
            each = [pair[which] for pair in pairs]
            spread(f"CPU ms per message, {server}", [sum(one.run.spent.values()) for one in each])
            reuse = [one.taken.messages / one.taken.connections for one in each]
            spread(f"messages for each connection to the receiving server, {server}", reuse)
        print(f"TLS on the way in: {pairs[0][0].run.outcome.tls}; out: {pairs[0][0].taken.tls}; none was resumed")
        warn_of_noise([one.run for pair in pairs for one in pair])

    # --- with a backlog -------------------------------------------------------------------------------------------

    def _with_backlog(self) -> None:
        options = self._options
        title(f"A queue of {options.backlog} beside one of {options.without_backlog}: {options.pairs} pairs")
        ratios: list[float] = []
        with self._gateway(self._options.dispatch_processes[-1]) as gateway:
            self._warm_up(lambda load: self._to_zegel(gateway, load))
            row("pair", "queue", "delivered/s", "first after s", "first tenth/s", "last tenth/s")
            for number in range(1, options.pairs + 1):
                sizes = (options.backlog, options.without_backlog)
                found: dict[int, Drained] = {}
                for size in sizes if number % 2 == 0 else reversed(sizes):
                    found[size] = self._drained(gateway, size)
                    row(number, size, *found[size].cells())
                ratios.append(found[options.backlog].rate / found[options.without_backlog].rate)
        print()
        self.figures["backlog_200k"] = spread("delivered/s, with the backlog over without", ratios)
        if options.backlog != WANTED_BACKLOG:
            print(f"backlog_200k was measured with a backlog of {options.backlog}, not of {WANTED_BACKLOG}")

    def _drained(self, gateway: MeasuredGateway, messages: int) -> Drained:
        """All of them are accepted while dispatch does nothing; then it begins."""
        sink, load = self._around.sink, Load(messages, 100)
        settle(gateway)
        sink.start_anew()
        with gateway.dispatch_halted():
            self._send_to(RECIPIENT, gateway.door(), load, sink=None, sent=sink.sent)
        began = time.time()
        _wait_for(sink, messages)
        gateway.drain()
        self._all_arrived(load, is_signed=True)
        return Drained.of(sink.arrivals(messages), began=began)

    # --- with a dead destination ----------------------------------------------------------------------------------

    def _with_one_dead(self) -> None:
        options = self._options
        title(
            f"One dead destination among {DESTINATIONS}: {options.pairs} pairs of {options.messages_dead} messages; "
            "the rate is that of the others"
        )
        ratios: list[float] = []
        folder, authority, port = self._around.folder, self._around.authority, self._around.sink.port
        certificate = authority.issue([f"*.{DESTINATION_HOSTS}"], folder / "certificates")
        sink = Sink(
            folder / "destinations",
            port,
            certificate,
            ip=f"{DESTINATION_IPS}1",
            addresses=DESTINATIONS,
            compares=options.messages_dead,
        )
        silent = Sink(folder / "silent", port, certificate, ip=SILENT_IP, is_silent=True)
        with self._gateway(options.dispatch_processes[-1]) as gateway:
            self._warm_up(lambda load: self._to_zegel(gateway, load))
            row("pair", "dead", "delivered/s", "connections", "to the dead one")
            for number in range(1, options.pairs + 1):
                found: dict[bool, float] = {}
                for is_one_dead in (number % 2 == 0, number % 2 == 1):
                    settle(gateway)
                    found[is_one_dead] = self._to_others(gateway, sink, silent, number, is_one_dead=is_one_dead)
                ratios.append(found[True] / found[False])
        print()
        self.figures["dead_destination"] = spread("delivered/s to the others, one dead over none dead", ratios)

    def _to_others(
        self, gateway: MeasuredGateway, sink: Sink, silent: Sink, number: int, *, is_one_dead: bool
    ) -> float:
        load = Load(self._options.messages_dead, 100)
        others = load.messages - load.messages // DESTINATIONS
        before = gateway.counts().delivered
        with sink, silent:  # when these end, so do connections to them: the next run finds none, and nobody waits
            ours = silent.taken().connections
            outcome = self._send_to(
                f"ontvanger%d@{ONE_DEAD if is_one_dead else ALIVE}",
                gateway.door(),
                load,
                sink=sink.statistics,
                sent=sink.sent,
                arriving=others / load.messages if is_one_dead else 1.0,
            )
            arrived = others if is_one_dead else load.messages
            _require_delivered(gateway, before, arrived)
            taken, told = sink.taken(), silent.taken().connections - ours
        _require_unaltered(taken, arrived)
        assert outcome.seconds_until_drained is not None
        began = taken.last - outcome.seconds_until_drained
        times = [moment for place, moment in enumerate(sink.arrivals(load.messages)) if place % DESTINATIONS]
        rate = others / (max(times) - began)
        row(number, "one" if is_one_dead else "none", f"{rate:.1f}", taken.connections, told)
        return rate

    # --- profile --------------------------------------------------------------------------------------------------

    def _profile(self) -> None:
        load, gateway, sink = self._options.load(100), self._gateway(1), self._around.sink
        title(f"Profile of the dispatch role alone, {load.messages} messages in the queue")
        before = gateway.counts().delivered
        with RoleAlone(gateway, self._around.folder / "submission-alone", "submission"):
            self._send_to(RECIPIENT, gateway.door(), load, sink=None, sent=sink.sent)
        sink.start_anew()
        with RoleAlone(gateway, self._around.folder / "dispatch-alone", "dispatch", is_profiled=True) as role:
            began = time.time()
            _wait_for(sink, load.messages)
            _require_delivered(gateway, before, load.messages)
        self._all_arrived(load, is_signed=True)
        role.print_top(load.messages, Drained.of(sink.arrivals(load.messages), began=began).rate)

    # --- the machine ----------------------------------------------------------------------------------------------

    def _gateway(self, dispatch_processes: int) -> MeasuredGateway:
        gateway = self._around.gateway
        gateway.submission_processes = self._options.submission_processes
        gateway.dispatch_processes = dispatch_processes
        return gateway

    def _describe(self) -> None:
        title("The machine")
        describe_machine(self._around.folder, self._around.file_system)
        print(f"Zegel: {self._options.submission_processes} submission, 1 web; readable delivery, TLS, certificate")
        version = self._around.relay(self._options.tunings[0], self._signer).version()
        print(f"Postfix {version}; its default queue, then smtp(8) with smtp_tls_security_level = secure")
        if self._signer is None:
            print(f"NOT SIGNED by Postfix, which favours it: opendkim: {debian.lacks('opendkim')}")


def _require_unaltered(taken: Taken, messages: int) -> None:
    if taken.messages != messages or taken.same != messages or taken.different or taken.twice:
        raise LoadFailed(
            f"of {messages} messages {taken.messages} arrived, {taken.same} as they were sent, {taken.different} "
            f"otherwise, {taken.twice} more than once"
        )
    if taken.resumed:
        raise LoadFailed(f"{taken.resumed} TLS sessions to the receiving server were resumed")


def _require_in_log(found: Callable[[], int], messages: int) -> None:
    """Logs may be written a moment later."""
    try:
        until(lambda: found() >= messages)
    except TimeoutError as cause:
        raise LoadFailed(f"{found()} of {messages} deliveries are in the log") from cause


def _require_delivered(gateway: MeasuredGateway, before: int, messages: int) -> None:
    """Also where others are not delivered yet."""
    try:
        until(lambda: gateway.counts().delivered - before >= messages, DRAINED_WITHIN)
    except TimeoutError as cause:
        raise LoadFailed(f"of {messages} messages Zegel delivered {gateway.counts().delivered - before}") from cause


def _wait_for(sink: Sink, messages: int) -> None:
    try:
        until(lambda: sink.taken().messages >= messages, 120 + messages / SLOWEST)
    except TimeoutError as cause:
        raise LoadFailed(f"{sink.taken().messages} of {messages} arrived") from cause


def _zone() -> str:
    """The hundred destinations, alive and with a dead one."""
    lines = [f"{SILENT_HOST}. IN A {SILENT_IP}"]
    for number in range(DESTINATIONS):
        host = f"mx{number}.{DESTINATION_HOSTS}"
        alive, one_dead = (name.replace("%h", str(number)) for name in (ALIVE, ONE_DEAD))
        lines += [
            f"{host}. IN A {DESTINATION_IPS}{number + 1}",
            f"{alive}. IN MX 10 {host}.",
            f"{one_dead}. IN MX 10 {host if number else SILENT_HOST}.",
        ]
    return "".join(f"{line}\n" for line in lines)


def _domains() -> list[str]:
    numbers = range(DESTINATIONS)
    return [RECEIVING_DOMAIN, *(name.replace("%h", str(number)) for name in (ALIVE, ONE_DEAD) for number in numbers)]


def _parsed(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="make bench-delivery", description=__doc__, allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="one pair of few messages: whether it works, no figures")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone; may be repeated")
    parser.add_argument("--pairs", type=int, default=3, help="of runs, by turns")
    parser.add_argument("--messages-100", type=int, default=6000, help="of one run with 100 messages per connection")
    parser.add_argument("--messages-1", type=int, default=3000, help="of one run with 1 message per connection")
    parser.add_argument("--messages-dead", type=int, default=6000, help="of one run to a hundred destinations")
    parser.add_argument("--backlog", type=int, default=20_000, help=f"messages in the queue; {WANTED_BACKLOG} is meant")
    parser.add_argument(
        "--without-backlog", type=int, default=2000, help="messages in the queue that it is compared to"
    )
    parser.add_argument("--submission-processes", type=int, default=2)
    parser.add_argument("--dispatch-processes", type=int, action="append", help=f"instead of trying {DISPATCH}")
    parser.add_argument("--postfix-limit", type=int, action="append", help=f"instead of trying {LIMITS}")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="on a disk; other accounts may pass through"
    )
    parser.add_argument("--longest", type=int, default=7200, help="seconds after which the whole run is given up")
    given = parser.parse_args(arguments)
    is_smoke = given.smoke
    limits = given.postfix_limit or ((20,) if is_smoke else LIMITS)

    def most(number: int, smoke: int) -> int:
        return min(number, smoke) if is_smoke else number

    return Options(
        parts=tuple(part for part in PARTS if part in (given.only or PARTS)),
        pairs=most(given.pairs, 1),
        messages={100: most(given.messages_100, 200), 1: most(given.messages_1, 100)},
        messages_dead=most(given.messages_dead, 200),
        backlog=most(given.backlog, 400),
        without_backlog=most(given.without_backlog, 200),
        warm_up=20 if is_smoke else 200,
        tunings=tuple(Tuning(*one) for one in product(limits, (True,) if is_smoke else (True, False))),
        submission_processes=given.submission_processes,
        dispatch_processes=tuple(given.dispatch_processes or ((1,) if is_smoke else DISPATCH)),
        folder=given.folder,
        longest=given.longest,
    )


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    options = _parsed(arguments)

    def carried_out() -> Mapping[str, float | None]:
        with ExitStack() as stack:
            around = stack.enter_context(surroundings(options.folder, zone=_zone(), compares=options.most_messages))
            around.gateway.deliver_readable(_domains())
            signer = None
            if debian.lacks("opendkim") is None:
                signer = OpenDkim(around.folder / "opendkim", domain=SENDING_DOMAIN, selector="meting")
                stack.enter_context(signer)
            bench = Bench(options, around, signer)
            bench.run()
            return bench.figures

    return exit_status(carried_out, longest=options.longest)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
