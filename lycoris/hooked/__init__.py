"""Adapters applied by bypass: their outputs are added to those of the layers, whose weights stay as they are."""
