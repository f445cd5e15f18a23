"""What a benchmark prints: titles, rows, spreads, and the machine that it ran on."""

from __future__ import annotations

import os
import platform
import ssl
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from zegel import VERSION


def title(text: str) -> None:
    """Of a part."""
    print(f"\n## {text}\n", flush=True)


def row(*cells: object) -> None:
    """Of a table."""
    print(" | ".join(f"{cell!s:>11}" for cell in cells), flush=True)


def spread(what: str, figures: Sequence[float]) -> float:
    """Prints the median, the least and the most; returns the median."""
    median = statistics.median(figures)
    each = ", ".join(f"{figure:.3f}" for figure in figures)
    print(f"{what}: {median:.3f} (from {min(figures):.3f} to {max(figures):.3f}; {each})")
    return round(median, 3)


def per(per_connection: int) -> str:
    """A kind of load, in words."""
    return f"{per_connection} message{'s' if per_connection > 1 else ''} per connection"


def describe_machine(folder: Path, file_system: str) -> None:
    """What figures of another machine can't be compared without."""
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} × {_processor()}, {_memory():.0f} GB, {platform.release()}")
    print(f"{file_system} below {folder.parent}; 4 KiB appended and synced: {_sync_cost(folder)}")
    print(f"Zegel {VERSION}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}")
    print(f"Load before: {os.getloadavg()[0]:.2f}. 'others' is what the rest of the machine used meanwhile.")


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
