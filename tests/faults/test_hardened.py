"""The gateway runs under what packaging/systemd/zegel.service takes from it: memory that is written is never executed,
no capability but that for ports, no new privileges, and no system call but those that the unit lets through."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.faults.ground import Copy, Prepared, Receiver, Visitor, link_in, readable_in, submit
from tests.needs import not_here
from tests.peers import free_port, until
from tests.peers.gateway import Gateway

UNIT: Final = Path("packaging/systemd/zegel.service")
HARDENED: Final = """
import ctypes, os, sys
calls, *command = sys.argv[1:]
libc, seccomp = ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libseccomp.so.2")
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, NET_BIND = 24, 38, 65, 10
ALLOW, EPERM = 0x7FFF0000, 0x00050001
if os.geteuid() == 0:
    for capability in range(64):
        if capability != NET_BIND:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_MDWE, 1, 0, 0, 0) == 0, "this kernel has no PR_SET_MDWE"
seccomp.seccomp_init.restype = ctypes.c_void_p
rules = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(EPERM)))
for name in calls.split(","):
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:  # of this machine
        assert seccomp.seccomp_rule_add(rules, ctypes.c_uint32(ALLOW), number, 0) == 0
assert seccomp.seccomp_load(rules) == 0
os.execv(command[0], command)
"""


class _Hardened(Gateway):
    """Started by a command that gives rights away, and becomes it."""

    before: tuple[str, ...] = ()

    def _command(self) -> list[str]:
        return [*self.before, *super()._command()]


def hardened(prepared: Prepared, folder: Path, *before: str, mx_port: int) -> _Hardened:
    made = prepared.gateway(folder, mx_port=mx_port)
    made.__class__ = type("Made", (_Hardened, made.__class__), {"before": before})
    assert isinstance(made, _Hardened)
    return made


def becoming() -> tuple[str, ...]:
    """A command that gives away what the unit takes, and becomes the command that follows it."""
    before = (sys.executable, "-c", HARDENED, ",".join(sorted(let_through())))
    tried = subprocess.run([*before, sys.executable, "-c", ""], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        not_here(f"needs Linux 6.3 and libseccomp2. It said: {tried.stderr[-300:]}")
    return before


def is_used(gateway: Gateway, listening: Receiver) -> None:
    """A message comes in and goes out, its notification is opened, and a file of it is stored."""
    with gateway:
        assert submit(gateway, "groot-0", octets=150_000)[0] == 250
        until(lambda: bool(listening.copies), 120)
        visitor = Visitor(gateway.portal_port)
        status, page = visitor.get(link_in(listening.copies[0].octets))
        assert status == 200 and "Traceback" not in page
        assert gateway.evidence()[0]["content"] == "sealed"
        assert readable_in(gateway.state) == []


def take(copy: Copy) -> str:
    return "250 2.0.0 taken"


FORBIDDEN: Final = {
    "memory that is written and executed": "import mmap; mmap.mmap(-1, 4096, prot=7)",
    "another user": "import os; os.setuid(os.geteuid())",
    "a file given away": "import os; os.chown('.', os.geteuid(), os.getegid())",
    "another root": "import os; os.chroot('/')",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_is_taken_is_missed(what: str) -> None:
    for before, succeeds in (((), os.geteuid() == 0 or what.startswith("memory")), (becoming(), False)):
        done = subprocess.run([*before, sys.executable, "-c", FORBIDDEN[what]], capture_output=True, check=False)
        assert (done.returncode == 0) is succeeds or (before == () and not succeeds)


def test_a_message_comes_goes_and_is_read(prepared: Prepared, tmp_path: Path) -> None:
    port = free_port()
    gateway = hardened(prepared, tmp_path / "gateway", *becoming(), mx_port=port)
    with Receiver(port, take).listening() as listening:
        is_used(gateway, listening)


def let_through() -> set[str]:
    """The system calls of the unit's SystemCallFilter, spelled out by systemd itself."""
    found: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        calls = set().union(*(spelled_out(one) for one in line.removeprefix("~").split()))
        found = found - calls if line.startswith("~") else found | calls
    return found


def spelled_out(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    try:
        told = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        not_here("no systemd-analyze")
    names = [line.strip() for line in told.stdout.splitlines()[1:] if line.strip() and "#" not in line]
    return set().union(*map(spelled_out, names))
