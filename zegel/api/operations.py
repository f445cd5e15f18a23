"""All that the API does, as a table: the addresses, the checks and the OpenAPI document are made from it."""

from __future__ import annotations

from typing import Final

from zegel.api import (
    alarms,
    credentials,
    domains,
    explaining,
    importing,
    look,
    people,
    policies,
    privacy,
    reading,
    sending,
    tracing,
    verification,
    webhooks,
)
from zegel.api.operation import MOST, Operation

__all__ = ["MOST", "OPERATIONS", "Operation"]

OPERATIONS: Final[tuple[Operation, ...]] = (
    *credentials.ROWS,
    *domains.ROWS,
    *people.ROWS,
    *policies.ROWS,
    *look.ROWS,
    *verification.ROWS,
    *importing.ROWS,
    *privacy.ROWS,
    *webhooks.ROWS,
    *alarms.ROWS,
    *tracing.ROWS,
    *explaining.ROWS,
    *sending.ROWS,
    *reading.ROWS,
)
