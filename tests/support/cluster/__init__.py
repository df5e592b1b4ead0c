"""A Kubernetes API server in memory, driven by the published OpenAPI of each version, for tests."""
