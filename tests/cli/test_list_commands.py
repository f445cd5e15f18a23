"""Lists of domains that others keep, on the command line, as the program itself reads them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.cli.test_submission_commands import ORGANISATION, Shell
from tests.peers.site import NAME, Site, gives, names, site
from zegel.local.authority import LocalAuthority

OTHER: Final = "Ander"
OWNER: Final = ("--organisation", ORGANISATION)


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    folder = tmp_path_factory.mktemp("keeper")
    authority = LocalAuthority.load_or_create(folder / "authority")
    with site(*authority.issue([NAME, "127.0.0.1"], folder)) as running:
        yield running, authority.certificate_path


@pytest.fixture
def running(keeper: tuple[Site, Path]) -> Site:
    keeper[0].answers.clear()
    keeper[0].answers["/lijst"] = gives(b"veilig.test\nstreng.test tls1.3 dane\n")
    return keeper[0]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, keeper: tuple[Site, Path]) -> Iterator[Shell]:
    with names({(NAME, "A"): ["127.0.0.1"]}) as port:
        shell = Shell(tmp_path_factory.mktemp("shell"))
        with shell.config.open("a") as config:
            config.write(f'[delivery]\nresolver = "127.0.0.1:{port}"\nextra_ca = "{keeper[1]}"\n')
        shell("organisation", "add", ORGANISATION)
        shell("organisation", "add", OTHER)
        yield shell


@pytest.fixture(autouse=True)
def emptied(shell: Shell) -> Iterator[None]:
    yield
    change(shell, "DELETE FROM accounts_directdeliverydomain")
    change(shell, "DELETE FROM accounts_directdeliverylist")


def change(shell: Shell, statement: str) -> None:
    with closing(sqlite3.connect(shell.config.parent / "state/zegel.sqlite3")) as database, database:
        database.execute(statement)


@pytest.fixture
def filed(tmp_path: Path) -> Path:
    file = tmp_path / "lijst.csv"
    file.write_text("Domein;Niveau\nveilig.test;\nb\u00fccher.test;tls1.3\n")
    return file


def test_what_can_not_be_understood_is_refused_with_a_remedy(shell: Shell, tmp_path: Path, filed: Path) -> None:
    add = ("lists", "add", "koepel", *OWNER)
    assert shell.refusal(*add) == "zegel: A list is of a URL or of a file: name one of --url and --file."
    assert "name one of --url and --file" in shell.refusal(*add, "--url", "https://a.test/", "--file", str(filed))
    assert shell.refusal(*add, "--url", "http://a.test/") == (
        "zegel: The address is not an https:// address of a web server, without user name, password and #."
    )
    assert "geheim" not in shell.refusal(*add, "--url", "https://mij:geheim@a.test/")
    assert "'hoog' is not a level" in shell.refusal(*add, "--file", str(filed), "--level", "hoog")
    assert "1 to 200 characters" in shell.refusal("lists", "add", " ", *OWNER, "--file", str(filed))
    bad = tmp_path / "fout.txt"
    bad.write_text("veilig.test\nbalie@veilig.test\n")
    assert shell.refusal(*add, "--file", str(bad)) == (
        "zegel: The list has lines that are not understood, so nothing of it was taken.\n"
        "       Line 2: an e-mail address; write its domain alone."
    )
    bad.write_bytes(b"#" * 2_000_000)
    assert shell.refusal(*add, "--file", str(bad)) == "zegel: The list is larger than 1 MB."
    assert shell.run(*add, "--file", str(tmp_path / "nergens"))[0] == 2
    assert shell.run(*add, "--file", str(tmp_path))[0] == 2
    for command in (("show", "koepel"), ("refresh", "koepel"), ("remove", "koepel")):
        assert shell.refusal("lists", *command) == "zegel: There is no list 'koepel'. See: zegel lists show"
    assert shell("lists", "show") == ""
    assert shell("lists", "refresh") == ""


def test_a_file_is_added_shown_read_again_and_removed(shell: Shell, filed: Path) -> None:
    add = ("lists", "add", "bestand", *OWNER, "--file", str(filed))
    assert shell(*add, "--level", "mta-sts") == "Added bestand: 2 domains.\n"
    assert "has a list 'bestand' already" in shell.refusal(*add)
    shown = shell("lists", "show", "bestand").splitlines()
    assert shown[0].startswith("bestand  2 domains, read 20")
    assert shown[0].endswith("  Voorbeeld: of a file, over at least tls1.2 mta-sts")
    assert shown[1:] == ["    veilig.test tls1.2 mta-sts", "    xn--bcher-kva.test tls1.3 mta-sts"]
    assert "Read it again with: zegel lists read 'bestand'" in shell.refusal("lists", "refresh", "bestand")

    read = ("lists", "read", "bestand", "--file", str(filed))
    filed.write_text("fout\n")
    code, out, _ = shell.run(*read)
    assert (code, out.splitlines()[0]) == (1, "bestand: could not be read; what was read before stays.")
    filed.write_text("")
    assert shell.run(*read)[0] == 1
    assert len(shell("lists", "show", "bestand").splitlines()) == 3
    assert shell(*read, "--may-be-empty") == "bestand: 0 domains.\n"
    filed.write_text("anders.test\n")
    assert shell(*read) == "bestand: 1 domain.\n"
    assert shell("lists", "remove", "bestand") == "Removed bestand: 1 domain.\n"
    assert shell("lists", "show") == ""


def test_a_name_that_several_organisations_use_is_asked_for(shell: Shell, filed: Path) -> None:
    for owner in (ORGANISATION, OTHER):
        shell("lists", "add", "bestand", "--organisation", owner, "--file", str(filed))
    assert shell.refusal("lists", "remove", "bestand") == (
        "zegel: There are lists 'bestand' of 'Ander', 'Voorbeeld': name one with --organisation."
    )
    shell("lists", "remove", "bestand", "--organisation", OTHER)
    assert "Voorbeeld: of a file" in shell("lists", "show", "bestand")


def test_a_list_of_a_url_is_read_by_its_name_over_https(shell: Shell, running: Site) -> None:
    added = shell("lists", "add", "koepel", *OWNER, "--url", running.url())
    assert added == "Added koepel; it is read again every hour.\nkoepel: 2 domains.\n"
    assert "    streng.test tls1.3 dane\n" in shell("lists", "show", "koepel")
    running.answers["/lijst"] = gives(b"veilig.test\n")
    assert shell("lists", "refresh") == "koepel: 1 domain.\n"
    running.answers["/lijst"] = gives(b"")
    code, out, err = shell.run("lists", "refresh", "koepel")
    assert (code, out.count("The list is empty")) == (1, 1)
    assert err == ""
    assert "--may-be-empty is said of one list" in shell.refusal("lists", "refresh", "--may-be-empty")
    assert shell("lists", "refresh", "koepel", "--may-be-empty") == "koepel: 0 domains.\n"
    assert "Read it again with: zegel lists refresh" in shell.refusal(
        "lists", "read", "koepel", "--file", str(shell.config)
    )


def test_a_list_that_can_not_be_read_at_first_is_kept_and_told(shell: Shell, running: Site) -> None:
    code, out, _ = shell.run("lists", "add", "koepel", *OWNER, "--url", running.url("/nergens"))
    assert (code, out.splitlines()[-1]) == (1, "    The web server does not give the list. (HTTP 404)")
    assert "never read" in shell("lists", "show", "koepel")
    _, told, _ = shell.run("doctor")
    assert "BAD   list koepel of Voorbeeld: never read, no domain of it counts" in told
    assert "(HTTP 404) Try it with: zegel lists refresh 'koepel'" in told


def test_the_doctor_tells_of_lists_in_trouble_and_of_those_that_lapsed(shell: Shell, running: Site) -> None:
    shell("lists", "add", "koepel", *OWNER, "--url", running.url())
    assert "ok    list koepel of Voorbeeld: read on " in shell.run("doctor")[1]
    running.answers.clear()
    shell.run("lists", "refresh")
    assert "look  list koepel of Voorbeeld: last read on " in shell.run("doctor")[1]
    change(shell, "UPDATE accounts_directdeliverylist SET problem = '', tried_at = '2026-01-01 00:00:00'")
    assert "It was not tried lately: is dispatch running?" in shell.run("doctor")[1]
    change(shell, "UPDATE accounts_directdeliverylist SET read_at = '2026-01-01 00:00:00'")
    assert "BAD   list koepel of Voorbeeld: lapsed" in shell.run("doctor")[1]
    assert "LAPSED: it counts no more" in shell("lists", "show")


def test_without_the_settings_for_tests_no_address_inside_is_asked(shell: Shell, running: Site) -> None:
    shell("lists", "add", "koepel", *OWNER, "--url", running.url(host="127.0.0.1"))
    asked, before = len(running.asked), shell.config.read_text()
    shell.config.write_text(f'hostname = "zegel.test"\nfolder = "{shell.config.parent}/state"\n')
    try:
        code, out, _ = shell.run("lists", "refresh", "koepel")
    finally:
        shell.config.write_text(before)
    assert code == 1 and "The web server has no address on the internet" in out
    assert len(running.asked) == asked
