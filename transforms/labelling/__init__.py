"""A language model labels rows with domains."""
