"""What a reader keeps of a message: all files as one, a PDF, the words on paper. Nothing in clear on a disk (P17)."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from tests.journey.portal_ground import MARKER, PIXEL, Ground, Visitor, mail, words
from zegel.core.seal.wrap import CannotOpen
from zegel.journey.custody.models import Content, Recipient
from zegel.journey.portal import archive, pdf, typesetting
from zegel.journey.portal.archive import Entry, safe_names, zipped
from zegel.journey.portal.inert import make_inert
from zegel.journey.portal.plain import plain_text

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOSTILE_TEXT = (
    '#read("/etc/passwd") #eval("1+1") #import "@preview/x:1.0.0": * #include "x.typ" #image("/x.png")\n'
    "*vet* _schuin_ `code` $x^2$ = kop == kop - lijst + lijst: x <label> @ref // weg /* weg */ \\ \\u{41} ~ ---\n"
    '"]); #panic("x") ${x} %s {0} \\n {"title": "x"} #set page(width: 1pt)\n'
    "</text> <script>1</script> https://example.org/a_b*c"
)


def opened(ground: Ground, octets: bytes) -> tuple[Visitor, Recipient]:
    visitor, recipient = Visitor(ground), ground.recipient(ground.conversation(octets))
    visitor.open(recipient, ground.link(recipient))
    return visitor, recipient


def kept(visitor: Visitor, recipient: Recipient, page: str) -> Any:
    message = recipient.conversation.messages.get(answered_by=None).id
    return visitor.get(visitor.page(page, recipient, message=message))


def read_pdf(response: Any) -> tuple[PdfReader, str]:
    reader = PdfReader(io.BytesIO(b"".join(response.streaming_content)))
    return reader, "\n".join(page.extract_text() for page in reader.pages)


# All files as one


def test_all_files_come_as_one_that_other_programs_open(ground: Ground) -> None:
    files = {
        "verslag é.pdf": ("application/pdf", b"%PDF-1.7" + bytes(70_000)),
        "foto.png": ("image/png", PIXEL),
        "leeg.txt": ("text/plain", b""),
    }
    visitor, recipient = opened(ground, mail(files=files))
    response = kept(visitor, recipient, "guest-archive")
    assert response["Content-Type"] == "application/zip" and response["Cache-Control"] == "no-store"
    assert response["Content-Disposition"] == f'attachment; filename="Uitslag {MARKER}.zip"'
    assert "sandbox" in response["Content-Security-Policy"]
    with zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content))) as found:
        assert found.testzip() is None
        listed = {info.filename: found.read(info) for info in found.infolist()}
        assert all(info.compress_type == zipfile.ZIP_STORED for info in found.infolist())
        assert all(info.flag_bits & 0x800 for info in found.infolist() if not info.filename.isascii())
    assert listed == {name: octets for name, (_, octets) in files.items() if octets or name in listed}
    assert len(listed) >= 2


def test_one_file_needs_no_archive_and_no_file_has_none(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(files={"a.pdf": ("application/pdf", b"x")}))
    assert ".zip" not in visitor.read(recipient).content.decode()
    visitor, recipient = opened(ground, mail())
    assert kept(visitor, recipient, "guest-archive").status_code == 404


def test_what_can_not_be_opened_is_said_before_the_first_octet(ground: Ground) -> None:
    big = {name: ("application/octet-stream", os.urandom(200_000)) for name in ("a.bin", "b.bin")}
    visitor, recipient = opened(ground, mail(files=big))
    ground.blobs.remove(Content.objects.get().id)
    assert kept(visitor, recipient, "guest-archive").status_code == 410


def test_damage_on_the_way_breaks_the_download_off(ground: Ground) -> None:
    """And doesn't end it with an archive that looks whole."""
    big = {name: ("application/octet-stream", os.urandom(900_000)) for name in ("a.bin", "b.bin")}
    visitor, recipient = opened(ground, mail(files=big))
    (blob,) = [one for one in (ground.folder / "blobs").rglob("*") if one.is_file()]
    sealed = bytearray(blob.read_bytes())
    sealed[-100_000] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(sealed)
    response = kept(visitor, recipient, "guest-archive")
    taken = bytearray()
    with pytest.raises(CannotOpen):
        for piece in response.streaming_content:
            taken += piece
    assert not zipfile.is_zipfile(io.BytesIO(taken))


def test_nothing_is_kept_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten files of 20 MB in a memory of a few pieces, and no temporary file."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    piece = bytes(65_536)
    entries = [Entry(f"{number}.bin", 320 * len(piece), lambda: (piece for _ in range(320))) for number in range(10)]
    tracemalloc.start()
    try:
        size = sum(len(one) for one in zipped(entries, AT))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 10 * 320 * len(piece) and peak < 5_000_000
    assert list(tmp_path.iterdir()) == []


def test_files_beyond_four_gigabytes_are_told_in_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a lower limit than 4 GiB, so that it needs no 4 GiB."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    made = b"".join(zipped([Entry("groot.bin", 5000, lambda: iter([bytes(5000)])), Entry("klein", 1, _one)], AT))
    with zipfile.ZipFile(io.BytesIO(made)) as found:
        assert found.testzip() is None
        assert [info.file_size for info in found.infolist()] == [5000, 1]
        assert found.infolist()[0].extract_version >= 45
    assert b"PK\x06\x06" in made  # ZIP64 end of central directory


def _one() -> Iterator[bytes]:
    yield b"x"


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        (["../../etc/passwd"], ["_._etc_passwd"]),
        (["C:\\Windows\\x.dll"], ["C__Windows_x.dll"]),
        (["a.txt", "a.txt", "A.TXT"], ["a.txt", "a (2).txt", "A (3).TXT"]),
        (["CON", "nul.txt", "com1.log"], ["_CON", "_nul.txt", "_com1.log"]),
        (["COM\u00b9.txt", "lpt\u00b2", "CONIN$", "conout$.log"], ["_COM¹.txt", "_lpt²", "_CONIN$", "_conout$.log"]),
        (["a (2)", "a", "A", "a", "a (2)"], ["a (2)", "a", "A (3)", "a (4)", "a (2) (2)"]),
        (["", "...", " . "], ["file", "file (2)", "file (3)"]),
        (["e\u0301.txt", "\u00e9.txt"], ["é.txt", "é (2).txt"]),
        (["foto\u202egpj.exe", "a\r\nb\0c"], ["fotogpj.exe", "abc"]),
    ],
)
def test_names_are_names_of_files_and_each_its_own(given: list[str], safe: list[str]) -> None:
    assert safe_names(given) == safe


def test_names_that_are_all_the_same_are_each_compared_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    real = archive._compared

    def counted(name: str) -> str:
        compared.append(name)
        return real(name)

    monkeypatch.setattr(archive, "_compared", counted)
    assert len(set(safe_names([f"{'a' * 140}.pdf"] * 2_000))) == 2_000
    assert len(compared) < 20_000


@given(st.lists(st.text(max_size=300), max_size=8))
def test_whatever_the_names_they_stay_in_the_folder(names: list[str]) -> None:
    chosen = safe_names(names)
    assert len({one.casefold() for one in chosen}) == len(chosen) == len(names)
    for one in chosen:
        assert one and one not in (".", "..") and not set(one) & set('/\\:*?"<>|\0\n')
        assert len(one.encode()) <= 255 and one == one.strip()
    made = b"".join(zipped([Entry(name, 1, _one) for name in names], AT))
    with zipfile.ZipFile(io.BytesIO(made)) as found:
        assert found.namelist() == chosen and found.testzip() is None


# A PDF


def test_a_pdf_says_who_wrote_what_to_whom_with_the_sums_of_its_files(ground: Ground) -> None:
    import hashlib

    files = {"verslag.pdf": ("application/pdf", b"%PDF-1.7 inhoud")}
    visitor, recipient = opened(ground, mail(cc="Collega <collega@example.org>", files=files))
    response = kept(visitor, recipient, "guest-pdf")
    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == f'attachment; filename="Uitslag {MARKER}.pdf"'
    assert "sandbox" in response["Content-Security-Policy"] and response["Cache-Control"] == "no-store"
    reader, text = read_pdf(response)
    for said in (
        MARKER, "Balie Poli 4 <balie@voorbeeld.test>", "ontvanger@example.org", "Collega <collega@example.org>",
        "Voorbeeldziekenhuis", "23 November 2026", "De uitslag is goed.", "1 attachment", "verslag.pdf",
    ):  # fmt: skip
        assert said in " ".join(text.split()), said
    assert hashlib.sha256(files["verslag.pdf"][1]).hexdigest() in text.replace("\n", "")
    assert reader.metadata is not None and reader.metadata.title == f"Uitslag {MARKER}"


def test_a_pdf_can_be_read_aloud(ground: Ground) -> None:
    """Tagged, with a language and a title that is shown, and it calls itself PDF/UA-1."""
    visitor, recipient = opened(ground, mail())
    reader, _ = read_pdf(kept(visitor, recipient, "guest-pdf"))
    root: Any = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"] and root["/StructTreeRoot"]
    assert root["/Lang"] == "en" and root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert b"<pdfuaid:part>1</pdfuaid:part>" in root["/Metadata"].get_data()


def test_a_message_is_text_to_the_typesetter_whatever_it_says(ground: Ground) -> None:
    octets = mail(
        text=HOSTILE_TEXT.replace("\n", "\r\n"), subject='#panic("x") *a* $b$', to='"#eval(1)" <o@example.org>'
    )
    visitor, recipient = opened(ground, octets)
    _, text = read_pdf(kept(visitor, recipient, "guest-pdf"))
    flat = "".join(text.split())
    for line in (*HOSTILE_TEXT.split("\n"), '#panic("x") *a* $b$', "#eval(1)"):
        assert "".join(line.split()) in flat, line
    assert "root:" not in text


def test_a_pdf_fetches_nothing_and_holds_nothing_that_runs(ground: Ground) -> None:
    markup = "<p>Woorden<img src='http://evil.test/x'><script>1</script><a href='http://evil.test/'>klik</a>"
    visitor, recipient = opened(ground, mail(text=None, markup=markup))
    reader, text = read_pdf(kept(visitor, recipient, "guest-pdf"))
    assert "Woorden" in text and "[evil.test]" in text
    root: Any = reader.trailer["/Root"]
    assert not {"/OpenAction", "/AA", "/AcroForm", "/JavaScript"} & set(root) and "/Names" not in root
    assert all("/Annots" not in page for page in reader.pages)


@pytest.mark.parametrize(
    "text", ["שלום עולם", "مرحبا بالعالم", "Привет мир", "Καλημέρα", "Zażółć gęślą jaźń", "café naïve œuvre ſ"]
)
def test_other_scripts_are_legible_without_fonts_of_the_machine(ground: Ground, text: str) -> None:
    visitor, recipient = opened(ground, mail(text=text))
    reader, _ = read_pdf(kept(visitor, recipient, "guest-pdf"))
    assert b"pdfuaid" in reader.trailer["/Root"]["/Metadata"].get_data()  # type: ignore[index]


def test_characters_without_a_glyph_are_said(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(text="Teken: \U000e0041\U0001fbfa\U00013000 einde"))
    _, text = read_pdf(kept(visitor, recipient, "guest-pdf"))
    assert "Some characters of this message" in " ".join(text.split())


@pytest.mark.parametrize("text", ["woord " * 20_000, "a\r\n" * 6_000])
def test_what_is_too_long_for_a_pdf_says_so_and_offers_the_message(ground: Ground, text: str) -> None:
    visitor, recipient = opened(ground, mail(text=text))
    response = kept(visitor, recipient, "guest-pdf")
    assert response.status_code == 422
    assert "too long for a PDF" in words(response) and ".eml" in response.content.decode()


@pytest.mark.parametrize(
    "text", ["x" * 99_000, "a\r\n" * 4_900, "woord met letters " * 5_400, "\u0627\u0644 " * 30_000, "a\r\n\r\n" * 2_400]
)
def test_the_longest_that_is_taken_is_made(ground: Ground, text: str) -> None:
    visitor, recipient = opened(ground, mail(text=text))
    assert kept(visitor, recipient, "guest-pdf").status_code == 200


def test_a_typesetter_that_breaks_is_said_and_tells_nothing(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "typeset.py"
    broken.write_text("import sys; sys.exit(sys.stdin.read())")
    monkeypatch.setattr(typesetting, "_CHILD", broken)
    visitor, recipient = opened(ground, mail())
    response = kept(visitor, recipient, "guest-pdf")
    assert response.status_code == 503 and MARKER not in words(response) and ".eml" in response.content.decode()


def test_a_typesetter_that_takes_too_much_ends(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    greedy = tmp_path / "typeset.py"
    greedy.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(typesetting, "_CHILD", greedy)
    monkeypatch.setattr(typesetting, "_PATIENCE", 0.2)
    visitor, recipient = opened(ground, mail())
    assert kept(visitor, recipient, "guest-pdf").status_code == 503
    assert MARKER not in "".join(capsys.readouterr())


def test_no_more_than_some_are_made_at_once_and_nobody_waits(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail())
    with typesetting.PLACES, typesetting.PLACES:
        response = kept(visitor, recipient, "guest-pdf")
    assert response.status_code == 503 and int(response["Retry-After"]) > 0
    assert "Another PDF is being made" in words(response) and ".eml" in response.content.decode()
    assert kept(visitor, recipient, "guest-pdf").status_code == 200


def test_a_reader_has_one_at_a_time_and_others_have_theirs(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with another message, and while attachments are read, which takes no place."""
    visitor, recipient = opened(ground, mail(files={"a": ("text/plain", b"x")}))
    second = ground.recipient(ground.conversation(mail()))
    visitor.follow(ground.link(second))
    ground.clock.forward(minutes=1)
    visitor.ask(second)
    visitor.enter(second, ground.last_code())
    other, others = Visitor(ground), ground.recipient(ground.conversation(mail()), "ander@example.org")
    other.open(others, ground.link(others))
    meanwhile: list[int] = []
    real = pdf._sum

    def summed(pieces: Iterator[bytes]) -> str:
        for who, what in ((visitor, recipient), (visitor, second), (other, others)):
            meanwhile.append(kept(who, what, "guest-pdf").status_code)
        return real(pieces)

    monkeypatch.setattr(pdf, "_sum", summed)
    assert kept(visitor, recipient, "guest-pdf").status_code == 200
    assert meanwhile == [503, 503, 200] and not pdf._at_work
    monkeypatch.setattr(pdf, "_sum", real)
    assert kept(visitor, second, "guest-pdf").status_code == 200


def test_attachments_that_take_too_long_have_no_sum_and_the_pdf_says_so(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "MAX_HASHED", 1_000)
    files = {"a.bin": ("application/pdf", bytes(900)), "b.bin": ("application/pdf", bytes(200))}
    visitor, recipient = opened(ground, mail(files=files))
    _, text = read_pdf(kept(visitor, recipient, "guest-pdf"))
    flat = " ".join(text.split())
    assert flat.count("not calculated, since the attachments are larger than 1 kB together") == 1
    assert flat.index("a.bin") < flat.index("b.bin") < flat.index("not calculated")


def test_head_makes_nothing(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a": ("text/plain", b"x"), "b": ("text/plain", b"y")}
    visitor, recipient = opened(ground, mail(files=files))
    message = recipient.conversation.messages.get().id
    monkeypatch.setattr(typesetting, "_CHILD", Path("/nowhere"))
    for page in ("guest-pdf", "guest-archive", "guest-words"):
        response = visitor.client.head(visitor.page(page, recipient, message=message))
        assert response.status_code == 200 and response.getvalue() == b""
    recipient.refresh_from_db()
    assert recipient.state == Recipient.State.NOTIFIED


# The words


def test_a_reader_goes_from_the_look_to_the_text_and_back(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(text="Alleen de tekst", markup="<p>Met <b>opmaak</b>"))
    page = visitor.read(recipient).content.decode()
    assert "Alleen de tekst" not in page and "<iframe" in page and ">As text<" in page
    response = kept(visitor, recipient, "guest-words")
    assert "Alleen de tekst" in words(response) and "<iframe" not in response.content.decode()
    assert f'href="/r/{recipient.id}/read"' in response.content.decode()
    assert "no text of its own" not in words(response)


def test_html_without_a_text_is_told_in_its_words(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(text=None, markup="<p>Met <b>opmaak</b><script>1</script>"))
    response = kept(visitor, recipient, "guest-words")
    assert "Met opmaak" in words(response) and "no text of its own" in words(response)


def test_the_whole_conversation_can_be_printed(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(files={"a.pdf": ("application/pdf", b"%PDF")}))
    for number in range(25):
        ground.clock.forward(seconds=1)
        ground.add(recipient.conversation, mail(text=f"Bericht nummer {number}."), answered_by=recipient)
    response = visitor.get(visitor.page("guest-all-words", recipient))
    said = words(response)
    places = [said.index(f"Bericht nummer {number}.") for number in range(25)]
    assert places == sorted(places) and said.index("De uitslag is goed.") < places[0] and "a.pdf" in said
    assert "<form" not in response.content.decode().partition("<main")[2].partition("</main")[0]


def test_more_than_a_page_can_hold_is_said_at_the_messages_that_are_left_out(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(text="eerste " + "woord " * 60_000))
    for number in range(6):
        ground.clock.forward(seconds=1)
        ground.add(recipient.conversation, mail(text=f"nummer {number} " + "woord " * 60_000))
    response = visitor.get(visitor.page("guest-all-words", recipient))
    assert "nummer 3" in words(response) and "nummer 5" not in words(response)
    assert words(response).count("too long to show in full") == 2 and len(response.content) < 3_000_000


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>een</p><p>twee<br>drie</p>", "een\n\ntwee\ndrie"),
        ("<ul><li>een<li>twee</ul>na", "• een\n• twee\nna"),
        ("<table><tr><th>a<th>b<tr><td>1<td>2</table>", "a | b\n1 | 2"),
        ("<blockquote>eerder<blockquote>nog eerder</blockquote></blockquote>", "> eerder\n> > nog eerder"),
        ("<pre>a  b\n  c</pre>", "a  b\n  c"),
        ("<h1>Kop</h1>x   y\n z", "Kop\n\nx y z"),
        ('<img src="cid:x" alt="Logo &amp; naam">tekst', "[Logo & naam]tekst"),
        ('<img src="data:image/png;base64,AAAA" alt="Logo">tekst', "[Logo]tekst"),
        ('<a href="https://evil.test/">bank</a>', "bank[evil.test]"),
        ("&lt;b&gt; &amp;amp;", "<b> &amp;"),
        ("", ""),
    ],
)
def test_the_words_of_html_keep_their_places(markup: str, text: str) -> None:
    assert plain_text(make_inert(markup)).replace("\n\n> >", "\n> >").replace("\n\nna", "\nna") == text


def test_the_archive_knows_no_way_to_a_disk() -> None:
    assert "tempfile" not in Path(archive.__file__).read_text()
