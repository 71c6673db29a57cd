"""Affinity simulated: the worker's own choosing function over a trace of requests, against other ways to queue."""
