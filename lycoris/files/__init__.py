"""Adapter files and model folders: headers are checked before any tensor is read."""
