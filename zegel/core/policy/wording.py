"""Sentences for people, each under a stable code that is stored in its place."""

from __future__ import annotations

from enum import Enum


class Wording(Enum):
    """One sentence in English and in Dutch. ``value`` is the code: it is stored, so it never changes.

    The sentences are fixed: no address, number, code or subject can ever get into one.
    """

    _value_: str
    en: str
    nl: str

    def __new__(cls, code: str, en: str, nl: str) -> Wording:
        wording = object.__new__(cls)
        wording._value_ = code
        wording.en = en
        wording.nl = nl
        return wording
