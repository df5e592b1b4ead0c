"""Compiled variants of a fitted model: made, compared with the original, timed, and chosen or not."""
