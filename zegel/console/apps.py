"""Django's name for this part."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Pages for administrators."""

    name = "zegel.console"
    label = "console"
