"""Shapes of raw rows: one file each, pure functions from a row to the turns of a conversation."""
