"""The domain classifier: trained, measured, applied."""
