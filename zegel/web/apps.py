"""Django's name for this part."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import AppConfig
from django.core.signals import got_request_exception

from zegel.edge.log import Broken, log


class WebConfig(AppConfig):
    """What every page shares."""

    name = "zegel.web"
    label = "web"

    def ready(self) -> None:
        """Whatever breaks in a page is told to the operator; the visitor sees none of it."""
        got_request_exception.connect(_tell_operator, dispatch_uid="zegel.web")


def _tell_operator(**_: Any) -> None:
    cause = sys.exception()
    if cause is not None:
        log(Broken(where="web", cause=cause))
