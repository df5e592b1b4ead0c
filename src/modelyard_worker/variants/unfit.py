"""Unfit: why a model has no compiled variant of some kind."""

from __future__ import annotations


class Unfit(Exception):
    """The model cannot be compiled in this way; the message says what stands against it."""
