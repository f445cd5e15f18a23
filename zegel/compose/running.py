"""Runs the role that this process was started for."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

from zegel.compose.certificates import certificates
from zegel.compose.dispatch import dispatch
from zegel.compose.inbound import inbound
from zegel.compose.metrics import count, metrics
from zegel.compose.process import Role, collect_less, end_with_stdin, start_django
from zegel.compose.state import refuse_half_restored
from zegel.compose.submission import recorder, submission
from zegel.compose.web import serve_web
from zegel.edge import metrics as meter
from zegel.edge.log import configure
from zegel.settings import Settings

SWITCH: Final = 0.001  # seconds that the loop and the writer let each other wait for the interpreter, at most


def run_role(settings: Settings, role: Role) -> None:
    """Runs one role in this process until SIGTERM, or until the process that started it is gone."""
    refuse_half_restored(settings)
    configure(settings.log_level, together=role in ("submission", "inbound", "dispatch"))
    if role != "certificates":
        start_django()
    if os.environ.get("ZEGEL_CHILD"):
        threading.Thread(target=end_with_stdin, daemon=True).start()
    if role == "web":
        serve_web(settings)
        return
    if role == "recorder":
        count(settings, role)
        collect_less()
        recorder(settings, _tell_ready)
        meter.stop()
        return
    import uvloop

    sys.setswitchinterval(SWITCH)
    collect_less()
    daemons = {
        "submission": submission,
        "inbound": inbound,
        "dispatch": dispatch,
        "certificates": certificates,
        "metrics": metrics,
    }
    count(settings, role)
    uvloop.run(daemons[role](settings, _tell_ready))
    meter.stop()


def _tell_ready() -> None:
    if os.environ.get("ZEGEL_CHILD"):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
