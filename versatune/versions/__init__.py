"""What works on finished versions: list, verify, compare, trace, export rejects, reprocess."""
