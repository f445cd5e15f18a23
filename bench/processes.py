"""What processes cost: processor time and memory as /proc tells them, and how often they made a file durable."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
SYNCING: Final = "fsync,fdatasync,sync_file_range,syncfs,msync"
TRACED: Final = (  # only the calls that are looked for stop the process, which stays the one that was started
    "/usr/bin/strace",
    "--daemonize",
    "--follow-forks",
    "--seccomp-bpf",
    "--quiet=all",
    f"--trace={SYNCING}",
)
_CALL: Final = re.compile(rf"^(\d+) +({SYNCING.replace(',', '|')})\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    seconds: float  # of processor time, that of children which ended included


def _processes() -> dict[int, _Process]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            found[int(stat.parent.name)] = _Process(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)
    return found


def _tree(root: int, processes: dict[int, _Process]) -> list[int]:
    children = defaultdict(list)
    for pid, process in processes.items():
        children[process.parent].append(pid)
    found, ahead = [], [root]
    while ahead:
        pid = ahead.pop()
        if pid in processes:
            found.append(pid)
            ahead.extend(children[pid])
    return found


def tree(root: int) -> list[int]:
    """A process and all below it."""
    return _tree(root, _processes())


def role(pid: int) -> str:
    """Of a process of Zegel; the one that has none is the supervisor. Other programs have their name."""
    with suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"ZEGEL_ROLE="):
                return variable.partition(b"=")[2].decode()
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return "supervisor" if name.startswith(("python", "zegel")) else name
    return "ended"


def processor_time(root: int) -> dict[str, float]:
    """Seconds so far of a process and all below it, by role."""
    processes = _processes()
    spent: defaultdict[str, float] = defaultdict(float)
    for pid in _tree(root, processes):
        spent[role(pid)] += processes[pid].seconds
    return dict(spent)


def total_time(*roots: int) -> float:
    """Seconds so far of these processes and all below them."""
    processes = _processes()
    return sum(processes[pid].seconds for root in roots for pid in _tree(root, processes))


def machine_time() -> float:
    """Seconds of processor time that anything on this machine used so far; neither idle nor waiting for a disk."""
    times = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(times) - times[3] - times[4]) / _TICKS


def peak_memory(pid: int) -> float:
    """The most that was resident at one moment, in millions of octets."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1_000_000


def forget_peak(pid: int) -> None:
    """The peak counts from here on (proc(5): clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def syncs(trace: Path) -> Counter[int]:
    """How often each thread made something durable, as a file of :data:`TRACED` tells."""
    return Counter(int(thread) for thread, _ in _CALL.findall(trace.read_text(errors="replace")))


def role_of_thread(thread: int) -> str:
    """As :func:`role`."""
    with suppress(OSError):
        found = re.search(r"^Tgid:\s+(\d+)$", Path(f"/proc/{thread}/status").read_text(), re.MULTILINE)
        if found is not None:
            return role(int(found[1]))
    return "ended"
