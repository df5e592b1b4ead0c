"""HTTP/2 for inference and gRPC: frames, flow control and patience of our own; HPACK by `hpack`."""
