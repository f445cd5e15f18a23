"""The first start of local mode where a port is taken: nothing is kept, so the next try may name other ports."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from zegel.cli.local import Ports


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZEGEL_")}
    command = [sys.executable, "-m", "zegel", "local", "--folder", str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_taken_port_ends_the_first_start_before_anything_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = start(tmp_path / "state", "--move-ports", str(port - Ports().submission))
    assert ended.returncode == 78
    assert f"the submission server: 127.0.0.1:{port} can't be had" in ended.stderr
    assert "--move-ports" in ended.stderr
    assert not (tmp_path / "state" / "zegel.toml").exists()
    assert not (tmp_path / "state" / "local" / "ports.json").exists()


def test_ports_beyond_the_last_are_refused(tmp_path: Path) -> None:
    ended = start(tmp_path / "state", "--move-ports", "60000")
    assert ended.returncode == 2
    assert "--move-ports" in ended.stderr
    assert not (tmp_path / "state").exists()
