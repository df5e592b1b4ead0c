"""How we talk to the cluster's API server: raw documents over HTTP, nothing typed."""
