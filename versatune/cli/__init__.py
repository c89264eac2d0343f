"""The command line: one file a group of commands, with its summaries beside it."""
