"""The REST API: what programs ask and do for an organisation, with a token."""
