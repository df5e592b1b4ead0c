"""A real API server for tests, started from `KUBEBUILDER_ASSETS`, and what stands in for one."""
