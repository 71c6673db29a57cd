"""Bytes in: what lies in adapter files and model folders, judged before it is read."""
