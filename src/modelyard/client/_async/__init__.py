"""The asynchronous client; `_sync` is generated from it by `tools/unasync_client.py`."""
