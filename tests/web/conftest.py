"""Organisations, their people, and a browser that signs in like one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.http import HttpResponseBase
from django.test import Client

from zegel.accounts.models import Account, Organisation
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.core.secret import Secret

PASSWORD = "an umbrella on the roof"
SECRET = Secret("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")

SignIn = Callable[..., Client]


@pytest.fixture
def organisation(db: None) -> Organisation:
    return Organisation.objects.create(name="Gemeente Voorbeeld")


@pytest.fixture
def administrator(organisation: Organisation) -> Account:
    account = Account.objects.create_user(
        "beheer@voorbeeld.test", PASSWORD, organisation=organisation, is_administrator=True
    )
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
    account.is_administrator = True
    account.save()
    enrol_totp(account, SECRET)
    return account


def give_password(client: Client, address: str, password: str = PASSWORD) -> HttpResponseBase:
    return client.post("/account/sign-in/", {"login": address, "password": password})


def give_code(client: Client, code: str | None = None) -> HttpResponseBase:
    return client.post("/account/security/authenticate/", {"code": code or current_totp(SECRET)})


def signed_in(account: Account, **extra: str) -> Client:
    """A browser of this account, through both steps."""
    client = Client(**extra)  # type: ignore[arg-type]
    give_password(client, account.email)
    assert give_code(client).status_code == 302
    return client
