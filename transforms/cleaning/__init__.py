"""Filters and repairs of examples, each a small pure function of one example, each off until asked for."""
