"""The pages of a conversation, for whoever may read it: what it says, what lies beside it, and the whole as a file."""

from __future__ import annotations

import itertools
import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from http import HTTPStatus
from typing import Final, assert_never
from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.timezone import localtime

from zegel.accounts.models import Account
from zegel.core.mail.mime import Part, as_text
from zegel.core.seal.wrap import CannotOpen
from zegel.journey.portal import ranges
from zegel.journey.portal.archive import Entry, zipped
from zegel.journey.portal.pages import in_turn
from zegel.journey.portal.pdf import AGAIN, as_pdf
from zegel.journey.portal.reader import MAX_TEXT, PICTURES, OpenMessage, Reader
from zegel.journey.portal.setup import portal
from zegel.journey.portal.showing import size_in_words, worded_messages
from zegel.journey.portal.typesetting import Made, NotMade
from zegel.journey.portal.viewing import LOOKED_AT, Other, Picture, kind_of

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
POLICY_WITH_IMAGES: Final = POLICY.replace("img-src data:", "img-src https: data:")
PDF_POLICY: Final = (
    # No sandbox: browsers refuse their own viewer under one. What it shows has no origin of ours: the viewer stands in
    # a page of the browser's own, and these words keep out what would be read as anything but a PDF.
    "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_CLOSED: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
_SPLIT: Final = "\x00"
_ENOUGH: Final = 65_536  # octets


def body(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """The HTML of a message, for a frame: no scripts, no forms, no origin, nothing from elsewhere (P16)."""
    return _frame(request, _opened(reader, message), remote_images=False)


def body_with_images(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """The same, with images from elsewhere: for one view, and only where the reader pressed the button. An answer to
    POST, since loading tells a sender who reads, from where and when; nobody else makes a browser do that (CSRF)."""
    if not portal().remote_images:
        raise Http404
    return _frame(request, _opened(reader, message), remote_images=True)


@in_turn
def _frame(request: HttpRequest, opened: OpenMessage, *, remote_images: bool) -> HttpResponseBase:
    if opened.inert() is None:
        raise Http404
    frame = render_to_string("portal/body.html", {"title": opened.head.subject, "markup": _SPLIT}, request)
    before, _, after = frame.partition(_SPLIT)
    pieces = itertools.chain((before,), opened.markup(remote_images=remote_images), (after,))
    response = _stream(request, _together(piece.encode("utf-8", "replace") for piece in pieces))
    response["Content-Type"] = "text/html; charset=utf-8"
    response["Content-Security-Policy"] = POLICY_WITH_IMAGES if remote_images else POLICY
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["X-DNS-Prefetch-Control"] = "off"  # names in links are told to nobody
    response["Referrer-Policy"] = "no-referrer"
    return response


def part(request: HttpRequest, reader: Reader, message: uuid.UUID, number: int) -> HttpResponseBase:
    """One attachment, decoded. Whatever it says that it is, a browser saves it and never shows or runs it; images
    that belong inside a message are the exception."""
    opened, found = _file(reader, message, number)
    is_picture = found in opened.reading().inline and found.type in PICTURES
    response = _octets(request, opened, found)
    response["Content-Type"] = PICTURES[found.type] if is_picture else "application/octet-stream"
    response["Content-Disposition"] = disposition("inline" if is_picture else "attachment", _name(found))
    return _as_file(response)


def view(request: HttpRequest, reader: Reader, message: uuid.UUID, number: int) -> HttpResponseBase:
    """One attachment in the browser, as far as its own octets say that it is an image, a PDF or text; anything else has
    a page that offers to save it. Images and text stand in a page of ours, a PDF in the browser's own viewer."""
    opened, found = _file(reader, message, number)
    kind = kind_of(found, _first(opened, found))
    if kind is Other.PDF:
        response = _octets(request, opened, found)
        response["Content-Type"] = "application/pdf"
        response["Content-Disposition"] = disposition("inline", _name(found))
        return _as_file(response, policy=PDF_POLICY)
    text = as_text(opened.whole(found, most=MAX_TEXT), found.charset) if kind is Other.TEXT else ""
    context = {
        "reader": reader,
        "brand": reader.conversation.organisation.name,
        "conversation_address": reader.address("read"),
        "name": _name(found),
        "size": size_in_words(found.decoded_size),
        "picture": reader.address("picture", message=message, number=number) if isinstance(kind, Picture) else "",
        "is_text": kind is Other.TEXT,
        "text": text,
        "is_cut": kind is Other.TEXT and found.decoded_size > MAX_TEXT,
        "saved": reader.address("part", message=message, number=number),
    }
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE if kind is Other.UNKNOWN else HTTPStatus.OK
    return render(request, "portal/view.html", context, status=status)


def picture(request: HttpRequest, reader: Reader, message: uuid.UUID, number: int) -> HttpResponseBase:
    """An attachment that is an image by its own octets, under the type that these have. Nothing else is ever given."""
    opened, found = _file(reader, message, number)
    kind = kind_of(found, _first(opened, found))
    if not isinstance(kind, Picture):
        raise Http404
    response = _octets(request, opened, found)
    response["Content-Type"] = kind.type
    response["Content-Disposition"] = disposition("inline", _name(found))
    return _as_file(response)


def archive(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """All attachments of a message as one ZIP file, made while it is sent."""
    opened = _opened(reader, message)
    files = opened.reading().attachments
    if not files:
        raise Http404
    entries = [Entry(_name(one), one.decoded_size, partial(opened.octets, one)) for one in files]
    pieces = zipped(entries, localtime(opened.row.created_at))
    response = _stream(request, iter(()) if request.method == "HEAD" else pieces)
    response["Content-Type"] = "application/zip"
    response["Content-Disposition"] = disposition("attachment", file_name(opened.head.subject, "zip"))
    return _as_file(response)


def pdf(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """The message as a PDF; where that can't be made, a page that says why and offers the message as it is."""
    opened = _opened(reader, message)
    organisation = reader.conversation.organisation.name
    made = Made(b"") if request.method == "HEAD" else as_pdf(opened, organisation, who=_who(request, reader))
    match made:
        case Made(octets):
            response = _stream(request, (octets,))
            response["Content-Type"] = "application/pdf"
            response["Content-Disposition"] = disposition("attachment", file_name(opened.head.subject, "pdf"))
            return _as_file(response)
        case NotMade():
            reader.shows_nothing()
            too_long = made is NotMade.TOO_LONG
            context = {
                "brand": organisation,
                "conversation_address": reader.address("read"),
                "source": reader.address("source", message=message),
                "is_too_long": too_long,
                "is_busy": made is NotMade.BUSY,
            }
            status = HTTPStatus.UNPROCESSABLE_ENTITY if too_long else HTTPStatus.SERVICE_UNAVAILABLE
            page = render(request, "portal/no_pdf.html", context, status=status)
            if made is NotMade.BUSY:
                page["Retry-After"] = str(AGAIN)  # RFC 9110 §10.2.3
            return page
        case unreachable:
            assert_never(unreachable)


def _who(request: HttpRequest, reader: Reader) -> str:
    """Whose requests count together: an account's, or those of a guest with one mailbox."""
    if isinstance(request.user, Account) and reader.pages == "inbox":
        return f"account/{request.user.pk}"
    return f"guest/{reader.recipient.key if reader.recipient is not None else reader.owner}"


def in_words(request: HttpRequest, reader: Reader, message: uuid.UUID | None = None) -> HttpResponseBase:
    """One message, or the whole conversation, as text: to read without the look, and to print."""
    shown = worded_messages(reader, message)
    if not shown:
        raise Http404
    context = {
        "brand": reader.conversation.organisation.name,
        "conversation_address": reader.address("read"),
        "subject": shown[0].subject,
        "shown": shown,
        "is_all": message is None,
    }
    return render(request, "portal/words.html", context)


def source(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """The message as it was sent, as a file for a mail program."""
    opened = _opened(reader, message)
    response = ranges.stream(request, size=opened.content.size, tag=opened.content.id.hex, octets=opened.source)
    response["Content-Type"] = "message/rfc822"
    response["Content-Disposition"] = disposition("attachment", file_name(opened.head.subject, "eml"))
    return _as_file(response)


def closed(request: HttpRequest, home: str) -> HttpResponse:
    """The keys are gone: what was said here can't be read by anybody."""
    return render(request, "portal/closed.html", {"home": home}, status=HTTPStatus.GONE)


def disposition(kind: str, name: str) -> str:
    """RFC 6266 §4.1, §4.3, appendix D: the name for everyone, and its ASCII form for who knows no other."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9 ._()+@#~=,!-]", "_", plain).strip() or "file"
    if plain == name:
        return f'{kind}; filename="{plain}"'
    return f"{kind}; filename=\"{plain}\"; filename*=utf-8''{quote(name.encode('utf-8', 'replace'), safe='')}"


def file_name(title: str, extension: str) -> str:
    """A title as the name of a file: nothing that a file system understands as more than a name."""
    name = "".join(
        "_" if char in '/\\:*?"<>|' else char for char in title if unicodedata.category(char) not in ("Cc", "Cf", "Cs")
    )
    return f"{' '.join(name.split())[:80].strip('. ') or 'message'}.{extension}"


def _name(found: Part) -> str:
    return found.name or "file"


def _file(reader: Reader, message: uuid.UUID, number: int) -> tuple[OpenMessage, Part]:
    opened = _opened(reader, message)
    found = opened.file(number)
    if found is None:
        raise Http404
    return opened, found


def _first(opened: OpenMessage, part: Part) -> bytes:
    """Enough of its octets to know what it is; a first piece can be short."""
    return opened.whole(part, most=LOOKED_AT)


def _octets(request: HttpRequest, opened: OpenMessage, part: Part) -> StreamingHttpResponse:
    return ranges.stream(
        request,
        size=part.decoded_size,
        tag=f"{opened.content.id.hex}-{opened.number_of(part)}",
        octets=lambda begin, end: ranges.skipping(opened.octets(part), begin, end),
    )


def _opened(reader: Reader, message: uuid.UUID) -> OpenMessage:
    opened = reader.message(message)
    if opened is None:
        raise Http404
    return opened


def _stream(request: HttpRequest, pieces: Iterable[bytes]) -> StreamingHttpResponse:
    """The first piece is opened before anything is answered, so that what can't be opened has its page. HEAD asks for
    no more."""
    following: Iterator[bytes] = iter(pieces)
    first = next(following, b"")
    return StreamingHttpResponse(() if request.method == "HEAD" else itertools.chain((first,), following))


def _together(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Small pieces as one: each that is answered costs the server a turn of its own."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= _ENOUGH:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _as_file(response: StreamingHttpResponse, *, policy: str = _CLOSED) -> StreamingHttpResponse:
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = policy
    return response


UNREADABLE: Final = (CannotOpen, FileNotFoundError)
"""What the pages above raise where keys were destroyed."""
