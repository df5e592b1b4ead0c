"""Measures the platform as its users meet it: one module for each workload, one table each."""
