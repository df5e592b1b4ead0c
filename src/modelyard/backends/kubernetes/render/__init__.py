"""Objects of the cluster from what is wanted: pure, the same wish gives the same objects."""
