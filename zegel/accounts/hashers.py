"""How passwords are stored."""

from __future__ import annotations

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2(Argon2PasswordHasher):
    """Argon2id with the second parameters that RFC 9106 §4 recommends: Django's own take 100 MiB for each sign-in."""

    time_cost = 3
    memory_cost = 64 * 1024  # KiB
    parallelism = 4
