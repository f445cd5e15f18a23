"""A SAML 2.0 identity provider: pySAML2, which reads requests and signs answers. It may be made to answer wrongly."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from saml2 import BINDING_HTTP_REDIRECT
from saml2.authn_context import PASSWORD
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.saml import NAMEID_FORMAT_PERSISTENT, NameID
from saml2.server import Server
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

ENTITY: Final = "https://idp.voorbeeld.test/saml"
SSO: Final = "https://idp.voorbeeld.test/saml/sso"
MAIL: Final = "urn:oid:0.9.2342.19200300.100.1.3"


@dataclass
class Saml:
    """One provider, which knows the service whose metadata it was given."""

    server: Server
    settings: Mapping[str, Any]

    @property
    def metadata(self) -> str:
        """Of the provider."""
        config = IdPConfig().load({**self.settings, "metadata": {}})
        return str(entity_descriptor(config))

    def asked(self, url: str) -> Any:
        """The request that a browser brought."""
        request = parse_qs(urlsplit(url).query)["SAMLRequest"][0]
        return self.server.parse_authn_request(request, BINDING_HTTP_REDIRECT).message

    def answers(self, url: str, subject: str, address: str, **how: Any) -> str:
        """What the browser posts, once somebody signed in there; ``how`` goes to pySAML2."""
        return base64.b64encode(str(self.made(url, subject, address, **how)).encode()).decode()

    def made(self, url: str, subject: str, address: str, **how: Any) -> Any:
        """As pySAML2 makes it."""
        request = self.asked(url)
        given = {
            "identity": {"mail": [address]},
            "in_response_to": request.id,
            "destination": request.assertion_consumer_service_url,
            "sp_entity_id": request.issuer.text,
            "name_id": NameID(format=NAMEID_FORMAT_PERSISTENT, text=subject),
            "authn": {"class_ref": PASSWORD, "authn_auth": ENTITY},
            "sign_assertion": True,
            "sign_response": False,
            "sign_alg": SIG_RSA_SHA256,
            "digest_alg": DIGEST_SHA256,
            **how,
        }
        return self.server.create_authn_response(**given)


def identity_provider(folder: Path, certificate: Path, key: Path, service: str) -> Saml:
    """``service``: metadata of ours."""
    folder.mkdir(exist_ok=True)
    (folder / "service.xml").write_text(service)
    settings = {
        "entityid": ENTITY,
        "service": {
            "idp": {
                "endpoints": {"single_sign_on_service": [(SSO, BINDING_HTTP_REDIRECT)]},
                "name_id_format": [NAMEID_FORMAT_PERSISTENT],
                "policy": {"default": {"attribute_restrictions": None, "name_form": NAME_FORM}},
            }
        },
        "key_file": str(key),
        "cert_file": str(certificate),
        "metadata": {"local": [str(folder / "service.xml")]},
        "xmlsec_binary": "/usr/bin/xmlsec1",
    }
    return Saml(Server(config=IdPConfig().load(settings)), settings)


NAME_FORM: Final = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"


def changed(answer: str, pattern: str, by: str) -> str:
    """The answer with one thing in it replaced after it was signed."""
    text, times = re.subn(pattern, by, base64.b64decode(answer).decode(), flags=re.DOTALL)
    assert times, pattern
    return base64.b64encode(text.encode()).decode()
