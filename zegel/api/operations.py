"""All that the API does, as a table: the addresses, the checks and the OpenAPI document are made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from zegel.accounts.models import ApiToken
from zegel.accounts.tokens import Scope
from zegel.api import explaining

MOST: Final = 1_000_000  # octets of a request's body


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: what is asked where, by whom, and who answers."""

    name: str
    path: str  # below /api/v1/
    scope: Scope
    summary: str
    asks: type[BaseModel]
    answers: type[BaseModel]
    run: Callable[[ApiToken, Any], dict[str, Any]]


OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        "explain",
        "explain",
        Scope.EXPLAIN,
        "What would become of a message, for each recipient, and why. Nothing is sent or kept.",
        explaining.ExplainRequest,
        explaining.ExplainAnswer,
        explaining.explain,
    ),
)
