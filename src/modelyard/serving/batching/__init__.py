"""Which requests go to the model in one call: decided from what calls have cost, without any timer."""
