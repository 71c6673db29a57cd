"""Tests of workers.drawing."""
