"""DMARC (RFC 9989), as far as one question goes: what does a domain ask to be done with mail that isn't its own?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from zegel.core.mail.address import Domain

MOST_QUESTIONS: Final = 8  # RFC 9989 §4.10
_VERSION: Final = "DMARC1"


class Policy(IntEnum):
    """What is asked; a higher value is stricter."""

    NONE = 0
    QUARANTINE = 1
    REJECT = 2


@dataclass(frozen=True, slots=True)
class Answered:
    """What stands at ``_dmarc.<name>``: all its TXT records, each with its strings joined."""

    name: str
    texts: tuple[str, ...]


def walk(domain: Domain) -> tuple[str, ...]:
    """The domains to ask at, in this order (RFC 9989 §4.10). Their names with ``_dmarc.`` before them are the
    questions; :func:`is_answered` tells when there is no need to go on."""
    labels = domain.ascii.split(".")
    above = labels[1:][-(MOST_QUESTIONS - 1) :]
    return (domain.ascii, *(".".join(above[start:]) for start in range(len(above))))


def is_answered(answered: Sequence[Answered]) -> bool:
    """Nothing further up can change what :func:`policy_of` says."""
    last = _records(answered[-1])
    if len(last) > 1 or (len(answered) == 1 and last):
        return True
    return bool(last) and last[0].get("psd", "").lower() in {"y", "n"}


def policy_of(answered: Sequence[Answered]) -> Policy:
    """What receivers are asked to do with mail of the domain whose :func:`walk` was answered so far.

    A record at the domain itself speaks with ``p``, one above it with ``sp``, or else ``p``. What is missing, can't be
    read or stands there twice asks for nothing; ``t=y`` takes back one step (RFC 9989 §4.7). Several records at one
    name ask for nothing either: receivers that keep to RFC 7489 §6.6.3 stop there.
    """
    found = [(one.name, _records(one)) for one in answered]
    if any(len(records) > 1 for _, records in found):
        return Policy.NONE
    known = {name: records[0] for name, records in found if records}
    own = answered[0].name
    if own in known:
        return _asked(known[own], "p")
    applied = _organisational(known, [name for name, _ in found])
    return Policy.NONE if applied is None else _asked(applied, "sp" if "sp" in applied else "p")


Tags = dict[str, str]


def _organisational(known: dict[str, Tags], asked: list[str]) -> Tags | None:
    """The record of the organisational domain, or else of the public suffix above it (RFC 9989 §4.10.2)."""
    if not known:
        return None
    shortest = min(known, key=lambda name: name.count("."))
    if known[shortest].get("psd", "").lower() == "y":
        below = next((name for name in asked if name.partition(".")[2] == shortest), "")
        return known.get(below, known[shortest])
    return known[shortest]


def _records(answered: Answered) -> list[Tags]:
    read = (_read(text) for text in answered.texts)
    return [tags for tags in read if tags is not None]


def _read(text: str) -> Tags | None:
    """``None``: not a DMARC record, since the version must come first and match precisely (RFC 9989 §4.7)."""
    pairs = [(name.strip(), value.strip()) for name, _, value in (part.partition("=") for part in text.split(";"))]
    if pairs[0] != ("v", _VERSION):
        return None
    tags: Tags = {}
    for name, value in pairs:
        tags[name] = "" if name in tags else value  # which of two values holds is not ours to choose
    return tags


def _asked(tags: Tags, tag: str) -> Policy:
    named = {policy.name.lower(): policy for policy in Policy}
    policy = named.get(tags.get(tag, "").lower(), Policy.NONE)
    return Policy(max(policy - 1, 0)) if tags.get("t", "n").lower() != "n" else policy
