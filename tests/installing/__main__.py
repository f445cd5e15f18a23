"""``python -m tests.installing FOLDER`` says what it saw at each step, and ends with 1 if one failed."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.faults.ground import Copy, Receiver
from tests.installing.container import MX_PORT, InContainers, Toolbox, prepared
from tests.installing.exercise import Exercise
from tests.installing.machine import ORIGIN, WHEELS, Failed, Machine, debian, done, leave_no_cgroups
from tests.installing.page import packages_asked_for

TOOLS: Final = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "openssl": "openssl"}
Step = tuple[str, Callable[[], str]]
INSIDE: Final = "ZEGEL_TRY_INSIDE"


def fetched(folder: Path) -> None:
    """Everything that comes from elsewhere; after this nothing reaches the network."""
    debian(folder / "debian", packages_asked_for())
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done([*pip, "--only-binary", ":all:", "-r", "requirements.lock", "-d", str(wheels)])
    shutil.rmtree(folder / "zegel.git", ignore_errors=True)
    # With what is not committed yet.
    commit = done(["git", "stash", "create"]).strip() or done(["git", "rev-parse", "HEAD"]).strip()
    done(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder / "zegel.git")])
    done(["git", "push", "--quiet", str(folder / "zegel.git"), f"{commit}:refs/heads/main"])


def take(copy: Copy) -> str:
    return "250 2.0.0 taken"


def installing(exercise: Exercise) -> Sequence[Step]:
    """In order; each needs those before."""
    return (
        ("1. Programs", exercise.programs),
        ("2. A user and its folders", exercise.user_and_folders),
        ("3. Set it up", exercise.first_start),
        ("4. The portal", exercise.portal),
        ("5. The service", exercise.service),
        ("6. Is all well?", exercise.checks),
        ("a mail server's credentials", exercise.credentials),
    )


def operating(exercise: Exercise) -> Sequence[Step]:
    """Each says something of its own."""
    return (
        ("what systemd says of the units", exercise.exposure),
        ("rights of the processes", exercise.rights),
        ("doors", exercise.doors),
        ("a message", exercise.message),
        ("under the unit's restrictions", exercise.sandbox),
        ("the journal", exercise.log),
        ("systemctl reload", exercise.reload),
        ("systemctl restart, with mail coming in", exercise.restart),
        ("kill -9 of each process, with mail coming in", exercise.killed),
        ("systemctl stop", exercise.stop),
        ("a wrong setting", exercise.wrong_setting),
        ("a backup", exercise.backup),
        ("the machine starts anew", exercise.reboot),
        ("Upgrading, and rolling back", exercise.upgrade),
    )


def on_a_machine(folder: Path) -> int:
    """How many steps failed."""
    root = folder / "machine"
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(folder / "next", ignore_errors=True)
    done(["cp", "--archive", "--reflink=auto", str(folder / "debian"), str(root)])
    machine = Machine(root, folder / "boot.log", {WHEELS: folder / "wheels", ORIGIN: folder / "zegel.git"})
    try:
        print(f"systemd: {machine.start()}")
        with Receiver(25, take).listening() as receiver:
            exercise = Exercise(machine, folder, receiver)
            if not all(map(came_out, installing(exercise))):
                return 1
            return sum(not came_out(step) for step in operating(exercise))
    finally:
        machine.off()
        leave_no_cgroups()


def in_containers(folder: Path) -> int:
    """How many steps failed. The images were built before."""
    toolbox = Toolbox(folder / "toolbox", folder / "wheels")
    try:
        toolbox.start()
        with Receiver(MX_PORT, take, ip="0.0.0.0").listening() as receiver:
            containers = InContainers(toolbox, folder, receiver)
            return 0 if all(map(came_out, with_compose(containers))) else 1
    finally:
        toolbox.off()


def with_compose(containers: InContainers) -> Sequence[Step]:
    """In order; each needs those before."""
    return (
        ("the image", containers.image),
        ("compose: zegel init", containers.first_start),
        ("compose: up", containers.up),
        ("containers: rights", containers.rights),
        ("containers: a message", containers.message),
        ("containers: a backup", containers.backup),
        ("containers: stop, down, up", containers.stop),
        ("compose: down", containers.down),
    )


PARTS: Final = {"machine": on_a_machine, "containers": in_containers}


def tried(part: str, folder: Path) -> int:
    """In a network namespace of its own, where there is a loopback interface and nothing else."""
    done(["ip", "link", "set", "lo", "up"])
    failed = PARTS[part](folder)
    print(f"\n{part}: {failed} failed." if failed else f"\n{part}: all of it came out as docs/installing.md says.")
    return min(failed, 1)


def came_out(step: Step) -> bool:
    """Says how it went."""
    name, take_it = step
    began = time.monotonic()
    try:
        told = take_it()
    except Exception as cause:  # whatever it is, the machine has to be switched off
        told, name = f"{cause}" if isinstance(cause, Failed) else f"{cause!r}", f"{name}: FAILED"
    print(f"\n== {name} ({time.monotonic() - began:.0f} s)\n{told}", flush=True)
    return not name.endswith(": FAILED")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.installing", description=__doc__)
    parser.add_argument("folder", type=Path, help="takes about 6 GB; what was fetched stays there for the next time")
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="all of them where none is named")
    given = parser.parse_args()
    folder, parts = given.folder.resolve(), given.part or list(PARTS)
    if os.environ.get(INSIDE):
        return tried(parts[0], folder)
    lacking = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if os.geteuid() != 0 or lacking:
        print(f"This needs root, and: apt install {' '.join(TOOLS.values())}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    try:
        fetched(folder)
        if "containers" in parts:
            prepared(folder)
    except Failed as cause:
        print(cause, file=sys.stderr)
        return 1
    return max(_apart(part, folder) for part in parts)


def _apart(part: str, folder: Path) -> int:
    command = ["unshare", "--net", "nice", "-n", "19", sys.executable, "-m", "tests.installing", str(folder), part]
    return subprocess.run(command, env=os.environ | {INSIDE: "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
