"""``python profiled.py FILE ZEGEL-ARGUMENTS…``: runs ``zegel …`` and leaves in FILE where its processor time went.

A thread looks 500 times a second at what every other thread is doing, and puts down to it the processor time that the
thread used since the last look. Waiting costs nothing then, neither for work nor for the interpreter's lock, and
observing costs little, where cProfile would more than double what a message costs. Time in compiled code is that of the
Python function that called it. Starting is not counted.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Final

BETWEEN_LOOKS: Final = 0.002  # seconds
SWITCH: Final = 0.0001  # seconds; who holds the interpreter's lock is not looked at only when it lets go by itself

ROLES: Final = (  # what the roles that are profiled import
    "uvloop",
    "zegel.journey.arrival.listener",
    "zegel.journey.custody.retention",
    "zegel.journey.custody.worker",
    "zegel.journey.decision.decide",
    "zegel.journey.delivery.deliver",
    "zegel.journey.delivery.texting",
    "zegel.journey.report.tell",
)

Function = tuple[str, int, str]  # file, line, name


class Observer(threading.Thread):
    """Looks until told to stop."""

    def __init__(self) -> None:
        super().__init__(name="observer", daemon=True)
        self._own: defaultdict[Function, float] = defaultdict(float)
        self._with_calls: defaultdict[Function, float] = defaultdict(float)
        self._seen: dict[int, float] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        sys.setswitchinterval(SWITCH)
        while not self._stopping.wait(BETWEEN_LOOKS):
            for thread, frame in sys._current_frames().items():
                if thread != self.ident:
                    self._look(thread, frame)

    def _look(self, thread: int, frame: FrameType) -> None:
        used = time.clock_gettime(time.pthread_getcpuclockid(thread))
        since = used - self._seen.get(thread, used)
        self._seen[thread] = used
        if not since:
            return
        self._own[_function(frame)] += since
        for function in {_function(one) for one in _callers(frame)}:
            self._with_calls[function] += since

    def stop(self) -> list[tuple[str, int, str, float, float]]:
        """Each function with its own seconds, and with those of what it calls."""
        self._stopping.set()
        self.join()
        return [
            (*function, self._own.get(function, 0.0), all_of_it) for function, all_of_it in self._with_calls.items()
        ]


def _callers(frame: FrameType | None) -> list[FrameType]:
    """A frame and all that called it."""
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _function(frame: FrameType) -> Function:
    code = frame.f_code
    return code.co_filename, code.co_firstlineno, code.co_qualname


def load_everything(config: Path) -> None:
    """What is imported now is not imported later, when it would be counted."""
    from zegel.cli.base import settings_of
    from zegel.compose import process

    settings_of(config)
    process.start_django()
    for name in ROLES:
        importlib.import_module(name)


def main() -> None:
    """Ends as ``zegel`` ends."""
    file, *sys.argv[1:] = sys.argv[1:]
    from zegel.cli.main import main as zegel

    load_everything(Path(sys.argv[sys.argv.index("--config") + 1]))
    observer = Observer()
    observer.start()
    try:
        zegel()
    finally:
        Path(file).write_text(json.dumps(observer.stop()))


if __name__ == "__main__":
    main()
