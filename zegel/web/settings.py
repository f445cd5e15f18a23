"""Django's settings, derived from Zegel's one configuration."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from csp.constants import NONE, SELF

from zegel.edge import postgresql
from zegel.edge.keyring import opening_keys
from zegel.edge.sqlite import OPTIONS, use_current_sqlite
from zegel.settings import load_from_environment

use_current_sqlite()
ZEGEL = load_from_environment()
ROLE_VARIABLE: Final = "ZEGEL_ROLE"
_HERE: Final = Path(__file__).parent
_PORTAL: Final = urlsplit(ZEGEL.portal.url)

DEBUG = False
USE_TZ = True
TIME_ZONE = "Europe/Amsterdam"
_SQLITE: Final[dict[str, Any]] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": str(ZEGEL.database),
    "OPTIONS": OPTIONS,
    "CONN_MAX_AGE": None,
    "TEST": {"NAME": str(ZEGEL.folder / "test.sqlite3")},  # a file, as in production: memory locks differently
}
DATABASES: dict[str, dict[str, Any]] = {
    "default": _SQLITE if ZEGEL.postgresql is None else postgresql.database(ZEGEL, ZEGEL.postgresql)
}
# What the web signs outlives a restart; the mail processes sign nothing, and submission may not read the opening key.
SECRET_KEY = (
    opening_keys(ZEGEL.keys).web.reveal().hex() if os.environ.get(ROLE_VARIABLE) == "web" else secrets.token_hex(32)
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "zegel.web.urls"
WSGI_APPLICATION = None
ALLOWED_HOSTS = [_PORTAL.hostname or "localhost", *(["localhost", "127.0.0.1", "[::1]"] if ZEGEL.testing else [])]
INSTALLED_APPS = [
    "zegel.web",  # before allauth: its templates are looked for here first
    "zegel.accounts",
    "zegel.console",
    "zegel.journey.custody",
    "zegel.journey.portal",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.forms",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
]
MIDDLEWARE = [
    "zegel.web.middleware.EveryAnswer",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "zegel.web.middleware.PrivatePages",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "zegel.web.middleware.SessionLimits",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "zegel.accounts.audit.NotesWhoActs",
    "allauth.account.middleware.AccountMiddleware",
    "zegel.accounts.middleware.SecondFactorRequired",
    "zegel.journey.portal.sessions.NotesSessions",
    "zegel.web.middleware.NothingToSee",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "zegel.web.context.page",
            ]
        },
    }
]
FORM_RENDERER = "zegel.web.forms.Renderer"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # no cookie of its own

# Languages -------------------------------------------------------------------------------------------------------
USE_I18N = True
LANGUAGE_CODE = "nl"
LANGUAGES = [("nl", "Nederlands"), ("en", "English")]
LOCALE_PATHS = [_HERE / "locale"]
LANGUAGE_COOKIE_NAME = "__Host-language"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SECURE = True
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"

# Nothing may depend on what one process remembers.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}

# Static files: served by this process from where the packages lie; nothing is collected or copied --------------------
STATIC_URL = "/static/"
STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.AppDirectoriesFinder"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
WHITENOISE_MAX_AGE = 600
WHITENOISE_ALLOW_ALL_ORIGINS = False

# Cookies and sessions (P19) ------------------------------------------------------------------------------------------
SESSION_ENGINE = "zegel.web.sessions"
SESSION_COOKIE_NAME = "__Host-session"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600  # on the server; zegel.web.middleware ends it sooner
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CSRF_COOKIE_NAME = "__Host-csrf"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_AGE = None  # as long as the browser is open
CSRF_FAILURE_VIEW = "zegel.web.views.csrf_failure"
# Behind a TLS proxy this process sees http while the browser says `Origin: https://…`.
CSRF_TRUSTED_ORIGINS = [f"{_PORTAL.scheme}://{_PORTAL.netloc}"]

# Headers ---------------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "script-src": [SELF],  # passkeys; everything else works without JavaScript
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-src": [SELF],
        "object-src": [NONE],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
# P13. Not "no-referrer": with that a browser says `Origin: null` about our own forms (Fetch standard, "append a request
# `Origin` header"), and the CSRF check needs the truth. Nobody but this host ever gets a Referer.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# What may come in ------------------------------------------------------------------------------------------------
FILE_UPLOAD_HANDLERS = ["zegel.web.uploads.RefuseUploads"]  # Django's own write to disk in clear
DATA_UPLOAD_MAX_MEMORY_SIZE = 5_000_000
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 100

# Signing in ------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.Account"
AUTHENTICATION_BACKENDS = ["zegel.accounts.backend.MailboxBackend"]
PASSWORD_HASHERS = ["zegel.accounts.hashers.Argon2"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "zegel.accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # accounts are made by an administrator, who knows the address
ACCOUNT_EMAIL_NOTIFICATIONS = False
ACCOUNT_PREVENT_ENUMERATION = "strict"
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_RATE_LIMITS = False  # zegel.accounts.throttle counts in the database, for all processes together
MFA_RATE_LIMITS = False
ACCOUNT_FORMS = {
    "login": "zegel.accounts.forms.LoginForm",
    "reauthenticate": "zegel.accounts.forms.PasswordForm",
    "change_password": "zegel.accounts.forms.ChangePasswordForm",
}
MFA_FORMS = {
    "authenticate": "zegel.accounts.forms.CodeForm",
    "reauthenticate": "zegel.accounts.forms.CodeAgainForm",
    "activate_totp": "zegel.accounts.forms.ActivateForm",
    "login_webauthn": "zegel.accounts.forms.PasskeySignInForm",
    "authenticate_webauthn": "zegel.accounts.forms.PasskeyForm",
    "reauthenticate_webauthn": "zegel.accounts.forms.PasskeyAgainForm",
    "add_webauthn": "zegel.accounts.forms.AddPasskeyForm",
    "edit_webauthn": "zegel.accounts.forms.RenamePasskeyForm",
}
SOCIALACCOUNT_ADAPTER = "zegel.accounts.identity.IdentityAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_STORE_TOKENS = False
MFA_ADAPTER = "zegel.accounts.adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Zegel"
MFA_RECOVERY_CODE_COUNT = 10

# Logs: a library's request log would hold the paths of links (P13). What breaks is told by zegel.edge.log. ----------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"nowhere": {"class": "logging.NullHandler"}},
    "loggers": {
        name: {"handlers": ["nowhere"], "propagate": False, "level": "CRITICAL"}
        for name in ("django", "django.server", "allauth", "fido2")
    },
}
