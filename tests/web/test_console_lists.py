"""The administrator's pages about lists of domains that somebody else keeps."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect

from tests.needs import needs
from tests.peers.chromium import Chromium, browser, fits
from tests.peers.site import Site, gives, refers, site
from tests.web.conftest import PASSWORD, SECRET, signed_in
from zegel.accounts import lists
from zegel.accounts.models import Account, DirectDeliveryDomain, DirectDeliveryList, Organisation
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.core.policy.domain_list import MAX_OCTETS
from zegel.core.policy.transport import PROVEN
from zegel.journey.decision.facts import LIST_LAPSES
from zegel.local.authority import LocalAuthority

LISTS: Final = "/console/lists/"
LEVEL: Final = {"tls": int(PROVEN.tls), "authentication": int(PROVEN.authentication)}


@pytest.fixture
def client(administrator: Account) -> Client:
    return signed_in(administrator, "en")


@pytest.fixture
def filed(organisation: Organisation) -> DirectDeliveryList:
    """Of a file: a.test and b.test."""
    return lists.add_file(organisation, "bestand", b"a.test\nb.test tls1.3 dane\n", now=timezone.now())


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web server that the gateway believes."""
    authority = LocalAuthority.load_or_create(tmp_path / "authority")
    delivery = settings.ZEGEL.delivery.model_copy(update={"extra_ca": authority.certificate_path})
    monkeypatch.setattr(settings, "ZEGEL", settings.ZEGEL.model_copy(update={"delivery": delivery}))
    with site(*authority.issue(["127.0.0.1"], tmp_path)) as running:
        running.answers["/lijst"] = gives(b"a.test\nb.test tls1.3 dane\n")
        yield running


@pytest.fixture
def of_url(organisation: Organisation, keeper: Site) -> DirectDeliveryList:
    """Of a URL: a.test and b.test."""
    added = lists.add_url(organisation, "koepel", keeper.url(host="127.0.0.1"))
    lists.refresh(added, lists.fetcher(settings.ZEGEL), now=timezone.now)
    return DirectDeliveryList.objects.get(pk=added.pk)


def page(one: DirectDeliveryList, action: str = "") -> str:
    return f"{LISTS}{one.pk}/{action}"


def text(answer: Any) -> str:
    return html.unescape(answer.content.decode())


def version(client: Client, address: str) -> str:
    found = re.search(r'name="version" value="([0-9a-f]+)"', client.get(address).content.decode())
    assert found is not None
    return found[1]


def upload(octets: bytes, name: str = "lijst.txt") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, octets, "text/plain")


def add_file(client: Client, octets: bytes, **filled: object) -> Any:
    return client.post(
        f"{LISTS}add-file/", {"name": "bestand", "file": upload(octets), **LEVEL, "end": "yes", **filled}
    )


def add_url(client: Client, url: str, **filled: object) -> Any:
    return client.post(f"{LISTS}add/", {"name": "koepel", "url": url, **LEVEL, **filled})


def read(client: Client, one: DirectDeliveryList, octets: bytes, **filled: object) -> Any:
    fields = {"version": version(client, page(one)), "end": "yes", **filled}
    return client.post(page(one, "read/"), {"file": upload(octets), **fields})


def domains(one: DirectDeliveryList) -> set[str]:
    return set(one.domains.values_list("domain", flat=True))


def everything() -> list[Any]:
    return [*DirectDeliveryList.objects.order_by("pk").values(), *DirectDeliveryDomain.objects.order_by("pk").values()]


# --- whose it is -------------------------------------------------------------------------------------------------


def strip(body: bytes) -> str:
    return re.sub(r'name="(csrfmiddlewaretoken|next)" value="[^"]*"', "", body.decode())


def test_another_organisations_list_looks_like_one_that_never_was(client: Client, other_administrator: Account) -> None:
    assert other_administrator.organisation is not None
    theirs = lists.add_file(other_administrator.organisation, "van hen", b"hunne.test\n", now=timezone.now())
    before = everything()
    filled = {"version": "x", "may_be_empty": "yes", "end": "yes"}
    for action in ("", "remove/"):
        assert client.get(page(theirs, action)).status_code == client.get(f"{LISTS}999999/{action}").status_code == 404
    for action in ("refresh/", "read/", "remove/"):
        existing = client.post(page(theirs, action), {**filled, "file": upload(b"x.test\n")})
        missing = client.post(f"{LISTS}999999/{action}", {**filled, "file": upload(b"x.test\n")})
        assert existing.status_code == missing.status_code == 404
        assert strip(existing.content) == strip(missing.content)
    assert "van hen" not in text(client.get(LISTS))
    assert everything() == before


def test_who_is_no_administrator_or_not_signed_in_changes_nothing(newcomer: Account, filed: DirectDeliveryList) -> None:
    enrol_totp(newcomer, SECRET)
    client, stranger, before = signed_in(newcomer), Client(), everything()
    for address in (LISTS, f"{LISTS}add/", f"{LISTS}add-file/", page(filed), page(filed, "remove/")):
        assert client.get(address).status_code == 403
        assert stranger.get(address).status_code == 302
    for address in (f"{LISTS}add/", f"{LISTS}add-file/", page(filed, "read/"), page(filed, "remove/")):
        filled = {"name": "x", "url": "https://x.test/", "file": upload(b"x.test\n"), **LEVEL, "end": "yes"}
        assert client.post(address, filled).status_code == 403
    assert everything() == before


def test_a_form_without_its_token_changes_nothing(administrator: Account, filed: DirectDeliveryList) -> None:
    """Also where the file is taken before the token can be looked at."""
    client, before = signed_in(administrator), everything()
    client.handler.enforce_csrf_checks = True
    for address in (f"{LISTS}add-file/", page(filed, "read/"), page(filed, "remove/"), page(filed, "refresh/")):
        file = {"file": upload(b"x.test\n")} if "file" in address or "read" in address else {}
        answer = client.post(address, {"name": "x", **LEVEL, "end": "yes", **file})
        assert answer.status_code == 403, address
    assert everything() == before


# --- what is not taken -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "nl"])
def test_a_file_that_is_not_understood_is_told_line_by_line(
    administrator: Account, language: str, organisation: Organisation
) -> None:
    body = text(add_file(signed_in(administrator, language), b"a.test\nbalie@a.test\nnl\n"))
    if language == "en":
        assert "The list has lines that are not understood, so nothing of it was taken." in body
        assert "Line 2: an e-mail address; write its domain alone." in body
        assert "Line 3: not a domain: it has no dot." in body
    else:
        assert "Regel 2: een e-mailadres; schrijf alleen het domein." in body
    assert everything() == []


def test_a_file_is_neither_too_large_nor_half(client: Client, organisation: Organisation) -> None:
    assert "The list is larger than 1 MB." in text(add_file(client, b"#" * (3 * MAX_OCTETS)))
    whole = client.post(f"{LISTS}add-file/", {"name": "x", "file": upload(b"a.test\n"), **LEVEL})
    assert "did not arrive completely" in text(whole)
    none = client.post(f"{LISTS}add-file/", {"name": "x", **LEVEL, "end": "yes"})
    assert "File: choose one" in text(none)
    assert everything() == []


def test_a_connection_that_breaks_leaves_no_half_list(client: Client, organisation: Organisation) -> None:
    """The end of what came looks like the end of the file."""
    begin = "\r\n".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'
        for name, value in {"name": "half", **LEVEL}.items()
    )
    file = '\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\na.test\nb.test\n'
    answer = client.generic("POST", f"{LISTS}add-file/", (begin + file).encode(), "multipart/form-data; boundary=x")
    assert "did not arrive completely" in text(answer)
    rest = '\r\n--x\r\nContent-Disposition: form-data; name="end"\r\n\r\nyes\r\n--x--\r\n'
    client.generic("POST", f"{LISTS}add-file/", (begin + file + rest).encode(), "multipart/form-data; boundary=x")
    assert DirectDeliveryList.objects.get().name == "half"


def test_a_name_and_an_address_are_looked_at(client: Client, filed: DirectDeliveryList) -> None:
    before = everything()
    assert "there is a list of this name already" in text(add_file(client, b"x.test\n"))
    assert "there is a list of this name already" in text(add_url(client, "https://x.test/", name="bestand"))
    assert "is not an https:// address" in text(add_url(client, "http://x.test/"))
    assert "is not an https:// address" in text(add_url(client, "https://a:b@x.test/"))
    assert "write it on one line" in text(add_url(client, "https://x.test/", name="a\x1b[2Jb"))
    assert add_url(client, "https://x.test/", tls="1").status_code == 200
    for number in range(lists.MOST_LISTS - 1):
        DirectDeliveryList.objects.create(
            organisation_id=filed.organisation_id, name=f"n{number}", url="https://x.test/"
        )
    assert f"There are {lists.MOST_LISTS} lists already" in text(add_file(client, b"x.test\n", name="nog een"))
    assert everything()[0] == before[0]
    assert DirectDeliveryList.objects.count() == lists.MOST_LISTS


@pytest.mark.parametrize("octets", [b"a.test\nfout\n", b"", b"\xff"])
def test_another_file_that_is_not_understood_or_empty_replaces_nothing(
    client: Client, filed: DirectDeliveryList, octets: bytes
) -> None:
    before = everything()
    answer = read(client, filed, octets)
    assert answer.status_code == 200 and "There is a problem" in text(answer)
    assert everything() == before


def test_what_was_made_of_an_older_state_is_not_stored(
    client: Client, filed: DirectDeliveryList, of_url: DirectDeliveryList, keeper: Site
) -> None:
    seen = version(client, page(filed))
    lists.read_file(filed, b"c.test\n", now=timezone.now())
    answer = read(client, filed, b"d.test\n", version=seen)
    assert answer.status_code == 409 and "Nothing was stored yet" in text(answer)
    assert client.post(page(filed, "remove/"), {"version": seen}).status_code == 302
    assert domains(filed) == {"c.test"}
    keeper.answers["/lijst"] = gives(b"")
    answer = client.post(page(of_url, "refresh/"), {"version": "older", "may_be_empty": "yes"})
    assert answer.status_code == 409
    assert domains(of_url) == {"a.test", "b.test"}


def test_reading_is_never_done_by_looking(client: Client, of_url: DirectDeliveryList, keeper: Site) -> None:
    asked, before = len(keeper.asked), everything()
    for action in ("", "remove/"):
        assert client.get(page(of_url, action)).status_code == 200
    for action in ("refresh/", "read/"):
        assert client.get(page(of_url, action)).status_code == 405
    assert (len(keeper.asked), everything()) == (asked, before)


# --- what is done ------------------------------------------------------------------------------------------------


def test_a_list_of_a_file_is_added_read_again_and_removed(client: Client, organisation: Organisation) -> None:
    assert "There are no lists yet." in text(client.get(LISTS))
    answer = add_file(client, "domein;niveau\na.test;\nbücher.test;tls1.3\n".encode(), tls="13")
    one = DirectDeliveryList.objects.get()
    assert answer.headers["Location"] == page(one)
    body = text(client.get(page(one)))
    assert "The list is read: 2 domains stand on it." in body
    assert "xn--bcher-kva.test" in body and "TLS 1.3, valid certificate" in body
    assert read(client, one, b"c.test\n").status_code == 302
    assert domains(one) == {"c.test"}
    assert read(client, one, b"", may_be_empty="on").status_code == 302
    assert domains(one) == set()
    assert "With “bestand” go 0 domains." in text(client.get(page(one, "remove/")))
    removed = client.post(page(one, "remove/"), {"version": version(client, page(one, "remove/"))}, follow=True)
    assert "The list is removed." in text(removed)
    assert everything() == []


def test_a_list_of_a_url_is_added_and_read_now(client: Client, organisation: Organisation, keeper: Site) -> None:
    answer = add_url(client, keeper.url(host="127.0.0.1"))
    one = DirectDeliveryList.objects.get()
    assert answer.headers["Location"] == page(one)
    assert domains(one) == {"a.test", "b.test"}
    keeper.answers["/lijst"] = gives(b"c.test\n")
    body = text(client.post(page(one, "refresh/"), follow=True))
    assert "The list is read: 1 domain stands on it." in body
    assert domains(one) == {"c.test"}
    overview = text(client.get(LISTS))
    assert "127.0.0.1" in overview and "badge-good" in overview
    assert "/lijst" not in overview


def test_a_problem_is_told_and_what_was_read_stays(client: Client, of_url: DirectDeliveryList, keeper: Site) -> None:
    keeper.answers["/lijst"] = refers("http://127.0.0.1/")
    body = text(client.post(page(of_url, "refresh/"), follow=True))
    assert "The list could not be read." in body
    assert "The web server refers to an address that is not https://." in body
    assert "What was read before counts until it is 7 days old." in body
    assert "badge-warn" in text(client.get(LISTS))
    assert domains(of_url) == {"a.test", "b.test"}
    assert "Take the empty list" not in body


def test_an_empty_list_is_asked_about_once_more(client: Client, of_url: DirectDeliveryList, keeper: Site) -> None:
    keeper.answers["/lijst"] = gives(b"# leeg\n")
    body = text(client.post(page(of_url, "refresh/"), follow=True))
    assert "The list is empty, and it had domains before." in body and "Take the empty list" in body
    assert domains(of_url) == {"a.test", "b.test"}
    filled = {"version": version(client, page(of_url)), "may_be_empty": "yes"}
    assert "The list is read: 0 domains stand on it." in text(
        client.post(page(of_url, "refresh/"), filled, follow=True)
    )
    assert domains(of_url) == set()


def test_a_list_that_lapsed_is_shown_in_red(client: Client, of_url: DirectDeliveryList) -> None:
    DirectDeliveryList.objects.update(read_at=timezone.now() - LIST_LAPSES - timedelta(minutes=1))
    assert 'badge badge-bad">lapsed' in text(client.get(LISTS))
    assert "This list has lapsed" in text(client.get(page(of_url)))


def test_what_a_list_says_is_text_and_never_a_page(client: Client, organisation: Organisation) -> None:
    DirectDeliveryList.objects.create(
        organisation=organisation, name="<script>alert(1)</script>", url="https://x.test/"
    )
    for address in (LISTS, page(DirectDeliveryList.objects.get())):
        assert b"<script>alert" not in client.get(address).content


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright runs a loop in this thread
    with browser() as running:
        yield running
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [1280, 320])
def test_an_administrator_adds_a_list_in_a_browser(
    width: int, chromium: Chromium, administrator: Account, live_server: object, tmp_path: Path
) -> None:
    """Without JavaScript; on a small telephone nothing is pushed off the side."""
    folder = os.environ.get("SCREENSHOTS")
    where = str(live_server).replace("127.0.0.1", "localhost")
    file = tmp_path / "domeinen.csv"
    file.write_text(
        "domein;niveau\nziekenhuis.test;\nheel-lange-naam-van-een-gemeente-in-het-noorden.test;tls1.3 dane\n"
    )
    with chromium.visit(width=width, java_script_enabled=False) as visit:
        shown = visit.page

        def look(name: str) -> None:
            assert fits(shown), name
            if folder:
                shown.screenshot(path=f"{folder}/lists-{name}-{width}.png", full_page=True)

        shown.goto(f"{where}/account/sign-in/")
        shown.get_by_label("E-mailadres").fill(administrator.email)
        shown.get_by_label("Wachtwoord").fill(PASSWORD)
        shown.get_by_role("button", name="Verder").click()
        shown.get_by_label("Code").fill(current_totp(SECRET))
        shown.get_by_role("button", name="Inloggen", exact=True).click()
        shown.goto(f"{where}{LISTS}")
        look("none")
        shown.get_by_role("link", name="Een lijst uit een bestand toevoegen").click()
        shown.get_by_label("Naam", exact=True).fill("ziekenhuizen")
        shown.get_by_label("Bestand", exact=True).set_input_files(file)
        look("add-file")
        shown.get_by_role("button", name="Toevoegen").click()
        expect(shown.get_by_text("De lijst is gelezen: er staan 2 domeinen op.")).to_be_visible()
        look("file")
        file.write_text("ziekenhuis.test\nbalie@ziekenhuis.test\n")
        shown.get_by_label("Bestand", exact=True).set_input_files(file)
        shown.get_by_role("button", name="Lezen").click()
        expect(shown.get_by_text("Regel 2: een e-mailadres").first).to_be_visible()
        look("not-understood")
        shown.goto(f"{where}{LISTS}")
        shown.get_by_role("link", name="Een lijst van een webserver toevoegen").click()
        shown.get_by_label("Naam", exact=True).fill("koepel van gemeenten")
        shown.get_by_label("Adres", exact=True).fill(f"https://127.0.0.1:1/{'lange-naam-' * 8}.txt")
        look("add-url")
        shown.get_by_role("button", name="Toevoegen").click()
        expect(shown.get_by_text("De webserver antwoordt niet.")).to_be_visible()
        look("url")
        DirectDeliveryList.objects.exclude(url="").update(read_at=timezone.now() - LIST_LAPSES)
        shown.reload()
        look("lapsed")
        shown.goto(f"{where}{LISTS}")
        look("all")
        shown.get_by_role("link", name="ziekenhuizen").click()
        shown.get_by_role("link", name="Verwijderen").click()
        look("remove")
        shown.get_by_role("button", name="Verwijderen").click()
        expect(shown.get_by_text("De lijst is verwijderd.")).to_be_visible()
    assert DirectDeliveryList.objects.count() == 1
