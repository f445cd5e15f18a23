"""The way of a message as a page shows it: a trace (:mod:`zegel.journey.tracing`) in the visitor's language.

Reads metadata alone. Nothing here can open content: there is no import that could.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Final

from django.utils.translation import get_language

from zegel.console import words
from zegel.journey.custody.models import Submission
from zegel.journey.tracing import sum_of, trace_json

MOST_ATTEMPTS: Final = 25  # of a recipient, on a page; exports have all
_MOMENTS: Final = ("at", "accepted_at", "created_at", "next_try_at", "expires_at")


def of_submission(submission: Submission, *, only: uuid.UUID | None = None) -> dict[str, Any]:
    """The trace with ``said`` beside each pair of sentences, times as values, and each event with its evidence."""
    trace = trace_json(submission, only=only)
    shown: dict[str, Any] = _in_language(trace, "nl" if get_language() == "nl" else "en")
    shown["version"] = sum_of(trace)
    for recipient in shown["recipients"]:
        _complete(recipient)
    return shown


def _in_language(value: Any, language: str) -> Any:
    if isinstance(value, list):
        return [_in_language(one, language) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _in_language(one, language) for name, one in value.items()}
    found.update({name: datetime.fromisoformat(found[name]) for name in _MOMENTS if found.get(name)})
    if "en" in found:
        found["said"] = found[language]
    if "naam" in found:
        found["called"] = found["naam" if language == "nl" else "name"]
    return found


def _complete(recipient: dict[str, Any]) -> None:
    mails = {mail["id"]: mail for mail in recipient["mails"]}
    for event in recipient["events"]:
        if "mail" in event:
            event["evidence"] = mails[event["mail"]]["attempts"][event["attempt"]]
            event["of"] = mails[event["mail"]]
    tried = [event for event in recipient["events"] if "evidence" in event]
    left_out = {id(event) for event in tried[:-MOST_ATTEMPTS]}
    recipient["events"] = [event for event in recipient["events"] if id(event) not in left_out]
    recipient["left_out"] = len(left_out)
    recipient["badge"] = words.state(recipient["state"])
