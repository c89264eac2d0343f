"""Rows that repeat each other, or that an evaluation set holds."""
