"""Tests of what is asked of other hosts."""
