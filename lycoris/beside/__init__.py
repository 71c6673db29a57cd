"""Worn beside the weights: what a Bypass is made of."""
