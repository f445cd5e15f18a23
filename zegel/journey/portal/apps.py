"""Django's name for this part."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """Pages for who receives and who sends."""

    name = "zegel.journey.portal"
    label = "portal"
