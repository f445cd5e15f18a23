"""The sealed-mail format (docs/sealed-mail.md): what is written to disk, and who can open it."""
