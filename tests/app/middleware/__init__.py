"""Tests of app.middleware."""
