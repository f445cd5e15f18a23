"""What only local mode has: the outside world in miniature, on loopback.

A certificate authority, an authoritative DNS server for ``.test``, receiving mail servers and a page to read what
arrived. Nothing here runs in production, and nothing here listens anywhere but on loopback.
"""
