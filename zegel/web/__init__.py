"""Django's own settings, addresses, middleware, base templates and static files."""
