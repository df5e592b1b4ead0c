"""Where replicas run when they run on a Kubernetes cluster."""
