"""Installing the platform on a cluster: values, manifests, Helm chart, applying, and offline bundles."""
