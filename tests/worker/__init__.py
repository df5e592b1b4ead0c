"""The guest's host, run as the real process that it is."""
