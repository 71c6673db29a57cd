"""Hugging Face's Inference API for pictures, under `/hf`."""
