"""Envoy as the gateway, configured by files that it watches."""
