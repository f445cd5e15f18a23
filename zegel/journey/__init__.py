"""The way of a message, in travel order: arrival, custody, decision, delivery, portal, report."""
