"""What is true: the platform's types and decisions, free of input and output."""
