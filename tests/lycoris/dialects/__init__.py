"""Tests of lycoris.dialects."""
