"""The inference server of one replica: protocols, queue, deadlines, workers, drain; its own process."""
