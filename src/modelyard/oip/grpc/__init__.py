"""The inference protocol over gRPC: messages, and how they become queries and answers."""
