"""A value that never prints itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Secret(Generic[T]):
    """Holds a value that must not reach a log, a traceback or a page.

    ``repr``, ``str`` and ``format`` show ``Secret(…)``; pickling raises ``TypeError``.
    The one way to the value is :meth:`reveal`, which is easy to search for.
    """

    _value: T

    def reveal(self) -> T:
        """The value itself; the caller now carries the responsibility."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
