"""Who may act: organisations, sending domains, accounts, SMTP credentials, sign-in."""
