"""What brings the world towards what is stored: one module per kind of work."""
