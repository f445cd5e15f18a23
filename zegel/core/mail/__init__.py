"""Values and grammars of Internet mail: addresses, envelope, replies, fields, MIME, trace, DSN, DKIM."""
