"""Samples of a base model, drawn in rounds, kept, and looked at."""
