"""Stop 1: we are the MSA (RFC 6409). Listener, sender, intake; then, and only then, the 250."""
