"""Sign-in services, from the command line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.test_submission_commands import ORGANISATION, Shell
from tests.needs import needs
from tests.peers.saml import identity_provider
from tests.web.test_organisation_saml import BLANK, pair
from zegel.accounts import saml
from zegel.accounts.models import IdentityProvider
from zegel.core.policy.identity import Unfit
from zegel.edge import chance

__all__ = ["pair"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    made("organisation", "add", ORGANISATION)
    return made


def test_what_is_no_provider_is_refused_in_one_sentence(shell: Shell, tmp_path: Path) -> None:
    add = ("provider", "add", "Medewerkers", "--organisation", ORGANISATION, "--issuer", "https://aanmelden.test")
    assert "is not a domain name" in shell.refusal(*add, "--domain", "x y")
    assert Unfit.NOT_IN_PLACE.en in shell.refusal(*add, "--domain", "voorbeeld.test", "--client-id", "zegel")
    assert "There is no organisation" in shell.refusal(*add[:4], "Niemand", *add[5:], "--domain", "voorbeeld.test")
    assert "There is no sign-in service" in shell.refusal("provider", "remove", "x", "--yes")
    assert shell("provider", "list") == ""


def test_one_is_added_listed_and_removed(shell: Shell, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    needs("xmlsec1")
    shell("domain", "add", "voorbeeld.test", "--organisation", ORGANISATION)
    with closing(sqlite3.connect(tmp_path / "state" / "zegel.sqlite3")) as database, database:
        database.execute("UPDATE accounts_sendingdomain SET in_place = 1")  # as a check that found its records does
    metadata = tmp_path / "idp.xml"
    ours = saml.metadata(IdentityProvider(id=chance.identifier(), description=BLANK)).decode()
    metadata.write_text(identity_provider(tmp_path / "idp", *pair, ours).metadata)
    number = shell(
        *("provider", "add", "Medewerkers", "--organisation", ORGANISATION, "--kind", "saml"),
        *("--issuer", f"@{metadata}", "--domain", "voorbeeld.test", "--required"),
    ).split()[0]
    listed = shell("provider", "list")
    assert f"{number}  saml  required  voorbeeld.test  last used never" in listed
    assert f"/account/organisation/{number}/saml/metadata/" in listed
    assert "Removed Medewerkers. 0 accounts" in shell("provider", "remove", number, "--yes")
    assert shell("provider", "list") == ""
