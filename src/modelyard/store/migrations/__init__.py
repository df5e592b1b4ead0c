"""The steps from each version's tables to the next; run by `schema.upgrade`, never by hand."""
