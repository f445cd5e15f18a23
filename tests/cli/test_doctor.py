"""`zegel doctor`: what is not well is found, with what to do about it; and `zegel alive`, `zegel keys`."""

from __future__ import annotations

import re
import shutil
import socket
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cli.test_submission_commands import ORGANISATION, Shell
from tests.needs import not_here
from tests.peers import free_port
from tests.peers.site import names
from zegel.edge import keyring

DOMAIN: Final = "voorbeeld.test"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A gateway that never ran, its domain published, with a resolver that knows its own name."""
    folder = tmp_path_factory.mktemp("made")
    shell = Shell(folder)
    shell("organisation", "add", ORGANISATION)
    printed = shell("domain", "add", DOMAIN, "--organisation", ORGANISATION)
    zone: dict[tuple[str, str], list[str]] = {("zegel.test", "A"): ["192.0.2.7"]}
    for name, kind, value in re.findall(r"^(\S+) (TXT|CNAME) (.*)$", printed, re.MULTILINE):
        zone[name.rstrip("."), kind] = [value.strip('"')]
    zone["zegel-bounce.voorbeeld.test", "CNAME"] = ["elders.test."]
    zone["test", "SOA"] = ["ns.test. beheer.test. 1 3600 600 86400 300"]
    with names(zone) as port:
        with shell.config.open("a") as config:
            config.write(f'[submission]\nlisten = ["127.0.0.1:{free_port()}"]\n[portal]\nlisten = "127.0.0.1:')
            config.write(f'{free_port()}"\n[delivery]\nresolver = "127.0.0.1:{port}"\n')
        yield folder, printed


@pytest.fixture
def shell(made: tuple[Path, str], tmp_path: Path) -> Shell:
    """A copy of it."""
    shell = Shell(tmp_path)
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    return shell


def findings(shell: Shell) -> dict[str, str]:
    """By what was found, with its sign, what to do."""
    _, out, err = shell.run("doctor")
    assert err == ""
    found: dict[str, str] = {}
    for one in re.split(r"\n(?=\S)", out.strip()):
        what, _, remedy = one.partition("\n")
        assert not what.startswith(("look", "BAD", "TEST")) or remedy.strip(), f"no remedy: {what}"
        found[what] = remedy.strip()
    return found


def remedy(shell: Shell, sign: str, part: str) -> str:
    """Of the one finding with that sign and words."""
    (said,) = (text for what, text in findings(shell).items() if what.startswith(f"{sign:4}  ") and part in what)
    return said


def finds(shell: Shell, sign: str, part: str) -> bool:
    return any(what.startswith(f"{sign:4}  ") and part in what for what in findings(shell))


def test_settings_for_tests_are_shown_red_and_named_for_what_they_are(shell: Shell) -> None:
    assert remedy(shell, "TEST", "testing = true") == "Remove it before real mail passes here."


def test_it_warns_until_the_keys_were_copied_and_again_when_they_changed(shell: Shell, tmp_path: Path) -> None:
    assert "zegel keys backup FILE" in remedy(shell, "look", "no backup was made")
    shell("keys", "backup", str(tmp_path / "keys.tar"))
    assert finds(shell, "ok", "keys: backup made on 20")
    keys = tmp_path / "state/keys"
    for name in (keyring.OPENING, keyring.SEALING, keyring.SUBMISSION):
        (keys / name).unlink()
    keyring.create(keys)
    assert "zegel keys backup FILE" in remedy(shell, "look", "keys: they are others than those of the backup of 20")
    (keys / "backup-made").write_text("")  # as an earlier version left it
    assert remedy(shell, "look", "of an earlier version")


def test_folders_that_others_can_use_are_told(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "state").chmod(0o755)
    assert remedy(shell, "look", "can be looked into by other users") == f"Run: chmod 700 {tmp_path / 'state'}"
    (tmp_path / "state/keys").chmod(0o770)
    assert remedy(shell, "BAD", "can be written by other users") == f"Run: chmod 700 {tmp_path / 'state/keys'}"


def test_it_says_where_the_journal_of_erasures_is(shell: Shell, tmp_path: Path) -> None:
    assert "folder on another disk" in remedy(shell, "look", "is on the disk of the data, and is lost with it")
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        not_here("one file system only")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        text = shell.config.read_text()
        shell.config.write_text(text.replace('folder = "state"\n', f'folder = "state"\nerasures = "{other}"\n'))
        assert finds(shell, "ok", f"journal is on another disk ({other}/erasures)")
        Path(other, "erasures").write_text("zegel erasures v1 00\n")
        assert "Name the one of this gateway" in remedy(shell, "BAD", "erasures")


def test_a_resolver_that_does_not_validate_is_told(shell: Shell) -> None:
    assert "Without DNSSEC no DANE" in remedy(shell, "look", "and does not validate")


def test_the_gateways_own_name_is_looked_up_there_and_back(shell: Shell) -> None:
    assert "publish a PTR record with zegel.test" in remedy(shell, "look", "hostname zegel.test: 192.0.2.7")
    shell.config.write_text(shell.config.read_text().replace('hostname = "zegel.test"', 'hostname = "weg.test"'))
    assert "Publish an A or AAAA record" in remedy(shell, "BAD", "hostname weg.test: has no address in the DNS")


def test_records_that_are_not_there_now_are_named(shell: Shell) -> None:
    found = [what for what in findings(shell) if f"domain {DOMAIN}: " in what and "is not found, or different" in what]
    assert found == [f"look  domain {DOMAIN}: zegel-bounce.{DOMAIN} CNAME is not found, or different"]
    assert f"zegel domain check {DOMAIN}" in remedy(shell, "BAD", f"domain {DOMAIN}: DNS settings not in place")


def test_it_changes_nothing(shell: Shell, tmp_path: Path) -> None:
    def files() -> dict[str, bytes]:
        found = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
        return {str(path): path.read_bytes() for path in found}

    before = files()
    findings(shell)
    assert files() == before


def test_alive_says_which_door_is_closed(shell: Shell) -> None:
    code, out, _ = shell.run("alive")
    assert code == 1 and out.count("127.0.0.1:") == 2
    ports = [int(one) for one in re.findall(r"127\.0\.0\.1:(\d+)", out)]
    with socket.create_server(("127.0.0.1", ports[0])):
        code, out, _ = shell.run("alive")
        assert (code, out) == (1, f"Nobody answers at 127.0.0.1:{ports[1]}.\n")
        with socket.create_server(("127.0.0.1", ports[1])):
            assert shell("alive") == "All doors answer.\n"


def test_keys_come_back_whole_or_not_at_all(shell: Shell, tmp_path: Path) -> None:
    keys, copy = tmp_path / "state/keys", tmp_path / "keys.tar"
    shell("keys", "backup", str(copy))
    three = (keyring.OPENING, keyring.SEALING, keyring.SUBMISSION)
    before = {name: (keys / name).read_bytes() for name in three}
    assert "keys are never overwritten" in shell.refusal("keys", "restore", str(copy))
    shutil.rmtree(keys)
    with tarfile.open(tmp_path / "part.tar", "w") as archive, tarfile.open(copy) as whole:
        for name in (keyring.OPENING, keyring.SEALING):
            archive.addfile(whole.getmember(name), whole.extractfile(name))
    (tmp_path / "no.tar").write_bytes(b"geen archief")
    for bad in ("part.tar", "no.tar"):
        assert "is not a backup of keys, or is damaged" in shell.refusal("keys", "restore", str(tmp_path / bad))
    octets = copy.read_bytes()
    (tmp_path / "bad.tar").write_bytes(octets.replace(before[keyring.OPENING][30:60], b"A" * 30))
    assert "Put back" in shell.refusal("keys", "restore", str(tmp_path / "bad.tar"))
    assert not keys.exists() or not list(keys.iterdir())
    shell("keys", "restore", str(copy))
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in keys.iterdir()} == {0o600}
    assert keys.stat().st_mode & 0o777 == 0o700
