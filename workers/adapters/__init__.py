"""Adapters at hand: in memory, on the disk, on their way from storage."""
