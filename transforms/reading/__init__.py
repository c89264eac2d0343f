"""Files to clean, tokenized examples: the first half of a build."""
