"""The gateway as any number of routers, each an Envoy of its own somewhere else, told over HTTP."""
