"""An organisation, a stranger's organisation, and browsers that go to a provider and come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from django.test import Client

from tests.web.conftest import browser
from zegel.accounts import providers
from zegel.accounts.models import Account, IdentityProvider, Organisation, SendingDomain
from zegel.core.mail.address import Domain
from zegel.core.policy.identity import Kind
from zegel.core.secret import Secret

DOMAIN: Final = "voorbeeld.test"


def domain_of(organisation: Organisation, name: str = DOMAIN, *, in_place: bool = True) -> SendingDomain:
    return SendingDomain.objects.create(
        organisation=organisation, name=name, ownership_token="t", dkim_key=b"", dkim_record="", in_place=in_place
    )


def wanted(issuer: str, **fields: Any) -> providers.Wanted:
    return providers.Wanted(
        **{
            "kind": Kind.OIDC,
            "name": "Medewerkers",
            "issuer": issuer,
            "domains": (Domain.parse(DOMAIN),),
            "client_id": "zegel",
            "secret": Secret("a secret of the client"),
            **fields,
        }
    )


def person(organisation: Organisation | None, address: str = f"balie@{DOMAIN}", **fields: Any) -> Account:
    return Account.objects.create_user(address, None, organisation=organisation, **fields)


def begins(client: Client, address: str = f"balie@{DOMAIN}", **fields: str) -> str:
    """Where the page leads, after an address was filled in."""
    page = client.post("/account/organisation/", {"email": address, **fields})
    assert page.status_code == 200
    return str(page.context["url"])


def returns(client: Client, url: str) -> Any:
    """The browser follows the provider back to us."""
    parts = urlsplit(url)
    return client.get(f"{parts.path}?{parts.query}")


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def trusts(settings: Any, authority: Path) -> None:
    """The gateway knows the authority of these tests, and reaches loopback."""
    delivery = settings.ZEGEL.delivery.model_copy(update={"extra_ca": authority})
    settings.ZEGEL = settings.ZEGEL.model_copy(update={"delivery": delivery, "testing": True})


__all__ = ["DOMAIN", "IdentityProvider", "browser"]
