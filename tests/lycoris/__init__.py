"""Tests of the library: laws over every algorithm, goldens of the reference libraries, files made to hurt."""
