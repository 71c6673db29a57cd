"""Tests of app.routes: over HTTP, without workers."""
