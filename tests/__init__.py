"""Tests mirror the tree; `e2e` tries the running service, `bench` measures."""
