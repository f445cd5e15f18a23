"""Organisations, their people, and a browser that signs in like one of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from zegel.accounts.models import Account, Organisation
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.core.secret import Secret

PASSWORD = "an umbrella on the roof"
SECRET = Secret("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")


@pytest.fixture
def organisation(db: None) -> Organisation:
    return Organisation.objects.create(name="Gemeente Voorbeeld")


@pytest.fixture
def administrator(organisation: Organisation) -> Account:
    account = Account.objects.create_user("beheer@voorbeeld.test", PASSWORD, organisation=organisation, role="owner")
    enrol_totp(account, SECRET)
    return account


@pytest.fixture
def newcomer(organisation: Organisation) -> Account:
    """Has a password and no second factor yet."""
    return Account.objects.create_user("balie@voorbeeld.test", PASSWORD, organisation=organisation)


@pytest.fixture
def other_administrator(db: None) -> Account:
    organisation = Organisation.objects.create(name="Ander ziekenhuis")
    account = Account.objects.create_user("beheer@ander.test", PASSWORD, organisation=organisation)
    account.role = "owner"
    account.save()
    enrol_totp(account, SECRET)
    return account


def browser(language: str = "nl") -> Client:
    """Somebody who reads this language, and whom nobody knows."""
    return Client(headers={"accept-language": language})


def give_password(client: Client, address: str, password: str = PASSWORD) -> Any:
    return client.post("/account/sign-in/", {"login": address, "password": password})


def give_code(client: Client, code: str | None = None) -> Any:
    return client.post("/account/security/authenticate/", {"code": code or current_totp(SECRET)})


def signed_in(account: Account, language: str = "nl") -> Client:
    """A browser of this account, through both steps."""
    client = browser(language)
    give_password(client, account.email)
    assert give_code(client).status_code == 302
    return client
