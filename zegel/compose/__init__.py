"""Wires everything: the only package that knows all stops. Decides nothing.

Each role has a module here; what roles share, and what commands use of it as well, stands in the others.
"""
