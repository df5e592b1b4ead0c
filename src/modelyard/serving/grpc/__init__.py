"""gRPC: calls on HTTP/2 streams, answered with the same models, limits and errors as every other dialect."""
