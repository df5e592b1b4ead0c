"""What runs in the peers' own environments: their servers and the models that all of them share."""
