"""The synchronous client, generated from `_async`; edit that."""
