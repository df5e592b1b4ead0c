"""Measures other servers beside ours: the same models, the same machine, the same minutes."""
