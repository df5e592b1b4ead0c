"""What may happen, and making it happen: the verbs, the reconcilers and the one loop."""
