"""Parts of a file (RFC 9110 §14): a download that broke off goes on where it was."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Final

from django.http import HttpRequest, StreamingHttpResponse

_RANGE: Final = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


def wanted(header: str, size: int) -> tuple[int, int] | None:
    """The first octet and the one behind the last; ``None`` where the header is to be passed over: several ranges, and
    what isn't understood (RFC 9110 §14.2). Raises ``ValueError`` for a range that can't be satisfied."""
    found = _RANGE.fullmatch(header.strip().replace(" ", ""))
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), size if not last else min(int(last) + 1, size)
        if last and int(last) < int(first):
            return None
    if begin >= end:
        raise ValueError("nothing is there")
    return begin, end


def stream(
    request: HttpRequest, *, size: int, tag: str, octets: Callable[[int, int], Iterable[bytes]]
) -> StreamingHttpResponse:
    """The answer with all octets, or with those that are asked for; ``octets`` gives those from one place up to
    another. What is under ``tag`` never changes, so whoever has a part of it may go on."""
    etag = f'"{tag}"'
    begin, end, status = 0, size, HTTPStatus.OK
    header = request.headers.get("Range", "")
    if request.method == "GET" and header and request.headers.get("If-Range", etag) == etag:
        try:
            asked = wanted(header, size)
        except ValueError:
            return _unsatisfiable(size)
        if asked is not None:
            (begin, end), status = asked, HTTPStatus.PARTIAL_CONTENT
    # The first piece is opened before anything is answered, so that what can't be opened has its page.
    following: Iterator[bytes] = iter(octets(begin, end))
    first = next(following, b"")
    pieces = () if request.method == "HEAD" else itertools.chain((first,), following)
    response = StreamingHttpResponse(pieces, status=status)
    response["Content-Length"] = str(end - begin)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    if status is HTTPStatus.PARTIAL_CONTENT:
        response["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    return response


def skipping(pieces: Iterable[bytes], begin: int, end: int) -> Iterator[bytes]:
    """Of octets that can only be had from their beginning, those from one place up to another."""
    place = 0
    for piece in pieces:
        if place + len(piece) > begin:
            yield piece[max(0, begin - place) : end - place]
        place += len(piece)
        if place >= end:
            return


def _unsatisfiable(size: int) -> StreamingHttpResponse:
    response = StreamingHttpResponse((), status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    response["Content-Range"] = f"bytes */{size}"
    return response
