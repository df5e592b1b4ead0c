"""The SDK: everything the platform does, from Python, over HTTP only."""
