"""Lists in parts. A cursor says behind which row the next part begins, and tells nothing else."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet

from zegel.api.answers import Fault, Refused, refused

M = TypeVar("M", bound=Model)
_LARGEST: Final = 2**63 - 1  # of a number in the database


def part(
    found: QuerySet[M], by: str, *, limit: int, after: str, newest_first: bool = False
) -> tuple[Sequence[M], str | None]:
    """At most ``limit`` rows in the order of the unique field ``by``, and the cursor of the next part: ``None`` where
    there is none. Raises :class:`zegel.api.answers.Refused` for a cursor that is none of ours."""
    if after:
        found = found.filter(**{f"{by}__{'lt' if newest_first else 'gt'}": _place(found, by, after)})
    rows = list(found.order_by(f"-{by}" if newest_first else by)[: limit + 1])
    shown = rows[:limit]
    return shown, _cursor(getattr(shown[-1], by)) if len(rows) > limit else None


def _cursor(place: object) -> str:
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def _place(found: QuerySet[M], by: str, cursor: str) -> object:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        field: Any = found.model._meta.get_field(by)
        place = field.to_python(text)
    except (binascii.Error, ValueError, ValidationError):
        raise _odd() from None
    if isinstance(place, int) and not 0 <= place <= _LARGEST:
        raise _odd()
    return place


def _odd() -> Refused:
    fault = Fault(field="after", reason="This is no cursor of ours.", example="The `next` of the answer before.")
    return refused(HTTPStatus.UNPROCESSABLE_ENTITY, "What is asked can't be.", [fault])
