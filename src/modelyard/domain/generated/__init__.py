"""What other people's servers are started with, each from the model alone."""
