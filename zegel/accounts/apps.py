"""Django's name for this part."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Organisations and accounts."""

    name = "zegel.accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Listens to what sign-in reports."""
        from zegel.accounts import signals  # noqa: F401
