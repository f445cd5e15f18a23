"""A Debian 12 of its own below a folder, started by systemd as its first process, in our network namespace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

NAME: Final = "zegel-try"
MIRROR: Final = "http://deb.debian.org/debian"
SOURCES: Final = f"""deb {MIRROR} bookworm main
deb {MIRROR} bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
"""
WHEELS: Final = "/srv/wheels"
ORIGIN: Final = "/srv/zegel.git"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_LIMIT: Final = 120.0
_STOP: Final = 37  # SIGRTMIN+3 to systemd: halt (systemd(1)). nspawn's own SIGTERM does the same, and waits less


class Failed(Exception):
    """What was tried did not come out as it should; the text says how."""


def done(command: Sequence[str], **more: str) -> str:
    """Runs it here, and gives what it printed. Raises :class:`Failed`."""
    ran = subprocess.run(
        command, env=os.environ | more, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {ran.returncode}:\n{(ran.stdout + ran.stderr)[-2000:]}")
    return ran.stdout


def debian(place: Path, packages: Sequence[str]) -> Path:
    """A fresh Debian 12 at ``place``, with ``packages`` fetched and not installed. Kept from run to run."""
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        done(["debootstrap", "--include=dbus", "bookworm", str(place), MIRROR])
        (place / "etc/apt/sources.list").write_text(SOURCES)
        # As somebody who answers y.
        (place / "etc/apt/apt.conf.d/99yes").write_text('APT::Get::Assume-Yes "true";\n')
        (place / "complete").touch()
    done(["chroot", str(place), "apt-get", "update"])
    done(["chroot", str(place), "apt-get", "dist-upgrade"], DEBIAN_FRONTEND="noninteractive")
    done(["chroot", str(place), "apt-get", "install", "--download-only", *packages])
    return place


class Apart:
    """A root of its own, with processes that are in namespaces of their own."""

    _namespaces: ClassVar[tuple[str, ...]]
    _leader = 0  # a process that is there

    def tried(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """What a shell of root there does with it, in the folder of the page's commands, within ten minutes."""
        home = "cd /opt/zegel 2>/dev/null || cd /root\n"
        return subprocess.run(
            ["nsenter", f"--target={self._leader}", *self._namespaces, "--root", "--wd"]
            + ["/usr/bin/env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]
            + [f"{name}={value}" for name, value in variables.items()]
            + ["/bin/sh", "-eu", "-c", home + script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def done(self, script: str, **variables: str) -> str:
        """As :meth:`tried`, and it has to succeed. Raises :class:`Failed`."""
        ran = self.tried(script, **variables)
        if ran.returncode != 0:
            raise Failed(f"{script.strip()}\nended with {ran.returncode}:\n{(ran.stdout + ran.stderr)[-3000:]}")
        return ran.stdout + ran.stderr


class Machine(Apart):
    """Off until :meth:`start`. ``shared`` are folders of this machine that it sees, and can't write, by their path."""

    _namespaces = ("--mount", "--uts", "--ipc", "--pid", "--cgroup")

    def __init__(self, root: Path, log: Path, shared: Mapping[str, Path]) -> None:
        self.root = root
        self._log = log
        self._shared = shared
        self._nspawn: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Gives what systemd says of itself: running, or degraded."""
        command = ["systemd-nspawn", f"--directory={self.root}", f"--machine={NAME}", "--boot", "--console=pipe"]
        command += ["--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        command += [f"--bind-ro={here}:{there}" for there, here in self._shared.items()]
        enter = "".join(f"echo $$ >{folder / 'cgroup.procs'}; " for folder in _cgroups())
        with self._log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                ["/bin/sh", "-c", f'{enter}exec "$@"', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # One hierarchy of control groups, as on every Debian 12, whatever this machine has.
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        limit = time.monotonic() + START_LIMIT
        while time.monotonic() < limit and self._nspawn.poll() is None:
            time.sleep(0.5)
            self._leader = child_of(self._nspawn.pid)
            if self._leader and (state := self.tried("systemctl is-system-running").stdout.strip()) in (
                "running",
                "degraded",
            ):
                return state
        raise Failed(f"systemd did not start; see {self._log}")

    def off(self) -> None:
        """In order, as by its power button."""
        if self._nspawn is None:
            return
        if self._nspawn.poll() is None and self._leader:
            os.kill(self._leader, _STOP)
        try:
            self._nspawn.wait(90)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._nspawn, self._leader = None, 0

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit, as systemd has it."""
        return self.done(f"systemctl show --value --property={name} {unit}").strip()

    def children(self, pid: int) -> dict[str, int]:
        """The processes that a supervisor there started, by their role; one of each."""
        told = self.done(
            f"for one in $(cat /proc/{pid}/task/*/children); do tr '\\0' ' ' </proc/$one/cmdline; echo $one; done"
        )
        return {role: int(number) for role, number in re.findall(r"--role (\w+) (\d+)$", told, re.MULTILINE)}


def child_of(pid: int) -> int:
    """Its first; 0 where there is none yet."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return 0


def _cgroups() -> list[Path]:
    """A control group of the machine's own, in each hierarchy that systemd uses."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    tops = [Path(one[1]) for one in mounts if one[2] == "cgroup2" or "name=systemd" in one[3]]
    for top in tops:
        (top / NAME).mkdir(exist_ok=True)
    return [top / NAME for top in tops]


def leave_no_cgroups() -> None:
    """Once the machine is off."""
    for group in _cgroups():
        remove_cgroup(group)


def remove_cgroup(top: Path) -> None:
    """As far as no process is in it."""
    for group in (*sorted((one for one in top.rglob("*") if one.is_dir()), reverse=True), top):
        with suppress(OSError):
            group.rmdir()
