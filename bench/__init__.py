"""Measurements: what Zegel costs beside Debian's Postfix. Nothing here is a test, and no test asserts a time."""
