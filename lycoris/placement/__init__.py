"""Which rows of which of a model's weights each layer of an adapter changes."""
