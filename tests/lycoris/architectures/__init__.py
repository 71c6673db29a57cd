"""Tests of lycoris.architectures."""
