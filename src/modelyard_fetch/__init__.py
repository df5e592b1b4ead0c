"""Brings a model's files, or a runtime's packages, into a pod before its server starts.

Its own package so that the init container of any image with a Python can run it: standard library only,
Python 3.9 and later, started as `python -m modelyard_fetch` or by the path of this directory.
"""
