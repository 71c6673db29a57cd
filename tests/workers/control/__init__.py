"""Tests of control nets."""
