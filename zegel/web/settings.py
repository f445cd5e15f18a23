"""Django's settings, derived from Zegel's one configuration."""

from __future__ import annotations

from typing import Any

from zegel.edge.sqlite import OPTIONS, use_current_sqlite
from zegel.settings import load_from_environment

use_current_sqlite()
ZEGEL = load_from_environment()

DEBUG = False
USE_TZ = True
TIME_ZONE = "Europe/Amsterdam"
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(ZEGEL.database),
        "OPTIONS": OPTIONS,
        "CONN_MAX_AGE": None,
    }
}
AUTH_USER_MODEL = "accounts.Account"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "zegel.accounts",
    "zegel.journey.custody",
]
SECRET_KEY = "set by compose from the keyring"  # noqa: S105
ROOT_URLCONF = "zegel.web.urls"
