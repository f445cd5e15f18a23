"""docs/installing.md as its reader follows it, on a whole Debian 12 that systemd starts (``make try-installation``).

Not part of ``make test``: it needs root, ``debootstrap`` and ``systemd-nspawn``, and takes some ten minutes.
"""
