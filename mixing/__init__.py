"""The method's mathematics in numpy: estimates, weights, mixers, allocation, selection, order. No models."""
