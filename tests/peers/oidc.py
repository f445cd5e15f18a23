"""An OpenID provider on loopback over HTTPS: oidc-provider-mock, which is built on Authlib. It may be made to say
something that it shouldn't; all else stays its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import flask
import jwt
import requests
import werkzeug.serving
from oidc_provider_mock._app import app as provider_app

TOKEN: Final = "/oauth2/token"


@dataclass
class Oidc:
    """Where it is, what its clients asked for tokens with, and what is wrong with what it says."""

    issuer: str
    key: Any  # the JSON Web Key that it signs with, whole
    authority: Path
    asked: list[dict[str, str]] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)
    claims: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # signed anew with its own key
    token: Callable[[str], str] | None = None  # the ID token, as it is handed over
    documents: dict[str, bytes] = field(default_factory=dict)  # by path, in the place of its own

    def knows(self, subject: str, **claims: Any) -> None:
        """Somebody who may sign in there."""
        answer = requests.put(f"{self.issuer}/users/{subject}", json=claims, verify=str(self.authority), timeout=20)
        answer.raise_for_status()

    def consents(self, url: str, subject: str) -> str:
        """Somebody signs in there; where their browser is sent."""
        answer = requests.post(
            url, data={"sub": subject}, verify=str(self.authority), allow_redirects=False, timeout=20
        )
        assert answer.status_code == 302, answer.text
        return str(answer.headers["Location"])

    def denies(self, url: str) -> str:
        """They think better of it."""
        answer = requests.post(
            url, data={"action": "deny"}, verify=str(self.authority), allow_redirects=False, timeout=20
        )
        return str(answer.headers["Location"])

    def signed(self, claims: Mapping[str, Any], *, key: Any = None, algorithm: str = "RS256", **header: Any) -> str:
        """With its own key, unless another is given."""
        own = jwt.PyJWK(self.key.as_dict(is_private=True), algorithm="RS256")
        kid = self.key.as_dict().get("kid")
        return jwt.encode(dict(claims), key or own.key, algorithm, headers={"kid": kid, **header})


@contextmanager
def oidc_provider(chain: Path, key: Path, authority: Path) -> Iterator[Oidc]:
    """Runs until the block is left."""
    application = provider_app(issue_refresh_token=False)
    application.debug = False
    with application.test_request_context("/"):
        application.preprocess_request()
        own = flask.g.oidc_provider_mock_storage.jwk
    made: list[Oidc] = []
    wsgi = application.wsgi_app

    def twisted(environ: dict[str, Any], start: Any) -> Any:
        one, path = made[0], environ["PATH_INFO"]
        one.reached.append(path)
        if path in one.documents:
            return werkzeug.Response(one.documents[path], content_type="application/json")(environ, start)
        if path != TOKEN:
            return wsgi(environ, start)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        one.asked.append({**dict(parse_qsl(body.decode())), "authorization": environ.get("HTTP_AUTHORIZATION", "")})
        answer = werkzeug.Response.from_app(wsgi, environ)
        if answer.status_code == 200:
            said = json.loads(answer.get_data())
            claims = jwt.decode(said["id_token"], options={"verify_signature": False})
            if one.claims is not None:
                said["id_token"] = one.signed(one.claims(claims))
            if one.token is not None:
                said["id_token"] = one.token(said["id_token"])
            answer.set_data(json.dumps(said))
        return answer(environ, start)

    application.wsgi_app = twisted
    server = werkzeug.serving.make_server(
        "127.0.0.1", 0, application, threaded=True, ssl_context=(str(chain), str(key))
    )
    made.append(Oidc(f"https://127.0.0.1:{server.server_port}", own, authority))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made[0]
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


__all__ = ["Oidc", "oidc_provider", "query_of"]
