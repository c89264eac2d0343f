"""Manifests and run records become an HTML page and a dataset card."""
