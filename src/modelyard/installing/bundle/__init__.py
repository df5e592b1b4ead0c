"""Offline bundles: wheels, images, manifests and chart in one directory, with a checksum of each file."""
