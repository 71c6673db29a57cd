"""Tests of workers.adapters."""
