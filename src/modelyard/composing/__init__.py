"""The platform's rooms, built from settings: here is chosen what differs between a machine and a cluster."""
