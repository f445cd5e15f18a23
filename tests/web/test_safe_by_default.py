"""Safe by default: every route, whoever asks (P13, P14, P19, P20). What a new route must hold is found here first."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from http import HTTPStatus
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults

import pytest
from django.apps import AppConfig, apps
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import override_settings
from django.urls import reverse
from django.utils import timezone

from tests.journey.portal_ground import Ground
from tests.web.whole_site import (
    TAKES,
    VISITORS,
    House,
    Route,
    Takes,
    author,
    beside,
    changed,
    files,
    house,
    nothing,
    octets,
    proven_guest,
    routes,
    rows,
    whole_ground,
    without,
)
from zegel.accounts.credentials import API
from zegel.accounts.models import AccountSession, SignInFailure
from zegel.journey.portal import reading
from zegel.web.application import application
from zegel.web.settings import ZEGEL

pytestmark = pytest.mark.django_db

SAFE: Final = ("GET", "HEAD", "OPTIONS")
OTHER: Final = ("PUT", "PATCH", "DELETE", "TRACE")
TO_SIGN_IN: Final = re.compile(r"/account/sign-in/\?next=")
TO_OPENING: Final = re.compile(r"/r/[0-9a-f-]{36}/(\?to=devices)?$")

# What a safe method may leave behind, by table, and why. Nothing else changes, in any table.
READING: Final = {
    "custody_recipient": "opened: the sender is told when somebody who proved to be the recipient reads (product §6)",
    "custody_verificationdata": "the number that opened a message is remembered for later ones (rows 5 and 6)",
    "custody_webhookrequest": "that it was opened is told to the organisation's programs too",
}
SET_UP: Final = {
    "django_session": "the secret or challenge that the page shows, in the session of who asked for it",
}
SEEN: Final = {"mfa_authenticator": "that the owner saw the recovery codes, once; nothing here depends on it"}
COUNTED: Final = {"accounts_signinfailure": "that somebody came without a token; five are no guessing yet"}
MAY_CHANGE: Final = {
    **{name: COUNTED for name in TAKES if name.startswith(("api:", "scim:"))},
    "mfa_view_recovery_codes": SEEN,
    "mfa_download_recovery_codes": SEEN,
    "mfa_activate_totp": SET_UP,
    "mfa_add_webauthn": SET_UP,
    "mfa_login_webauthn": SET_UP,
    "mfa_reauthenticate_webauthn": SET_UP,
    **{
        f"portal:{who}-{page}": READING
        for who in ("guest", "inbox")
        for page in ("read", "body", "part", "source", "view", "picture", "archive", "pdf", "words", "all-words")
    },
}
LEAVES: Final = {name: ("GET",) if tables is READING else ("GET", "HEAD") for name, tables in MAY_CHANGE.items()}

MAY_BE_KEPT: Final = {
    "look_sheet": "a style sheet that follows from its name, and tells of nobody",
    "look_logo": "an organisation's logo, which anybody may see; its name changes with it",
}
NO_SECRET: Final = {
    "identity_saml_metadata": "what a sign-in service must read of this gateway, by an address that only it was given",
}
FRAMES: Final = {"portal:guest-body", "portal:inbox-body", "portal:guest-images", "portal:inbox-images"}


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return whole_ground(tmp_path)


@pytest.fixture
def here(ground: Ground) -> House:
    return house(ground, "Gemeente Voorbeeld", "gemeente.test")


def ask(client: Client, method: str, address: str) -> Any:
    return client.generic(method, address, b"" if method in SAFE else b"a=b", "application/x-www-form-urlencoded")


def is_page(response: Any) -> bool:
    return bool(response.get("Content-Type", "").startswith("text/html"))


def test_every_route_says_what_it_takes() -> None:
    assert {one.name for one in routes()} == set(TAKES)
    assert len(routes()) == len(TAKES), "two routes have one name"


# Headers and cookies


def directives(policy: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for part in policy.split(";") if (words := part.split())}


def faults(route: Route, response: Any) -> Iterator[str]:
    """What a browser could do with the answer that it may not."""
    policy = response.headers["Content-Security-Policy"]
    yield from _faults_of_policy(route, response, policy)
    wanted = {
        "X-Content-Type-Options": {"nosniff"},
        "Referrer-Policy": {"same-origin", "no-referrer", "strict-origin"},
        "Cross-Origin-Opener-Policy": {"same-origin"},
        "Cross-Origin-Resource-Policy": {"same-origin"},
        "Cache-Control": {"no-store"},
        "X-Frame-Options": {"DENY"} if policy not in (reading.POLICY, reading.POLICY_WITH_IMAGES) else {"SAMEORIGIN"},
    }
    if route.name in MAY_BE_KEPT and response.status_code == HTTPStatus.OK:
        del wanted["Cache-Control"]
        if response.cookies or is_page(response):
            yield "what everybody may keep is for somebody"
    for name, values in wanted.items():
        found = response.get(name, "")
        if found not in values and not (name == "Cache-Control" and "no-store" in found):
            yield f"{name}: {found}"
    if "camera=()" not in response.get("Permissions-Policy", ""):
        yield "Permissions-Policy"
    if "Access-Control-Allow-Origin" in response.headers:
        yield "another site may read it"
    for cookie in response.cookies.values():
        flags = (cookie["secure"], cookie["httponly"], cookie["samesite"] in ("Lax", "Strict"), cookie["path"] == "/")
        if not cookie.key.startswith("__Host-") or not all(flags) or cookie["domain"]:
            yield f"cookie {cookie.key}"
        if len(cookie.key) + len(cookie.value) > 4096:
            yield f"cookie {cookie.key} is too large to be kept"


def _faults_of_policy(route: Route, response: Any, policy: str) -> Iterator[str]:
    found = directives(policy)
    if found.get("default-src") != ["'none'"]:
        yield f"default-src in {policy}"
    if policy in (reading.POLICY, reading.POLICY_WITH_IMAGES):
        # The one exception: a frame without an origin, whose words are a stranger's.
        if route.name not in FRAMES or any(
            word.endswith(("scripts", "same-origin", "forms")) for word in found["sandbox"]
        ):
            yield f"the policy of a frame: {policy}"
        return
    if policy == reading.PDF_POLICY:
        if response["Content-Type"] != "application/pdf":
            yield "the policy of the browser's viewer"
        return
    if any(
        word == "*" or word.startswith(("'unsafe", "http", "blob", "*.")) for words in found.values() for word in words
    ):
        yield f"a wide source in {policy}"
    if any("data:" in words for name, words in found.items() if name != "img-src"):
        yield f"data: in {policy}"
    if found.get("frame-ancestors") != ["'none'"]:
        yield f"frame-ancestors in {policy}"
    if found.get("sandbox") == [] and not is_page(response):
        return  # a file: no origin, no forms, no scripts
    for name in ("object-src", "base-uri"):
        if found.get(name) != ["'none'"]:
            yield f"{name} in {policy}"
    if found.get("form-action") not in (["'self'"], ["'none'"]):
        yield f"form-action in {policy}"


def enforced(client: Client) -> Client:
    """The same browser, whose forms are checked as in production."""
    same = Client(enforce_csrf_checks=True, HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE="en")
    same.cookies = SimpleCookie(client.cookies)
    return same


@pytest.mark.parametrize("who", VISITORS)
def test_every_answer_tells_the_browser_what_it_may_not_do(ground: Ground, here: House, who: str) -> None:
    client = enforced(VISITORS[who](ground, here))
    for route in routes():
        for method in ("GET", "POST", "PUT"):
            response = ask(client, method, here.address(route))
            assert not list(faults(route, response)), (route.name, method, response.status_code)
            assert response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, (route.name, method)


def test_what_may_be_kept_is_guarded_as_well(db: None) -> None:
    for name in ("zegel.css", "portal.css"):
        response = Client().get(f"/static/{name}")
        if response.status_code == HTTPStatus.OK:
            found = directives(response.headers["Content-Security-Policy"])
            assert found["frame-ancestors"] == found["object-src"] == ["'none'"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "Access-Control-Allow-Origin" not in response.headers and not response.cookies
    assert Client().get("/static/zegel.css").status_code == HTTPStatus.OK


@pytest.mark.parametrize("address", ["/", "/static/zegel.css", "/nowhere", "/api/v1/openapi.json", "/static/nowhere"])
def test_where_there_is_tls_there_is_nothing_else(db: None, address: str) -> None:
    assert "Strict-Transport-Security" not in Client().get(address).headers, "a test host would be shut for a year"
    https = ZEGEL.model_copy(update={"portal": ZEGEL.portal.model_copy(update={"url": "https://localhost"})})
    with override_settings(ZEGEL=https):
        said = Client().get(address).headers["Strict-Transport-Security"]
        elsewhere = Client().get(address, headers={"host": "elsewhere.test"}).headers["Strict-Transport-Security"]
        refused = refused_by_the_server()
    assert said == elsewhere == refused["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"


def refused_by_the_server() -> dict[str, str]:
    """Headers of what is answered before Django sees the request: a body of unknown length."""
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/account/sign-in/"}
    setup_testing_defaults(environ)
    told: dict[str, str] = {}

    def start_response(status: str, headers: list[tuple[str, str]], cause: object = None) -> Callable[[bytes], object]:
        told.update(headers)
        return len

    b"".join(application()({**environ, "wsgi.input": io.BytesIO(b"a=b")}, start_response))
    return told


def test_what_the_server_itself_refuses_is_guarded_too(db: None) -> None:
    told = refused_by_the_server()
    found = directives(told["Content-Security-Policy"])
    assert found["default-src"] == found["object-src"] == found["base-uri"] == found["frame-ancestors"] == ["'none'"]
    assert told["Cache-Control"] == "no-store" and told["X-Content-Type-Options"] == "nosniff"
    assert told["Cross-Origin-Resource-Policy"] == "same-origin" and "Strict-Transport-Security" not in told


def status_of(environ: dict[str, Any]) -> str:
    told: list[str] = []
    setup_testing_defaults(environ)

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
        told.append(status)
        return len

    b"".join(application()(environ, start_response))
    return told[0]


@pytest.mark.parametrize("parameter", ["charset=hex", "charset=undefined", "CHARSET = 'x'; charset*=utf-8''punycode"])
@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=b"])
def test_a_charset_that_is_none_of_text_breaks_no_page(db: None, kind: str, parameter: str) -> None:
    environ = {"CONTENT_TYPE": f"{kind}; {parameter}", "QUERY_STRING": "a=b", "PATH_INFO": "/"}
    assert not status_of(environ).startswith("5")


def test_a_parameter_in_an_encoding_that_is_none_breaks_no_page(db: None) -> None:
    assert not status_of({"CONTENT_TYPE": "text/plain; a*=hex'en'%41", "PATH_INFO": "/"}).startswith("5")


# Nothing changes by looking


@pytest.mark.parametrize("who", VISITORS)
def test_no_safe_method_changes_anything(ground: Ground, here: House, who: str) -> None:
    client = VISITORS[who](ground, here)
    has_read = False
    ground.rings.clear()
    kept, before = files(ground.folder), rows()
    for route in routes():
        for method in ("HEAD", "OPTIONS", "GET"):
            octets(ask(client, method, here.address(route)), {})
            after = rows()
            found, before = changed(before, after), after
            allowed = set(MAY_CHANGE.get(route.name, ())) if method in LEAVES.get(route.name, ()) else set()
            if found and MAY_CHANGE.get(route.name) is READING:
                assert not has_read, (route.name, method, "the first reading is noted once")
                has_read = True
            assert found <= allowed, (route.name, method, found - allowed)
    assert ground.rings == [], "somebody was woken"
    assert files(ground.folder) == kept
    assert has_read == (who in ("proven guest", "reader")), "who reads is noted, and nobody else"


def test_a_session_and_a_proof_that_are_used_later_are_noted_and_nothing_else(ground: Ground, here: House) -> None:
    used = {"django_session", "accounts_accountsession"}
    client = author(ground, here)
    session = client.session
    session["seen"] -= 120
    session.save()
    AccountSession.objects.update(seen_at=timezone.now() - timedelta(minutes=6))
    before = rows()
    client.get("/inbox/")
    assert changed(before, rows()) == used
    before = rows()
    client.get("/inbox/")
    assert changed(before, rows()) == set()
    client = proven_guest(ground, here)
    client.get(reverse("portal:guest-read", kwargs={"recipient": here.guest.id}))
    ground.clock.forward(minutes=2)
    before = rows()
    client.get(reverse("portal:guest-read", kwargs={"recipient": here.guest.id}))
    assert changed(before, rows()) == {"custody_proof"}


# Forms


TAKES_FILES: Final = {
    "portal:guest-answer",
    "portal:inbox-answer",
    "console:list_add_file",
    "console:list_read",
    "console:look",
    "console:verification_import",
}


@pytest.mark.parametrize("who", VISITORS)
def test_no_form_is_taken_without_its_token(ground: Ground, here: House, who: str) -> None:
    client = enforced(VISITORS[who](ground, here))
    before, kept = rows(), files(ground.folder)
    for route in routes():
        response = ask(client, "POST", here.address(route))
        if "no form" in route.takes.value:
            is_signed = route.name == "identity_saml"  # posted by another site: its signature is looked at instead
            assert response.status_code in (401, 404, 405) or (is_signed and response.status_code == 403), route.name
        elif route.name in TAKES_FILES and response.status_code != HTTPStatus.FORBIDDEN:
            # Checked once it is known how its files are taken: who has no business there is turned away before.
            assert response.status_code in (302, 303, 404), (route.name, response.status_code)
        else:
            assert response.status_code == HTTPStatus.FORBIDDEN, (route.name, response.status_code)
        is_counted = route.name.startswith(("api:", "scim:", "identity_saml"))
        found = changed(before, rows()) - ({"accounts_signinfailure"} if is_counted else set())
        SignInFailure.objects.all().delete()  # or the next ones would be told to wait, and not that they need a token
        assert not found, (route.name, found)
        before = rows()
    assert files(ground.folder) == kept


@pytest.mark.parametrize("token", ["", "x", "A" * 32, "A" * 64])
def test_a_token_that_was_made_up_is_none(db: None, token: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/account/sign-in/")
    answer = client.post("/language/", {"language": "en", "csrfmiddlewaretoken": token})
    assert answer.status_code == HTTPStatus.FORBIDDEN
    client = Client(enforce_csrf_checks=True)
    made = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/account/sign-in/").content.decode())
    assert made is not None
    answer = client.post("/language/", {"language": "en", "csrfmiddlewaretoken": made[1]})
    assert answer.status_code == HTTPStatus.FOUND, "a token of our own is taken"
    answer = client.post(
        "/language/",
        {"language": "en", "csrfmiddlewaretoken": made[1]},
        headers={"origin": "https://elsewhere.test"},
    )
    assert answer.status_code == HTTPStatus.FORBIDDEN, "not from another site"


@pytest.mark.parametrize("who", ["stranger", "proven guest", "administrator"])
def test_every_other_method_is_refused(ground: Ground, here: House, who: str) -> None:
    client = VISITORS[who](ground, here)
    before = rows()
    for route in routes():
        for method in {*OTHER, "GET", "HEAD", "POST"} - {*route.takes.value}:
            response = ask(client, method, here.address(route))
            if route.takes is Takes.API_NOTHING:
                assert response.status_code == HTTPStatus.NOT_FOUND
            elif response.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
                # Django's classes ask who it is first.
                assert who != "administrator" and response.headers["Location"].startswith("/account/"), (
                    route.name,
                    method,
                    response.status_code,
                )
    assert changed(before, rows()) <= set(SEEN)


# Addresses


_LINKS: Final = re.compile(r'(?:href|src|action|formaction|data|poster|content)="([^"]*)"')
_FORM: Final = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
_NAMED: Final = re.compile(r'\bname="([^"]+)"')
MAY_STAND_IN_A_QUERY: Final = {"next", "show", "mailbox", "page", "before", "to", "q"}


@pytest.mark.parametrize("who", VISITORS)
def test_no_secret_stands_in_an_address(ground: Ground, here: House, who: str) -> None:
    client = VISITORS[who](ground, here)
    secrets = {*here.secrets, *(cookie.value for cookie in client.cookies.values() if len(cookie.value) > 8)}
    if ground.text_messages():
        secrets.add(ground.last_code())
    for route in routes():
        response = ask(client, "GET", here.address(route))
        found = [response.headers.get(name, "") for name in ("Location", "Link", "Refresh", "Content-Location")]
        page = response.content.decode() if is_page(response) and not response.streaming else ""
        found += [html.unescape(one) for one in _LINKS.findall(page)]
        for address in found:
            assert not [one for one in secrets if one in address], (route.name, "a secret in an address")
            names = {one.partition("=")[0] for one in urlsplit(address).query.split("&") if one}
            assert names <= MAY_STAND_IN_A_QUERY, (route.name, address)
        for attributes, form in _FORM.findall(page):
            if 'method="post"' not in attributes.lower():
                assert set(_NAMED.findall(form)) <= MAY_STAND_IN_A_QUERY, (route.name, "a form that puts it into a URL")
        if response.headers["Referrer-Policy"] == "same-origin":
            assert here.token not in here.address(route)
        assert here.token not in page


def test_no_script_of_ours_makes_html_keeps_anything_or_runs_text() -> None:
    scripts = [one for app in ("zegel.web", "zegel.journey.portal") for one in scripts_of(app)]
    assert scripts
    for script in scripts:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage|sessionStorage"
            r"|indexedDB|postMessage|https?://",
            script.read_text(),
        ), script.name


def scripts_of(app: str) -> list[Path]:
    """In what the app gives to browsers."""
    return sorted(Path(get_app_config(app).path, "static").rglob("*.js"))


def get_app_config(name: str) -> AppConfig:
    """Of the app with that name."""
    return next(one for one in apps.get_app_configs() if one.name == name)


# Others' things (P20, P14)


def pairs(here: House, there: House, unknown: House) -> Iterator[tuple[Route, dict[str, object], dict[str, object]]]:
    """Each route with one of its parts, or all of them, somebody else's; and the same with what isn't there."""
    for route in routes():
        if route.name in MAY_BE_KEPT or route.name in NO_SECRET:
            continue
        parts = [part for part in route.parts if part not in ("token", "number")]
        for chosen in [*([one] for one in parts), *([parts] if len(parts) > 1 else [])]:
            yield (
                route,
                {part: there.thing(route, part) for part in chosen},
                {part: unknown.thing(route, part) for part in chosen},
            )


TELLS_NOTHING: Final = ("Content-Length", "Expires")  # the body is compared; the other is the moment


def told(client: Client, method: str, address: str, named: dict[str, object]) -> tuple[object, ...]:
    """All that could tell one answer from another."""
    response = ask(client, method, address)
    headers = sorted(
        (name, without(value, named)) for name, value in response.headers.items() if name not in TELLS_NOTHING
    )
    cookies = sorted((name, str(one["max-age"])) for name, one in response.cookies.items())
    return response.status_code, octets(response, named), headers, cookies


def is_refused(response: tuple[object, ...], who: str) -> bool:
    """Who isn't known is sent to the door: of accounts, or of the guest's own message. Anybody else is refused."""
    if response[0] in (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
    ):
        return True
    location = dict(response[2]).get("Location", "")  # type: ignore[call-overload]
    if who in ("stranger", "guest", "proven guest") and TO_SIGN_IN.match(location):
        return True
    return who == "guest" and bool(TO_OPENING.match(location))


EQUAL_BUT_NOT_REFUSED: Final = {
    "portal:guest-device-remove": "leads back to one's own list, whatever was asked",
}


def counts_of_api() -> QuerySet[SignInFailure]:
    return SignInFailure.objects.filter(whose=API)


@pytest.mark.parametrize("who", VISITORS)
@pytest.mark.parametrize("whose", ["another organisation's", "another account's and recipient's"])
def test_what_belongs_to_somebody_else_is_as_if_it_were_not_there(
    ground: Ground, here: House, who: str, whose: str
) -> None:
    is_beside = whose.startswith("another account")
    there = beside(ground, here) if is_beside else house(ground, "Ander ziekenhuis", "ander.test")
    client, unknown = VISITORS[who](ground, here), nothing(here)
    counts_of_api().delete()
    before = rows()
    for route, others, none in pairs(here, there, unknown):
        if is_beside and (who == "administrator" or all(here.thing(route, one) == others[one] for one in others)):
            continue  # an administrator's work is the whole organisation; its rules belong to nobody in it
        for method in ("GET", "POST"):
            found = told(client, method, here.address(route, **others), others)
            absent = told(client, method, here.address(route, **none), none)
            counts_of_api().delete()  # whoever comes without a token often waits
            assert found == absent, (route.name, method, sorted(others))
            if route.name not in EQUAL_BUT_NOT_REFUSED:
                assert is_refused(found, who), (route.name, method, found[0], found[2])
    tried = {"django_session", "accounts_signinfailure"}  # an answer that no sign-in service signed is counted as a try
    assert not changed(before, rows()) - tried
