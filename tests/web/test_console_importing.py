"""The administrator's pages about importing verification data."""

from __future__ import annotations

import asyncio
import csv
import html
import io
import re
import tempfile
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from tests.web.conftest import SECRET, signed_in
from tests.web.test_console_submission import strip
from zegel.accounts.models import Account, AuditEntry, Organisation
from zegel.accounts.sign_in import enrol_totp
from zegel.console import importing as pages
from zegel.core.mail.address import Mailbox
from zegel.core.policy.verification import SmsCode
from zegel.core.secret import Secret
from zegel.edge.blobs import Blobs
from zegel.edge.database import Readers, Writer
from zegel.edge.keyring import opening_keys
from zegel.journey import importing
from zegel.journey.custody import jobs, memory
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import ImportComplaint, Job, StagedFile, VerificationData, VerificationImport
from zegel.journey.custody.unseal import Unsealer
from zegel.journey.importing import Importing, Receiving

pytestmark = pytest.mark.django_db(transaction=True)

IMPORT: Final = "/console/verification/import/"
NUMBER: Final = "+31620304050"
OTHER: Final = "+31687654321"
CODE: Final = "winterkoning 2026"
GOOD: Final = f"goed@example.org,Naam,{NUMBER},,\r\n"
BAD: Final = f"slecht@example.org,Naam,12 {OTHER[3:]},roodborst\u200b,\r\n"
HEADER: Final = "email_address,full_name,phone_number,access_code,access_code_hint\r\n"
State = VerificationImport.State


@pytest.fixture
def client(administrator: Account) -> Client:
    return signed_in(administrator, "en")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Blobs of one test are not those of the next."""
    yield
    for path in blobs():
        path.unlink()


def blobs() -> list[Path]:
    return [path for path in settings.ZEGEL.blobs.rglob("*") if path.is_file()]


def text(answer: Any) -> str:
    return html.unescape(answer.content.decode())


def upload(client: Client, content: str | bytes, **fields: object) -> Any:
    octets = content if isinstance(content, bytes) else content.encode()
    file = SimpleUploadedFile("clienten.csv", octets, "text/csv")
    return client.post(IMPORT, {"file": file, "end": "yes", **fields})


def dispatch() -> None:
    """What the process does that holds the opening key."""

    async def run() -> None:
        writer, readers = Writer(), Readers()
        keys, files = opening_keys(settings.ZEGEL.keys), Blobs(settings.ZEGEL.blobs)
        doer = Importing(writer, readers, Unsealer(keys, files), files, sealing=keys.sealing, now=timezone.now)
        try:
            for leased in await writer.write(lambda: jobs.lease((Kind.IMPORT,), most=9, now=timezone.now())):
                await doer.work(leased)
        finally:
            writer.close()
            readers.close()

    asyncio.run(run())


def staged(client: Client, *rows: str) -> str:
    """The page of a file that waits to be judged."""
    answer = upload(client, HEADER + "".join(rows))
    assert answer.status_code == 302, text(answer)
    return str(answer.headers["Location"])


def judged(client: Client, *rows: str) -> str:
    page = staged(client, *rows)
    dispatch()
    return page


def version(client: Client, page: str) -> str:
    found = re.search(r'name="version" value="([0-9a-f]+)"', client.get(page).content.decode())
    assert found is not None
    return found[1]


def confirm(client: Client, page: str, seen: str | None = None) -> Any:
    return client.post(f"{page}confirm/", {"version": seen or version(client, page)}, follow=True)


def theirs(other: Account) -> VerificationImport:
    assert other.organisation is not None
    receiving = Receiving(Blobs(settings.ZEGEL.blobs))
    receiving.feed((HEADER + GOOD + BAD).encode())
    received = receiving.finish()
    assert isinstance(received, importing.Received)
    sealing = opening_keys(settings.ZEGEL.keys).sealing
    row = importing.stage(received, other.organisation, other, now=timezone.now(), sealing=sealing)
    dispatch()
    return row


# --- whose it is -------------------------------------------------------------------------------------------------


def test_another_organisations_import_looks_like_one_that_never_was(
    client: Client, other_administrator: Account
) -> None:
    row = theirs(other_administrator)
    before = VerificationImport.objects.values().get()
    for action, method in (
        ("", client.get),
        ("rows/", client.get),
        ("confirm/", client.post),
        ("cancel/", client.post),
    ):
        existing, missing = method(f"{IMPORT}{row.id}/{action}"), method(f"{IMPORT}{uuid.uuid4()}/{action}")
        assert existing.status_code == missing.status_code == 404
        assert strip(existing.content) == strip(missing.content)
    assert str(row.id) not in text(client.get(IMPORT))
    assert VerificationImport.objects.values().get() == before
    assert upload(client, HEADER + GOOD).status_code == 302, "their import is no obstacle"


def test_who_may_not_or_is_not_signed_in_leaves_nothing(newcomer: Account, administrator: Account) -> None:
    enrol_totp(newcomer, SECRET)
    page = judged(signed_in(administrator), GOOD)
    who = signed_in(newcomer)
    for address in (IMPORT, page, f"{page}rows/"):
        assert who.get(address).status_code == 403
        assert Client().get(address).status_code == 302
    large = HEADER + GOOD * 4000
    assert upload(who, large).status_code == 403
    assert upload(Client(), large).status_code in (302, 400)
    for action in ("confirm/", "cancel/"):
        assert who.post(page + action).status_code == 403
    assert VerificationImport.objects.get().state == State.READY and blobs() == []


def test_a_form_without_its_token_leaves_nothing(administrator: Account) -> None:
    """Also where the file is sealed before the token can be looked at."""
    client = signed_in(administrator)
    client.handler.enforce_csrf_checks = True
    assert upload(client, HEADER + GOOD * 4000).status_code == 403
    assert not VerificationImport.objects.exists() and blobs() == []


# --- files that are not taken ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "There are no rows in the file."),
        (b"PK\x03\x04" + b"\0" * 200_000, "This is a workbook or an archive, not CSV."),
        (HEADER.encode("utf-16"), "Save it in the spreadsheet as CSV UTF-8."),
        (GOOD.encode(), "The first line does not name the columns."),
        (b"phone_number\r\n" + b"x\r\n" * 100_000, "The column email_address is missing"),
        (b"email_address\r\n", "The columns phone_number and access_code are both missing"),
        (b"email_address,phone_number,Phone_Number\r\n", "The first line names a column twice: phone_number."),
    ],
)
def test_a_file_that_can_not_be_judged_is_refused_at_once_and_not_kept(
    client: Client, content: bytes, said: str
) -> None:
    answer = upload(client, content)
    assert answer.status_code == 200 and said in text(answer)
    assert NUMBER[1:] not in text(answer)
    assert not VerificationImport.objects.exists() and blobs() == []


def test_what_did_not_arrive_completely_is_not_taken(client: Client) -> None:
    for fields in ({"end": ""}, {"file": ""}):
        answer = client.post(IMPORT, {"end": "yes", **fields})
        assert "CSV file: choose one, such as clients.csv." in text(answer)
    file = SimpleUploadedFile("x.csv", (HEADER + GOOD * 4000).encode())
    assert "it did not arrive completely" in text(client.post(IMPORT, {"file": file}))
    broken = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\n' + HEADER.encode()
    answer = client.generic("POST", IMPORT, broken, content_type="multipart/form-data; boundary=x")
    assert answer.status_code == 403 or "it did not arrive completely" in text(answer)
    assert not VerificationImport.objects.exists() and blobs() == []


def test_what_is_too_large_is_read_to_its_end_and_not_kept(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_OCTETS", 100_000)
    assert "The file is larger than 50 MB." in text(upload(client, HEADER + GOOD * 4000))
    assert not VerificationImport.objects.exists() and blobs() == []


def test_what_is_far_too_large_is_cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_OCTETS", 10_000)
    assert upload(client, HEADER + GOOD * 4000).status_code < 500
    assert not VerificationImport.objects.exists() and blobs() == []


def test_a_disk_that_is_full_is_told_and_nothing_is_left(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, sealed: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zegel.edge.blobs.BlobWriter.write", full)
    answer = upload(client, HEADER + GOOD * 4000)
    assert answer.status_code == 507 and "there is no room for it at this moment" in text(answer)
    assert not VerificationImport.objects.exists() and blobs() == []


def test_a_second_file_waits_for_the_end_of_the_first(client: Client) -> None:
    page = staged(client, GOOD)
    assert page in text(client.get(IMPORT))
    answer = upload(client, HEADER + GOOD * 4000)
    assert answer.headers["Location"] == page and blobs() == []
    assert "This import is not over." in text(client.get(page))
    assert VerificationImport.objects.count() == 1


def test_no_file_of_django_is_made(client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    staged(client, GOOD * 60_000)
    assert list(tmp_path.iterdir()) == []
    kept = [path.read_bytes() for path in (*blobs(), Path(str(settings.DATABASES["default"]["NAME"])))]
    assert len(kept) == 2 and not any(NUMBER.encode() in octets for octets in kept)


# --- what is shown -----------------------------------------------------------------------------------------------


def test_while_it_is_judged_the_page_says_how_far_and_looks_again(client: Client) -> None:
    page = staged(client, GOOD)
    answer = client.get(page)
    assert answer.headers["Refresh"] == str(pages.LOOK_AGAIN)
    assert "Rows judged: 0" in text(answer) and "<progress" in text(answer)
    dispatch()
    answer = client.get(page)
    assert "Refresh" not in answer.headers and "Import the good rows" in text(answer)


def test_a_row_is_told_by_line_and_reason_and_nothing_that_is_secret_is_shown(client: Client) -> None:
    page = judged(client, GOOD, BAD, "geen adres,x,,vier woorden,\r\n")
    for language, said in (("en", "Write it like +31 6 12345678"), ("nl", "Schrijf het als +31 6 12345678")):
        client.cookies[settings.LANGUAGE_COOKIE_NAME] = language
        for body in (text(client.get(page)), downloaded(client, page)):
            assert "slecht@example.org" in body and "phone_number" in body and said in body
            for secret in ("roodborst", OTHER[3:], "geen adres", "vier woorden,"):
                assert secret not in body, secret


def downloaded(client: Client, page: str) -> str:
    answer: Any = client.get(f"{page}rows/")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Cache-Control"] == "no-store"
    return b"".join(answer.streaming_content).decode("utf-8-sig")


def test_all_bad_rows_can_be_downloaded_and_none_is_a_formula(client: Client) -> None:
    rows = [f"x{n}@example.org,,1,,\r\n" for n in range(pages.MOST_SHOWN + 1)]
    page = judged(client, *rows, "=cmd@example.org,,1,,\r\n", "goed@example.org,,+31620304050,,\r\n")
    assert text(client.get(page)).count("@example.org</td>") == pages.MOST_SHOWN
    found = list(csv.reader(io.StringIO(downloaded(client, page))))
    assert found[0] == ["line", "email_address", "column", "reason"]
    assert len(found) == 1 + len(rows) + 1
    assert found[1][:3] == ["2", "x0@example.org", "phone_number"]
    assert found[-1][1] == "'=cmd@example.org"


def test_the_other_line_of_a_contradiction_is_named(client: Client) -> None:
    page = judged(client, GOOD, f"goed@example.org,,{OTHER},,\r\n")
    body = text(client.get(page))
    assert "(line 3)" in body and "(line 2)" in body
    assert "No row changes anything, so there is nothing to import." in body
    assert "Import the good rows" not in body


def test_what_is_odd_about_the_file_is_said(client: Client) -> None:
    octets = "E-Mail;email_address;full_name;access_code\r\nx;goed@example.org;Zoë;één twee\r\n".encode("cp1252")
    page = upload(client, octets).headers["Location"]
    dispatch()
    body = text(client.get(page))
    assert "was read as Windows-1252" in body
    assert "Columns that were not read: #1." in body or "Columns that were not read: e-mail." in body
    assert "Columns that are not there: phone_number, access_code_hint." in body
    assert "names are not kept" in body


# --- confirming --------------------------------------------------------------------------------------------------


def test_the_good_rows_are_imported_once_they_are_confirmed(client: Client, administrator: Account) -> None:
    page = judged(client, GOOD, BAD)
    assert not VerificationData.objects.exists()
    body = text(confirm(client, page))
    assert "Rows done: 0 of 2." in body
    dispatch()
    row = VerificationData.objects.get()
    assert (row.address, row.masked, row.origin) == ("goed@example.org", "+31 6 ****4050", "import")
    body = text(client.get(page))
    assert "What became of the rows" in body and "slecht@example.org" in body
    assert NUMBER[3:] not in re.sub(r"\D", "", re.sub(r"[0-9a-f]{64}|[0-9a-f-]{36}", "", body))
    entry = AuditEntry.objects.get(act="verification-imported")
    assert (entry.by, entry.details["added"], entry.details["bad"]) == (administrator.email, 1, 1)
    assert not StagedFile.objects.exists() and not Job.objects.filter(kind="import").exists()


def test_what_was_not_seen_is_not_confirmed(client: Client, organisation: Organisation) -> None:
    page = staged(client, GOOD)
    assert "Look at it again." in text(confirm(client, page, "x")), "not judged yet"
    dispatch()
    seen = version(client, page)
    assert "Look at it again." in text(confirm(client, page, "x"))
    organisation.region = "BE"
    organisation.save()
    assert "is judged once more" in text(confirm(client, page, seen))
    dispatch()
    assert "Look at it again." in text(confirm(client, page, seen)), "of the judgement before"
    assert not VerificationData.objects.exists()
    confirm(client, page)
    assert "Look at it again." in text(client.post(f"{page}confirm/", {"version": seen}, follow=True))
    dispatch()
    assert VerificationData.objects.count() == 1


def test_what_is_cancelled_is_destroyed(client: Client) -> None:
    page = judged(client, *(f"a{n}@example.org,,{NUMBER},,\r\n" for n in range(3000)))
    assert len(blobs()) == 1
    assert "the file is destroyed" in text(client.post(f"{page}cancel/", follow=True))
    assert blobs() == [] and not StagedFile.objects.exists() and not Job.objects.exists()
    assert "Look at it again." in text(client.post(f"{page}cancel/", follow=True))
    assert not VerificationData.objects.exists()


def test_what_nobody_confirmed_in_an_hour_says_so(client: Client) -> None:
    page = judged(client, GOOD)
    seen = version(client, page)
    VerificationImport.objects.update(created_at=timezone.now() - timedelta(minutes=61))
    assert "Look at it again." in text(confirm(client, page, seen))
    Job.objects.update(due_at=timezone.now() - timedelta(minutes=1))
    dispatch()
    assert "Nobody confirmed this within 60 minutes" in text(client.get(page))
    assert not StagedFile.objects.exists() and not VerificationData.objects.exists()


def test_faults_of_another_version_are_shown_as_they_are(client: Client) -> None:
    page = judged(client, GOOD, BAD)
    ImportComplaint.objects.update(fault="unheard-of")
    assert "unheard-of" in text(client.get(page))
    VerificationImport.objects.update(state=State.REFUSED, fault="unheard-of-too")
    assert "unheard-of-too" in text(client.get(page))


# --- searching among many ----------------------------------------------------------------------------------------


def addresses(answer: Any) -> list[str]:
    return re.findall(r'<th scope="row" class="long">([^<]*)</th>', text(answer))


def test_a_search_finds_beginnings_and_domains_and_goes_on_without_an_address_in_a_url(
    client: Client, organisation: Organisation
) -> None:
    names = [f"client{n:02}@example.org" for n in range(60)] + [
        "klant@example.org",
        "client@ander.test",
        "CLIENT.x@b.test",
    ]
    keys = opening_keys(settings.ZEGEL.keys)
    memory.supply_many(
        organisation.pk,
        [(Mailbox.parse(one), SmsCode(Secret(NUMBER)), None) for one in names],
        origin=VerificationData.Origin.IMPORT,
        now=timezone.now(),
        sealing=keys.sealing,
    )
    search = "/console/verification/search/"
    assert addresses(client.post(search, {"address": "Client.x@b.test"})) == ["CLIENT.x@b.test"]
    assert addresses(client.post(search, {"address": "client@"})) == ["client@ander.test"]
    assert addresses(client.post(search, {"address": "@Ander.test"})) == ["client@ander.test"]
    assert addresses(client.post(search, {"address": "nie"})) == []
    found: list[str] = []
    fields = {"address": "Client"}
    for _ in range(3):
        answer = client.post(search, fields)
        found += addresses(answer)
        assert "client" not in "".join(re.findall(r'(?:href|action)="([^"]*)"', text(answer)))
        more = re.search(r'name="after" value="([^"]+)"', text(answer))
        fields = {"address": "Client", "after": more[1] if more else ""}
    assert not fields["after"]
    assert sorted(found, key=str.lower) == sorted((one for one in names if one != "klant@example.org"), key=str.lower)
    assert len(addresses(client.post(search, {"address": "client", "after": "x"}))) == 25
    for refused in ("<script>", "a b", "a@b@c", '"'):
        assert "this is not one e-mail address" in text(client.post(search, {"address": refused}))
