"""Whether a cluster's GPUs can be used: the stack below them, and a Job that tries them."""
