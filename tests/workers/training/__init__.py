"""The trainer: its training set, its runs, its adapters, and the folder that came out of it."""
