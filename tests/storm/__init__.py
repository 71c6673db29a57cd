"""The whole service in a storm: what it stands on is taken away at random, and the laws are held against it."""
