"""Tests of lycoris.files."""
