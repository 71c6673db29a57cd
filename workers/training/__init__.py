"""Trains an adapter of any algorithm on a folder of captioned pictures; `emoji` is how the bundled model was made."""
