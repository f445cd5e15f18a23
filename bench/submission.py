"""Zegel's submission server beside Debian's Postfix, on one machine, in one run: ``make bench-submission``.

docs/benchmarks.md says what is compared, and what is fair about it. The last line printed is one JSON object: Zegel's
figures over Postfix' (and a peak of memory); what was not measured is ``null``. Times are printed, never judged: the
exit status is 1 only when a message was refused, lost or delivered twice, or nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

from bench import processes
from bench.load import Door, Load, LoadFailed, Outcome, send
from bench.surroundings import (
    RECIPIENT,
    MeasuredGateway,
    MeasuredPostfix,
    NotMeasurable,
    Surroundings,
    settle,
    surroundings,
)
from tests.peers import Peer, PeerDidNotStart
from tests.peers.gateway import SENDER
from zegel import VERSION
from zegel.cli.supervise import answers
from zegel.settings import Listen

LIMITS: Final = (20, 50, 100, 200)  # of processes that Postfix may run for each service; 100 is its default
PARTS: Final = ("accept_100", "accept_1", "syncs", "rss", "profile")
LARGE: Final = 100_000_000  # octets
LARGE_SESSIONS: Final = 20
WARM_UP: Final = 200  # messages, not measured
NOISE: Final = 0.05  # of the machine; more, and rates are not worth comparing


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


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one server, everything that follows from it included."""

    outcome: Outcome
    spent: dict[str, float]  # milliseconds of processor time for each message, by role
    elsewhere: float  # what the rest of the machine used meanwhile, as a part of all its processors

    @property
    def sustained(self) -> float:
        """Messages per second until the last was delivered; where delivering is nothing, until it was accepted."""
        seconds = self.outcome.seconds_until_drained
        return self.outcome.accepted / seconds if seconds else self.outcome.rate


@dataclass(frozen=True, slots=True)
class Pair:
    """Both, one right after the other."""

    zegel: Run
    postfix: Run

    def ratio(self, figure: Callable[[Run], float]) -> float:
        return figure(self.zegel) / figure(self.postfix)


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

    # --- accepting ------------------------------------------------------------------------------------------------

    def _compare(self, per_connection: int) -> None:
        load = self._options.load(per_connection)
        _title(
            f"{_per(per_connection)}: {self._options.pairs} pairs of {load.messages} messages, {load.sessions} sessions"
        )
        limit = self._best_limit(per_connection)
        postfix = self._around.postfix(limit)
        pairs: list[Pair] = []
        with self._gateway() as gateway, postfix:
            self._warm_up(gateway, postfix, per_connection)
            _row("pair", "server", "accepted/s", "p50 ms", "p99 ms", "sustained/s", "CPU ms each", "others", "by role")
            for number in range(1, self._options.pairs + 1):
                pairs.append(self._pair(gateway, postfix, load, zegel_first=number % 2 == 1))
                _row(number, "Zegel", *_cells(pairs[-1].zegel))
                _row(number, "Postfix", *_cells(pairs[-1].postfix))
        self._conclude(per_connection, pairs)

    def _pair(self, gateway: MeasuredGateway, postfix: MeasuredPostfix, load: Load, *, zegel_first: bool) -> Pair:
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
        run = self._measured(gateway, lambda: self._to_zegel(gateway, load))
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

    def _run_postfix(self, postfix: MeasuredPostfix, load: Load) -> Run:
        before = postfix.discarded()
        run = self._measured(postfix, lambda: self._to_postfix(postfix, load))
        if (gone := postfix.discarded() - before) != load.messages:
            raise LoadFailed(f"of {load.messages} accepted messages Postfix discarded {gone}")
        return run

    def _to_postfix(self, postfix: MeasuredPostfix, load: Load) -> Outcome:
        outcome = self._send(postfix.door(), load)
        postfix.drain()
        return outcome

    def _measured(self, peer: Peer, loading: Callable[[], Outcome]) -> Run:
        assert peer.pid is not None
        began, machine, ours = time.monotonic(), processes.machine_time(), processes.total_time(os.getpid())
        before = processes.processor_time(peer.pid)
        outcome = loading()
        spent = {
            role: (seconds - before.get(role, 0.0)) * 1000 / outcome.accepted
            for role, seconds in processes.processor_time(peer.pid).items()
        }
        others = processes.machine_time() - machine - (processes.total_time(os.getpid()) - ours)
        return Run(outcome, spent, max(0.0, others) / (time.monotonic() - began) / (os.cpu_count() or 1))

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

    def _warm_up(self, gateway: MeasuredGateway, postfix: MeasuredPostfix, per_connection: int) -> None:
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
        accepting = _spread(
            "accepted/s, Zegel over Postfix", [pair.ratio(lambda run: run.outcome.rate) for pair in pairs]
        )
        _spread("sustained/s, Zegel over Postfix accepting", [pair.ratio(lambda run: run.sustained) for pair in pairs])
        p99 = _spread(
            "p99 of end of data to 250, Zegel over Postfix", [pair.ratio(lambda run: run.outcome.p99) for pair in pairs]
        )
        _spread("CPU ms per message, Zegel until delivered", [sum(pair.zegel.spent.values()) for pair in pairs])
        _spread("CPU ms per message, Zegel's submission role", [pair.zegel.spent["submission"] for pair in pairs])
        _spread("CPU ms per message, Postfix", [sum(pair.postfix.spent.values()) for pair in pairs])
        if (noise := max(run.elsewhere for pair in pairs for run in (pair.zegel, pair.postfix))) > NOISE:
            print(f"NOT QUIET: the rest of the machine used up to {noise:.0%} of it; only CPU ms mean something then")
        self.figures[f"accept_{per_connection}"] = accepting
        if per_connection == 100:
            self.figures["p99_100"] = p99

    # --- what is made durable -------------------------------------------------------------------------------------

    def _count_syncs(self) -> None:
        _title(f"Calls that make something durable ({processes.SYNCING}), for each message; a run of its own, traced")
        _row("", "messages", "Zegel", "Postfix", "by role")
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
                _row(
                    _per(per_connection),
                    load.messages,
                    f"{ours.total() / load.messages:.2f}",
                    f"{theirs.total() / load.messages:.2f}",
                    f"Zegel: {each}",
                )
        gateway.trace = None

    # --- memory ---------------------------------------------------------------------------------------------------

    def _watch_memory(self) -> None:
        _title(f"{LARGE_SESSIONS} messages of {LARGE // 1_000_000} MB at once into one submission process")
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
            _title(f"Profile of the submission role alone, {_per(per_connection)}, {load.messages} messages")
            role = ProfiledSubmission(gateway, self._around.folder / f"profile-{per_connection}")
            with role:
                outcome = self._send(replace(gateway.door(), port=role.port), load)
            role.print_top(outcome)

    # --- the machine ----------------------------------------------------------------------------------------------

    def _describe(self) -> None:
        import ssl

        options = self._options
        postfix = self._around.postfix(options.limits[0])
        _title("The machine")
        print(
            f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} × {_processor()}, {_memory():.0f} GB, {platform.release()}"
        )
        cost = _sync_cost(self._around.folder)
        print(f"{self._around.file_system} below {options.folder}; 4 KiB appended and synced: {cost}")
        print(
            f"Zegel {VERSION}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}; "
            f"{options.submission_processes} submission, {options.dispatch_processes} dispatch, 1 web"
        )
        print(f"Postfix {postfix.version()}; its default queue, then discard(8)")
        print(f"Load before: {os.getloadavg()[0]:.2f}. 'others' is what the rest of the machine used meanwhile.")


class ProfiledSubmission(Peer):
    """The submission role alone, on the gateway's port and state, under :mod:`bench.profiled`."""

    def __init__(self, gateway: MeasuredGateway, folder: Path) -> None:
        super().__init__(folder, gateway.ip, gateway.port)
        self._gateway = gateway
        self._profile = folder / "profile"

    def _command(self) -> list[str]:
        script = str(Path(__file__).with_name("profiled.py"))
        arguments = ["run", "--role", "submission", "--config", str(self._gateway.config)]
        return [sys.executable, "-P", script, str(self._profile), *arguments]

    def _environment(self) -> dict[str, str]:
        return dict(self._gateway.environment())

    def _answers(self) -> bool:
        return answers(Listen(host=self.ip, port=self.port))

    def log(self) -> str:
        return ""

    def print_top(self, outcome: Outcome, most: int = 10) -> None:
        """After it was stopped: where its processor time went."""
        found = [Spent(*row) for row in json.loads(self._profile.read_text())]
        total = sum(one.own for one in found)
        print(f"{total * 1000 / outcome.accepted:.2f} ms CPU for each message, {outcome.rate:.0f}/s while observed\n")
        _row("own ms", "part", "function, by what it does itself")
        for one in sorted(found, key=lambda one: -one.own)[:most]:
            _row(f"{one.own * 1000 / outcome.accepted:.3f}", f"{one.own / total:.1%}", one.function)
        print()
        _row("ms", "part", "function of Zegel, with all that it calls")
        ours = [one for one in found if one.is_ours]
        for one in sorted(ours, key=lambda one: -one.with_calls)[: 2 * most]:
            _row(f"{one.with_calls * 1000 / outcome.accepted:.3f}", f"{one.with_calls / total:.1%}", one.function)


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of processor time in one function."""

    file: str
    line: int
    name: str
    own: float
    with_calls: float

    @property
    def is_ours(self) -> bool:
        """Of what Zegel does for a message; starting it is left out."""
        return any(f"/zegel/{part}/" in self.file for part in ("core", "edge", "journey", "accounts"))

    @property
    def function(self) -> str:
        """As one reads it: the path within the package."""
        parts = Path(self.file).parts
        begins = [number for number, part in enumerate(parts) if part in ("zegel", "site-packages")]
        shown = Path(*(parts[begins[-1] :] if begins else parts[-2:]))
        if shown.parts[0] == "site-packages":
            shown = shown.relative_to("site-packages")
        return f"{shown}:{self.line} {self.name}"


def _counted(trace: Path, loading: Callable[[], object]) -> Counter[str]:
    before = processes.syncs(trace)
    loading()
    found: Counter[str] = Counter()
    for thread, count in (processes.syncs(trace) - before).items():
        found[processes.role_of_thread(thread)] += count
    return found


def _per(per_connection: int) -> str:
    return f"{per_connection} message{'s' if per_connection > 1 else ''} per connection"


def _cells(run: Run) -> tuple[str, ...]:
    return (
        f"{run.outcome.rate:.1f}",
        f"{run.outcome.median:.2f}",
        f"{run.outcome.p99:.2f}",
        f"{run.sustained:.1f}",
        f"{sum(run.spent.values()):.2f}",
        f"{run.elsewhere:.0%}",
        ", ".join(f"{role} {spent:.2f}" for role, spent in sorted(run.spent.items(), key=lambda one: -one[1])[:4]),
    )


def _spread(what: str, figures: Sequence[float]) -> float:
    """Prints the median, the least and the most; returns the median."""
    median = statistics.median(figures)
    each = ", ".join(f"{figure:.3f}" for figure in figures)
    print(f"{what}: {median:.3f} (from {min(figures):.3f} to {max(figures):.3f}; {each})")
    return round(median, 3)


def _title(text: str) -> None:
    print(f"\n## {text}\n", flush=True)


def _row(*cells: object) -> None:
    print(" | ".join(f"{cell!s:>11}" for cell in cells), flush=True)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _sync_cost(folder: Path, times: int = 200) -> str:
    path, took = folder / "synced", []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    path.unlink()
    return f"median {statistics.median(took):.2f} ms, p99 {sorted(took)[int(times * 0.99)]:.2f} ms"


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


def _give_up(number: int, frame: FrameType | None) -> None:
    """Everything that was started is stopped on the way out."""
    sys.exit(f"given up: {signal.Signals(number).name}")


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    options = _parsed(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _give_up)
    signal.alarm(options.longest)
    try:
        with surroundings(options.folder) as around:
            bench = Bench(options, around)
            bench.run()
    except (LoadFailed, NotMeasurable, PeerDidNotStart) as cause:
        print(f"FAILED: {cause}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print()
    print(json.dumps(bench.figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
