"""Django's name for this part."""

from django.apps import AppConfig


class CustodyConfig(AppConfig):
    """Conversations and what carries them."""

    name = "zegel.journey.custody"
    label = "custody"
    default_auto_field = "django.db.models.BigAutoField"
