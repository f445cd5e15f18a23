"""Debian's rspamd: what a receiving server that asks it would do with a mail, and why."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.peers import Peer, debian

_CONFIGURATION: Final[Mapping[str, str]] = {
    # One process that scans; the others serve pages, milters and shared hashes.
    "worker-controller.inc": "enabled = false;\n",
    "worker-proxy.inc": "enabled = false;\n",
    # What these ask is outside: lists of addresses and hashes of others. There is no network here.
    **{f"{name}.conf": "enabled = false;\n" for name in ("rbl", "surbl", "fuzzy_check", "asn", "rspamd_update")},
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it says of one mail."""

    action: str  # "no action", "greylist", "add header", "rewrite subject", "reject"
    score: float
    symbols: Mapping[str, tuple[float, tuple[str, ...]]]  # the score of each rule that applies, and what it saw

    def against(self) -> dict[str, tuple[float, tuple[str, ...]]]:
        """What speaks against the mail, however little."""
        return {name: found for name, found in self.symbols.items() if found[0] > 0}

    def __str__(self) -> str:
        lines = [f"{self.action} ({self.score:.2f})"]
        for name, (score, seen) in sorted(self.symbols.items(), key=lambda one: -one[1][0]):
            lines.append(f"  {score:+.2f} {name} {' '.join(seen)}".rstrip())
        return "\n".join(lines)


class Rspamd(Peer):
    """Judges with the rules and scores that Debian ships. It asks ``resolver`` alone, and learns nothing.

    ``.test`` is a public suffix for it, as ``.nl`` is: host names in text are seen.
    """

    def __init__(self, folder: Path, *, resolver: tuple[str, int]) -> None:
        """``LookupError`` if rspamd is not on this machine."""
        root = debian.unpacked("rspamd")
        if root is None:
            raise LookupError("no rspamd: python -m tests.peers.debian")
        super().__init__(folder.absolute(), "127.0.0.1")
        self._root = root
        share = root / "usr/share/rspamd"
        suffixes = self.folder / "suffixes"
        suffixes.write_text(_suffixes(share / "effective_tld_names.dat"))
        (self.folder / "rspamd.conf.local").write_text(f'lang_detection {{ languages = "{share}/languages"; }}\n')
        override = self.folder / "override.d"
        override.mkdir(exist_ok=True)
        host, port = resolver
        for name, text in {
            **_CONFIGURATION,
            "options.inc": f"""dns {{ nameserver = ["{host}:{port}:1"]; }}
tempdir = "{self.folder}";
url_tld = "{suffixes}";
disable_hyperscan = true; # compiling the expressions takes longer than these few mails
""",
            "worker-normal.inc": f'bind_socket = "{self.ip}:{self.port}";\ncount = 1;\n',
            "logging.inc": f'type = "file";\nfilename = "{self.folder}/log";\n',
        }.items():
            (override / name).write_text(text)

    def judge(self, mail: bytes, *, ip: str, helo: str, reverse_path: str, recipient: str) -> Verdict:
        """What it would do with a mail that ``helo`` hands over from ``ip``: with the octets that a milter sees."""
        envelope = {"IP": ip, "Helo": helo, "Hostname": helo, "From": reverse_path, "Rcpt": recipient}
        request = urllib.request.Request(f"http://{self.ip}:{self.port}/checkv2", data=mail, headers=envelope)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        symbols = {
            name: (float(one["score"]), tuple(map(str, one.get("options", ()))))
            for name, one in found["symbols"].items()
        }
        return Verdict(found["action"], float(found["score"]), symbols)

    def _command(self) -> list[str]:
        share = self._root / "usr/share/rspamd"
        places = {
            "CONFDIR": self._root / "etc/rspamd",
            "LOCAL_CONFDIR": self.folder,
            "SHAREDIR": share,
            "RULESDIR": share / "rules",
            "PLUGINSDIR": share / "plugins",
            "LUALIBDIR": share / "lualib",
            "WWWDIR": share / "www",
            **dict.fromkeys(("RUNDIR", "DBDIR", "LOGDIR"), self.folder),
        }
        given = [f"--var={name}={place}" for name, place in places.items()]
        configuration = self._root / "etc/rspamd/rspamd.conf"
        return [str(self._root / "usr/bin/rspamd"), "--no-fork", "--insecure", "-c", str(configuration), *given]

    def _environment(self) -> Mapping[str, str]:
        return {**super()._environment(), "LD_LIBRARY_PATH": debian.library_path(self._root)}

    def _answers(self) -> bool:
        address = f"http://{self.ip}:{self.port}/ping"
        with suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def log(self) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / "log").read_text(errors="replace")
        return ""


def _suffixes(shipped: Path) -> str:
    """Suffixes of one label alone: with all ten thousand of them a start takes as many milliseconds."""
    names = {line.strip() for line in shipped.read_text().splitlines() if line.strip().isascii()}
    return "\n".join([*sorted(name for name in names if name.isalpha()), "test"]) + "\n"
