"""A data plane of the Gateway API: what controllers program, read from its text and not from our renderer."""
