"""Arithmetic that the algorithms and both ways of applying them share."""
