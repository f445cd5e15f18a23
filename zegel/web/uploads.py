"""Files are refused unless a view says how it takes them.

Django's own handlers keep a file in memory or write it to a temporary folder, in clear. A view that takes files sets
``request.upload_handlers`` to one that seals, before anything reads ``request.POST``.
"""

from __future__ import annotations

from typing import NoReturn

from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParserError


class UploadRefused(MultiPartParserError):
    """A file came where none is taken; the visitor gets a 400."""


class RefuseUploads(FileUploadHandler):
    """Ends the request at the first file, before an octet of it was kept."""

    def new_file(self, *args: object, **kwargs: object) -> NoReturn:
        """Raises :class:`UploadRefused`."""
        raise UploadRefused("no files are taken here")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> NoReturn:
        """Never reached."""
        raise UploadRefused("no files are taken here")

    def file_complete(self, file_size: int) -> NoReturn:
        """Never reached."""
        raise UploadRefused("no files are taken here")
