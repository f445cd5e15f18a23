"""Stop 6: the sender is told: reports to the reverse-path, warnings to the author."""
