"""Tests of lycoris.placement."""
