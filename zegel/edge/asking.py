"""The HTTP of a library (requests), carried by :mod:`zegel.edge.fetch`: HTTPS alone, to servers that may be asked, in
time, of a bounded size, without redirects, proxies or cookies of anybody else."""

from __future__ import annotations

from typing import Any, Final

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from zegel.edge.fetch import Exchanged, Failed, Fetcher
from zegel.settings import Settings

MOST: Final = 1_000_000  # octets of an answer
WITHIN: Final = 10.0  # seconds for one request: somebody waits for it


class NotAsked(requests.RequestException):
    """There is no answer. The text is a fixed sentence."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.why.en)
        self.failed = failed


class _Carried(BaseAdapter):
    def __init__(self, fetcher: Fetcher) -> None:
        super().__init__()
        self._fetcher = fetcher

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Raises :class:`NotAsked`."""
        body = request.body.encode() if isinstance(request.body, str) else request.body
        assert body is None or isinstance(body, bytes)  # nothing that is asked here is a file
        headers = {str(name): str(value) for name, value in request.headers.items()}
        headers["Accept-Encoding"] = "identity"
        found = self._fetcher.exchange(request.method or "GET", request.url or "", headers=headers, body=body)
        if isinstance(found, Failed):
            raise NotAsked(found)
        return _response(request, found)

    def close(self) -> None:
        """Nothing stays open."""


def session(settings: Settings) -> requests.Session:
    """For asking an identity provider that an administrator named."""
    private = settings.testing or settings.portal.private_identity_providers
    fetcher = Fetcher.of(settings, most=MOST, within=WITHIN, reaches_private=private)
    made = requests.Session()
    made.trust_env, made.max_redirects = False, 0
    made.adapters.clear()
    made.mount("https://", _Carried(fetcher))
    return made


def _response(request: requests.PreparedRequest, found: Exchanged) -> requests.Response:
    response = requests.Response()
    response.status_code, response.request, response.url = found.status, request, request.url or ""
    response.headers = CaseInsensitiveDict(found.headers)
    response.encoding = "utf-8"
    response._content = found.octets
    return response
