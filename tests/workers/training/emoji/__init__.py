"""Tests of workers.training.emoji."""
