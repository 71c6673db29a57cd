"""Tests of app.accepting."""
