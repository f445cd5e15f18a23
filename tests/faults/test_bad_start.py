"""A wrong setting, file, key, database or port: one sentence with the remedy, and an exit code that says so.

Each case is tried with `zegel run` and with `zegel doctor`, as an operator would. Where a case is about rights, Zegel
runs without root's capabilities, so that modes hold for it as for anyone.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from pysqlite3 import dbapi2 as sqlite3

from tests.faults.ground import Prepared, processes_of
from tests.needs import needs
from tests.peers import free_port, is_free, until
from tests.peers.gateway import Gateway
from zegel.edge import keyring
from zegel.local.authority import LocalAuthority, self_signed

CONFIGURATION: Final = 78
PATIENCE: Final = 60
AS_ANYONE: Final = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command left when it ended."""

    code: int
    out: str
    err: str

    @property
    def sentences(self) -> list[str]:
        """What is meant for the operator."""
        return [line for line in self.err.splitlines() if line.startswith("zegel: ")]

    @property
    def other(self) -> list[str]:
        """Lines on standard error that are neither for the operator nor events of the log."""
        return [line for line in self.err.splitlines() if not line.startswith(("zegel: ", "{"))]


def say(gateway: Gateway, *commands: str, before: Sequence[str] = (), **environment: str) -> list[Said]:
    """The commands, at the same time, each to its end."""
    running = [
        subprocess.Popen(
            [*before, sys.executable, "-m", "zegel", *command.split(), "--config", str(gateway.config)],
            env={**gateway._environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    try:
        said = [process.communicate(timeout=PATIENCE) for process in running]
    finally:
        for process in running:
            process.terminate()
    return [Said(process.returncode, out, err) for process, (out, err) in zip(running, said, strict=True)]


_OF_A_START: Final = ("started", "stopped", "process_ended", "certificate_loaded", "alarm_raised")


def refuses(said: Said, *words: str) -> None:
    """One sentence, with these words in it, and nothing that isn't a sentence or an event of the log."""
    assert said.code == CONFIGURATION, said
    assert len(said.sentences) == 1, said
    assert said.other == [], said
    assert "Traceback" not in said.out + said.err
    for line in said.err.splitlines():
        if line.startswith("{"):
            assert json.loads(line)["event"] in _OF_A_START, line
    for word in words:
        assert word in said.sentences[0], said.sentences[0]


def finds(said: Said, *words: str, verdict: str = "BAD") -> None:
    """Doctor comes to its end; one line of that verdict, with its remedy, has these words."""
    assert said.code == (1 if verdict == "BAD" else 0), said
    assert "Traceback" not in said.out + said.err
    assert said.err == ""
    findings = re.split(r"\n(?=\S)", said.out.strip())
    assert "sms:" in findings[-1], said.out
    assert any(
        finding.startswith(verdict) and all(word in finding for word in words) and "\n" in finding
        for finding in findings
    ), said.out


@pytest.fixture
def gateway(prepared: Prepared, tmp_path: Path) -> Iterator[Gateway]:
    made = prepared.gateway(tmp_path / "gateway")
    yield made
    until(lambda: processes_of(made) == [], 30)


def edit(gateway: Gateway, old: str, new: str) -> None:
    """Changes the configuration."""
    text = gateway.config.read_text()
    assert old in text
    gateway.config.write_text(text.replace(old, new))


# --- what is written ----------------------------------------------------------------------------------------------

SETTINGS: Final[dict[str, tuple[Callable[[Gateway], object], tuple[str, ...]]]] = {
    "a value out of its range": (
        lambda gateway: edit(gateway, "processes = 1\n", "processes = 0\n"),
        ("submission.processes", "greater than or equal to 1"),
    ),
    "a value of another kind": (
        lambda gateway: edit(gateway, "timeout = 20.0", 'timeout = "lang"'),
        ("delivery.timeout", "should be a valid number"),
    ),
    "no address and port": (
        lambda gateway: edit(gateway, f"127.0.0.1:{gateway.port}", "localhost"),
        ("submission.listen", "write an IP address and a port, like 127.0.0.1:587, instead of 'localhost'"),
    ),
    "a resolver that is no address": (
        lambda gateway: edit(gateway, 'resolver = "127.0.0.1', 'resolver = "dns.voorbeeld.test'),
        ("delivery.resolver", "write an IP address, like 127.0.0.1, instead of"),
    ),
    "a host name that is none": (
        lambda gateway: edit(gateway, "zegel.test", "een naam"),
        ("hostname", "write a host name, like zegel.voorbeeld.nl, instead of 'een naam'"),
    ),
    "an address of the portal that leads nowhere": (
        lambda gateway: edit(gateway, 'url = "http://', 'url = "'),
        ("portal.url", "write the address of the portal, like https://zegel.voorbeeld.nl, instead of"),
    ),
    "an unknown setting": (
        lambda gateway: edit(gateway, "hostname", "hostnam"),
        ("hostnam", "there is no such setting; remove it, or correct its name"),
    ),
    "an unknown section": (
        lambda gateway: edit(gateway, "[sms]", "[fax]"),
        ("fax", "there is no such setting; remove it, or correct its name"),
    ),
    "two faults at once": (
        lambda gateway: gateway.config.write_text('hostnam = "x"\nlog_level = "luid"\n'),
        ("hostnam: there is no such setting", "log_level: Input should be 'debug', 'info', 'warning' or 'error'"),
    ),
    "not TOML": (
        lambda gateway: gateway.config.write_text("testing = true\nhostname = \n"),
        ("is not a readable TOML file", "line 2"),
    ),
    "not text": (
        lambda gateway: gateway.config.write_bytes('testing = true\nhostname = "zegel.test"\n'.encode("utf-16")),
        ("is not a readable TOML file",),
    ),
    "no file": (
        lambda gateway: gateway.config.unlink(),
        ("There is no configuration file", "Make one, or name another with --config"),
    ),
    "settings for tests": (
        lambda gateway: edit(gateway, "testing = true\n", ""),
        ("delivery.mx_port", "delivery.extra_ca", "only for tests; set testing = true, or remove it"),
    ),
    "a certificate without a key": (
        lambda gateway: edit(gateway, "certificate_key", "#"),
        ("submission.certificate and submission.certificate_key belong together: give both or neither",),
    ),
    "text messages into no folder": (
        lambda gateway: edit(gateway, f'folder = "{gateway.sms_folder}"', ""),
        ("sms.folder", 'the driver "folder" needs a folder to write to'),
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_wrong_setting_is_named_with_its_file_and_what_to_write(gateway: Gateway, case: str) -> None:
    spoil, words = SETTINGS[case]
    spoil(gateway)
    (said,) = say(gateway, "run")
    refuses(said, str(gateway.config), *words)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ZEGEL_SUBMISSION__PROCESSES", "veel", ("submission.processes", "valid integer")),
        ("ZEGEL_SUBMISSION__LISTEN", "127.0.0.1:587", ("environment", "submission", "JSON")),
        ("ZEGEL_SUBMISSION", "587", ("submission",)),
    ],
)
def test_a_wrong_environment_variable_is_named_too(
    gateway: Gateway, name: str, value: str, words: tuple[str, ...]
) -> None:
    for said in say(gateway, "run", "doctor", **{name: value}):
        refuses(said, *words)


# --- certificates -------------------------------------------------------------------------------------------------


def _foreign_key(gateway: Gateway) -> None:
    _, key = self_signed(["localhost"], gateway.folder / "other")
    certificate = next((gateway.folder / "certificates").glob("*.pem"))
    shutil.copy(key, certificate.with_suffix(".key"))


CERTIFICATES: Final[dict[str, Callable[[Gateway], object]]] = {
    "missing": lambda gateway: next((gateway.folder / "certificates").glob("*.pem")).unlink(),
    "unreadable": lambda gateway: next((gateway.folder / "certificates").glob("*.pem")).write_text("hallo"),
    "of another key": _foreign_key,
}


@pytest.mark.parametrize(
    ("door", "case"), [*(("submission", case) for case in CERTIFICATES), ("portal", "of another key")]
)
def test_a_certificate_that_cannot_be_used_is_named(gateway: Gateway, door: str, case: str) -> None:
    if door == "portal":
        lines = [line for line in gateway.config.read_text().splitlines() if line.startswith("certificate")]
        edit(gateway, "\n".join(lines) + "\n", "")
        edit(gateway, "[portal]\n", "\n".join(["[portal]", *lines]) + "\n")
    CERTIFICATES[case](gateway)
    ran, examined = say(gateway, "run", "doctor")
    file = str(gateway.folder / "certificates")
    refuses(ran, file, "PEM chain and its")
    finds(examined, "portal.certificate" if door == "portal" else "certificate", file, "PEM chain and its")


def test_an_authority_that_cannot_be_read_is_named(gateway: Gateway) -> None:
    edit(gateway, f'extra_ca = "{gateway.authority.certificate_path}"', 'extra_ca = "niets.pem"')
    ran, examined = say(gateway, "run", "doctor")
    refuses(ran, "delivery.extra_ca", str(gateway.folder / "niets.pem"), "not a readable PEM bundle")
    finds(examined, "delivery.extra_ca", str(gateway.folder / "niets.pem"))


# --- keys ---------------------------------------------------------------------------------------------------------


def _other_pair(keys: Path) -> None:
    other = keys.with_name("other-keys")
    keyring.create(other)
    shutil.copy(other / keyring.SEALING, keys / keyring.SEALING)


def _cut(path: Path) -> None:
    path.write_text(path.read_text()[:-12] + "\n")


KEYS: Final[dict[str, tuple[Callable[[Path], object], str, str]]] = {
    "opening key open to others": (
        lambda keys: (keys / keyring.OPENING).chmod(0o644),
        keyring.OPENING,
        "can be read by other users. Run: chmod 600 ",
    ),
    "submission key open to its group": (
        lambda keys: (keys / keyring.SUBMISSION).chmod(0o640),
        keyring.SUBMISSION,
        "can be read by other users. Run: chmod 600 ",
    ),
    "opening key missing": (
        lambda keys: (keys / keyring.OPENING).unlink(),
        keyring.OPENING,
        "There is no ",
    ),
    "sealing key missing": (
        lambda keys: (keys / keyring.SEALING).unlink(),
        keyring.SEALING,
        "There is no ",
    ),
    "opening key damaged": (
        lambda keys: (keys / keyring.OPENING).write_text("zegel opening key v1\nhallo\n"),
        keyring.OPENING,
        "is damaged. Put back your backup of it.",
    ),
    "opening key cut short": (
        lambda keys: _cut(keys / keyring.OPENING),
        keyring.OPENING,
        "is damaged. Put back your backup of it.",
    ),
    "submission key cut short": (
        lambda keys: _cut(keys / keyring.SUBMISSION),
        keyring.SUBMISSION,
        "is damaged. Put back your backup of it.",
    ),
    "submission key empty": (
        lambda keys: (keys / keyring.SUBMISSION).write_text("zegel submission key v1\n"),
        keyring.SUBMISSION,
        "is damaged. Put back your backup of it.",
    ),
    "sealing key of another pair": (
        _other_pair,
        keyring.SEALING,
        "don't belong together",
    ),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_that_cannot_be_used_is_named_and_nothing_is_made_in_its_place(gateway: Gateway, case: str) -> None:
    spoil, name, words = KEYS[case]
    keys = gateway.state / "keys"
    spoil(keys)
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    ran, examined = say(gateway, "run", "doctor")
    refuses(ran, str(keys / name), words)
    finds(examined, str(keys / name), words)
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


def test_a_database_without_keys_is_not_given_new_ones(gateway: Gateway) -> None:
    shutil.rmtree(gateway.state / "keys")
    ran, examined = say(gateway, "run", "doctor")
    refuses(ran, "There is a database in", "but no keys", f"Put back your backup of {gateway.state / 'keys'}")
    finds(examined, "keys", "Put back your backup")
    assert not (gateway.state / "keys").exists()
    (again,) = say(gateway, "run")
    assert again.sentences == ran.sentences


# --- database and folder ------------------------------------------------------------------------------------------


def test_a_database_of_a_newer_version_is_left_as_it_is(gateway: Gateway) -> None:
    with sqlite3.connect(gateway.state / "zegel.sqlite3") as database:
        database.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('custody', '9999_of_tomorrow', '2030-01-01')"
        )
    ran, examined = say(gateway, "run", "doctor")
    refuses(ran, "The database was written by a newer version", "Start that version, or restore the backup")
    finds(examined, "database: written by a newer Zegel", "Start that version, or restore an older backup")


def test_what_is_no_database_is_said_to_be_none(gateway: Gateway) -> None:
    for path in gateway.state.glob("zegel.sqlite3*"):
        path.unlink()
    (gateway.state / "zegel.sqlite3").write_bytes(b"hallo " * 2000)
    ran, examined = say(gateway, "run", "doctor")
    refuses(ran, "The database can't be used: file is not a database", "put back your backup")
    finds(examined, "database: can't be used (file is not a database)", "put back your backup")


def test_a_file_in_the_place_of_the_folder_is_named(gateway: Gateway) -> None:
    shutil.rmtree(gateway.state)
    gateway.state.write_text("")
    ran, examined = say(gateway, "run", "doctor")
    refuses(ran, f"The folder {gateway.state} can't be made or written", "Choose another in the setting folder")
    finds(examined, f"{gateway.state} can't be written", "Choose another in the setting folder")


def _close_folder(state: Path) -> None:
    for folder in (state / "run", state):
        folder.chmod(0o500)


def _close_database(state: Path) -> None:
    for file in state.glob("zegel.sqlite3*"):
        file.chmod(0o400)


RIGHTS: Final[dict[str, tuple[Callable[[Path], object], tuple[str, ...], tuple[str, ...]]]] = {
    "the folder": (
        _close_folder,
        ("can't be made or written: Permission denied", "give it to the user that Zegel runs as"),
        ("can't be written", "give it to the user that Zegel runs as"),
    ),
    "the database": (
        _close_database,
        ("The database can't be used: attempt to write a readonly database", "the file of another user?"),
        ("zegel.sqlite3 can't be written", "the file of another user?"),
    ),
    "a key": (
        lambda state: (state / "keys" / keyring.OPENING).chmod(0o000),
        ("opening.key can't be read by this user. Give it to the user that Zegel runs as.",),
        ("opening.key can't be read by this user. Give it to the user that Zegel runs as.",),
    ),
}


@pytest.mark.parametrize("case", RIGHTS)
def test_what_zegel_has_no_right_to_is_named(gateway: Gateway, case: str) -> None:
    spoil, ran_words, examined_words = RIGHTS[case]
    (gateway.state / "run").mkdir(exist_ok=True)
    spoil(gateway.state)
    ran, examined = say(gateway, "run", "doctor", before=AS_ANYONE)
    refuses(ran, *ran_words)
    finds(examined, *examined_words)


# --- ports --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["submission.listen", "portal.listen"])
def test_a_port_in_use_is_named(gateway: Gateway, setting: str) -> None:
    port = gateway.port if setting == "submission.listen" else gateway.portal_port
    with socket.create_server(("127.0.0.1", port)):
        (ran,), (examined,) = say(gateway, "run"), say(gateway, "doctor")
    refuses(
        ran, f"{setting}: 127.0.0.1:{port} can't be had (Address already in use)", "Stop what listens there, or change"
    )
    finds(examined, f"something answers at 127.0.0.1:{port}", "is not running", f"change {setting}", verdict="look")


def test_a_role_that_finds_its_port_in_use_says_so_too(gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", gateway.port)):
        (said,) = say(gateway, "run --role submission")
    refuses(said, str(gateway.port), "address already in use", "Stop what listens there")


def test_a_port_that_needs_more_rights_is_named_with_both_ways_out(gateway: Gateway) -> None:
    port = next(port for port in range(700, 1000) if is_free("127.0.0.1", port))
    edit(gateway, f"127.0.0.1:{gateway.port}", f"127.0.0.1:{port}")
    remedy = "Choose a port above 1023, or give the service CAP_NET_BIND_SERVICE."
    (ran,), (examined,) = say(gateway, "run", before=AS_ANYONE), say(gateway, "doctor", before=AS_ANYONE)
    refuses(ran, f"submission.listen: port {port} needs more rights", remedy)
    finds(examined, f"submission.listen: port {port} needs more rights", remedy)


def test_an_address_of_another_machine_is_named(gateway: Gateway) -> None:
    edit(gateway, f"127.0.0.1:{gateway.port}", "192.0.2.1:5870")
    (ran,), (examined,) = say(gateway, "run"), say(gateway, "doctor")
    refuses(ran, "submission.listen: 192.0.2.1:5870 can't be had", "change it")
    finds(examined, "submission.listen: 192.0.2.1:5870 can't be had", "change it")


def test_a_second_start_in_the_same_folder_leaves_the_first_alone(gateway: Gateway) -> None:
    with gateway:
        first = sorted(gateway.processes())
        port, portal = free_port(), free_port()
        other = gateway.config.with_name("other.toml")
        text = gateway.config.read_text().replace(str(gateway.port), str(port))
        other.write_text(text.replace(str(gateway.portal_port), str(portal)))
        done = subprocess.run(
            [sys.executable, "-m", "zegel", "run", "--config", str(other)],
            env=gateway._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        refuses(
            Said(done.returncode, done.stdout, done.stderr),
            f"Zegel already runs with {gateway.state} (process {first[0]})",
            "Stop it first, or give this one another folder",
        )
        assert is_free("127.0.0.1", port) and is_free("127.0.0.1", portal)
        assert sorted(gateway.processes()) == first
        (examined,) = say(gateway, "doctor")
        assert examined.out.count("answers at") == 2 and "nobody answers" not in examined.out


# --- the first start ----------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path) -> Gateway:
    """A configuration, and nothing else yet."""
    authority = LocalAuthority.load_or_create(tmp_path / "ca")
    return Gateway(tmp_path / "gateway", authority=authority, resolver=("127.0.0.1", free_port()), mx_port=2525)


def test_doctor_before_the_first_start_changes_nothing(fresh: Gateway) -> None:
    edit(fresh, next(line for line in fresh.config.read_text().splitlines() if line.startswith("certificate ")), "")
    edit(fresh, next(line for line in fresh.config.read_text().splitlines() if line.startswith("certificate_")), "")
    (examined,) = say(fresh, "doctor")
    finds(examined, "resolver", "no answer", "Start it, or set delivery.resolver to another")
    for nothing in ("keys: none yet", "disk: no folder", "database: not made yet", "certificate: none yet"):
        assert nothing in examined.out
    assert not fresh.state.exists()
    (prepared,) = say(fresh, "migrate")
    assert (prepared.code, prepared.out, prepared.err) == (0, "Ready.\n", "")


@pytest.mark.parametrize("sync", [1, 2, 4, 5, 7])
def test_a_first_start_that_was_killed_is_done_again(fresh: Gateway, sync: int) -> None:
    """kill -9 at each sync by turns: of a key, of the folder of keys, of the database."""
    needs("strace")
    kill = ("strace", "-f", "-o", "/dev/null", "-e", "trace=fsync", "-e", f"inject=fsync:signal=SIGKILL:when={sync}")
    (killed,) = say(fresh, "migrate", before=kill)
    assert killed.code == -9
    (prepared,) = say(fresh, "migrate")
    assert (prepared.code, prepared.out, prepared.err) == (0, "Ready.\n", "")
    assert keyring.opening_keys(fresh.state / "keys").sealing.key_id
    assert not list(fresh.state.glob("*.new"))
