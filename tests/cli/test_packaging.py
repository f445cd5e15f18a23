"""What packaging/ says can be run: units as systemd reads them, the container file as far as it can be read."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.faults.test_bad_start import CONFIGURATION
from tests.installing.page import shown_under
from tests.needs import not_here
from tests.peers import free_port
from zegel.cli.supervise import STOP_LIMIT, tell_service_manager
from zegel.compose.process import FILES

UNITS: Final = Path("packaging/systemd")
CONTAINERFILE: Final = Path("packaging/Containerfile")
PROGRAM: Final = "/opt/zegel/venv/bin/zegel"
EXPOSURE: Final = 20  # tenths; systemd calls up to 10 safe, 50 medium, 90 exposed


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        not_here("no systemd-analyze")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """With a program that is there."""
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    return tmp_path


@pytest.mark.parametrize("name", sorted(one.name for one in UNITS.iterdir()))
def test_systemd_finds_nothing_wrong_with_a_unit(units: Path, name: str) -> None:
    found = analyze("verify", "--man=no", str(units / name))
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_a_unit_with_a_mistake_is_noticed(units: Path) -> None:
    path = units / "zegel.service"
    path.write_text(path.read_text().replace("ProtectSystem=strict", "ProtectSystem=stricter"))
    assert "Failed to parse" in analyze("verify", "--man=no", str(path)).stderr


@pytest.mark.parametrize("name", ["zegel.service", "zegel-backup.service"])
def test_a_unit_gives_little_away(units: Path, name: str) -> None:
    judged = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", str(units / name))
    assert judged.returncode == 0, judged.stdout[-2000:]
    loose = (units / name).read_text().replace("ProtectSystem=strict", "").replace("SystemCallFilter", "#")
    (units / name).write_text(loose.replace("NoNewPrivileges=yes", ""))
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE}", str(units / name)).returncode != 0


def test_the_unit_agrees_with_the_program() -> None:
    unit = (UNITS / "zegel.service").read_text()
    assert f"RestartPreventExitStatus={CONFIGURATION}\n" in unit
    assert f"LimitNOFILE={FILES}\n" in unit
    limit = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert limit and float(limit[1]) > STOP_LIMIT
    assert f"ExecStart={PROGRAM} run\n" in unit and "Type=notify" in unit


def test_systemd_hears_when_it_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (str(tmp_path / "notify"), f"@zegel-test-{free_port()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address.replace("@", "\0"))
            manager.settimeout(10)
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            tell_service_manager("READY=1")
            assert manager.recv(100) == b"READY=1"
    tell_service_manager("READY=1")  # nobody is there any more
    monkeypatch.delenv("NOTIFY_SOCKET")
    tell_service_manager("READY=1")


# The container


def stages() -> dict[str, list[str]]:
    """The instructions of each stage, a line each."""
    text = re.sub(r"\\\n", " ", CONTAINERFILE.read_text())
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if (begins := re.fullmatch(r"FROM (\S+) AS (\w+)", line)) is not None:
            assert begins[1] == "docker.io/library/debian:12-slim"
            found[begins[2]] = []
        elif line and not line.startswith("#"):
            assert found, line
            found[list(found)[-1]].append(line)
    return found


def test_what_is_copied_is_there() -> None:
    for stage in stages().values():
        for line in stage:
            if line.startswith("COPY ") and "--from=" not in line:
                assert all(Path(one).exists() for one in line.split()[1:-1]), line


def test_it_is_installed_from_locked_wheels_alone() -> None:
    installed = [line for line in stages()["build"] if "pip install" in line]
    assert len(installed) == 2
    assert "--require-hashes --only-binary :all: -r /build/requirements.lock" in installed[0]
    assert "--no-deps" in installed[1] and "--no-index" in installed[1]


def test_it_is_installed_as_the_page_says() -> None:
    """The container's commands and the page's take the same from the same file."""
    shown = [line for line in shown_under("1. Programs")[0].splitlines() if "pip install" in line]
    installed = [line for line in stages()["build"] if "pip install" in line]
    for here, there in zip(shown, installed, strict=True):
        flags = set(re.findall(r"--\S+", here))
        assert flags <= set(re.findall(r"--\S+", there)), (here, there)


def test_nothing_of_another_version_is_left_in_what_is_installed() -> None:
    """pip builds within the clone, and setuptools takes what it finds in build/ along."""
    commands = shown_under("Upgrading")[0].splitlines()
    assert commands.index("rm -rf build") < min(n for n, line in enumerate(commands) if "pip install" in line)


def test_nothing_but_zegel_listens_on_port_80_after_the_page() -> None:
    blocks = shown_under("4. The portal")
    assert any(one.startswith("rm /etc/nginx/sites-enabled/default\n") for one in blocks)
    assert not re.search(r"listen (?:\[::\]:)?80\b", "".join(blocks))


def test_the_page_opens_the_door_for_bounces() -> None:
    section = tomllib.loads(shown_under("3. Set it up")[1])
    assert section == {"inbound": {"listen": ["0.0.0.0:25"]}}


def test_it_runs_as_nobody_in_particular_and_says_whether_it_lives() -> None:
    last = stages()["zegel"]
    user = [line for line in last if line.startswith("USER ")]
    assert user == ["USER 10001:10001"]
    assert last.index(user[0]) > max(number for number, line in enumerate(last) if line.startswith("RUN "))
    assert any(line.startswith("HEALTHCHECK ") and line.endswith('CMD ["zegel", "alive"]') for line in last)
    assert last[-2:] == ['ENTRYPOINT ["zegel"]', 'CMD ["run"]']


def test_no_secret_is_in_it() -> None:
    text = CONTAINERFILE.read_text() + Path("packaging/compose.yaml").read_text()
    assert not re.search(r"password|token|BEGIN |\.key\b", text.replace("root.key", ""), re.IGNORECASE)
    assert not any(line.startswith("ARG") for stage in stages().values() for line in stage)


def test_compose_gives_no_rights_and_keeps_what_must_stay() -> None:
    services: dict[str, Any] = yaml.safe_load(Path("packaging/compose.yaml").read_text())["services"]
    for service in services.values():
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["build"]["target"] in stages()
    assert "--format docker" in CONTAINERFILE.read_text()  # the other format has no place for a health check
    (asked,) = (line for line in stages()["zegel"] if line.startswith("HEALTHCHECK "))
    health = services["zegel"]["healthcheck"]
    assert f"CMD {json.dumps(health['test'][1:])}" in asked and health["test"][0] == "CMD"
    assert all(f"--{key.replace('_', '-')}={health[key]}" in asked for key in ("interval", "timeout", "start_period"))
    kept = {one.partition(":")[2] for one in services["zegel"]["volumes"]}
    (declared,) = (line for line in stages()["zegel"] if line.startswith("VOLUME "))
    assert kept == set(re.findall(r'"([^"]+)"', declared))


def test_the_resolver_validates_and_answers_nobody_else(tmp_path: Path) -> None:
    if shutil.which("unbound-checkconf") is None:
        not_here("no unbound-checkconf")
    text = Path("packaging/unbound.conf").read_text()
    assert re.findall(r"interface: (\S+)", text) == ["127.0.0.1"]
    anchor, config = tmp_path / "root.key", tmp_path / "unbound.conf"
    anchor.write_text(". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n")
    config.write_text(text.replace("/usr/share/dns/root.key", str(anchor)))
    checked = subprocess.run(["unbound-checkconf", str(config)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
