"""Tests of what is done beside answering requests."""
