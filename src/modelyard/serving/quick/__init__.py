"""The quick way of requests that are like earlier ones: one record from the first byte to the last."""
