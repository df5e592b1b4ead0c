"""Keeps one program running as a replica: starts it, asks how it is, starts it again, lets it finish."""
