"""Sessions in the database that a dump of the database can't use or read.

A row is named after a hash of the session key, and its content is closed under a key that the session key is part of:
database and server key together open no session without the cookie. That matters because a session holds more than
who somebody is: a TOTP secret during set-up, a form that waits for a confirmation.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessions
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.contrib.sessions.serializers import JSONSerializer
from django.utils import timezone

from zegel.core.seal.slot import derive, disclose, enclose
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.prepared import Prepared
from zegel.web.keys import web_key

_CONTEXT: Final = "session"
_ALIVE: Final = Prepared(
    lambda name, now: Session.objects.filter(session_key=name, expire_date__gt=now), name=str, now=datetime
)


class SessionStore(DatabaseSessions):
    """Django's database sessions with hashed names and sealed content."""

    def encode(self, session_dict: dict[str, Any]) -> str:
        """Closes the content for the holder of the session key."""
        plain = Secret(JSONSerializer().dumps(session_dict))
        return base64.b64encode(enclose(plain, self._key(), context=_CONTEXT, nonce=chance.octets(12))).decode()

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        """The content; empty for what was damaged or closed by another server key."""
        try:
            plain = disclose(base64.b64decode(session_data), self._key(), context=_CONTEXT)
        except (CannotOpen, ValueError):
            return {}
        content: dict[str, Any] = JSONSerializer().loads(plain.reveal())
        return content

    def exists(self, session_key: str) -> bool:
        """Somebody holds this session key."""
        return super().exists(_row(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        """The row as it is to be stored."""
        session = super().create_model_instance(data)
        session.session_key = _row(session.session_key)
        return session

    def delete(self, session_key: str | None = None) -> None:
        """Ends the session on the server."""
        session_key = session_key or self.session_key
        if session_key is not None:
            super().delete(_row(session_key))

    def _get_session_from_db(self) -> Session | None:
        found = _ALIVE.first(name=_row(self.session_key or ""), now=timezone.now())
        if found is None:
            self._session_key = None
        return found

    def _key(self) -> Secret[bytes]:
        return derive(web_key("sessions"), "session", salt=(self.session_key or "").encode())


def _row(session_key: str) -> str:
    return hashlib.sha256(b"zegel/session/v1/" + session_key.encode()).hexdigest()[:40]  # the column's length


def name_of(session: SessionBase) -> str:
    """What the row of a session is named after; empty for one that isn't stored."""
    return _row(session.session_key) if session.session_key else ""


def those_of(names: Collection[str], now: datetime) -> set[str]:
    """Which of these rows are still there."""
    found = Session.objects.filter(session_key__in=names, expire_date__gt=now)
    return set(found.values_list("session_key", flat=True))


def end(names: Collection[str]) -> None:
    """On the server: whoever holds one of these sessions is signed out at the next click."""
    Session.objects.filter(session_key__in=names).delete()


def forget_expired(now: datetime) -> int:
    """Deletes the rows of sessions that ended; returns how many there were."""
    return Session.objects.filter(expire_date__lt=now).delete()[0]
