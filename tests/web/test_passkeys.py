"""A passkey in the place of a password is two factors: the key, and its owner's finger, face or PIN. A key alone, which
can be found or taken, signs nobody in."""

from __future__ import annotations

import hashlib
import html
import json
import re
import time
from dataclasses import dataclass, field
from typing import Final

import pytest
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

from tests.web.conftest import PASSWORD, browser, give_password
from zegel.accounts.models import Account
from zegel.edge import chance

SIGN_IN: Final = "/account/security/webauthn/login/"
SECOND_STEP: Final = "/account/security/authenticate/"
SITE: Final = "testserver"
LOGIN_TIMEOUT: Final = 15 * 60  # seconds that a sign-in waits for its second step


@dataclass
class SecurityKey:
    """One that answers to a touch, and asks its owner for more only where ``verifies``."""

    account: Account
    verifies: bool = False
    id: bytes = field(default_factory=lambda: chance.octets(16))

    def __post_init__(self) -> None:
        """Registers it, as a second step."""
        self._private = ec.generate_private_key(ec.SECP256R1())
        public = ES256.from_cryptography_key(self._private.public_key())  # type: ignore[no-untyped-call]
        made = AttestedCredentialData.create(bytes(16), self.id, public)
        said = CollectedClientData.create("webauthn.create", chance.octets(32), f"https://{SITE}")
        shown = AttestationObject.create("none", self._seen(AuthenticatorData.FLAG.AT, made), {})
        credential = self._answer(clientDataJSON=bytes(said), attestationObject=bytes(shown))
        data = {"name": "key", "credential": credential}
        Authenticator.objects.create(user=self.account, type=Authenticator.Type.WEBAUTHN, data=data)

    def touched(self, challenge: str) -> dict[str, str]:
        """The form that a browser sends."""
        said = CollectedClientData.create("webauthn.get", websafe_decode(challenge), f"https://{SITE}")
        seen = self._seen(AuthenticatorData.FLAG(0))
        answer = self._answer(
            clientDataJSON=bytes(said),
            authenticatorData=bytes(seen),
            signature=self._private.sign(bytes(seen) + said.hash, ec.ECDSA(hashes.SHA256())),
            userHandle=user_pk_to_url_str(self.account).encode(),
        )
        return {"credential": json.dumps(answer)}

    def _seen(self, flags: AuthenticatorData.FLAG, made: AttestedCredentialData | bytes = b"") -> AuthenticatorData:
        flags |= AuthenticatorData.FLAG.UP
        if self.verifies:
            flags |= AuthenticatorData.FLAG.UV
        seen: AuthenticatorData = AuthenticatorData.create(hashlib.sha256(SITE.encode()).digest(), flags, 1, made)
        return seen

    def _answer(self, **parts: bytes) -> dict[str, object]:
        return {
            "id": websafe_encode(self.id),
            "rawId": websafe_encode(self.id),
            "type": "public-key",
            "response": {name: websafe_encode(octets) for name, octets in parts.items()},
            "clientExtensionResults": {},
        }


def challenge_at_the_door(client: Client) -> str:
    answer = client.get(SIGN_IN, headers={"x-requested-with": "XMLHttpRequest"}, secure=True)
    return str(answer.json()["request_options"]["publicKey"]["challenge"])


def challenge_of_the_second_step(client: Client) -> str:
    page = html.unescape(client.get(SECOND_STEP, secure=True).content.decode())
    found = re.search(r'"challenge": "([^"]+)"', page)
    assert found is not None
    return found[1]


def is_in(client: Client) -> bool:
    return bool(client.get("/console/", secure=True).status_code == 200)


@pytest.mark.parametrize("verifies", [True, False])
def test_a_key_signs_in_alone_only_where_it_knows_its_owner(administrator: Account, verifies: bool) -> None:
    client, key = browser(), SecurityKey(administrator, verifies=verifies)
    client.post(SIGN_IN, key.touched(challenge_at_the_door(client)), secure=True)
    assert is_in(client) is verifies


def test_a_question_of_somebody_elses_second_step_does_not_make_a_touch_enough(
    administrator: Account, newcomer: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has a stolen key and an account here, such as any guest can make: the question that is asked at the second
    step of one's own sign-in doesn't demand the owner. It outlives that sign-in in the session."""
    stolen, _own = SecurityKey(administrator), SecurityKey(newcomer)
    client = browser()
    client.post("/account/sign-in/", {"login": newcomer.email, "password": PASSWORD}, secure=True)
    challenge = challenge_of_the_second_step(client)
    later = time.time() + LOGIN_TIMEOUT + 1
    monkeypatch.setattr(time, "time", lambda: later)
    answer = client.post(SIGN_IN, stolen.touched(challenge), secure=True)
    assert answer.headers["Location"] == "/account/sign-in/"
    assert not is_in(client)


def test_an_answer_of_a_key_is_good_once(administrator: Account) -> None:
    client, key = browser(), SecurityKey(administrator, verifies=True)
    form = key.touched(challenge_at_the_door(client))
    client.post(SIGN_IN, form, secure=True)
    assert is_in(client)
    client.post("/account/sign-out/", secure=True)
    client.post(SIGN_IN, form, secure=True)
    assert not is_in(client)
    challenge_at_the_door(client)
    client.post(SIGN_IN, form, secure=True)
    assert not is_in(client)


def test_as_the_second_step_a_touch_is_enough(administrator: Account) -> None:
    client, key = browser(), SecurityKey(administrator)
    give_password(client, administrator.email)
    client.post(SECOND_STEP, key.touched(challenge_of_the_second_step(client)), secure=True)
    assert is_in(client)
