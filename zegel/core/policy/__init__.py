"""What is asked, what is allowed, what is chosen: pure functions over values."""
