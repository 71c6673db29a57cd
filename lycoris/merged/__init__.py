"""Worn in the weights: what a Patcher is made of."""
