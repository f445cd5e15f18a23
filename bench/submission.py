"""Zegel's submission server beside Debian's Postfix, on one machine, in one run: ``make bench-submission``.

docs/benchmarks.md says what is compared, and what is fair about it. The last line printed is one JSON object: Zegel's
figures over Postfix' (and a peak of memory); what was not measured is ``null``. Times are printed, never judged: the
exit status is 1 only when a message was refused, lost or delivered twice, or nothing could be measured.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench import processes
from bench.alone import RoleAlone
from bench.load import Door, Load, LoadFailed, Outcome, send
from bench.measured import Pair, Run, exit_status, measured, warn_of_noise
from bench.report import describe_machine, per, row, spread, title
from bench.surroundings import (
    RECIPIENT,
    DiscardingPostfix,
    MeasuredGateway,
    NotMeasurable,
    Surroundings,
    settle,
    surroundings,
)
from tests.peers.gateway import SENDER

LIMITS: Final = (20, 50, 100, 200)  # of processes that Postfix may run for each service; 100 is its default
PARTS: Final = ("accept_100", "accept_1", "syncs", "rss", "profile", "floor")
LARGE: Final = 100_000_000  # octets
LARGE_SESSIONS: Final = 20
WARM_UP: Final = 200  # messages, not measured


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and how much of it."""

    parts: tuple[str, ...]
    pairs: int
    messages: dict[int, int]  # by messages for each connection
    limits: tuple[int, ...]
    submission_processes: int
    dispatch_processes: int
    pipelining: bool
    folder: Path
    longest: int

    def load(self, per_connection: int) -> Load:
        return Load(self.messages[per_connection], per_connection, pipelining=self.pipelining)


class Bench:
    """One run of the benchmark. Each part starts the servers that it measures, and stops them."""

    def __init__(self, options: Options, around: Surroundings) -> None:
        self._options = options
        self._around = around
        self.figures: dict[str, float | None] = dict.fromkeys(("accept_100", "accept_1", "p99_100", "rss_mb_20x100mb"))

    def run(self) -> None:
        """All parts that were asked for."""
        self._describe()
        for part in self._options.parts:
            match part:
                case "accept_100":
                    self._compare(100)
                case "accept_1":
                    self._compare(1)
                case "syncs":
                    self._count_syncs()
                case "rss":
                    self._watch_memory()
                case "profile":
                    self._profile()
                case "floor":
                    self._find_floor()

    # --- accepting ------------------------------------------------------------------------------------------------

    def _compare(self, per_connection: int) -> None:
        load = self._options.load(per_connection)
        title(
            f"{per(per_connection)}: {self._options.pairs} pairs of {load.messages} messages, {load.sessions} sessions"
        )
        limit = self._best_limit(per_connection)
        postfix = self._around.postfix(limit)
        pairs: list[Pair] = []
        with self._gateway() as gateway, postfix:
            self._warm_up(gateway, postfix, per_connection)
            row("pair", "server", "accepted/s", "p50 ms", "p99 ms", "sustained/s", "CPU ms each", "others", "by role")
            for number in range(1, self._options.pairs + 1):
                pairs.append(self._pair(gateway, postfix, load, zegel_first=number % 2 == 1))
                row(number, "Zegel", *_cells(pairs[-1].zegel))
                row(number, "Postfix", *_cells(pairs[-1].postfix))
        self._conclude(per_connection, pairs)

    def _pair(self, gateway: MeasuredGateway, postfix: DiscardingPostfix, load: Load, *, zegel_first: bool) -> Pair:
        runs: dict[str, Run] = {}
        for is_zegel in (zegel_first, not zegel_first):
            settle(gateway, postfix)
            if is_zegel:
                runs["zegel"] = self._run_zegel(gateway, load)
            else:
                runs["postfix"] = self._run_postfix(postfix, load)
        pair = Pair(**runs)
        if pair.zegel.outcome.tls != pair.postfix.outcome.tls:
            raise LoadFailed(f"not the same TLS: {pair.zegel.outcome.tls}, {pair.postfix.outcome.tls}")
        return pair

    def _run_zegel(self, gateway: MeasuredGateway, load: Load) -> Run:
        before = gateway.counts()
        run = measured([gateway], lambda: self._to_zegel(gateway, load))
        after = gateway.counts()
        arrived = self._around.sink.recipients()
        kept, told = after.submissions - before.submissions, after.notified - before.notified
        if not kept == told == arrived == load.messages:
            raise LoadFailed(
                f"of {load.messages} accepted messages Zegel recorded {kept} and holds {told} for notified; "
                f"{arrived} notifications arrived"
            )
        return run

    def _to_zegel(self, gateway: MeasuredGateway, load: Load) -> Outcome:
        outcome = self._send(gateway.door(), load, sink=self._around.sink.statistics)
        gateway.drain()
        return outcome

    def _run_postfix(self, postfix: DiscardingPostfix, load: Load) -> Run:
        before = postfix.discarded()
        run = measured([postfix], lambda: self._to_postfix(postfix, load))
        if (gone := postfix.discarded() - before) != load.messages:
            raise LoadFailed(f"of {load.messages} accepted messages Postfix discarded {gone}")
        return run

    def _to_postfix(self, postfix: DiscardingPostfix, load: Load) -> Outcome:
        outcome = self._send(postfix.door(), load)
        postfix.drain()
        return outcome

    def _send(self, door: Door, load: Load, *, sink: Path | None = None) -> Outcome:
        return send(
            load,
            door,
            sender=SENDER,
            recipient=RECIPIENT,
            authority=self._around.authority.certificate_path,
            sink=sink,
        )

    def _gateway(self, submission_processes: int | None = None) -> MeasuredGateway:
        gateway = self._around.gateway
        gateway.submission_processes = submission_processes or self._options.submission_processes
        gateway.dispatch_processes = self._options.dispatch_processes
        gateway.trace = None
        return gateway

    def _warm_up(self, gateway: MeasuredGateway, postfix: DiscardingPostfix, per_connection: int) -> None:
        load = replace(self._options.load(per_connection), messages=WARM_UP)
        self._run_zegel(gateway, load)
        self._run_postfix(postfix, load)

    def _best_limit(self, per_connection: int) -> int:
        """The process limit with which Postfix accepts most: each is tried twice, the better try counts."""
        limits = self._options.limits
        if len(limits) == 1:
            print(f"Postfix: default_process_limit {limits[0]}, no other was tried")
            return limits[0]
        load = self._options.load(per_connection)
        load = replace(load, messages=max(WARM_UP, load.messages // 4))
        rates: dict[int, float] = {}
        for limit in (*limits, *limits):
            with self._around.postfix(limit) as postfix:
                self._to_postfix(postfix, replace(load, messages=WARM_UP))
                rates[limit] = max(self._to_postfix(postfix, load).rate, rates.get(limit, 0.0))
        best = max(rates, key=lambda limit: rates[limit])
        tried = ", ".join(f"{limit}: {rate:.0f}/s" for limit, rate in rates.items())
        print(f"Postfix: default_process_limit {best} is best here ({tried})")
        return best

    def _conclude(self, per_connection: int, pairs: Sequence[Pair]) -> None:
        print()
        accepting = spread(
            "accepted/s, Zegel over Postfix", [pair.ratio(lambda run: run.outcome.rate) for pair in pairs]
        )
        spread("sustained/s, Zegel over Postfix accepting", [pair.ratio(lambda run: run.sustained) for pair in pairs])
        p99 = spread(
            "p99 of end of data to 250, Zegel over Postfix", [pair.ratio(lambda run: run.outcome.p99) for pair in pairs]
        )
        spread("CPU ms per message, Zegel until delivered", [sum(pair.zegel.spent.values()) for pair in pairs])
        spread("CPU ms per message, Zegel's submission role", [pair.zegel.spent["submission"] for pair in pairs])
        spread("CPU ms per message, Postfix", [sum(pair.postfix.spent.values()) for pair in pairs])
        warn_of_noise([run for pair in pairs for run in (pair.zegel, pair.postfix)])
        self.figures[f"accept_{per_connection}"] = accepting
        if per_connection == 100:
            self.figures["p99_100"] = p99

    # --- what is made durable -------------------------------------------------------------------------------------

    def _count_syncs(self) -> None:
        title(f"Calls that make something durable ({processes.SYNCING}), for each message; a run of its own, traced")
        row("", "messages", "Zegel", "Postfix", "by role")
        gateway = self._gateway()
        gateway.trace = self._around.folder / "zegel.trace"
        postfix = self._around.postfix(100)
        postfix.trace = self._around.folder / "postfix.trace"
        with gateway, postfix:
            for per_connection in (100, 1):
                load = replace(self._options.load(per_connection), messages=self._options.messages[per_connection] // 4)
                ours = _counted(gateway.trace, lambda load=load: self._run_zegel(gateway, load))  # type: ignore[misc]
                theirs = _counted(postfix.trace, lambda load=load: self._run_postfix(postfix, load))  # type: ignore[misc]
                each = ", ".join(f"{role} {count / load.messages:.2f}" for role, count in ours.most_common())
                row(
                    per(per_connection),
                    load.messages,
                    f"{ours.total() / load.messages:.2f}",
                    f"{theirs.total() / load.messages:.2f}",
                    f"Zegel: {each}",
                )
        gateway.trace = None

    # --- memory ---------------------------------------------------------------------------------------------------

    def _watch_memory(self) -> None:
        title(f"{LARGE_SESSIONS} messages of {LARGE // 1_000_000} MB at once into one submission process")
        needed = 3 * LARGE_SESSIONS * LARGE
        if shutil.disk_usage(self._around.folder).free < needed:
            raise NotMeasurable(
                f"{self._around.folder} needs {needed // 10**9} GB of free space: name another --folder."
            )
        load = Load(LARGE_SESSIONS, 1, sessions=LARGE_SESSIONS, size=LARGE)
        with self._gateway(submission_processes=1) as gateway:
            self._run_zegel(gateway, Load(WARM_UP, 1))
            settle(gateway)
            (submission,) = gateway.submission_pids()
            assert gateway.pid is not None
            there = processes.tree(gateway.pid)
            for pid in there:
                processes.forget_peak(pid)
            at_rest = processes.peak_memory(submission)
            run = self._run_zegel(gateway, load)
            peak = processes.peak_memory(submission)
            for pid in sorted(there):
                print(f"  {processes.role(pid)}: at most {processes.peak_memory(pid):.1f} MB resident")
        seconds = LARGE_SESSIONS / run.outcome.rate
        print(
            f"  submission: {at_rest:.1f} MB before, {peak:.1f} MB at most; {run.outcome.rate * LARGE / 1e6:.0f} MB/s"
        )
        print(
            f"  all accepted within {seconds:.1f} s; CPU {run.spent['submission']:.0f} ms each in the submission role"
        )
        self.figures["rss_mb_20x100mb"] = round(peak, 1)

    # --- profile --------------------------------------------------------------------------------------------------

    def _profile(self) -> None:
        gateway = self._gateway(submission_processes=1)
        for per_connection in (100, 1):
            load = self._options.load(per_connection)
            load = replace(load, messages=load.messages // 2)
            title(f"Profile of the submission role alone, {per(per_connection)}, {load.messages} messages")
            folder = self._around.folder / f"profile-{per_connection}"
            with RoleAlone(gateway, folder, "submission", is_profiled=True) as role:
                outcome = self._send(gateway.door(), load)
            role.print_top(outcome.accepted, outcome.rate)
        waiting = gateway.counts().jobs
        title(f"Profile of the dispatch role alone, {waiting} notifications that wait")
        with RoleAlone(gateway, self._around.folder / "profile-dispatch", "dispatch", is_profiled=True) as role:
            began = time.monotonic()
            gateway.drain()
            seconds = time.monotonic() - began
        role.print_top(waiting, waiting / seconds)

    # --- what anything would cost ---------------------------------------------------------------------------------

    def _find_floor(self) -> None:
        title("What a server in Python costs that does nothing (bench/speaker.py)")
        row("", "server", "accepted/s", "p50 ms", "p99 ms", "CPU ms each", "others")
        for per_connection in (100, 1):
            load = self._options.load(per_connection)
            for keeps in (False, True):
                with self._around.speaker(self._options.submission_processes, keeps=keeps) as speaker:
                    self._send(speaker.door(), replace(load, messages=WARM_UP))
                    run = measured([speaker], lambda: self._send(speaker.door(), load))  # noqa: B023
                rate, median, p99, _, spent, others, _ = _cells(run)
                what = "speaks, commits" if keeps else "speaks"
                row(per(per_connection), what, rate, median, p99, spent, others)

    # --- the machine ----------------------------------------------------------------------------------------------

    def _describe(self) -> None:
        options = self._options
        title("The machine")
        describe_machine(self._around.folder, self._around.file_system)
        print(f"Zegel: {options.submission_processes} submission, {options.dispatch_processes} dispatch, 1 web")
        print(f"Postfix {self._around.postfix(options.limits[0]).version()}; its default queue, then discard(8)")


def _counted(trace: Path, loading: Callable[[], object]) -> Counter[str]:
    before = processes.syncs(trace)
    loading()
    found: Counter[str] = Counter()
    for thread, count in (processes.syncs(trace) - before).items():
        found[processes.role_of_thread(thread)] += count
    return found


def _cells(run: Run) -> tuple[str, ...]:
    return (
        f"{run.outcome.rate:.1f}",
        f"{run.outcome.median:.2f}",
        f"{run.outcome.p99:.2f}",
        f"{run.sustained:.1f}",
        f"{sum(run.spent.values()):.2f}",
        f"{run.elsewhere:.0%}",
        run.by_role,
    )


def _parsed(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="make bench-submission", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--quick", action="store_true", help="one pair of few messages, one process limit; rss only when asked for"
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone; may be repeated")
    parser.add_argument("--pairs", type=int, default=3, help="of runs, Zegel and Postfix by turns")
    parser.add_argument("--messages-100", type=int, default=6000, help="of one run with 100 messages per connection")
    parser.add_argument("--messages-1", type=int, default=3000, help="of one run with 1 message per connection")
    parser.add_argument("--submission-processes", type=int, default=2)
    parser.add_argument("--dispatch-processes", type=int, default=1)
    parser.add_argument("--postfix-limit", type=int, action="append", help=f"instead of trying {LIMITS}")
    parser.add_argument("--pipelining", action="store_true", help="MAIL, RCPT and DATA in one flight")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="on a disk; other accounts may pass through"
    )
    parser.add_argument("--longest", type=int, default=3600, help="seconds after which the whole run is given up")
    given = parser.parse_args(arguments)
    parts = tuple(part for part in PARTS if part in (given.only or PARTS))
    if given.quick:
        return Options(
            parts=parts if given.only else tuple(part for part in parts if part != "rss"),
            pairs=1,
            messages={100: min(given.messages_100, 2000), 1: min(given.messages_1, 800)},
            limits=tuple(given.postfix_limit or (100,)),
            submission_processes=given.submission_processes,
            dispatch_processes=given.dispatch_processes,
            pipelining=given.pipelining,
            folder=given.folder,
            longest=given.longest,
        )
    return Options(
        parts=parts,
        pairs=given.pairs,
        messages={100: given.messages_100, 1: given.messages_1},
        limits=tuple(given.postfix_limit or LIMITS),
        submission_processes=given.submission_processes,
        dispatch_processes=given.dispatch_processes,
        pipelining=given.pipelining,
        folder=given.folder,
        longest=given.longest,
    )


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    options = _parsed(arguments)

    def carried_out() -> Mapping[str, float | None]:
        with surroundings(options.folder) as around:
            bench = Bench(options, around)
            bench.run()
        return bench.figures

    return exit_status(carried_out, longest=options.longest)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
