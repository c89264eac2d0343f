"""Beam PTransforms over Arrow record batches; each wires a plain function that can be called without Beam."""
