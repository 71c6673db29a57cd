"""The architecture of a model or an adapter, with the evidence."""
