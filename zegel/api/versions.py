"""Who changes what somebody else changed meanwhile is told so, and overwrites nothing unseen (RFC 9110 §13.1)."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Final

from django.http import HttpRequest

from zegel.api.answers import Fault, refused

_TAG: Final = re.compile(r'(?:W/)?"[!#-~]*"')  # a weak one is no match, whatever stands in it (RFC 9110 §13.1.1)
_EXAMPLE: Final = 'If-Match: "0d2f…", the ETag of the answer that the change is made of'


def tag_of(*shown: object) -> str:
    """An entity tag: another one for any other values."""
    return f'"{hashlib.sha256(repr(shown).encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'


def must_match(request: HttpRequest, tag: str | None) -> None:
    """``tag``: of what is there now; ``None``: nothing is, and it is made. Raises
    :class:`zegel.api.answers.Refused`: 428 where a change names no version, 412 where it names another one."""
    asked = request.headers.get("If-Match")
    if asked is None:
        if tag is not None:
            raise _refused(HTTPStatus.PRECONDITION_REQUIRED, "A change names the version that it is made of.")
        return
    is_met = tag is not None and (asked.strip() == "*" or tag in _TAG.findall(asked))
    if not is_met:
        raise _refused(
            HTTPStatus.PRECONDITION_FAILED, "This was changed meanwhile, or is not there. Nothing was changed."
        )


def _refused(status: HTTPStatus, reason: str) -> Exception:
    titles = {
        HTTPStatus.PRECONDITION_REQUIRED: "The request needs If-Match.",
        HTTPStatus.PRECONDITION_FAILED: "Another version is in force.",
    }
    return refused(status, titles[status], [Fault(field="If-Match", reason=reason, example=_EXAMPLE)])
