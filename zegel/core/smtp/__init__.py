"""SMTP as a value machine: octets in, events out, verdicts in, octets out.

``lines`` knows how octets become lines, arguments and content; ``sasl`` how a client says who it is;
``server`` what may be said when (the ``LEGAL`` table), and what it means; ``client`` reads what others reply.
"""
