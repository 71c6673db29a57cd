"""Tests of app.http."""
