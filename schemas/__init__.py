"""What crosses a boundary: taxonomy, Arrow schemas, configuration, manifests, reports, errors."""
