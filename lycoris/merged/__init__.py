"""Adapters merged into the weights, and the pristine copies that undo it."""
