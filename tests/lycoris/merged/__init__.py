"""Tests of what a Patcher is made of."""
