"""Where replicas run: the contract and its implementations."""
