"""GPUs of a cluster: which of its ways to give them out serves a request."""
