"""Stop 4: we are a sending MTA. Next hops, connections with evidence, notification, readable message."""
