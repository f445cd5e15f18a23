"""The operator's portal: every command answers bad input with one sentence and the remedy."""
