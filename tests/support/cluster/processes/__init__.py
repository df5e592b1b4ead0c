"""A kubelet that really runs what pods say, as processes of this machine."""
