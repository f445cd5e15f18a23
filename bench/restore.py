"""How long backup and restore take (P26): ``python -m bench.restore``.

A gateway accepts so many messages, is backed up while it runs, loses its data folder, and gets it back; then every
message is opened and compared with what was sent. Times are printed, never judged: the exit status is 1 only when
something was not readable in full.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.faults.ground import closing, message, prepared, say
from tests.peers import free_port
from tests.peers.gateway import Gateway

CLIENTS: Final = 20
SMALL, LARGE, EVERY = 5_000, 200_000, 20  # octets; each so many is large, and so a file


def main() -> int:
    """The figures, one a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    wanted: int = parser.parse_args().messages
    with tempfile.TemporaryDirectory(prefix="zegel-bench-") as folder:
        return measure(Path(folder), wanted)


def measure(folder: Path, wanted: int) -> int:
    """In ``folder``."""
    with prepared(folder / "prepared") as ready:
        gateway = ready.gateway(folder / "gateway", mx_port=free_port())
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace('folder = "state"\n', 'folder = "state"\nerasures = "journal"\n'))
        with gateway:
            with timed(f"{wanted} messages accepted from {CLIENTS} clients"):
                send_all(gateway, wanted)
            gateway.command("keys", "backup", str(folder / "keys.tar"))
            with timed("backup, while the gateway runs"):
                print(gateway.command("backup", str(folder / "backup")).strip())
        shutil.rmtree(gateway.state)
        gateway.command("keys", "restore", str(folder / "keys.tar"))
        with timed("restore"):
            print(gateway.command("restore", str(folder / "backup")).strip())
        with timed("every message opened and hashed"):
            found = {str(one["message_id"]).strip("<>").partition("@")[0]: one for one in gateway.evidence()}
    good = sum(found.get(name, {}).get("body_sha256") == body_of(name) for name in names(wanted))
    print(f"readable in full: {good} of {wanted}")
    return int(good != wanted)


def names(wanted: int) -> Iterator[str]:
    """Of the messages."""
    return (f"bench-{number}" for number in range(wanted))


def size_of(name: str) -> int:
    """In octets, about."""
    return LARGE if int(name.partition("-")[2]) % EVERY == 0 else SMALL


def body_of(name: str) -> str:
    """Hash of its body, as it was sent."""
    return hashlib.sha256(message(name, octets=size_of(name)).partition(b"\r\n\r\n")[2]).hexdigest()


def send_all(gateway: Gateway, wanted: int) -> None:
    """Every message gets its 250."""
    left, lock = list(names(wanted)), threading.Lock()
    troubles: list[str] = []

    def work() -> None:
        with closing(gateway.client()) as client:
            while True:
                with lock:
                    if not left:
                        return
                    name = left.pop()
                code, text = say(client, name, octets=size_of(name))
                if code != 250:
                    troubles.append(text)
                    return

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if troubles:
        raise SystemExit(f"not accepted: {troubles[0]}")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long the block took."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
