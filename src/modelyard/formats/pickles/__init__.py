"""Reading pickles without running them: an inert machine, an allow-list, and what the root object says."""
