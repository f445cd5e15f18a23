"""What holds for every page, whoever asks and however it ends."""

from __future__ import annotations

import io
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import override_settings
from django.urls import URLPattern, URLResolver, get_resolver, path

from tests.web.conftest import browser, give_password, signed_in
from zegel.accounts.models import Account
from zegel.web.application import application
from zegel.web.urls import handler500  # noqa: F401
from zegel.web.urls import urlpatterns as all_patterns

OPEN = ("/", "/account/sign-in/", "/join/", "/forgotten/", "/nowhere", "/console/", "/inbox/", "/m/abc")
SIGNED_IN = (
    "/console/",
    "/console/domains/",
    "/console/credentials/",
    "/console/credentials/0/",
    "/console/submission/",
    "/console/recipients/",
    "/console/recipients/direct-delivery/",
    "/console/recipients/direct-delivery/0/",
    "/console/recipients/minimums/",
    "/console/recipients/minimums/0/",
    "/console/verification/",
    "/console/verification/add/",
    "/console/verification/00000000-0000-7000-8000-000000000000/",
    "/console/messages/00000000-0000-7000-8000-000000000000/",
    "/account/security/",
    "/account/password/",
    "/account/sign-out/",
    "/account/sessions/",
    "/account/settings/",
    "/account/security/webauthn/",
    "/account/security/totp/activate/",
    "/account/security/totp/deactivate/",
    "/account/security/recovery-codes/",
    "/account/security/recovery-codes/generate/",
    "/account/security/webauthn/add/",
)


def is_guarded(response: Any) -> None:
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] in ("'self'", "'none'")
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["Referrer-Policy"] in ("same-origin", "no-referrer", "strict-origin")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in response.headers["Permissions-Policy"]
    for cookie in response.cookies.values():
        assert cookie.key.startswith("__Host-"), cookie.key
        assert cookie["secure"]
        assert cookie["httponly"]
        assert cookie["samesite"] in ("Lax", "Strict")
        assert cookie["path"] == "/"
        assert not cookie["domain"]


@pytest.mark.parametrize("address", OPEN)
def test_every_open_page_is_guarded(db: None, address: str) -> None:
    is_guarded(Client().get(address))


def test_every_page_of_an_administrator_is_guarded(administrator: Account) -> None:
    client = signed_in(administrator)
    for address in SIGNED_IN:
        is_guarded(client.get(address))
    is_guarded(client.post("/account/sign-out/"))


def test_what_is_refused_is_guarded_too(administrator: Account) -> None:
    is_guarded(give_password(Client(), administrator.email, "something else entirely"))
    is_guarded(Client(enforce_csrf_checks=True).post("/account/sign-in/", {}))
    is_guarded(Client().get("/", headers={"host": "elsewhere.example.org"}))
    is_guarded(Client().delete("/"))


@pytest.mark.parametrize(
    "address", ["/inbox/search", "/console/privacy/erase/", "/r/01234567-89ab-7cde-8f01-23456789abcd/answer"]
)
def test_who_loads_the_address_of_a_form_anew_reads_where_to_go(db: None, address: str) -> None:
    """As the form for the language does, on a page that answered one."""
    client = browser("en")
    answer = client.get(address)
    assert answer.status_code == 405 and answer.headers["Allow"] == "POST"
    is_guarded(answer)
    page = answer.content.decode()
    assert "There is nothing here" in page and 'href="/"' in page and 'name="next" value="/"' in page
    assert answer.cookies["__Host-csrf"], "or the form in it is refused"
    assert client.head(address).status_code == client.put(address).status_code == 405


@pytest.mark.parametrize("address", [*OPEN, "/account/security/authenticate/"])
def test_no_page_has_inline_script_or_style(db: None, address: str) -> None:
    body = Client().get(address).content.decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)(?![^>]*type=\"application/json\")", body)
    assert "<style" not in body
    assert not re.search(r"\s(style|on\w+)=", body)
    assert not re.search(r'(src|href|action)="(https?:)?//', body), "something is fetched from elsewhere"


@pytest.mark.parametrize("language", ["nl", "en"])
def test_every_page_says_its_language(db: None, language: str) -> None:
    for address in OPEN[:4]:
        assert f'<html lang="{language}">' in browser(language).get(address).content.decode()


def test_who_asks_for_another_language_reads_dutch(db: None) -> None:
    assert '<html lang="nl">' in browser("fr, de").get("/").content.decode()


def test_the_language_is_chosen_by_a_form_and_kept_in_a_cookie(db: None) -> None:
    client = browser("nl")
    answer = client.post("/language/", {"language": "en", "next": "/account/sign-in/"})
    assert answer.headers["Location"] == "/account/sign-in/"
    is_guarded(answer)
    assert '<html lang="en">' in client.get("/").content.decode()
    client.get("/language/?language=nl")
    assert '<html lang="en">' in client.get("/").content.decode()


@pytest.mark.parametrize("elsewhere", ["https://elsewhere.test/", "//elsewhere.test", "javascript:alert(1)"])
def test_no_form_leads_to_another_site(administrator: Account, elsewhere: str) -> None:
    answer = Client().post("/language/", {"language": "en", "next": elsewhere})
    assert answer.headers["Location"] == "/"
    client = Client()
    client.post("/account/sign-in/", {"login": administrator.email, "password": "x", "next": elsewhere})
    assert "elsewhere" not in signed_in(administrator).get("/account/sign-in/", {"next": elsewhere}).headers["Location"]


def test_a_file_is_refused_before_it_is_kept(db: None) -> None:
    folder = Path(tempfile.gettempdir())
    before = set(folder.iterdir())
    large = SimpleUploadedFile("x.bin", b"MARKER" * 800_000)
    answer = Client().post("/account/sign-in/", {"login": "x@example.org", "password": "x", "file": large})
    assert answer.status_code == 400
    is_guarded(answer)
    assert not {path for path in set(folder.iterdir()) - before if path.suffix == ".upload"}


def test_a_body_that_is_too_large_is_refused(db: None) -> None:
    answer = Client().post("/account/sign-in/", {"login": "x" * 5_100_000})
    assert answer.status_code == 400


def test_more_fields_than_any_form_has_are_refused(db: None) -> None:
    assert Client().post("/account/sign-in/", {f"f{number}": "" for number in range(201)}).status_code == 400


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "3"},
        {"CONTENT_LENGTH": ""},
        {},
    ],
)
def test_a_body_of_unknown_length_is_refused(environ: dict[str, str]) -> None:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/account/sign-in/", **environ}
    setup_testing_defaults(environ)
    started: list[str] = []

    def start_response(status: str, headers: object, cause: object = None) -> Callable[[bytes], object]:
        started.append(status)
        return len

    b"".join(application()({**environ, "wsgi.input": io.BytesIO(b"a=b")}, start_response))
    assert started == ["411 Length Required"]


def test_the_stylesheet_is_served_and_may_be_kept(db: None) -> None:
    answer = Client().get("/static/zegel.css")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/css")
    assert "no-store" not in answer.headers["Cache-Control"]
    assert not answer.cookies


def test_nothing_outside_the_static_folders_is_served(db: None) -> None:
    for address in (
        "/static/../settings.py",
        "/static/%2e%2e/settings.py",
        "/static//etc/passwd",
        "/static/zegel.css/",
    ):
        assert Client().get(address).status_code == 404


def _breaks(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the subject of a message")


urlpatterns = [*all_patterns, path("breaks/", _breaks)]


@pytest.fixture
def a_page_that_breaks() -> Iterator[str]:
    with override_settings(ROOT_URLCONF=__name__):
        yield "/breaks/"


def test_what_breaks_says_nothing_about_itself(
    db: None, a_page_that_breaks: str, capfd: pytest.CaptureFixture[str]
) -> None:
    client = Client()
    client.raise_request_exception = False
    answer = client.get(a_page_that_breaks)
    assert answer.status_code == 500
    is_guarded(answer)
    body = answer.content.decode()
    assert "Er ging bij ons iets mis" in body
    assert "Something went wrong" in body
    for word in ("RuntimeError", "subject", "Traceback", "breaks"):
        assert word not in body
    logged = "".join(capfd.readouterr())
    assert "RuntimeError" in logged
    assert "the subject of a message" not in logged


def test_no_library_logs_the_address_of_a_page(
    db: None, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        Client().get("/m/VerySecretToken")
        Client().get("/nowhere/VerySecretToken")
        Client(enforce_csrf_checks=True).post("/nowhere/VerySecretToken")
        Client().get("/nowhere/VerySecretToken", headers={"host": "elsewhere.example.org"})
    assert "VerySecretToken" not in "".join(capfd.readouterr())
    assert not [record for record in caplog.records if "VerySecretToken" in record.getMessage()]


@pytest.mark.parametrize(
    "address", ["/m/{}", "/m/{}/", "/M/{}", "/m/{}/x", "/m/{}%0D%0A", "/join/invited/{}/", "/x/{}"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_link_that_was_copied_badly_stands_in_no_page_and_no_referer(db: None, method: str, address: str) -> None:
    """Its secret is as good as ever, and whatever a page asks for next would tell it to whoever keeps a log."""
    answer = Client(enforce_csrf_checks=True).generic(method, address.format("VerySecretToken"))
    assert answer.status_code in (403, 404, 405)
    assert "VerySecretToken" not in answer.content.decode() + str(answer.headers)
    assert answer.headers["Referrer-Policy"] == "strict-origin" or not answer.content


def views_in(patterns: list[URLPattern | URLResolver]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from views_in(pattern.url_patterns)
        else:
            yield pattern.name or ""


def test_no_page_was_added_without_a_name() -> None:
    names = list(views_in(get_resolver(settings.ROOT_URLCONF).url_patterns))
    assert all(names)
    assert "account_signup" not in names
    assert "account_reset_password_from_key" not in names
