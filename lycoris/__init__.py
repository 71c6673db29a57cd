"""Adapter algebra and hot swap: what a LoRA or LyCORIS file means, and how a live model wears any set of them."""
