"""GPUs of a cluster."""
