"""The package for callers in Python."""
