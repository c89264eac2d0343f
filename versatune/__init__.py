"""The command line: the one place that knows every room of the house."""

__version__ = "0.1.0"
