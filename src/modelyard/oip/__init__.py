"""The inference protocol: tensors, signatures and every dialect's shape, as pure functions over bytes."""
