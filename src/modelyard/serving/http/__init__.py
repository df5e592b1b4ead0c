"""HTTP/1.1 for inference: a protocol of our own, because frameworks cost more than the models they carry."""
