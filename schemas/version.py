"""The version of versatune: the one place that says it."""

VERSION = "0.1.0"
