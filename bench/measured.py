"""One load on one server with all that follows from it, pairs of them, and a benchmark that ends with all it began."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

from bench import processes
from bench.load import LoadFailed, Outcome
from bench.surroundings import NotMeasurable
from tests.peers import Peer, PeerDidNotStart

NOISE: Final = 0.05  # of the machine; more, and rates are not worth comparing


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

    @property
    def by_role(self) -> str:
        """The roles that cost most, in a line."""
        most = sorted(self.spent.items(), key=lambda one: -one[1])[:5]
        return ", ".join(f"{role} {spent:.2f}" for role, spent in most)


@dataclass(frozen=True, slots=True)
class Pair:
    """Both, one right after the other."""

    zegel: Run
    postfix: Run

    def ratio(self, figure: Callable[[Run], float]) -> float:
        return figure(self.zegel) / figure(self.postfix)


def measured(peers: Sequence[Peer], loading: Callable[[], Outcome]) -> Run:
    """What a load costs these servers, and what anything else used meanwhile."""
    began, machine, ours = time.monotonic(), processes.machine_time(), processes.total_time(os.getpid())
    before = _spent(peers)
    outcome = loading()
    after = _spent(peers)
    spent = {role: (seconds - before[role]) * 1000 / outcome.accepted for role, seconds in after.items()}
    others = processes.machine_time() - machine - (processes.total_time(os.getpid()) - ours)
    return Run(outcome, spent, max(0.0, others) / (time.monotonic() - began) / (os.cpu_count() or 1))


def _spent(peers: Sequence[Peer]) -> defaultdict[str, float]:
    spent: defaultdict[str, float] = defaultdict(float)
    for peer in peers:
        assert peer.pid is not None
        for role, seconds in processes.processor_time(peer.pid).items():
            spent[role] += seconds
    return spent


def warn_of_noise(runs: Sequence[Run]) -> None:
    """Says so where the machine had other things to do."""
    if (noise := max(run.elsewhere for run in runs)) > NOISE:
        print(f"NOT QUIET: the rest of the machine used up to {noise:.0%} of it; only CPU ms mean something then")


def exit_status(carried_out: Callable[[], Mapping[str, float | None]], *, longest: int) -> int:
    """Of a whole benchmark, whose figures are its last line. Everything that was started is stopped on the way out,
    also when the process is told to end, or ``longest`` seconds are over."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _give_up)
    signal.alarm(longest)
    os.umask(0o022)  # Postfix and its milter come by with accounts of their own
    try:
        figures = carried_out()
    except (LoadFailed, NotMeasurable, PeerDidNotStart) as cause:
        print(f"FAILED: {cause}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        signal.alarm(0)
    print()
    print(json.dumps(dict(figures)))
    return 0


def _give_up(number: int, frame: FrameType | None) -> None:
    sys.exit(f"given up: {signal.Signals(number).name}")
