"""One module per step, named `mNNNN_what`."""
