"""Stop 2: our responsibility after the 250, durable and sealed."""
