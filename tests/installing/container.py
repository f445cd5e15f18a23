"""packaging/Containerfile and packaging/compose.yaml, built and run with Debian's podman in a root of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.ground import Receiver
from tests.installing.exercise import (
    HOST,
    ORGANISATION,
    OWNER,
    PASSWORD,
    PORTAL,
    MailServer,
    credentials_in,
    link_in,
    local_data,
    page,
    records_in,
    require,
    until,
)
from tests.installing.machine import WHEELS, Apart, child_of, done, remove_cgroup

BASE: Final = "docker.io/library/debian:12-slim"
PODMAN: Final = ("podman", "buildah", "crun", "netavark", "aardvark-dns", "iptables", "catatonit", "python3-venv")
COMPOSE: Final = "podman-compose==1.6.0"
SOURCE: Final = "/srv/zegel"
MX_PORT: Final = 2525
GATEWAY, RESOLVER = "zegel_zegel_1", "zegel_resolver_1"
# With the receiving server of this exercise, and names that nobody outside of it has.
BESIDE: Final = f"""services:
  zegel:
    environment:
      ZEGEL_TESTING: "true"
      ZEGEL_DELIVERY__MX_PORT: "{MX_PORT}"
  resolver:
    volumes:
      - /srv/unbound.conf:/etc/unbound/unbound.conf:ro
"""
# $1: the root; $2: wheels; $3: the repository. What podman mounts and starts is gone with the first process.
_MOVE_IN: Final = f"""
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
umount "$1/sys/fs/cgroup/unified" 2>/dev/null || true  # crun takes one kind of control groups, not both
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/dev/shm"
mount -t tmpfs tmpfs "$1/run"
mkdir -p "$1{WHEELS}" "$1{SOURCE}" "$1/old"
mount --bind -o ro "$2" "$1{WHEELS}"
mount --bind -o ro "$3" "$1{SOURCE}"
cd "$1"
pivot_root . old
umount --lazy /old
exec sleep infinity
"""


class Toolbox(Apart):
    """Off until :meth:`start`; in the network namespace of who starts it."""

    _namespaces = ("--mount", "--pid")

    def __init__(self, root: Path, wheels: Path) -> None:
        self.root = root
        self._wheels = wheels
        self._unshare: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-eu", "-c", _MOVE_IN, "sh"]
        self._unshare = subprocess.Popen(
            [*command, str(self.root), str(self._wheels), str(Path.cwd())],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: self._is_in(self._unshare.pid if self._unshare else 0), "a root of its own", 20)

    def _is_in(self, pid: int) -> bool:
        self._leader = child_of(pid)
        with suppress(OSError):
            return bool(self._leader) and Path(f"/proc/{self._leader}/comm").read_text() == "sleep\n"
        return False

    def off(self) -> None:
        if self._unshare is not None:
            if self._leader:
                os.kill(self._leader, signal.SIGKILL)
            self._unshare.wait()
        self._unshare, self._leader = None, 0
        for left in (*Path("/sys/fs/cgroup").glob("libpod_parent"), *Path("/sys/fs/cgroup").glob("*/libpod_parent")):
            remove_cgroup(left)


def prepared(folder: Path) -> Toolbox:
    """A Debian with podman, and both images built there, which asks Debian for packages: the network is still there."""
    root = folder / "toolbox"
    shutil.rmtree(root, ignore_errors=True)
    done(["cp", "--archive", "--reflink=auto", str(folder / "debian"), str(root)])
    done(
        ["chroot", str(root), "apt-get", "install", "--no-install-recommends", *PODMAN],
        DEBIAN_FRONTEND="noninteractive",
    )
    done([sys.executable, "-m", "pip", "download", "--quiet", COMPOSE, "-d", str(folder / "compose")])
    shutil.copytree(folder / "compose", root / "srv/compose")
    (root / "etc/containers").mkdir(exist_ok=True)
    # There is no systemd in this root.
    settings = '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    (root / "etc/containers/containers.conf").write_text(settings)
    (root / "srv/pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {WHEELS}\n")
    base = root / "srv/base.tar"
    left_out = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./complete"]
    done(["tar", "-C", str(folder / "debian"), "-cf", str(base), *left_out, "."])
    toolbox = Toolbox(root, folder / "wheels")
    toolbox.start()
    try:
        toolbox.done(
            f"python3 -m venv /opt/compose && /opt/compose/bin/pip install -q --no-index -f /srv/compose {COMPOSE}"
        )
        toolbox.done(f"podman import --quiet /srv/base.tar {BASE}; rm /srv/base.tar")
        for command in build_commands():
            # Wheels from here, and Debian over the network of this machine.
            here = "--network host --isolation chroot --pull=never -v /srv/pip.conf:/etc/pip.conf:ro"
            more = f"podman build {here} -v {WHEELS}:{WHEELS}:ro "
            toolbox.done(f"cd {SOURCE}; {command.replace('podman build ', more)}")
    finally:
        toolbox.off()
    return toolbox


def build_commands() -> list[str]:
    """As the head of the Containerfile shows it; the resolver in the same way."""
    (shown,) = re.findall(r"^#   (podman build .*)$", Path("packaging/Containerfile").read_text(), re.MULTILINE)
    return [shown, shown.replace("--target zegel -t zegel", "--target resolver -t zegel-resolver")]


@dataclass(slots=True)
class InContainers:
    """What an operator does with compose.yaml. ``folder`` is for what stands around it."""

    toolbox: Toolbox
    folder: Path
    receiver: Receiver
    mail_server: MailServer = field(init=False)

    def image(self) -> str:
        (told,) = json.loads(self.toolbox.done("podman image inspect zegel"))
        health = told.get("Healthcheck") or told.get("HealthCheck") or told["Config"].get("Healthcheck") or {}
        require(told["Config"]["User"] == "10001:10001", f"it runs as {told['Config']['User']!r}")
        require(health.get("Test") == ["CMD", "zegel", "alive"], f"the image's health check: {health}")
        version = self.toolbox.done("podman run --rm --network none --read-only --cap-drop ALL zegel --version")
        return f"{version.strip()}; {told['Size'] / 1e6:.0f} MB on this base; {health['Test']}"

    def first_start(self) -> str:
        (self.toolbox.root / "srv/beside.yaml").write_text(BESIDE)
        self._resolver([])
        answers = f"--hostname {HOST} --organisation '{ORGANISATION}' --domain example.org --administrator {OWNER}"
        answers += f" --password {PASSWORD} --portal-url https://{PORTAL} --folder /var/lib/zegel"
        answers += " --erasures /var/lib/zegel-erasures --resolver 127.0.0.1"
        printed = self.compose(f"run -T --rm zegel init {answers}")
        self._resolver(records_in(printed))
        return next(line for line in printed.splitlines() if line.startswith("Wrote"))

    def _resolver(self, records: list[str]) -> None:
        """The receiving server is on the host, which containers reach at the first address of their network."""
        text = Path("packaging/unbound.conf").read_text()
        (self.toolbox.root / "srv/unbound.conf").write_text(text + local_data(records, "10.89.0.1"))

    def compose(self, command: str) -> str:
        """As compose.yaml's head shows it."""
        files = "-f packaging/compose.yaml -f /srv/beside.yaml"
        return self.toolbox.done(f"cd {SOURCE}; timeout 120 /opt/compose/bin/podman-compose {files} {command}")

    def inside(self, command: str) -> str:
        return self.toolbox.done(f"timeout 60 podman exec {GATEWAY} {command}")

    def up(self) -> str:
        self.compose("up -d")
        self._is_well()
        return self.toolbox.done("podman ps --format '{{.Names}} {{.Status}} {{.Ports}}'")

    def _is_well(self) -> None:
        until(
            lambda: self.toolbox.tried(f"podman exec {GATEWAY} zegel alive").returncode == 0, "every door answers", 60
        )

    def rights(self) -> str:
        status = dict(re.findall(r"^(\w+):\s*(.*)$", self.inside("cat /proc/self/status"), re.MULTILINE))
        wanted = {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
        seen = {key: status[key] for key in wanted}
        require(seen == wanted and status["Uid"].split() == ["10001"] * 4, f"{seen} {status['Uid']}")
        for path in ("/opt/zegel/within", "/etc/within", "/usr/within", "/var/log/within"):
            require(self.toolbox.tried(f"podman exec {GATEWAY} touch {path}").returncode != 0, f"{path} was written")
        health = self.toolbox.done(
            f"podman healthcheck run {GATEWAY} && podman inspect {GATEWAY} --format '{{{{.State.Health.Status}}}}'"
        )
        return (
            f"uid 10001, no capabilities, filtered system calls, nothing written outside of volumes; {health.strip()}"
        )

    def message(self) -> str:
        self.inside("zegel domain check example.org")
        chain = self.folder / "container.pem"
        chain.write_text(self.inside("cat /var/lib/zegel/keys/self-signed.pem"))
        printed = self.inside(f"zegel credentials add server --organisation '{ORGANISATION}'")
        self.mail_server = credentials_in(printed, chain)
        before = len(self.receiver.copies)
        self.mail_server.submit("eerste")
        until(lambda: len(self.receiver.copies) > before, "a notification")
        status, text = page(socket.create_connection(("127.0.0.1", 8080)), link_in(self.receiver.copies[-1]))
        require(status == 200 and "Traceback" not in text, f"the link gives {status}")
        return f"250 over TLS on port 587; notification for {self.receiver.copies[-1].recipient}; its link: {status}"

    def evidence(self) -> list[dict[str, Any]]:
        printed = self.inside("sh -c 'zegel evidence 2>/dev/null'")
        return [json.loads(line) for line in printed.splitlines()]

    def stop(self) -> str:
        before = len(self.evidence())
        began = time.monotonic()
        self.toolbox.done(f"podman stop -t 30 {GATEWAY}")
        took = time.monotonic() - began
        code = self.toolbox.done(f"podman inspect {GATEWAY} --format '{{{{.State.ExitCode}}}}'").strip()
        require(code == "0" and took < 25, f"exit code {code} after {took:.0f} s")
        self.compose("down")
        self.compose("up -d")
        self._is_well()
        require(len(self.evidence()) == before > 0, "messages were lost")
        arrived = len(self.receiver.copies)
        self.mail_server.submit("daarna")
        until(lambda: len(self.receiver.copies) > arrived, "a notification")
        return (
            f"exit code {code} after {took:.1f} s; after down and up {before} message(s) as before, a new one arrives"
        )

    def backup(self) -> str:
        self.inside("zegel backup /var/backups/zegel/first")
        return self.inside("ls /var/backups/zegel/first").strip()

    def down(self) -> str:
        self.compose("down")
        left = self.toolbox.done("podman volume ls --format '{{.Name}}'").split()
        require(len(left) == 4, f"volumes: {left}")
        return f"volumes stay: {' '.join(left)}"
