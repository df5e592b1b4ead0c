"""The gateway as objects of the Gateway API, which some controller of the cluster makes work."""
