"""Signing in by an organisation's SAML provider: pySAML2's, well behaved, and with one thing wrong at a time."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from django.test import Client
from django.utils import timezone
from saml2.saml import NAMEID_FORMAT_TRANSIENT, NameID
from saml2.sigver import class_name, pre_signature_part, signed_instance_factory
from saml2.xmldsig import DIGEST_SHA1, DIGEST_SHA256, SIG_RSA_SHA1, SIG_RSA_SHA256

from tests.needs import needs
from tests.peers.saml import Saml, changed, identity_provider
from tests.web.conftest import SECRET, give_code
from tests.web.organisation_ground import DOMAIN, begins, browser, domain_of, is_signed_in, person, wanted
from zegel.accounts import providers, saml
from zegel.accounts.models import Account, IdentityProvider, Organisation
from zegel.accounts.sign_in import enrol_totp
from zegel.core.policy.identity import Kind, NotAProvider
from zegel.edge import chance

ADDRESS = f"balie@{DOMAIN}"
SUBJECT = "persoon-1"
REFEDS_MFA = "https://refeds.org/profile/mfa"
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    needs("xmlsec1")
    return _pair(tmp_path_factory.mktemp("idp"))


def _pair(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody signed, as such providers have."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp.voorbeeld.test")])
    now = timezone.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    one, other = folder / "idp.crt", folder / "idp.key"
    one.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    other.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return one, other


@pytest.fixture
def organisation(db: None) -> Organisation:
    made = Organisation.objects.create(name="Gemeente Voorbeeld")
    domain_of(made)
    return made


@pytest.fixture
def balie(organisation: Organisation) -> Account:
    account = person(organisation)
    enrol_totp(account, SECRET)
    return account


@pytest.fixture
def idp(pair: tuple[Path, Path], organisation: Organisation, tmp_path: Path) -> Iterator[Saml]:
    """Both sides know each other's metadata."""
    yield _acquainted(pair, organisation, tmp_path)


def _acquainted(pair: tuple[Path, Path], organisation: Organisation, folder: Path, **fields: Any) -> Saml:
    number = chance.identifier()
    blank = IdentityProvider(id=number, description=BLANK)
    one = identity_provider(folder / "idp", *pair, saml.metadata(blank).decode())
    given = wanted(one.metadata, kind=Kind.SAML, client_id="", **fields)
    providers.add(organisation, given, now=timezone.now(), number=number)
    return one


BLANK = {"entity_id": "https://x.test/", "sso_url": "https://x.test/", "certificates": [""]}


def _row() -> IdentityProvider:
    return IdentityProvider.objects.get()


def _posts(answer: str, row: IdentityProvider | None = None, **fields: str) -> tuple[Client, Any]:
    """Another site's page posts: the browser shows no session, and takes what it is given."""
    outside = Client()
    target = (row or _row()).pk
    return outside, outside.post(f"/account/organisation/{target}/saml/", {"SAMLResponse": answer, **fields})


def _comes_back(client: Client, answer: str) -> Any:
    outside, response = _posts(answer)
    if response.status_code != 302:
        return response
    for name, cookie in outside.cookies.items():
        client.cookies[name] = cookie.value
    return client.get(response.headers["Location"])


def _through(idp: Saml, client: Client, subject: str = SUBJECT, address: str = ADDRESS, **how: Any) -> Any:
    return _comes_back(client, idp.answers(begins(client), subject, address, **how))


# --- who doesn't come in -----------------------------------------------------------------------------------------


def _wrapped(answer: str) -> str:
    """The signed assertion is kept, and one that nobody signed comes before it."""
    text = base64.b64decode(answer).decode()
    start = text.index("<", text.index("Assertion ") - 8)
    end = text.index("Assertion>", start) + len("Assertion>")
    forged = text[start:end].replace(ADDRESS, f"directie@{DOMAIN}").replace(SUBJECT, "persoon-2")
    forged = forged.replace(' ID="', ' ID="x')
    cut = forged.index("<", forged.index("Signature ") - 8)
    forged = forged[:cut] + forged[forged.index("Signature>") + len("Signature>") :]
    return base64.b64encode((text[:start] + forged + text[start:]).encode()).decode()


WRONG: dict[str, Callable[[str], str]] = {
    "another address": lambda answer: changed(answer, f"balie@{DOMAIN}", f"directie@{DOMAIN}"),
    "another subject": lambda answer: changed(answer, SUBJECT, "persoon-2"),
    "another audience": lambda answer: changed(answer, "(<[^>]*Audience>)[^<]*", r"\g<1>https://ander.test"),
    "another destination": lambda answer: changed(answer, 'Destination="[^"]*"', 'Destination="https://ander.test/"'),
    "another issuer": lambda answer: changed(answer, "https://idp.voorbeeld.test/saml<", "https://ander.test<"),
    "another request": lambda answer: changed(answer, 'InResponseTo="[^"]*"', 'InResponseTo="id-other"'),
    "no request": lambda answer: changed(answer, ' InResponseTo="[^"]*"', ""),
    "no signature": lambda answer: changed(answer, "<[a-z0-9]+:Signature .*?</[a-z0-9]+:Signature>", ""),
    "an empty signature": lambda answer: changed(answer, "(SignatureValue>)[^<]*", r"\g<1>AAAA"),
    "a document type": lambda answer: changed(answer, r"(<\?xml[^>]*\?>)?(.*)", r"<!DOCTYPE x [<!ENTITY a 'b'>]>\2"),
    "a comment in the address": lambda answer: changed(answer, f"balie@{DOMAIN}", f"balie<!-- -->@{DOMAIN}x"),
    "a second assertion before it": _wrapped,
    "no XML": lambda answer: base64.b64encode(b"<Response").decode(),
    "no base64": lambda answer: "%%%",
    "nothing": lambda answer: "",
    "too much": lambda answer: answer + "A" * 300_000,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_with_something_wrong_signs_nobody_in(
    wrong: str, idp: Saml, balie: Account, organisation: Organisation
) -> None:
    enrol_totp(person(organisation, f"directie@{DOMAIN}", role="owner"), SECRET)
    client = browser()
    answer = idp.answers(begins(client), SUBJECT, ADDRESS)
    assert _comes_back(client, WRONG[wrong](answer)).status_code == 403
    assert not SocialAccount.objects.exists()
    assert _comes_back(client, answer).status_code == 302  # it was that, and nothing else


def _signed_without(idp: Saml, url: str, take_away: Callable[[Any], None], *, believed: str = "") -> str:
    """The provider signs the assertion, and something that it should say is not in it; around it, where nothing is
    signed, stands what is ``believed`` in its place."""
    how = {"sign_assertion": False, "in_response_to": idp.asked(url).id}
    said = idp.made(url, SUBJECT, ADDRESS, **how)
    take_away(said.assertion)
    said.assertion.signature = pre_signature_part(
        said.assertion.id, idp.server.sec.my_cert, 1, sign_alg=SIG_RSA_SHA256, digest_alg=DIGEST_SHA256
    )
    text = str(signed_instance_factory(said, idp.server.sec, [(class_name(said.assertion), said.assertion.id)]))
    return base64.b64encode(re.sub("(?=<[a-z0-9]+:Status>)", believed, text, count=1).encode()).decode()


def _no_audience(assertion: Any) -> None:
    assertion.conditions.audience_restriction = []


def _confirmed_without(name: str) -> Callable[[Any], None]:
    def taken(assertion: Any) -> None:
        setattr(assertion.subject.subject_confirmation[0].subject_confirmation_data, name, None)

    return taken


def _for_a_longer_address(assertion: Any) -> None:
    data = assertion.subject.subject_confirmation[0].subject_confirmation_data
    data.recipient = f"https://ander.test/?{data.recipient}"


def _aside(row: IdentityProvider) -> str:
    """What the schema lets anybody put into an answer."""
    return (
        '<p:Extensions xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol">'
        '<a:Conditions xmlns:a="urn:oasis:names:tc:SAML:2.0:assertion"><a:AudienceRestriction>'
        f"<a:Audience>{saml.entity_id(row)}</a:Audience></a:AudienceRestriction></a:Conditions></p:Extensions>"
    )


@pytest.mark.parametrize(
    "take_away",
    [
        _no_audience,
        _confirmed_without("in_response_to"),
        _confirmed_without("recipient"),
        _confirmed_without("not_on_or_after"),
        _for_a_longer_address,
    ],
)
def test_what_binds_an_answer_to_us_and_to_a_request_must_be_signed(
    take_away: Callable[[Any], None], idp: Saml, balie: Account
) -> None:
    """An assertion that was meant for no request, or for anybody, is worth nothing to who finds it, whatever they write
    around it (SAML 2.0 Profiles §4.1.4.2, §4.1.4.3)."""
    client = browser()
    aside = _aside(_row())
    assert _comes_back(client, _signed_without(idp, begins(client), take_away, believed=aside)).status_code == 403
    assert not SocialAccount.objects.exists()
    nothing = _signed_without(idp, begins(client), lambda _: None, believed=aside)
    assert _comes_back(client, nothing).status_code == 302  # it was that, and nothing else


def test_an_answer_of_another_provider_of_the_same_name_signs_nobody_in(
    idp: Saml, balie: Account, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    row = _row()
    impostor = identity_provider(tmp_path / "impostor", *_pair(tmp_path / "other"), saml.metadata(row).decode())
    client = browser()
    assert _comes_back(client, impostor.answers(begins(client), SUBJECT, ADDRESS)).status_code == 403
    assert not SocialAccount.objects.exists()


def test_an_answer_that_is_too_old_or_too_early_signs_nobody_in(idp: Saml, balie: Account) -> None:
    client = browser()
    url = begins(client)
    for lifetime in ({"minutes": -20},):
        idp.server.config.getattr("policy", "idp")._restrictions["default"]["lifetime"] = lifetime
        assert _comes_back(client, idp.answers(url, SUBJECT, ADDRESS)).status_code == 403
    idp.server.config.getattr("policy", "idp")._restrictions["default"]["lifetime"] = {"minutes": 5}
    assert _comes_back(client, idp.answers(url, SUBJECT, ADDRESS)).status_code == 302


@pytest.mark.parametrize(
    "how",
    [
        {"destination": "https://ander.test/"},
        {"sp_entity_id": "https://ander.test/metadata"},
        {"in_response_to": "id-of-another-request"},
        {"in_response_to": None},
        {"identity": {}},
        {"identity": {"mail": [f"balie@{DOMAIN}.ander.test"]}},
    ],
)
def test_an_answer_that_is_signed_and_meant_for_others_signs_nobody_in(
    how: dict[str, Any], idp: Saml, balie: Account
) -> None:
    client = browser()
    assert _through(idp, client, **how).status_code == 403
    assert not SocialAccount.objects.exists()
    assert _through(idp, client).status_code == 302


def test_a_signature_that_anybody_may_forge_some_day_is_none(idp: Saml, balie: Account) -> None:
    client = browser()
    assert _through(idp, client, sign_alg=SIG_RSA_SHA1).status_code == 403
    assert _through(idp, client, digest_alg=DIGEST_SHA1).status_code == 403
    assert _through(idp, client).status_code == 302


def test_an_unsigned_assertion_in_a_signed_answer_is_not_enough(idp: Saml, balie: Account) -> None:
    client = browser()
    assert _through(idp, client, sign_assertion=False, sign_response=True).status_code == 403
    assert not SocialAccount.objects.exists()


def test_an_answer_counts_once_and_in_the_browser_that_asked(idp: Saml, balie: Account) -> None:
    client, thief = browser(), browser()
    answer = idp.answers(begins(client), SUBJECT, ADDRESS)
    begins(thief)
    assert _comes_back(thief, answer).status_code == 403
    assert _comes_back(client, answer).status_code == 302
    assert _comes_back(client, answer).status_code == 403
    assert _comes_back(browser(), answer).status_code == 403


def test_what_the_browser_carries_between_the_pages_is_ours_and_of_now(
    idp: Saml, balie: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = browser()
    outside, response = _posts(idp.answers(begins(client), SUBJECT, ADDRESS))
    name, cookie = next(iter(outside.cookies.items()))
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
    assert ADDRESS not in cookie.value
    for value in ("", "x", cookie.value[:-4] + "AAAA", base64.urlsafe_b64encode(b"\1" + bytes(60)).decode()):
        client.cookies[name] = value
        assert client.get(response.headers["Location"]).status_code == 403
    client.cookies[name] = cookie.value
    late = timezone.now() + timedelta(seconds=121)
    with monkeypatch.context() as patch:
        patch.setattr("zegel.accounts.identity_pages.timezone.now", lambda: late)
        assert client.get(response.headers["Location"]).status_code == 403
    assert client.get(response.headers["Location"]).status_code == 302


def test_a_subject_that_is_another_each_time_is_none(idp: Saml, balie: Account) -> None:
    client = browser()
    transient = NameID(format=NAMEID_FORMAT_TRANSIENT, text="x")
    assert _through(idp, client, name_id=transient).status_code == 403


def test_an_address_of_another_domain_signs_nobody_in(idp: Saml, balie: Account) -> None:
    assert _through(idp, browser(), address="balie@ander.test").status_code == 403
    assert _through(idp, browser(), address=f"balie@sub.{DOMAIN}").status_code == 403
    assert _through(idp, browser(), address="balie").status_code == 403


def test_another_person_with_the_same_address_is_refused(idp: Saml, balie: Account) -> None:
    assert _through(idp, browser()).status_code == 302
    assert _through(idp, browser(), subject="persoon-2").status_code == 403


def test_guests_accounts_are_never_opened(idp: Saml) -> None:
    person(None)
    assert _through(idp, browser()).status_code == 403


def test_an_answer_for_one_provider_is_none_for_another(
    idp: Saml, pair: tuple[Path, Path], balie: Account, tmp_path: Path
) -> None:
    """Both are known by the same certificate, as where one service serves two organisations."""
    theirs = Organisation.objects.create(name="Ander ziekenhuis")
    domain_of(theirs, "ander.test")
    ours = _row()
    other = providers.add(
        theirs,
        wanted(idp.metadata, kind=Kind.SAML, client_id="", domains=(_domain("ander.test"),)),
        now=timezone.now(),
    )
    client = browser()
    answer = idp.answers(begins(client), SUBJECT, ADDRESS)
    assert _posts(answer, other)[1].status_code == 403
    assert _posts(answer, ours)[1].status_code == 302


def _domain(name: str) -> Any:
    from zegel.core.mail.address import Domain

    return Domain.parse(name)


# --- who does ----------------------------------------------------------------------------------------------------


def test_who_shows_one_factor_there_shows_ours_here(idp: Saml, balie: Account) -> None:
    client = browser()
    assert _through(idp, client).headers["Location"] == "/account/security/authenticate/"
    assert not is_signed_in(client)
    give_code(client)
    assert is_signed_in(client)
    assert SocialAccount.objects.get().extra_data == {}


def test_a_believed_second_factor_is_enough_and_asked_for(
    pair: tuple[Path, Path], organisation: Organisation, balie: Account, tmp_path: Path
) -> None:
    one = _acquainted(pair, organisation, tmp_path, factor_contexts=(REFEDS_MFA,))
    client = browser()
    url = begins(client)
    assert one.asked(url).requested_authn_context.authn_context_class_ref[0].text == REFEDS_MFA
    assert _comes_back(client, one.answers(url, SUBJECT, ADDRESS)).status_code == 302
    assert not is_signed_in(client)  # it showed a password
    authn = {"class_ref": REFEDS_MFA, "authn_auth": "x"}
    assert _through(one, client, authn=authn).status_code == 302
    assert is_signed_in(client)


def test_the_metadata_of_this_gateway_names_where_answers_are_taken(idp: Saml) -> None:
    row = _row()
    page = Client().get(f"/account/organisation/{row.pk}/saml/metadata/")
    assert page.headers["Content-Type"] == "application/samlmetadata+xml"
    assert saml.answer_url(row) in page.content.decode()
    assert saml.entity_id(row) in page.content.decode()


def test_the_visitor_goes_where_the_metadata_says(idp: Saml) -> None:
    url = urlsplit(begins(browser()))
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://idp.voorbeeld.test/saml/sso"
    assert set(parse_qs(url.query)) == {"SAMLRequest"}


# --- naming a provider -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "<EntityDescriptor",
        "<a/>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
        '<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://x.test"/>',
    ],
)
def test_metadata_that_says_nothing_is_not_taken(text: str, organisation: Organisation) -> None:
    with pytest.raises(NotAProvider):
        providers.add(organisation, wanted(text, kind=Kind.SAML, client_id=""), now=timezone.now())


def test_metadata_of_somebody_else_is_not_taken_later_either(idp: Saml, organisation: Organisation) -> None:
    row = _row()
    row.description["source"] = idp.metadata.replace('https://idp.voorbeeld.test/saml"', 'https://ander.test/saml"')
    with pytest.raises(NotAProvider):
        providers.refresh(row, now=timezone.now())
    assert _row().description["entity_id"] == "https://idp.voorbeeld.test/saml"


def test_metadata_with_a_sign_in_page_in_clear_is_not_taken(
    idp: Saml, organisation: Organisation, tmp_path: Path
) -> None:
    text = idp.metadata.replace("https://idp.voorbeeld.test/saml/sso", "http://idp.voorbeeld.test/saml/sso")
    _row().delete()
    with pytest.raises(NotAProvider):
        providers.add(organisation, wanted(text, kind=Kind.SAML, client_id=""), now=timezone.now())
