"""The official test suites of the standards, run against what they are about."""
