"""Runnable graphs: they parse flags and build the graph, nothing else."""
