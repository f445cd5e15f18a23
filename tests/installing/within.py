"""Run by the unit's own Python under the unit's restrictions: libraries that are no Python, and what is forbidden."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

STATE = Path("/var/lib/zegel")


def argon2() -> str:
    import argon2

    hasher = argon2.PasswordHasher(memory_cost=102_400, parallelism=8)
    return str(hasher.verify(hasher.hash("proef"), "proef"))


def database() -> str:
    """A write-ahead log, whose index is memory that processes share."""
    import pysqlite3

    path = STATE / "within.sqlite3"
    with pysqlite3.connect(path) as one, pysqlite3.connect(path) as other:
        mode = one.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        one.execute("CREATE TABLE proef (number INTEGER)")
        one.execute("INSERT INTO proef VALUES (1)")
        one.commit()
        assert other.execute("SELECT number FROM proef").fetchall() == [(1,)]
        assert Path(f"{path}-shm").exists()
    for left in STATE.glob("within.sqlite3*"):
        left.unlink()
    return f"{mode}, SQLite {pysqlite3.sqlite_version}"


def cryptography() -> str:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return str(rsa.generate_private_key(public_exponent=65537, key_size=3072).key_size)


def xml() -> str:
    import lxml.etree

    xmlsec = importlib.import_module("xmlsec")  # python3-saml brings it; we never name it
    key = xmlsec.Key.generate(xmlsec.constants.KeyDataHmac, 256, xmlsec.constants.KeyDataTypeSession)
    lxml.etree.XSLT(lxml.etree.XML('<x:stylesheet version="1.0" xmlns:x="http://www.w3.org/1999/XSL/Transform"/>'))
    return str(key is not None)


def typeset() -> str:
    import typst

    made = typst.compile(b"Proef *een*.", format="pdf")
    assert made.startswith(b"%PDF")
    return f"{len(made)} octets of PDF"


def loops() -> str:
    import granian
    import uvloop

    async def version() -> str:
        return importlib.metadata.version("uvloop")

    return f"{granian.__version__}, {uvloop.run(version())}"


def html() -> str:
    import nh3

    return nh3.clean("<b>proef</b><script></script>")


def writes(path: str) -> str:
    with Path(path).open("x"):
        pass
    Path(path).unlink()
    return path


def alters(path: str) -> None:
    with Path(path).open("r+"):
        pass


def listens(port: int) -> str:
    with socket.create_server(("0.0.0.0", port)) as door:
        return str(door.getsockname()[1])


NEEDED: dict[str, Callable[[], str]] = {
    "Argon2": argon2,
    "SQLite": database,
    "OpenSSL": cryptography,
    "xmlsec, lxml": xml,
    "typst": typeset,
    "granian, uvloop": loops,
    "nh3": html,
    "port 80": lambda: listens(80),
    "the journal of erasures": lambda: writes("/srv/zegel-erasures/within"),
    "its own /tmp": lambda: writes("/tmp/within"),
}
FORBIDDEN: dict[str, Callable[[], object]] = {
    "writes the configuration": lambda: writes("/etc/zegel/within"),
    "writes the program": lambda: writes("/opt/zegel/within"),
    "writes backups": lambda: writes("/var/backups/zegel/within"),
    "writes a log": lambda: writes("/var/log/within"),
    "writes in /run": lambda: writes("/run/within"),
    "sees homes": lambda: list(Path("/root").iterdir()),
    "becomes root": lambda: os.setuid(0),
    "has a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "has a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    "sees others' processes": lambda: Path("/proc/1/status").stat(),
    "changes the kernel": lambda: alters("/proc/sys/kernel/domainname"),
    "sees the kernel's log": lambda: Path("/dev/kmsg").stat(),
}


def main() -> int:
    failed = 0
    for name, use in NEEDED.items():
        try:
            print(f"- {name}: {use()}")
        except Exception as cause:
            failed += 1
            print(f"NOT: {name}: {cause!r}")
    for name, attempt in FORBIDDEN.items():
        try:
            attempt()
        except OSError as cause:
            print(f"- not {name}: {cause.strerror}")
        else:
            failed += 1
            print(f"NOT FORBIDDEN: {name}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
