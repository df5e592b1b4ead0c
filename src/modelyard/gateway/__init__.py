"""How requests find replicas."""
