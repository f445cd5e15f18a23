"""The first start of local mode: where a port is taken, and where something else is called as the program is."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from zegel.cli.local import Ports


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ZEGEL_")}


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zegel", "local", "--folder", str(folder), *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


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


def test_it_starts_in_a_folder_that_holds_a_clone(tmp_path: Path) -> None:
    (tmp_path / "zegel").mkdir()  # an import would find this first
    move = next(n for n in range(20_000, 50_000, 111) if all(map(is_free, asdict(Ports.moved(n)).values())))
    program = Path(sys.executable).with_name("zegel")
    running = subprocess.Popen(
        [program, "local", "--move-ports", str(move)],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdout is not None
    told = []
    for line in running.stdout:
        told.append(line)
        if "Ctrl-C" in line:
            running.send_signal(signal.SIGINT)
    assert running.wait(30) == 0, "".join(told)
    assert "Zegel runs" in "".join(told)
