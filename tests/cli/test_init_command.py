"""`zegel init`: one file, one organisation, one administrator; bad input leaves nothing, a second
run changes nothing."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel

from tests.peers import until
from zegel.cli.configuration import UNSET, is_section, meanings, written
from zegel.local.authority import LocalAuthority
from zegel.settings import Settings, load

PASSWORD: Final = "een-lange-zin-om-mee-te-beginnen"
GIVEN: Final = {
    "--hostname": "zegel.voorbeeld.test",
    "--organisation": "Gemeente Voorbeeld",
    "--domain": "voorbeeld.test",
    "--administrator": "beheer@voorbeeld.test",
    "--password": PASSWORD,
}


class Place:
    """Where a gateway is set up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "etc/zegel.toml"
        self.data = folder / "data"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
        self.environment = {**kept, "ZEGEL_CONFIG": str(self.config)}

    def run(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "zegel", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def init(self, changed: Mapping[str, str | None] = {}, *more: str) -> tuple[int, str, str]:
        given = {**GIVEN, "--folder": str(self.data), **changed}
        flags = [part for name, value in given.items() if value is not None for part in (name, value)]
        return self.run("init", *flags, *more)

    def settings(self) -> Settings:
        """As those commands understand them: the tests have an environment of their own."""
        with pytest.MonkeyPatch.context() as patched:
            for name in [name for name in os.environ if name.startswith("ZEGEL_")]:
                patched.delenv(name)
            return load(self.config)

    def everything(self) -> dict[str, bytes]:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files if not path.name.endswith("-shm")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


BAD: Final[dict[str, tuple[dict[str, str | None], tuple[str, ...], str]]] = {
    "no host name": ({"--hostname": None}, (), "--hostname is missing: write a host name in full"),
    "a word": ({"--hostname": "zegel"}, (), "--hostname: 'zegel' can't be used: write a host name in full"),
    "an address for a name": ({"--hostname": "a@b"}, (), "--hostname: 'a@b' can't be used: write a host name"),
    "a relative folder": ({"--folder": "data"}, (), "--folder: 'data' can't be used: write the whole path, like"),
    "no address": ({"--administrator": "beheer"}, (), "write an e-mail address, like beheer@example.org"),
    "no domain": ({"--domain": "a b"}, (), "--domain: 'a b' can't be used: write the domain that stands behind the @"),
    "no name": ({"--organisation": " "}, (), "--organisation: ' ' can't be used: write a name"),
    "no https": ({"--portal-url": "http://a.test"}, (), "write an address that begins with https://, like"),
    "a path in the URL": (
        {"--portal-url": "https://a.test/b"},
        (),
        "portal.url: write the address of the portal, like",
    ),
    "a name for a resolver": ({"--resolver": "ns.test"}, (), "delivery.resolver: write an IP address, like 127.0.0.1"),
    "a short password": ({"--password": "kort"}, (), "--password is not accepted: This password is too short"),
    "no password": ({"--password": None}, (), "--password is missing: write a password of twelve"),
    "half a certificate": ({"--certificate": "/a.pem"}, (), "give both or neither"),
    "no such certificate": ({"--certificate": "/a.pem", "--certificate-key": "/b.pem"}, (), "There is no /a.pem"),
    "terms not read": ({}, ("--acme",), "--agree-to-terms is missing: read the terms of the authority"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_with_an_example_and_leaves_nothing(place: Place, case: str) -> None:
    changed, more, told = BAD[case]
    code, out, err = place.init(changed, *more)
    assert (code, out) == (78, ""), (out, err)
    assert err.startswith("zegel: ") and told in err and err.count("\n") == 1
    assert PASSWORD not in err
    assert place.everything() == {}


def test_a_gateway_that_is_there_is_not_set_up_again(place: Place) -> None:
    assert place.init()[0] == 0
    place.config.unlink()
    before = place.everything()
    code, _, err = place.init()
    assert code == 78 and f"There is a gateway in {place.data} already" in err
    assert place.everything() == before


def test_it_makes_all_that_is_needed_and_says_what_comes_next(place: Place) -> None:
    code, out, err = place.init()
    assert (code, err) == (0, "")
    for record in (
        "_zegel.voorbeeld.test. TXT",
        "zegel._domainkey.voorbeeld.test. TXT",
        "zegel-bounce.voorbeeld.test.",
    ):
        assert record in out
    for following in ("zegel keys backup FILE", "zegel run", "zegel doctor", f"ZEGEL_CONFIG={place.config}"):
        assert following in out.partition("Next:")[2]
    assert PASSWORD not in out + place.config.read_text()
    settings = place.settings()
    assert (settings.hostname, settings.folder, settings.delivery.resolver, settings.portal.url) == (
        "zegel.voorbeeld.test",
        place.data,
        "127.0.0.1",
        "https://zegel.voorbeeld.test",
    )
    assert not settings.testing
    assert place.config.stat().st_mode & 0o777 == 0o640
    _, examined, _ = place.run("doctor")
    assert "keys: no backup was made" in examined and "domain voorbeeld.test: DNS settings not in place" in examined


def test_a_second_run_tells_what_is_there_and_changes_nothing(place: Place) -> None:
    place.init()
    before = place.everything()
    code, out, err = place.init({"--hostname": "ander.test", "--password": None})
    assert (code, err) == (0, "")
    assert "is there, and stays as it is: host name zegel.voorbeeld.test" in out
    assert "Gemeente Voorbeeld:\n  domains: voorbeeld.test\n  administrators: beheer@voorbeeld.test" in out
    assert place.everything() == before


def test_a_first_run_that_was_interrupted_is_told_with_the_commands_that_go_on(place: Place) -> None:
    place.config.parent.mkdir()
    place.config.write_text(written({"": {"hostname": "zegel.voorbeeld.test", "folder": str(place.data)}}))
    assert "There is no database yet. Make it with: zegel migrate" in place.init()[1]
    assert place.run("migrate")[0] == 0
    assert "There is no organisation yet. Add it with: zegel organisation add" in place.init()[1]


def test_the_administrator_can_sign_in_and_the_organisation_speaks_its_language(place: Place) -> None:
    place.init({}, "--language", "en")
    script = """
from zegel.compose import process
process.start_django()
from zegel.accounts.models import Account
one = Account.objects.select_related("organisation").get()
print(one.email, one.role, one.check_password(input()), one.organisation.language)
"""
    environment = {**place.environment, "DJANGO_SETTINGS_MODULE": "zegel.web.settings"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, input=PASSWORD, capture_output=True, text=True, check=True
    )
    assert done.stdout == "beheer@voorbeeld.test owner True en\n"


def test_certificate_authority_keyring_and_journal_go_where_they_are_said_to(place: Place, tmp_path: Path) -> None:
    other = {"--keyring": f"{tmp_path}/keys", "--erasures": f"{tmp_path}/elsewhere", "--acme-contact": "a@b.test"}
    assert place.init(other, "--acme", "--agree-to-terms")[0] == 0
    settings = place.settings()
    assert settings.acme.directory.startswith("https://acme-v02.api.letsencrypt.org/") and settings.acme.agree_to_terms
    assert (settings.keys, settings.erasure_journal) == (tmp_path / "keys", tmp_path / "elsewhere/erasures")
    assert (tmp_path / "keys/opening.key").exists() and not (place.data / "keys").exists()


def test_a_certificate_that_fits_is_taken(place: Place, tmp_path: Path) -> None:
    authority = LocalAuthority.load_or_create(tmp_path / "ca")
    certificate, key = authority.issue(["zegel.voorbeeld.test"], tmp_path / "issued")
    assert place.init({"--certificate": str(certificate), "--certificate-key": str(key)})[0] == 0
    assert place.settings().submission.certificate == certificate


def test_somebody_at_a_terminal_is_asked_again_until_it_can_be_understood(place: Place) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "zegel", "init", "--folder", str(place.data)],
        env={**place.environment, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = ""
    answers = (
        ("Host name", "zegel"),
        ("in full", "zegel.voorbeeld.test"),
        ("resolver", ""),
        ("portal", ""),
        ("organisation", "Gemeente Voorbeeld"),
        ("sends mail from [voorbeeld.test]", ""),
        ("administrator", "beheer@voorbeeld.test"),
        ("First password", PASSWORD),
        ("Repeat", PASSWORD),
    )
    for question, answer in answers:
        part = ""
        while question not in part:
            assert select.select([ours], [], [], 60)[0], f"{question!r} is not asked: {seen}{part}"
            part += os.read(ours, 4096).decode()
        seen += part
        os.write(ours, f"{answer}\n".encode())
    with suppress(OSError):  # a terminal whose other side is gone
        while piece := os.read(ours, 4096):
            seen += piece.decode()
    until(lambda: process.poll() is not None, 60)
    assert process.returncode == 0, seen
    assert "That can't be used: write a host name in full" in seen and PASSWORD not in seen
    assert place.settings().portal.url == "https://zegel.voorbeeld.test"


# The file


def models() -> list[tuple[str, type[BaseModel]]]:
    found: list[tuple[str, type[BaseModel]]] = [("", Settings)]
    for name, field in Settings.model_fields.items():
        if is_section(field):
            assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
            found.append((name, field.annotation))
    return found


def test_with_every_default_written_out_it_is_what_holds_without_a_file() -> None:
    """Every # before a default taken away; what isn't set by default has none."""
    text = re.sub(r"^# (?=\w+ = )", "", written({}), flags=re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.endswith(f"= {UNSET}")]
    parsed: dict[str, Any] = tomllib.loads("\n".join(lines))
    assert Settings(**parsed) == Settings()


def test_without_changes_it_sets_nothing() -> None:
    assert {name: part for name, part in tomllib.loads(written({})).items() if part} == {}


@pytest.mark.parametrize("name", [name for name, _ in models()])
def test_every_setting_is_named_once_with_its_meaning(name: str) -> None:
    model = dict(models())[name]
    section = re.split(r"^\[(\w*)\]\n", f"[]\n{written({})}", flags=re.MULTILINE)
    told = dict(zip(section[1::2], section[2::2], strict=True))[name]
    named = re.findall(r"^# (\w+) = ", told, flags=re.MULTILINE)
    assert named == [one for one, field in model.model_fields.items() if not is_section(field)]
    for one in named:
        assert meanings(model)[one], f"{name}.{one} has no comment in zegel/settings.py"
        assert f"## {meanings(model)[one]}\n# {one} = " in told and "noqa" not in told


def test_what_is_unset_may_be_unset() -> None:
    unset = re.findall(rf"^# (\w+) = {UNSET}$", written({}), flags=re.MULTILINE)
    assert len(unset) == sum(
        field.default is None for _, model in models() for field in model.model_fields.values() if not is_section(field)
    )
    assert {"certificate", "resolver", "keyring", "erasures"} <= set(unset)


def test_values_are_written_so_that_they_are_read_back() -> None:
    values: dict[str, dict[str, Any]] = {
        "": {"hostname": "zegel.test", "folder": Path('/a "b"\\c')},
        "submission": {"listen": ("127.0.0.1:1",)},
    }
    parsed = tomllib.loads(written(values))
    assert parsed["folder"] == '/a "b"\\c' and parsed["submission"]["listen"] == ["127.0.0.1:1"]
