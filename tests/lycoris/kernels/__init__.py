"""Tests of lycoris.kernels."""
