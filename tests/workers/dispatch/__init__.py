"""Tests of workers.dispatch."""
