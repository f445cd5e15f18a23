"""One row of the API's table, and what its function gets and gives."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final, Literal

from django.http import HttpRequest, HttpResponseBase
from pydantic import BaseModel, ConfigDict, Field

from zegel.accounts.answered import Key
from zegel.accounts.models import Account, ApiToken, Organisation
from zegel.accounts.tokens import Scope
from zegel.core.clock import Instant

MOST: Final = 1_000_000  # octets of a request's body, unless a row says otherwise
JSON: Final = "application/json"

Verb = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Form(BaseModel):
    """What is asked: no field that isn't known, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """What stands behind the question mark. Never anything of a person: addresses of pages get into histories and
    logs."""

    model_config = ConfigDict(extra="forbid")


class Told(BaseModel):
    """What is answered."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Keyed(Enum):
    """What an ``Idempotency-Key`` is to a row."""

    NOT = auto()  # asked again, the same is the case: it needs none
    OPTIONAL = auto()
    REQUIRED = auto()


@dataclass(frozen=True, slots=True)
class Parameter:
    """What can stand in a path."""

    kind: type[int | uuid.UUID | str]
    description: str
    example: str


PARAMETERS: Final[dict[str, Parameter]] = {
    "credential": Parameter(int, "The number of an SMTP credential.", "7"),
    "domain": Parameter(str, "A domain.", "example.org"),
    "row": Parameter(uuid.UUID, "The identifier of an entry.", "0197f3f4-7a5e-7c10-9d3a-2f6f0c3b1a52"),
    "account": Parameter(int, "The number of an account.", "12"),
    "submission": Parameter(uuid.UUID, "The identifier of a submission.", "0197f3f4-7a5e-7c10-9d3a-2f6f0c3b1a52"),
    "conversation": Parameter(uuid.UUID, "The identifier of a conversation.", "0197f3f4-7a5e-7c10-9d3a-2f6f0c3b1a52"),
    "message": Parameter(uuid.UUID, "The identifier of a message in it.", "0197f3f4-7a5e-7c10-9d3a-2f6f0c3b1a52"),
    "webhook": Parameter(uuid.UUID, "The identifier of a webhook.", "0197f3f4-7a5e-7c10-9d3a-2f6f0c3b1a52"),
    "import": Parameter(uuid.UUID, "The identifier of an import.", "0197f3f4-7a5e-7c10-9d3a-2f6f0c3b1a52"),
    "number": Parameter(int, "The number of an attachment.", "2"),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, once all that holds for every row was looked at."""

    request: HttpRequest
    token: ApiToken
    now: Instant
    place: Mapping[str, Any]  # what stood in the path
    query: Any  # of the row's form, or None
    body: Any
    key: Key | None = None  # of a row that keeps its own answers

    @property
    def organisation(self) -> Organisation:
        """Whose things these are. Rows for programs of an organisation alone ask."""
        assert self.token.organisation is not None and self.token.account is None
        return self.token.organisation

    @property
    def account(self) -> Account:
        """Whose messages these are. Rows for an account holder's programs alone ask."""
        assert self.token.account is not None
        return self.token.account


@dataclass(frozen=True, slots=True)
class Done:
    """What a row's function did."""

    body: BaseModel | Mapping[str, Any] | None
    tag: str = ""  # of the state that the answer shows: an entity tag, in its quotes (RFC 9110 §8.8.3)
    location: str = ""  # of what was made, below /api/v1/
    status: HTTPStatus | None = None  # instead of the row's


Run = Callable[[Call], Done | HttpResponseBase]


@dataclass(frozen=True, slots=True)
class Link:
    """Another row whose path names something that the answer tells."""

    name: str
    parameter: str
    pointer: str  # into the answer (RFC 6901 §3)


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: what is asked where, by whom, and who answers."""

    name: str
    method: Verb
    path: str  # below /api/v1/, with the names of PARAMETERS in braces
    scope: Scope
    summary: str
    run: Run
    answers: type[BaseModel] | None  # None: nothing, or a file
    asks: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK
    also: tuple[HTTPStatus, ...] = ()  # other good ends
    refusals: Mapping[HTTPStatus, str] | None = None  # beyond those that follow from the rest of the row
    keyed: Keyed = Keyed.NOT
    is_tagged: bool = False  # answers with an ETag
    changes: bool = False  # what has one: If-Match is demanded where there is something to change
    is_raw: bool = False  # reads the body itself
    also_takes: tuple[str, ...] = ()  # kinds of body beside JSON; without a form, the only ones
    links: tuple[Link, ...] = ()  # what can be asked next, with what stands in the answer
    gives: str = JSON  # kind of the answer
    most: int = MOST

    @property
    def takes_body(self) -> bool:
        """Something is sent along."""
        return self.asks is not None or bool(self.also_takes)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of what stands in its path."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


class Paged(Query):
    """Of a list, which part."""

    limit: int = Field(default=50, ge=1, le=200, description="At most so many.")
    after: str = Field(
        default="", max_length=200, pattern=r"^[A-Za-z0-9_-]*$", description="The `next` of the part before this one."
    )
