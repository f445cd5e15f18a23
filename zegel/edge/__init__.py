"""Where the world is touched: database, blobs, DNS, keys, SMS, log."""
