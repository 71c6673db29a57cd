"""The rows of a model's weights that each layer of an adapter changes."""
