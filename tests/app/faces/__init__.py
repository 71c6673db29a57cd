"""Tests of faces: other APIs, each proven with its own client."""
