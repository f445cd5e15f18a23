"""Zegel: an open, self-hosted encryption gateway for e-mail."""

VERSION = "0.1.0"
