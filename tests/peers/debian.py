"""What the tests take from Debian: ``python -m tests.peers.debian`` fetches what is missing and can be had.

Packages that live together are installed. Mail servers exclude each other as packages, and a machine may have its
own, so they are only unpacked below a cache folder, with the libraries that the machine lacks, and run from there.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POLICY: Final = Path("/usr/sbin/policy-rc.d")
NOTHING_STARTS: Final = "#!/bin/sh\nexit 101\n"  # invoke-rc.d(8): 101 is "action forbidden by policy"


@dataclass(frozen=True, slots=True)
class Installed:
    """A package of the machine itself; ``proof`` is a file that it brings, ``trial`` a command that must be allowed."""

    name: str
    proof: Path
    service: str | None = None
    trial: tuple[str, ...] = ()

    def lacks(self) -> str | None:
        if not self.proof.exists():
            return f"no {self.proof}"
        return f"not allowed: {' '.join(self.trial)}" if self.trial and not _succeeds(self.trial) else None


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A package that is never installed; ``proof`` is a command in it that shows whether it runs here.

    ``companions`` are packages that it loads at run time without depending on them.
    """

    name: str
    proof: tuple[str, ...]
    companions: tuple[str, ...] = ()
    needs_root: bool = True

    def lacks(self) -> str | None:
        if unpacked(self.name) is None:
            return f"not unpacked in {cache()}"
        return "runs only as root" if self.needs_root and os.geteuid() != 0 else None


PACKAGES: Final[tuple[Installed | Unpacked, ...]] = (
    Installed("unbound", Path("/usr/sbin/unbound"), service="unbound"),
    Installed("nsd", Path("/usr/sbin/nsd"), service="nsd"),
    Installed("swaks", Path("/usr/bin/swaks")),
    # TLS for swaks; the file is of what it needs, its own are in a folder named after the version of Perl.
    Installed("libnet-ssleay-perl", Path("/usr/share/perl-openssl-defaults/perl-openssl.make")),
    Installed("opendkim-tools", Path("/usr/sbin/opendkim-testmsg")),
    Installed("python3-dkim", Path("/usr/lib/python3/dist-packages/dkim/__init__.py")),
    Installed("xmlsec1", Path("/usr/bin/xmlsec1")),  # of pySAML2
    Installed("chromium", Path("/usr/bin/chromium")),
    Installed("strace", Path("/usr/bin/strace"), trial=("strace", "-o", "/dev/null", "true")),
    Installed("postgresql", Path("/usr/bin/pg_ctlcluster"), service="postgresql"),
    Installed("testssl.sh", Path("/usr/bin/testssl")),
    # In a namespace of its own: the trial leaves nothing mounted.
    Installed("mount", Path("/usr/bin/mount"), trial=("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt")),
    Installed(
        "util-linux",
        Path("/usr/bin/unshare"),
        trial=("unshare", "--mount", "--uts", "mount", "-t", "overlay", "-o", "lowerdir=/usr:/etc", "none", "/mnt"),
    ),
    Unpacked("postfix", ("usr/sbin/postconf", "-d", "mail_version"), companions=("libsasl2-modules",)),
    # exim4 itself runs only where there is its account. This repairs a database that is not there.
    Unpacked(
        "exim4-daemon-light",
        ("usr/sbin/exim_fixdb", "/nonexistent", "retry"),
        companions=("exim4-base", "exim4-config"),
    ),
    Unpacked("opensmtpd", ("usr/libexec/opensmtpd/encrypt", "trial")),
    Unpacked("pebble", ("usr/bin/pebble", "-help"), needs_root=False),
    Unpacked("opendkim", ("usr/sbin/opendkim", "-V"), needs_root=False),
    Unpacked("clamav-daemon", ("usr/sbin/clamd", "--config-file=/dev/null", "--version"), needs_root=False),
    Unpacked("rspamd", ("usr/bin/rspamd", "--version"), needs_root=False),
    Unpacked("prometheus", ("usr/bin/promtool", "--version"), needs_root=False),
)


def in_ci() -> bool:
    """Where nobody reads what was skipped, so that skipping is failing."""
    return os.environ.get("CI") == "true"


def cache() -> Path:
    """Where packages are unpacked, shared by all checkouts of one account; ``ZEGEL_TEST_CACHE`` names another place."""
    named = os.environ.get("ZEGEL_TEST_CACHE")
    return Path(named).resolve() if named else Path.home() / ".cache" / "zegel-tests"


def lacks(name: str) -> str | None:
    """Why a package of :data:`PACKAGES` can't be used here, or ``None`` if it can. Other names raise ``KeyError``."""
    return {package.name: package for package in PACKAGES}[name].lacks()


def unpacked(name: str) -> Path | None:
    """The root of the newest unpacked copy that runs on this machine."""
    package = next(found for found in PACKAGES if found.name == name and isinstance(found, Unpacked))
    copies = sorted(cache().glob(f"{name}-[0-9]*"), key=lambda copy: copy.stat().st_mtime, reverse=True)
    return next((copy for copy in copies if _runs(copy, package.proof)), None)


def library_path(root: Path) -> str:
    """``LD_LIBRARY_PATH`` for programs below ``root``: what was unpacked there comes before what the machine has."""
    folders = {library.parent for library in root.glob("**/*.so*")}
    return ":".join(str(folder) for folder in sorted(folders))


@functools.cache
def _runs(root: Path, command: tuple[str, ...]) -> bool:
    program, *arguments = command
    with suppress(Unavailable):
        return _run([str(root / program), *arguments], LD_LIBRARY_PATH=library_path(root)).returncode == 0
    return False


@functools.cache
def _succeeds(command: tuple[str, ...]) -> bool:
    with suppress(Unavailable):
        return _run(command).returncode == 0
    return False


class Unavailable(Exception):
    """Debian, or the way to it, did not give what was asked; the text is one line."""


def _run(command: Sequence[str], *, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"} | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=1200,
        )
    except OSError as cause:
        raise Unavailable(f"{command[0]} can't be run: {cause.strerror}") from cause
    except subprocess.TimeoutExpired as cause:
        raise Unavailable(f"{command[0]} took more than twenty minutes") from cause


def _apt(*arguments: str, cwd: Path | None = None) -> str:
    done = _run(["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments], cwd=cwd)
    if done.returncode != 0:
        errors = [line for line in done.stdout.splitlines() if line.startswith("E:")]
        raise Unavailable(errors[0] if errors else f"apt-get ended with {done.returncode}")
    return done.stdout


@functools.cache
def _refreshed() -> None:
    """Package lists as fresh as they can be had. One source that fails is no reason to do without the others."""
    if os.geteuid() == 0:
        with suppress(Unavailable):
            _apt("update")


def fetch(package: Installed | Unpacked) -> None:
    """Makes one package available; raises :class:`Unavailable`."""
    match package:
        case Installed():
            _install(package)
        case Unpacked(name) if unpacked(name) is None:
            _unpack(package)
    if (reason := package.lacks()) is not None:
        raise Unavailable(reason)


def _install(package: Installed) -> None:
    if os.geteuid() != 0:
        raise Unavailable(f"{package.lacks()}, and only root can install it")
    _refreshed()
    _say(f"installing {package.name} from Debian")
    with nothing_starts():
        _apt("install", "-y", "--no-install-recommends", "--no-remove", package.name)
    if package.service is not None:
        # The tests start their own; the machine shall not, now or after its next start.
        with suppress(Unavailable):
            _run(["update-rc.d", package.service, "disable"])


@contextmanager
def nothing_starts(policy: Path = POLICY) -> Iterator[None]:
    """While this lasts, invoke-rc.d(8) starts no service of a package being installed; then all is as before."""
    if policy.exists() and _run([str(policy), "unbound", "start"]).returncode == 101:
        yield
        return
    before = (policy.read_bytes(), policy.stat().st_mode) if policy.exists() else None
    policy.write_text(NOTHING_STARTS)
    policy.chmod(0o755)
    try:
        yield
    finally:
        if before is None:
            policy.unlink()
        else:
            policy.write_bytes(before[0])
            policy.chmod(before[1] & 0o7777)


# "Inst libdb5.3 [the version that is installed] (the version to come Debian:12/oldstable [amd64])"
_TO_COME: Final = re.compile(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) ", re.MULTILINE)


def _unpack(package: Unpacked) -> None:
    _refreshed()
    _say(f"unpacking {package.name} from Debian")
    companions = [name for name in package.companions if not _is_installed(name)]
    simulated = _apt("install", "--simulate", "-y", "--no-install-recommends", package.name, *companions)
    versions = dict(_TO_COME.findall(simulated))
    if package.name not in versions:  # it is installed on this machine: its own version then
        versions[package.name] = _run(["dpkg-query", "-W", "-f", "${Version}", package.name]).stdout
    wanted = [name for name in versions if name in (package.name, *companions) or _is_library(name)]
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=cache()) as temporary:
        folder = Path(temporary)
        # The sandbox account of apt can't write below a home folder.
        exact = [f"{name}={versions[name]}" for name in wanted]
        _apt("-o", "APT::Sandbox::User=root", "download", *exact, cwd=folder)
        root = folder / "root"
        for archive in sorted(folder.glob("*.deb")):
            if _run(["dpkg", "-x", str(archive), str(root)]).returncode != 0:
                raise Unavailable(f"{archive.name} can't be unpacked")
        # A colon (of an epoch) would divide LD_LIBRARY_PATH.
        place = cache() / f"{package.name}-{versions[package.name].replace(':', '_')}"
        shutil.rmtree(place, ignore_errors=True)
        root.rename(place)
    _runs.cache_clear()


def _is_library(name: str) -> bool:
    """Libraries can be brought along; libc is one with the loader of the machine and can't."""
    return name.startswith("lib") and not name.startswith("libc6")


def _is_installed(name: str) -> bool:
    return _run(["dpkg-query", "-W", "-f", "${Status}", name]).stdout.endswith(" installed")


@contextmanager
def _alone() -> Iterator[None]:
    """One run at a time in one cache: checkouts share it."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def provide(
    packages: Sequence[Installed | Unpacked] = PACKAGES,
    fetching: Callable[[Installed | Unpacked], None] = fetch,
) -> dict[str, str]:
    """Fetches what is missing; what can't be had comes back with its reason."""
    reasons: dict[str, str] = {}
    with _alone():
        for package in packages:
            if package.lacks() is None:
                continue
            try:
                fetching(package)
            except Unavailable as cause:
                reasons[package.name] = str(cause)
    return reasons


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Exit status 1 only where something can't be had and ``CI=true``."""
    reasons = provide()
    for name, reason in reasons.items():
        _say(f"NOT AVAILABLE for the tests: {name}: {reason}")
    return 1 if reasons and in_ci() else 0


if __name__ == "__main__":
    raise SystemExit(main())
