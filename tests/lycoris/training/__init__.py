"""Tests of training; each row of the hazards that is a law of the adapter itself has its number in a test's name."""
