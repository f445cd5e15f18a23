"""The pages of a conversation, for whoever may read it: what it says, what lies beside it, and the whole as a file."""

from __future__ import annotations

import itertools
import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from zegel.core.mail.mime import Part
from zegel.core.seal.wrap import CannotOpen
from zegel.journey.portal import ranges
from zegel.journey.portal.reader import PICTURES, OpenMessage, Reader
from zegel.journey.portal.showing import number_of

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
_CLOSED: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
_SPLIT: Final = "\x00"


def body(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """The HTML of a message, for a frame: no scripts, no forms, no origin, nothing from elsewhere (P16)."""
    opened = _opened(reader, message)
    if opened.inert() is None:
        raise Http404
    frame = render_to_string("portal/body.html", {"title": opened.head.subject, "markup": _SPLIT}, request)
    before, _, after = frame.partition(_SPLIT)
    pieces = itertools.chain((before,), opened.markup(), (after,))
    response = _stream(request, (piece.encode("utf-8", "replace") for piece in pieces))
    response["Content-Type"] = "text/html; charset=utf-8"
    response["Content-Security-Policy"] = POLICY
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["X-DNS-Prefetch-Control"] = "off"  # names in links are told to nobody
    response["Referrer-Policy"] = "no-referrer"
    return response


def part(request: HttpRequest, reader: Reader, message: uuid.UUID, number: int) -> HttpResponseBase:
    """One attachment, decoded. Whatever it says that it is, a browser saves it and never shows or runs it; images
    that belong inside a message are the exception."""
    opened = _opened(reader, message)
    reading = opened.reading()
    found = next((one for one in (*reading.attachments, *reading.inline) if number_of(opened, one) == number), None)
    if found is None:
        raise Http404
    is_picture = found in reading.inline and found.type in PICTURES
    response = ranges.stream(
        request,
        size=found.decoded_size,
        tag=f"{opened.content.id.hex}-{number}",
        octets=lambda begin, end: ranges.skipping(opened.octets(found), begin, end),
    )
    response["Content-Type"] = PICTURES[found.type] if is_picture else "application/octet-stream"
    response["Content-Disposition"] = disposition("inline" if is_picture else "attachment", _name(found))
    return _as_file(response)


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


def _as_file(response: StreamingHttpResponse) -> StreamingHttpResponse:
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = _CLOSED
    return response


UNREADABLE: Final = (CannotOpen, FileNotFoundError)
"""What the pages above raise where keys were destroyed."""
