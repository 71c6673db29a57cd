"""Replicate's HTTP API, under `/replicate`."""
