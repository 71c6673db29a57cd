"""From an accepted generation to its pictures."""
