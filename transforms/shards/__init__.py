"""The second half of a build: plan, write, count and describe the shards of a version."""
