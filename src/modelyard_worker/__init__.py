"""The guest's host: loads one model inside the model's own environment and answers predictions."""
