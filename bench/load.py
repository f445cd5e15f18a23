"""One load on one server: mails of one size over a number of sessions, all at once."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
SMTPLOAD: Final = HERE / "build" / "smtpload"
SMTPSINK: Final = HERE / "build" / "smtpsink"
STUCK: Final = 120.0  # seconds without any progress after which a load is given up
LONGEST: Final = 900.0  # seconds that one load may take at all


class LoadFailed(RuntimeError):
    """Something was refused, broken off, lost or told twice; the text says what."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent."""

    messages: int
    per_connection: int
    sessions: int = 20
    size: int = 4096
    pipelining: bool = False


@dataclass(frozen=True, slots=True)
class Door:
    """Where it is sent, and what the client signs in with."""

    port: int
    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the client saw; all of it was accepted."""

    accepted: int
    rate: float  # accepted per second, from the first connection to the last 250
    median: float  # milliseconds from the end of data to the 250
    p99: float
    setup: float  # median of milliseconds from connecting to being signed in
    tls: str
    seconds_until_drained: float | None  # to the last arrival at the receiving server, if one was watched


def send(
    load: Load,
    door: Door,
    *,
    sender: str,
    recipient: str,
    authority: Path,
    sink: Path | None = None,
    sent: Path | None = None,
    arriving: float = 1.0,
    patience: float = STUCK,
) -> Outcome:
    """Returns when the last message was accepted and, where a receiving server's statistics are given, has arrived
    there. A ``%d`` in ``recipient`` becomes the number of the message, a ``%h`` its last two digits. What is sent is
    kept in ``sent``. ``arriving`` is the part of the messages that can arrive, ``patience`` how
    many seconds nothing may arrive. Raises :class:`LoadFailed`."""
    command = [
        str(SMTPLOAD),
        f"--port={door.port}",
        "--tls=starttls",
        "--tls13",
        f"--cafile={authority}",
        f"--user={door.username}",
        f"--pass={door.password}",
        f"--sessions={load.sessions}",
        f"--messages={load.messages}",
        f"--per-conn={load.per_connection}",
        f"--size={load.size}",
        f"--from={sender}",
        f"--to={recipient}",
        f"--timeout={STUCK:.0f}",
    ]
    if load.pipelining:
        command.append("--pipelining")
    if sent is not None:
        command.append(f"--sent={sent}")
    if sink is not None:
        command += [f"--sink-stats={sink}", f"--sink-timeout={patience:.0f}", f"--sink-factor={arriving}"]
    return _outcome(_run(command), load)


def _run(command: list[str]) -> dict[str, Any]:
    # In a session of its own: Ctrl-C is for us, and we end it.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            printed, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired as cause:
            raise LoadFailed(f"the load took more than {LONGEST:.0f} seconds") from cause
        finally:
            if process.poll() is None:
                process.kill()
    if not printed.startswith("{"):
        raise LoadFailed(f"smtpload ended with {process.returncode}")
    found: dict[str, Any] = json.loads(printed)
    return found


def _outcome(said: dict[str, Any], load: Load) -> Outcome:
    if said["accepted"] != load.messages or said["rejected"] or said["errors"]:
        raise LoadFailed(
            f"{said['accepted']} of {load.messages} accepted, {said['rejected']} refused, {said['errors']} connections "
            f"failed; the first time: {said.get('first_error', 'nothing said')}"
        )
    if said["resumed"]:
        raise LoadFailed(f"{said['resumed']} TLS sessions were resumed")
    drained = None
    if (sink := said.get("sink")) is not None:
        if sink["rcpts"] != sink["expected"]:
            raise LoadFailed(f"{sink['rcpts']} arrived of {sink['expected']}")
        drained = float(sink["seconds"])
    return Outcome(
        accepted=said["accepted"],
        rate=said["msgs_per_s"],
        median=said["commit_ms"]["p50"],
        p99=said["commit_ms"]["p99"],
        setup=said["setup_ms"]["p50"],
        tls=said["tls"],
        seconds_until_drained=drained,
    )
